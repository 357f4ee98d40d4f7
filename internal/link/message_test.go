package link

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// encode returns the bytes of a message.
func encode(t require.TestingT, frames ...Frame) []byte {
	var m Message
	for _, f := range frames {
		m.Add(f)
	}
	parts, err := m.buffers()
	require.NoError(t, err)
	b := parts.Materialize()
	require.Len(t, b, m.Size())
	require.Equal(t, len(frames), m.Len())
	return b
}

func decode(b []byte, d direction) (frames []Frame, err error) {
	for len(b) > 0 {
		var f Frame
		if f, b, err = next(b, d); err != nil {
			return frames, err
		}
		frames = append(frames, f)
	}
	return frames, nil
}

func drawEpoch(t *rapid.T) (e record.Epoch) {
	copy(e[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "epoch"))
	return e
}

func drawPosition(t *rapid.T) record.Position {
	return record.Position{Epoch: drawEpoch(t), Offset: rapid.Uint64().Draw(t, "offset")}
}

func drawName(t *rapid.T) string {
	return rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,62}`).Draw(t, "name")
}

func drawBatch(t *rapid.T) Batch {
	b := Batch{Channel: rapid.Uint32().Draw(t, "channel"), First: rapid.Uint64Max(1<<60).Draw(t, "first")}
	b.Count = uint32(rapid.IntRange(1, 10).Draw(t, "count"))
	for range b.Count {
		r := record.Record{CaptureNS: rapid.Int64().Draw(t, "capture"), Packet: rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "packet")}
		b.Records = record.Append(b.Records, &r)
	}
	return b
}

func drawFrame(t *rapid.T, d direction) Frame {
	ch := rapid.Uint32().Draw(t, "channel")
	if d == toProxy {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return Hello{Recorder: drawName(t)}
		case 1:
			return Subscribe{Channel: ch, Camera: drawName(t), From: drawPosition(t)}
		case 2:
			return Unsubscribe{Channel: ch}
		default:
			return Ack{Channel: ch, Durable: drawPosition(t), EndNS: rapid.Int64().Draw(t, "ns")}
		}
	}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		return Open{Channel: ch, Epoch: drawEpoch(t), Offset: rapid.Uint64().Draw(t, "offset")}
	case 1:
		return drawBatch(t)
	case 2:
		from := rapid.Uint64Max(1<<60).Draw(t, "from")
		return Lost{Channel: ch, Epoch: drawEpoch(t), From: from, To: from + rapid.Uint64Range(1, 100).Draw(t, "n")}
	case 3:
		return Pause{Channel: ch, Epoch: drawEpoch(t), Offset: rapid.Uint64().Draw(t, "offset"), CaptureNS: rapid.Int64().Draw(t, "ns")}
	case 4:
		return End{Channel: ch, Epoch: drawEpoch(t), End: rapid.Uint64().Draw(t, "end"), Cause: media.CauseStalled}
	default:
		return Reject{Channel: ch, Reason: rapid.String().Draw(t, "reason")}
	}
}

func TestFramesRoundTrip(t *testing.T) {
	for _, d := range []direction{toProxy, toRecorder} {
		rapid.Check(t, func(t *rapid.T) {
			want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Frame { return drawFrame(t, d) }), 1, 20).Draw(t, "frames")
			b := encode(t, want...)
			got, err := decode(b, d)
			require.NoError(t, err)
			require.Equal(t, want, got)
			_, err = decode(b, 1-d)
			require.ErrorIs(t, err, ErrCorrupt, "a frame of the wrong direction must be refused")
			cut := rapid.IntRange(1, len(b)-1).Draw(t, "cut")
			if short, err := decode(b[:cut], d); err == nil {
				require.Less(t, len(short), len(want), "a shortened message must not decode to the whole")
			}
		})
	}
}

func TestBatchIsSentWithoutACopy(t *testing.T) {
	rec := record.Append(nil, &record.Record{Packet: make([]byte, 1000)})
	var m Message
	m.Add(Batch{Channel: 3, First: 9, Count: 1, Records: rec})
	m.Add(Open{Channel: 4})
	parts, err := m.buffers()
	require.NoError(t, err)
	require.Len(t, parts, 3)
	require.Same(t, &rec[0], &parts[1].ReadOnlyData()[0])
}

func TestAddDoesNotAllocateForEachFrame(t *testing.T) {
	rec := record.Append(nil, &record.Record{Packet: make([]byte, 1000)})
	allocs := testing.AllocsPerRun(100, func() {
		var m Message
		for i := range 1000 {
			m.Add(Ack{Channel: uint32(i)})
		}
	})
	require.Less(t, allocs, 20.0, "only the growth of the header piece")
	allocs = testing.AllocsPerRun(100, func() {
		var m Message
		for range 100 {
			m.Add(Batch{First: 9, Count: 1, Records: rec})
		}
	})
	require.Less(t, allocs, 230.0, "two views for each batch")
}

func TestWhatCannotBeEncodedIsAnError(t *testing.T) {
	for name, f := range map[string]Frame{
		"recorder": Hello{Recorder: strings.Repeat("r", 64)},
		"camera":   Subscribe{Camera: strings.Repeat("c", 64)},
		"cause":    End{Cause: media.Cause(strings.Repeat("c", 65))},
	} {
		t.Run(name, func(t *testing.T) {
			var m Message
			m.Add(f)
			_, err := m.buffers()
			require.ErrorContains(t, err, "too long")
		})
	}
	var m Message
	m.Add(Reject{Reason: strings.Repeat("r", 5000)})
	require.Equal(t, frameHead+maxReason, m.Size(), "a reason is shortened")
}

func TestCorruptFramesAreRefused(t *testing.T) {
	rec := record.Append(nil, &record.Record{Packet: []byte{1, 2}})
	good := encode(t, Batch{Channel: 1, First: 5, Count: 1, Records: rec})
	_, err := decode(good, toRecorder)
	require.NoError(t, err)
	for name, change := range map[string]func([]byte){
		"unknown kind":        func(b []byte) { b[0] = 99 },
		"reserved bytes":      func(b []byte) { b[2] = 1 },
		"length over message": func(b []byte) { b[8]++ },
		"length over limit":   func(b []byte) { b[11] = 0xff },
		"wrong count":         func(b []byte) { b[frameHead+8] = 2 },
		"offset overflow":     func(b []byte) { copy(b[frameHead:], bytes.Repeat([]byte{0xff}, 8)) },
		"broken record":       func(b []byte) { b[frameHead+batchHead]++ },
	} {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(good)
			change(b)
			_, err := decode(b, toRecorder)
			require.ErrorIs(t, err, ErrCorrupt)
		})
	}
	lost := encode(t, Lost{From: 4, To: 5})
	lost[len(lost)-8] = 4
	_, err = decode(lost, toRecorder)
	require.ErrorIs(t, err, ErrCorrupt)
	hello := encode(t, Hello{Recorder: "r1"})
	hello[4] = 1
	_, err = decode(hello, toProxy)
	require.ErrorIs(t, err, ErrCorrupt)
}

func fuzzFrames(f *testing.F, d direction, seeds ...Frame) {
	for _, s := range seeds {
		f.Add(encode(f, s))
	}
	f.Add(encode(f, seeds...))
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, err := decode(b, d)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			return
		}
		if len(frames) > 0 {
			require.Equal(t, b, encode(t, frames...), "there is one form for each message")
		}
	})
}

func FuzzFramesToProxy(f *testing.F) {
	fuzzFrames(f, toProxy, Hello{Recorder: "r1"}, Subscribe{Channel: 1, Camera: "gate"}, Ack{Channel: 1}, Unsubscribe{Channel: 1})
}

func FuzzFramesToRecorder(f *testing.F) {
	rec := record.Append(nil, &record.Record{Packet: []byte{1, 2}})
	fuzzFrames(f, toRecorder, Open{Channel: 1}, Batch{Channel: 1, Count: 1, Records: rec}, Lost{To: 1}, Pause{}, End{Cause: media.CauseProxy}, Reject{Reason: "no"})
}

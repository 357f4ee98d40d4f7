package proxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/conn"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// pieces is a connection that delivers bytes in pieces of given sizes.
type pieces struct {
	net.Conn
	rest  []byte
	sizes func() int
}

func (c *pieces) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.sizes())], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *pieces) Write(p []byte) (int, error) { return len(p), nil }

func interleaved(dst []byte, channel byte, payload []byte) []byte {
	dst = append(dst, '$', channel)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	return append(dst, payload...)
}

// rtpBytes is an RTP packet of payload type 96 and source 7.
func rtpBytes(seq uint16, ts uint32, marker bool, payload []byte) []byte {
	b := []byte{0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7}
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], ts)
	return append(b, payload...)
}

// events reads everything from a connection with gortsplib, and returns what it found in
// words, but for frames of the channels in skip.
func events(c io.ReadWriter, skip ...int) (out []string) {
	r := conn.NewConn(c)
	for {
		what, err := r.Read()
		if err != nil {
			return out
		}
		switch m := what.(type) {
		case *base.Response:
			out = append(out, fmt.Sprintf("response %d %q", m.StatusCode, m.Body))
		case *base.Request:
			out = append(out, fmt.Sprintf("request %s %q", m.Method, m.Body))
		case *base.InterleavedFrame:
			if !slices.Contains(skip, m.Channel) {
				out = append(out, fmt.Sprintf("frame %d %x", m.Channel, m.Payload))
			}
		}
	}
}

// tapOf returns a tap of channel 0 that notes the packets which it takes.
func tapOf(taken *[][]byte, lost *uint64) *tap {
	t := &tap{log: zerolog.Nop(), shown: 1 << 62, take: func(_ *tapTrack, p *packet, n uint64, _ int64) {
		*taken = append(*taken, bytes.Clone(p.raw))
		*lost += n
	}}
	t.byChannel[0] = &tapTrack{payloadType: 96}
	return t
}

func TestTapTakesItsPacketsAndLeavesTheRestAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire []byte
		var sent [][]byte
		seq := uint16(65530)
		for range rapid.IntRange(0, 40).Draw(t, "messages") {
			switch rapid.IntRange(0, 6).Draw(t, "kind") {
			case 0, 1:
				b := rtpBytes(seq, 1, false, rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "rtp"))
				sent = append(sent, b)
				wire = interleaved(wire, 0, b)
				seq++
			case 2:
				wire = interleaved(wire, 1, rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "rtcp"))
			case 3:
				wire = append(wire, "RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 1\r\n\r\n"...)
			case 4:
				body := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body")
				wire = fmt.Appendf(wire, "RTSP/1.0 200 OK\r\nCSeq: 4\r\n%s: %d\r\n\r\n%s",
					rapid.SampledFrom([]string{"Content-Length", "content-length"}).Draw(t, "key"), len(body), body)
			case 5:
				wire = append(wire, "GET_PARAMETER rtsp://a/b RTSP/1.0\r\nCSeq: 5\r\n\r\n"...)
			case 6:
				wire = append(wire, rapid.SampledFrom([]string{"\r\n", "\x00", "xyz"}).Draw(t, "junk")...)
			}
		}
		sizes := func() int { return rapid.SampledFrom([]int{1, 3, 100, 1460, 1 << 16}).Draw(t, "size") }
		want := events(&pieces{rest: wire, sizes: sizes}, 0)

		var taken [][]byte
		var lost uint64
		c := newCameraConn(&pieces{rest: wire, sizes: sizes}, &handClock{})
		c.tap.Store(tapOf(&taken, &lost))
		require.Equal(t, want, events(c))
		require.Equal(t, sent, taken)
		require.Zero(t, lost)
	})
}

func TestTapKeepsToItsStreamAndCountsWhatIsMissing(t *testing.T) {
	var wire []byte
	foreign, other := rtpBytes(9, 1, false, []byte{1}), rtpBytes(9, 1, false, []byte{1})
	foreign[11], other[1] = 8, 97
	for _, b := range [][]byte{rtpBytes(1, 1, false, []byte{1}), foreign, other, {0x80}, rtpBytes(5, 1, false, []byte{1})} {
		wire = interleaved(wire, 0, b)
	}
	var taken [][]byte
	var lost uint64
	c := newCameraConn(&pieces{rest: wire, sizes: func() int { return 64 }}, &handClock{})
	c.tap.Store(tapOf(&taken, &lost))
	require.Empty(t, events(c))
	require.Len(t, taken, 2)
	require.EqualValues(t, 3, lost)
}

// gortsplib ends a session whose camera it hears nothing of.
func TestTapShowsAPacketASecond(t *testing.T) {
	var wire []byte
	for i := range 10 {
		wire = interleaved(wire, 0, rtpBytes(uint16(i), 1, false, []byte{1}))
	}
	var taken [][]byte
	var lost uint64
	clk := &handClock{}
	c := newCameraConn(&pieces{rest: wire, sizes: func() int { clk.mono += 400 * ms; return 17 }}, clk)
	tap := tapOf(&taken, &lost)
	tap.shown = 0
	c.tap.Store(tap)
	require.Len(t, events(c), 3)
	require.Len(t, taken, 10)
}

func FuzzCameraConn(f *testing.F) {
	f.Add([]byte("RTSP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc$\x00\x00\x0d\x80\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07\x41"))
	f.Add([]byte("$\x01\x00\x02ab\r\nOPTIONS * RTSP/1.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		want := events(&pieces{rest: wire, sizes: func() int { return 1 << 16 }}, 0)
		var taken [][]byte
		var lost uint64
		c := newCameraConn(&pieces{rest: wire, sizes: func() int { return 7 }}, &handClock{})
		c.tap.Store(tapOf(&taken, &lost))
		got := events(c, 0)
		if !c.plain && len(got) < len(want) {
			// gortsplib ends at what it cannot read, and may do so later here.
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestTapDoesNotAllocatePerPacket(t *testing.T) {
	clk := &handClock{}
	in := newIngest(testConfig(clk), countingSink{}, []media.Track{h264Track()})
	tap := &tap{log: zerolog.Nop(), shown: 1 << 62, take: func(t *tapTrack, p *packet, _ uint64, _ int64) { _ = in.push(t.index, p) }}
	tap.byChannel[0] = &tapTrack{payloadType: 96}
	c := newCameraConn(nil, clk)
	c.tap.Store(tap)
	var unit []byte
	for i, nal := range [][]byte{aud, sps1, pps1, idr, {0x7c, 0x05, 1, 2}, {0x7c, 0x45, 1, 2}} {
		unit = interleaved(unit, 0, rtpBytes(uint16(i), 0, i == 5, nal))
	}
	seq, ts := uint16(0), uint32(0)
	require.Zero(t, testing.AllocsPerRun(2000, func() {
		clk.mono += 40 * ms
		ts += 3600
		c.first, c.last = 0, copy(c.buf, unit)
		for at := 0; at < c.last; at += 4 + int(binary.BigEndian.Uint16(c.buf[at+2:])) {
			seq++
			binary.BigEndian.PutUint16(c.buf[at+6:], seq)
			binary.BigEndian.PutUint32(c.buf[at+8:], ts)
		}
		c.scan()
		if c.first != c.last || in.err != nil {
			t.Fail()
		}
	}))
}

// From the bytes of a connection to the log: a picture of 20 kB in packets of 1400 bytes.
func BenchmarkTap(b *testing.B) {
	clk := &handClock{}
	log := NewLog(LogOptions{Window: time.Second, MaxBytes: 1 << 20, Clock: clk})
	sink := &logSink{log: log, epoch: record.Epoch{1}}
	in := newIngest(testConfig(clk), sink, []media.Track{h264Track()})
	tap := &tap{log: zerolog.Nop(), shown: 1 << 62, take: func(t *tapTrack, p *packet, _ uint64, _ int64) {
		if err := in.push(t.index, p); err != nil {
			b.Fatal(err)
		}
	}}
	tap.byChannel[0] = &tapTrack{payloadType: 96}
	c := newCameraConn(nil, clk)
	c.tap.Store(tap)
	unit := func(head byte) (out []byte) {
		for i := range 14 {
			fu := []byte{0x7c, head, 0x88}
			switch i {
			case 0:
				fu[1] |= 0x80
			case 13:
				fu[1] |= 0x40
			}
			out = interleaved(out, 0, rtpBytes(0, 0, i == 13, append(fu, make([]byte, 1400)...)))
		}
		return out
	}
	key, other := unit(5), unit(1)
	seq, ts := uint16(0), uint32(0)
	b.SetBytes(int64(len(key)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		picture := other
		if i%50 == 0 {
			picture = key
		}
		clk.mono += 40 * ms
		ts += 3600
		c.first, c.last = 0, copy(c.buf, picture)
		for at := 0; at < c.last; at += 4 + int(binary.BigEndian.Uint16(c.buf[at+2:])) {
			seq++
			binary.BigEndian.PutUint16(c.buf[at+6:], seq)
			binary.BigEndian.PutUint32(c.buf[at+8:], ts)
		}
		c.scan()
	}
}

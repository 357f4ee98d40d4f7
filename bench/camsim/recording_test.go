package camsim

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/ledger"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// builder turns what a client gets into fragments, as a proxy and a recorder would.
type builder struct {
	t       *testing.T
	camera  *Camera
	b       *media.Builder
	desc    []byte
	startNS int64
	zero    []uint32 // the first timestamp of each track
	known   []bool
	waiting [][]*rtp.Packet // of the access unit that is not complete
	offset  uint64
	began   bool
	init    []byte
	file    bytes.Buffer
}

func newBuilder(t *testing.T, c *Camera) *builder {
	d := media.Description{SegmentMS: 600_000, Since: media.CauseStart}
	for _, tr := range c.tracks {
		m := media.Track{Kind: media.KindVideo, Codec: media.Codec(tr.clip.codec), ClockRate: tr.clip.clockRate}
		switch tr.clip.codec {
		case ledger.AAC:
			conf, err := tr.clip.aac.Marshal()
			require.NoError(t, err)
			m.Kind, m.SampleRate, m.Channels = media.KindAudio, tr.clip.aac.SampleRate, int(tr.clip.aac.ChannelConfig)
			m.Params, m.SizeLength, m.IndexLength, m.IndexDeltaLength = [][]byte{conf}, 13, 3, 3
		case ledger.PCMA, ledger.PCMU:
			m.Kind, m.SampleRate, m.Channels, m.BitDepth = media.KindAudio, 8000, 1, 16
		default:
		}
		d.Tracks = append(d.Tracks, m)
	}
	ext, err := d.Encode()
	require.NoError(t, err)
	n := len(c.tracks)
	return &builder{
		t: t, camera: c, b: media.NewBuilder(c.Name), desc: ext, startNS: time.Now().UnixNano(),
		zero: make([]uint32, n), known: make([]bool, n), waiting: make([][]*rtp.Packet, n),
	}
}

func (b *builder) packet(track int, p *rtp.Packet) {
	q := p.Clone()
	b.waiting[track] = append(b.waiting[track], q)
}

// unit pushes the packets of a complete access unit. Video that was joined in the middle
// of a GOP is left out.
func (b *builder) unit(a ledger.AccessUnit) {
	pkts := b.waiting[a.Track]
	b.waiting[a.Track] = nil
	cut := a.Track == 0 && a.Key
	if !b.began && !cut {
		return
	}
	ts := pkts[0].Timestamp
	if !b.known[a.Track] {
		b.known[a.Track], b.zero[a.Track] = true, ts
	}
	capture := b.startNS + int64(int32(ts-b.zero[a.Track]))*1e9/int64(b.camera.tracks[a.Track].clip.clockRate)
	for i, p := range pkts {
		raw, err := p.Marshal()
		require.NoError(b.t, err)
		r := record.Record{Track: uint8(a.Track), CaptureNS: capture, Packet: raw}
		if i == 0 {
			r.Flags |= record.AccessUnit
			if a.Key && a.Track == 0 {
				r.Flags |= record.RandomAccess
			}
			if cut {
				r.Flags |= record.Cut
				r.Ext = b.desc
				b.finish(&r)
			}
		}
		require.NoError(b.t, b.b.Push(b.offset, &r))
		b.offset++
	}
}

func (b *builder) finish(cut *record.Record) {
	if b.began {
		f, err := b.b.Finish(cut, cut != nil)
		require.NoError(b.t, err)
		require.Zero(b.t, f.Info.Flags)
		if b.init == nil {
			b.init = bytes.Clone(f.Init)
			b.file.Write(b.init)
		}
		require.Equal(b.t, b.init, f.Init)
		b.file.Write(f.Box)
		b.file.Write(f.Moof)
		for _, part := range f.Mdat {
			b.file.Write(part)
		}
	}
	b.began = true
	b.b.Begin(record.Epoch{1}, b.offset)
}

func TestRecordingBuiltFromACameraIsItsLedger(t *testing.T) {
	t.Parallel()
	s := start(t, kinds()[:7]...)
	var wg sync.WaitGroup
	builders := make([]*builder, 7)
	for i, c := range s.Cameras() {
		b := newBuilder(t, c)
		builders[i] = b
		h := header(t, c)
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			n := 0
			_ = ledger.Capture(ctx, h, ledger.CaptureOptions{
				URL: c.URL, Transport: gortsplib.TransportTCP,
				OnPacket: b.packet,
				OnUnit: func(a ledger.AccessUnit, _ *rtp.Packet) {
					b.unit(a)
					if n++; n == 220 {
						cancel()
					}
				},
			})
		})
	}
	wg.Wait()
	require.NoError(t, s.Close())
	for _, b := range builders {
		l, err := ledger.ReadFile(b.camera.Ledger)
		require.NoError(t, err)
		units, err := ledger.FromMP4(&b.file, &l.Header, 0)
		require.NoError(t, err, b.camera.Name)
		report := ledger.Check(l, units, ledger.Options{})
		require.NoError(t, report.Err())
		for _, tr := range report.Tracks {
			require.Greater(t, tr.Matched, 40, "%s", report)
		}
	}
}

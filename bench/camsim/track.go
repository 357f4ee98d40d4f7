package camsim

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/pion/rtp"

	"github.com/duet-video/duet/bench/ledger"
)

// track makes the access units of one track, in the order of decoding: it does no I/O and
// knows no clock. Media time counts from the camera's start; it is what a perfect clock
// of the camera would show.
type track struct {
	opts   *CameraOptions
	index  int
	media  *description.Media
	enc    encoder
	clip   *clip
	next   int           // the frame of clip that comes next
	base   time.Duration // media time of the clip's start
	number uint64
	// speed is media time over real time: the camera sends frames at that pace.
	speed float64
	seq   uint16
	clock rtpClock

	packets, octets uint32 // for sender reports
	padDebt         int    // bits that padding owes

	nalus [][]byte // scratch: gortsplib has copied a packet when the write of it returns
	sei   []byte
	data  []byte
	fill  []byte
}

// unit is an access unit that is ready to be sent. Its slices live until the next one.
type unit struct {
	entry   ledger.Entry
	packets []*rtp.Packet
}

func newTrack(index int, c *clip, o *CameraOptions, rnd *rand.Rand) (*track, error) {
	m, enc, err := newMedia(c, o)
	if err != nil {
		return nil, err
	}
	t := &track{opts: o, index: index, media: m, enc: enc, clip: c, speed: 1, seq: uint16(rnd.Uint32())}
	first := rnd.Uint32()
	if o.FirstRTP != 0 {
		first = o.FirstRTP
	}
	rate := float64(c.clockRate) * (1 + o.Drift)
	if c.codec.Video() && o.DeliveredFPS > 0 && len(c.frames) > 0 {
		declared := float64(len(c.frames)) / c.duration.Seconds()
		t.speed = o.DeliveredFPS / declared
		if !o.StampDeclaredFPS {
			rate /= t.speed
		}
	}
	t.clock = rtpClock{rate: rate, rtp: float64(first)}
	return t, nil
}

// due returns when, counted in real time from the camera's start, the next frame is sent.
func (t *track) due() time.Duration { return t.real(t.base + t.clip.frames[t.next].decode) }

func (t *track) real(media time.Duration) time.Duration {
	return time.Duration(float64(media) / t.speed)
}

// nextIsKey reports whether the next frame is a random access point.
func (t *track) nextIsKey() bool { return t.clip.frames[t.next].key }

// present returns the media time at which the next frame is shown.
func (t *track) present() time.Duration { return t.base + t.clip.frames[t.next].present }

// sampling returns the timestamp of what is in front of the lens at the real time.
func (t *track) sampling(real time.Duration) uint32 {
	return t.clock.at(time.Duration(float64(real)*t.speed) + t.clip.depth)
}

// change goes over to another clip; the next frame must be a random access point.
func (t *track) change(c *clip) {
	t.base += t.clip.frames[t.next].decode
	t.clip, t.next = c, 0
}

// unit makes the next access unit and its packets.
func (t *track) unit(camera uint32) (unit, error) {
	f := &t.clip.frames[t.next]
	u := unit{entry: ledger.Entry{
		Track: t.index, Number: t.number, RTP: t.clock.at(t.present()), Key: f.key,
	}}
	t.build(f, ledger.Mark{Camera: camera, Number: t.number})
	if f.nalus != nil {
		u.entry.Hash, u.entry.Size = ledger.HashNALUs(t.nalus)
	} else {
		u.entry.Hash, u.entry.Size = ledger.HashBytes(t.data), len(t.data)
	}
	pkts, err := t.enc.encode(t.nalus, t.data)
	if err != nil {
		return unit{}, err
	}
	for _, p := range pkts {
		p.Timestamp = u.entry.RTP
		p.SequenceNumber = t.seq
		t.seq++
		t.packets++
		t.octets += uint32(len(p.Payload))
	}
	u.packets = pkts
	t.number++
	if t.next++; t.next == len(t.clip.frames) {
		t.next = 0
		t.base += t.clip.duration
	}
	return u, nil
}

// build puts the access unit with its mark into t.nalus or t.data.
func (t *track) build(f *frame, m ledger.Mark) {
	switch codec := t.clip.codec; codec {
	case ledger.H264, ledger.H265:
		t.nalus = t.nalus[:0]
		rest := f.nalus
		if isDelimiter(codec, rest[0]) {
			t.nalus = append(t.nalus, rest[0])
			rest = rest[1:]
		}
		if f.key && !t.opts.NoInBandSets {
			t.nalus = append(t.nalus, t.clip.sets...)
		}
		t.sei = m.AppendSEI(t.sei[:0], codec)
		t.nalus = append(t.nalus, t.sei)
		t.nalus = append(t.nalus, rest...)
		t.pad()
	case ledger.AAC:
		t.data = m.AppendAAC(t.data[:0], f.data)
	case ledger.MJPEG:
		t.data = append(t.data[:0], f.data...)
		m.PutJPEG(t.data)
	case ledger.PCMA, ledger.PCMU:
		t.data = append(t.data[:0], f.data...)
		m.PutG711(codec, t.data)
	}
}

// pad appends filler data (H.264 7.3.2.7: type 12, H.265: FD_NUT 38), so that the track
// has the demanded bitrate over time.
func (t *track) pad() {
	if t.opts.BitrateBPS == 0 {
		return
	}
	perFrame := t.real(t.clip.duration).Seconds() / float64(len(t.clip.frames))
	t.padDebt += int(float64(t.opts.BitrateBPS) * perFrame)
	for _, n := range t.nalus {
		t.padDebt -= 8 * len(n)
	}
	n := t.padDebt / 8
	if n < 8 {
		return
	}
	t.padDebt -= 8 * n
	// All of t.fill but its end is right from the last time.
	if last := len(t.fill) - 1; last >= 0 {
		t.fill[last] = 0xff
	}
	if cap(t.fill) < n {
		t.fill = bytes.Repeat([]byte{0xff}, 2*n)
		if t.clip.codec == ledger.H265 {
			t.fill[0], t.fill[1] = 38<<1, 1
		} else {
			t.fill[0] = 12
		}
	}
	t.fill = t.fill[:n]
	t.fill[n-1] = 0x80
	t.nalus = append(t.nalus, t.fill)
}

// rtpClock turns media time into RTP timestamps.
type rtpClock struct {
	rate  float64 // timestamps a second
	rtp   float64 // the timestamp, unwrapped, at media time media
	media time.Duration
}

func (c *rtpClock) unwrapped(media time.Duration) float64 {
	return c.rtp + (media-c.media).Seconds()*c.rate
}

func (c *rtpClock) at(media time.Duration) uint32 {
	v := c.unwrapped(media)
	if v >= 0 {
		return uint32(uint64(v + 0.5))
	}
	return uint32(int64(v - 0.5))
}

// turn changes the rate from media on, by the factor, without a jump.
func (c *rtpClock) turn(media time.Duration, factor float64) {
	c.rtp, c.media = c.unwrapped(media), media
	c.rate *= factor
}

// jump moves all timestamps by so many seconds of the clock.
func (c *rtpClock) jump(by time.Duration) { c.rtp += by.Seconds() * c.rate }

package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"

	"github.com/duet-video/duet/bench/ledger"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/proxy"
)

var (
	sps = []byte{
		0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00,
		0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
	}
	pps = []byte{0x68, 0xeb, 0xe3, 0xcb}
)

// frameEvery and gop are those of every simulated camera: small, so that a minute is cheap.
const (
	frameEvery = 250 * time.Millisecond
	framePhase = 100 * time.Millisecond // so that it is not at the instants of others
	gop        = 6
)

// camera makes access units all the time, and writes each in its ledger, whether somebody
// is there to take it or not.
type camera struct {
	name    string
	encoder *rtph264.Encoder

	mu      sync.Mutex
	rand    *rand.Rand
	book    ledger.Ledger
	deliver proxy.Deliver // of the session; nil: there is none
	ended   chan error    // of the session
	off     bool
	// sessions counts them; since is when the one at hand began.
	sessions int
	since    time.Time
	over     bool // it makes nothing more
}

func newCamera(name string, r *rand.Rand) (*camera, error) {
	e := &rtph264.Encoder{PayloadType: 96, PayloadMaxSize: 120}
	if err := e.Init(); err != nil {
		return nil, err
	}
	return &camera{
		name: name, encoder: e, rand: r,
		book: ledger.Ledger{
			Header:  ledger.Header{Format: 1, Camera: name, Tracks: []ledger.Track{{Codec: ledger.H264, ClockRate: 90000}}},
			Entries: make([][]ledger.Entry, 1),
		},
	}, nil
}

// run makes access units until ctx is done.
func (c *camera) run(ctx context.Context) {
	time.Sleep(framePhase)
	t := time.NewTicker(frameEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			c.unit()
		case <-ctx.Done():
			return
		}
	}
}

func (c *camera) unit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	n := uint64(len(c.book.Entries[0]))
	key := n%gop == 0
	slice := make([]byte, 20+c.rand.IntN(120))
	for i := range slice {
		slice[i] = byte(1 + c.rand.IntN(255)) // no start code, no emulation
	}
	var nalus [][]byte
	mark := ledger.Mark{Camera: ledger.CameraID(c.name), Number: n}.AppendSEI(nil, ledger.H264)
	if key {
		slice[0], slice[1] = 0x65, 0x88
		nalus = [][]byte{sps, pps, mark, slice}
	} else {
		slice[0], slice[1] = 0x41, 0x9a
		nalus = [][]byte{mark, slice}
	}
	hash, size := ledger.HashNALUs(nalus)
	rtpTime := uint32(n * uint64(frameEvery) * 9 / uint64(100*time.Microsecond))
	c.book.Entries[0] = append(c.book.Entries[0], ledger.Entry{
		Number: n, Hash: hash, Size: size, AtNS: time.Now().UnixNano(), RTP: rtpTime, Key: key,
	})
	if c.deliver == nil {
		return
	}
	packets, err := c.encoder.Encode(nalus)
	for _, p := range packets {
		if err == nil {
			p.Timestamp = rtpTime
			err = c.deliver(0, p)
		}
	}
	if err != nil {
		c.end(err)
	}
}

// end ends the session, with mu held.
func (c *camera) end(err error) {
	if c.deliver != nil {
		c.deliver = nil
		c.ended <- err
	}
}

var errCable = errors.New("the cable was pulled")

// power switches the camera's network on or off.
func (c *camera) power(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = !on
	if c.off {
		c.end(errCable)
	}
}

// stop ends the camera for good.
func (c *camera) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over, c.off = true, true
	c.end(errCable)
}

// session is a session of a proxy with the camera.
func (c *camera) session(ctx context.Context, begin func([]media.Track) proxy.Deliver) error {
	ended := make(chan error, 1)
	c.mu.Lock()
	if c.off {
		c.mu.Unlock()
		return errCable
	}
	c.end(errors.New("another session took its place"))
	c.ended = ended
	c.sessions++
	c.since = time.Now()
	c.deliver = begin([]media.Track{{Kind: media.KindVideo, Codec: media.H264, ClockRate: 90000, Params: [][]byte{sps, pps}}})
	c.mu.Unlock()
	select {
	case err := <-ended:
		return fmt.Errorf("camera %s: %w", c.name, err)
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ended == ended {
			c.deliver = nil
		}
		return ctx.Err()
	}
}

func (c *camera) sessionCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions
}

// sentFor returns for how long it has been sending to the proxy; 0: it is not.
func (c *camera) sentFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deliver == nil {
		return 0
	}
	return time.Since(c.since)
}

// ledger returns what was made so far.
func (c *camera) ledger() *ledger.Ledger {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.book
	l.Entries = [][]ledger.Entry{append([]ledger.Entry(nil), c.book.Entries[0]...)}
	return &l
}

package source

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options say which cameras to play.
type Options struct {
	// Listener is where they are reached: rtsp://…/c0, c1 and so on.
	Listener net.Listener
	Cameras  int
	// Video is a clip of H.264 or H.265 by its name (camsim.VideoClips), Bitrate what it
	// is padded to, in bits per second of video.
	Video   string
	Bitrate int
	// Now is the clock of the marks; nil: time.Now.
	Now func() time.Time
}

// Source plays the cameras. Its methods may be used concurrently.
type Source struct {
	opts    Options
	loop    *loop
	cameras []*camera
	began   time.Time
}

// camera sends one unit every loop.interval, at a phase of its own.
type camera struct {
	index  int
	phase  time.Duration
	first  int // the unit of the loop that the number 0 is
	number atomic.Int64

	mu          sync.Mutex
	clients     []*client
	refuseUntil time.Time
	// For readers of the state.
	sessions             int
	units, packets, lost uint64
	lostPackets          uint64
}

// Name returns the path of the camera with the index.
func Name(index int) string { return fmt.Sprintf("c%d", index) }

// New prepares the cameras.
func New(o Options) (*Source, error) {
	if o.Cameras < 1 || o.Cameras > MaxCameras {
		return nil, fmt.Errorf("%d cameras: want 1 … %d", o.Cameras, MaxCameras)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l, err := newLoop(o.Video, o.Bitrate)
	if err != nil {
		return nil, err
	}
	s := &Source{opts: o, loop: l}
	for i := range o.Cameras {
		s.cameras = append(s.cameras, &camera{
			index: i, phase: l.interval * time.Duration(i) / time.Duration(o.Cameras),
			// Random access points are spread as well, as they are with real cameras.
			first: i * len(l.units) / o.Cameras,
		})
	}
	return s, nil
}

// Bits returns how many bits a second one camera sends, as RTP packets.
func (s *Source) Bits() float64 {
	return float64(8*s.loop.bytes) / (s.loop.interval * time.Duration(len(s.loop.units))).Seconds()
}

// Run plays until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	s.began = time.Now()
	group.Go(func() error { return s.pace(ctx) })
	group.Go(func() error { return s.accept(ctx) })
	return group.Wait()
}

// pace sends what is due. It sleeps between, at the finest of a millisecond.
func (s *Source) pace(ctx context.Context) error {
	next := 0 // the camera whose turn it is, and in which round
	round := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c := s.cameras[next]
		due := s.loop.interval*time.Duration(round) + c.phase
		if wait := due - time.Since(s.began); wait > 0 {
			timer.Reset(max(wait, time.Millisecond))
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
			}
		}
		s.send(c, round)
		if next++; next == len(s.cameras) {
			next, round = 0, round+1
			if ctx.Err() != nil {
				return nil
			}
		}
	}
}

// send sends the unit with that number to the camera's clients.
func (s *Source) send(c *camera, number int) {
	c.number.Store(int64(number))
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.clients) == 0 {
		return
	}
	at := c.first + number
	u := &s.loop.units[at%len(s.loop.units)]
	stamp := uint32(at/len(s.loop.units))*s.loop.ticks + u.present
	now := s.opts.Now()
	Mark{Camera: c.index, Number: number, Sent: now}.put(u.wire[u.mark:])
	for _, k := range c.clients {
		k.report(now, stamp)
		u.patch(k.channel, k.seq, stamp, k.ssrc)
		k.seq += uint16(len(u.packets))
		k.packets += uint32(len(u.packets))
		k.octets += uint32(len(u.wire))
		if !k.write(u.wire) {
			c.lost++
			c.lostPackets += uint64(len(u.packets))
		}
		c.units++
		c.packets += uint64(len(u.packets))
	}
}

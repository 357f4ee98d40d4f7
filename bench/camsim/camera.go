package camsim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/description"

	"github.com/duet-video/duet/bench/ledger"
)

// Camera is a simulated camera. Its methods switch pathologies while it runs.
type Camera struct {
	Name string
	// URL without credentials.
	URL string
	// Ledger is the path of its ledger; empty: it keeps none.
	Ledger string

	opts   CameraOptions
	id     uint32
	server *server
	stream *gortsplib.ServerStream
	book   *ledger.Writer // nil: none
	alt    *clip          // nil: none

	// gate is held while an access unit is written, and from the moment a PLAY is
	// answered until its session gets packets: so a session gets whole access units.
	gate   sync.Mutex
	tracks []*track
	rnd    *rand.Rand
	failed map[*gortsplib.ServerSession]bool // during a write only

	mu           sync.Mutex
	start        time.Time
	sessions     map[*gortsplib.ServerSession]*session
	counter      int
	refuseUntil  time.Time
	stallUntil   time.Time
	loss         float64
	reports      Reports
	frozenNTP    uint64
	frozenRTP    map[int]uint32
	nextReport   time.Time
	pending      []func(*Camera) // changes that wait for a random access point
	pendingSince time.Time
	playing      []*session // scratch
}

// session is a client's session, from SETUP on.
type session struct {
	id      string
	ss      *gortsplib.ServerSession
	conn    *conn
	playing bool
	medias  map[*description.Media]bool
}

func newCamera(o CameraOptions, lib library, ledgerDir string) (*Camera, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	video, audio, err := o.clips(lib)
	if err != nil {
		return nil, err
	}
	c := &Camera{
		Name: o.Name, opts: o, id: ledger.CameraID(o.Name),
		rnd:      rand.New(rand.NewPCG(o.Seed, uint64(ledger.CameraID(o.Name)))), //nolint:gosec // repeatable on purpose
		sessions: make(map[*gortsplib.ServerSession]*session),
		failed:   make(map[*gortsplib.ServerSession]bool),
		loss:     o.Loss, reports: o.Reports,
	}
	if a := alternate[o.Video]; a != "" && o.File == "" {
		if c.alt, err = lib.embedded(a); err != nil {
			return nil, err
		}
	}
	header := ledger.Header{Camera: o.Name}
	for _, clip := range []*clip{video, audio} {
		if clip == nil {
			continue
		}
		t, err := newTrack(len(c.tracks), clip, &c.opts, c.rnd)
		if err != nil {
			return nil, err
		}
		c.tracks = append(c.tracks, t)
		header.Tracks = append(header.Tracks, ledger.Track{Codec: clip.codec, ClockRate: clip.clockRate})
	}
	if ledgerDir != "" {
		c.Ledger = ledgerPath(ledgerDir, o.Name)
		if c.book, err = ledger.Create(c.Ledger, header); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (o *CameraOptions) clips(lib library) (video, audio *clip, err error) {
	if o.File != "" {
		return lib.file(o.File)
	}
	if o.Video != "" {
		if video, err = lib.embedded(o.Video); err != nil {
			return nil, nil, err
		}
		if !video.codec.Video() {
			return nil, nil, fmt.Errorf("video %q is no video", o.Video)
		}
	}
	if o.Audio != "" {
		if audio, err = lib.embedded(o.Audio); err != nil {
			return nil, nil, err
		}
		if audio.codec.Video() {
			return nil, nil, fmt.Errorf("audio %q is no audio", o.Audio)
		}
	}
	return video, audio, nil
}

// attach gives the camera its stream on a server that runs.
func (c *Camera) attach(s *server) error {
	c.server = s
	c.URL = fmt.Sprintf("rtsp://%s/%s", s.addr, c.Name)
	desc := &description.Session{Title: c.Name}
	for _, t := range c.tracks {
		desc.Medias = append(desc.Medias, t.media)
	}
	c.stream = &gortsplib.ServerStream{Server: &s.rtsp, Desc: desc}
	return c.stream.Initialize()
}

const flushEvery = 200 * time.Millisecond

// run produces until ctx ends. Frames are due at absolute times, so that the error of a
// late wake-up is never carried to the next frame.
func (c *Camera) run(ctx context.Context) error {
	c.mu.Lock()
	c.start = time.Now()
	c.nextReport = c.start.Add(100 * time.Millisecond)
	c.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	flushed := c.start
	for {
		t := c.tracks[0]
		for _, o := range c.tracks[1:] {
			if o.due() < t.due() {
				t = o
			}
		}
		timer.Reset(time.Until(c.start.Add(t.due())))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := c.emit(t); err != nil {
			return fmt.Errorf("camera %s: %w", c.Name, err)
		}
		c.report()
		if c.book != nil && time.Since(flushed) >= flushEvery {
			flushed = time.Now()
			if err := c.book.Flush(); err != nil {
				return err
			}
		}
	}
}

// emit makes the next access unit of t, sends it to whoever is there, and books it.
func (c *Camera) emit(t *track) error {
	c.gate.Lock()
	defer c.gate.Unlock()
	c.applyPending(t)
	u, err := t.unit(c.id)
	if err != nil {
		return err
	}
	now := time.Now()
	u.entry.AtNS = now.UnixNano()

	c.mu.Lock()
	playing := c.playing[:0]
	for _, s := range c.sessions {
		if s.playing && s.medias[t.media] {
			playing = append(playing, s)
		}
	}
	c.playing = playing
	stalled := now.Before(c.stallUntil)
	loss := c.loss
	c.mu.Unlock()

	if !stalled {
		clear(c.failed)
		for _, p := range u.packets {
			if loss > 0 && c.rnd.Float64() < loss {
				u.entry.Lost++
				continue
			}
			if err := c.stream.WritePacketRTPWithNTP(t.media, p, now); err != nil {
				break // the server is being closed
			}
		}
		c.mu.Lock()
		for _, s := range playing {
			if c.sessions[s.ss] == s && s.playing && !c.failed[s.ss] {
				u.entry.Sent = append(u.entry.Sent, s.id)
			}
		}
		c.mu.Unlock()
	}
	if c.book != nil {
		return c.book.Entry(&u.entry)
	}
	return nil
}

// event books what happened; the ledger's first error comes back from the next entry.
func (c *Camera) event(name, detail string) {
	if c.book != nil {
		_ = c.book.Event(ledger.Event{Event: name, AtNS: time.Now().UnixNano(), Detail: detail})
	}
}

// close ends the stream and the ledger; run has returned and the server is closed.
func (c *Camera) close() error {
	if c.stream != nil {
		c.stream.Close()
	}
	if c.book == nil {
		return nil
	}
	return errors.Join(c.book.Close())
}

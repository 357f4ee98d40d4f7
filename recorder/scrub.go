package recorder

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/node"
)

// Scrub says how a recorder re-reads what it holds.
type Scrub struct {
	// Off: it does not. What turns out to be damaged when it is read is still found.
	Off bool
	// Rate is how many bytes a second are read at most, of each disk. 0: 8 MB.
	Rate int64
	// Every is the time from one round to the next. 0: 30 days.
	Every time.Duration
}

const (
	defaultScrubRate  = 8_000_000
	defaultScrubEvery = 30 * 24 * time.Hour
	scrubFile         = "scrub.json"
	// scrubSave is how often the place is kept, scrubIdle how long nothing is done when
	// there is nothing to do.
	scrubSave = 10 * time.Second
	scrubIdle = 10 * time.Second
	// scrubYield is how long reading waits while what records needs the disk, and
	// scrubPatience how often in a row before it goes on all the same: a disk that is
	// always busy has to be checked, too.
	scrubYield    = 100 * time.Millisecond
	scrubPatience = 20
	// unreadLimit is how many fragments in a row may be unreadable before it is taken
	// for a matter of the whole disk, which ends the round for a while.
	unreadLimit = 8
	suspectsMax = 256
)

func (s *Scrub) complete() error {
	if s.Rate < 0 || s.Every < 0 {
		return fmt.Errorf("scrub rate %d and interval %s must not be negative", s.Rate, s.Every)
	}
	if s.Rate == 0 {
		s.Rate = defaultScrubRate
	}
	if s.Every == 0 {
		s.Every = defaultScrubEvery
	}
	return nil
}

// scrubState is how far a round came. It is kept in a file, so that a restart goes on.
type scrubState struct {
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	// Camera and Segment were checked last, up to At.
	Camera  string `json:"camera,omitempty"`
	Segment string `json:"segment,omitempty"`
	At      int64  `json:"at,omitempty"`
	// Done are the bytes that were checked, Total what there was when the round began.
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
	// What was found in this round.
	Fragments int64 `json:"fragments"`
	Damaged   int64 `json:"damaged"`
	Mended    int64 `json:"mended"`
	Unlisted  int64 `json:"unlisted"`
}

// scrubber checks the media of one data directory against its index: a bit at a time,
// all of it, and at once what was found suspect.
type scrubber struct {
	archive
	opts  Scrub
	index *indexHandle
	clock clock.Clock
	log   zerolog.Logger
	every *node.Every
	// isLive reports whether a file is being written, busy whether what records needs
	// the disk now, and mounted whether the directory is the one that it should be.
	isLive  func(path string) bool
	busy    func() bool
	mounted func() error
	// adopt names files that the index does not know.
	adopt *adopter
	// found is called for each fragment that was found damaged, after it was marked.
	found func(*index.Damage)

	suspects chan index.Ref
	read     atomic.Int64 // bytes, ever

	mu    sync.Mutex
	state scrubState
	saved time.Time
	allow time.Time // when the next bytes may be read
}

func newScrubber(a archive, o Scrub, h *indexHandle, c clock.Clock, log zerolog.Logger) *scrubber {
	return &scrubber{
		archive: a, opts: o, index: h, clock: c, log: log, every: node.NewEvery(time.Second, c.Now),
		isLive: func(string) bool { return false }, busy: func() bool { return false },
		mounted: func() error { return nil }, adopt: newAdopter(a, h, c, log), found: func(*index.Damage) {},
		suspects: make(chan index.Ref, suspectsMax),
	}
}

// suspect asks for a check of a fragment, soon. It never waits.
func (s *scrubber) suspect(ref *index.Ref) {
	select {
	case s.suspects <- *ref:
	default: // there are many: the rounds find it, or the next one who reads it
	}
}

// progress returns how far the round is.
func (s *scrubber) progress() scrubState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// run checks until ctx ends.
func (s *scrubber) run(ctx context.Context) {
	s.load()
	s.finishQuarantine()
	for ctx.Err() == nil {
		if err := s.step(ctx); err != nil && ctx.Err() == nil {
			if n, ok := s.every.Allow("scrub"); ok {
				s.log.Warn().Err(err).Int("suppressed", n).Msg("cannot check what is stored; trying again")
			}
		}
		if !s.idle(ctx, scrubIdle) {
			break
		}
	}
	s.save()
}

// step makes a round, or the rest of one, when it is due.
func (s *scrubber) step(ctx context.Context) error {
	if s.opts.Off || s.adopt.adopting() { // what is not named cannot be checked
		return nil
	}
	now := s.clock.Now()
	st := s.progress()
	if !st.Finished.IsZero() {
		if now.Before(st.Started.Add(s.opts.Every)) && !now.Before(st.Started) {
			return nil
		}
		st = scrubState{}
	}
	if st.Started.IsZero() {
		st = scrubState{Started: now.UTC()}
	}
	if err := s.index.err(); err != nil {
		return err
	}
	st.Total = 0
	for _, c := range s.index.store().Cameras() {
		st.Total += c.Bytes
	}
	s.set(st)
	return s.round(ctx)
}

func (s *scrubber) set(st scrubState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = st
}

// update changes the state, and keeps it now and then.
func (s *scrubber) update(f func(*scrubState)) {
	s.mu.Lock()
	f(&s.state)
	now := s.clock.Now()
	due := now.Sub(s.saved) >= scrubSave || now.Before(s.saved)
	if due {
		s.saved = now
	}
	s.mu.Unlock()
	if due {
		s.save()
	}
}

// round checks all cameras from where the state says.
func (s *scrubber) round(ctx context.Context) error {
	from := s.progress()
	for _, c := range s.index.store().Cameras() {
		if c.Name < from.Camera {
			continue
		}
		after := scrubState{}
		if c.Name == from.Camera {
			after = from
		}
		if err := s.camera(ctx, c.Name, after); err != nil {
			return err
		}
	}
	s.update(func(st *scrubState) {
		st.Finished = s.clock.Now().UTC()
		st.Camera, st.Segment, st.At = "", "", 0
	})
	s.save()
	st := s.progress()
	s.log.Info().Int64("fragments", st.Fragments).Int64("bytes", st.Done).Int64("damaged", st.Damaged).
		Int64("mended", st.Mended).Int64("unlisted", st.Unlisted).Msg("checked all that is stored")
	return nil
}

// camera checks the segments of a camera that come after a place.
func (s *scrubber) camera(ctx context.Context, name string, after scrubState) error {
	known := map[string]bool{}
	var segments []index.Segment
	for seg, err := range s.index.store().Segments(name) {
		if err != nil {
			return err
		}
		known[seg.Path] = true
		segments = append(segments, seg)
	}
	for i := range segments {
		seg := &segments[i]
		if seg.Path < after.Segment {
			continue
		}
		at := int64(-1)
		if seg.Path == after.Segment {
			at = after.At
		}
		if err := s.segment(ctx, seg, at); err != nil {
			return err
		}
	}
	return s.unlisted(ctx, name, known)
}

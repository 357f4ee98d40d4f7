package recorder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/duet-video/duet/index"
)

const (
	// mountRetry is how often a disk that is not there is looked for.
	mountRetry = time.Second
	// mountWait is how long New waits for a disk that does not answer.
	mountWait = 5 * time.Second
)

// A slot is where the configuration wants a volume. It holds the volume while the disk
// is there, and looks for it while it is not.
type slot struct {
	r     *Recorder
	n     int // its place in the configuration
	place Volume
	// opening is looking for the disk, probing asking it how it is, closing letting it go.
	opening, probing, closing busy
	// opened is closed when New's attempt to open it has ended.
	opened chan struct{}
	// had is the identity of the volume that was there last. Only open uses it.
	had Identity

	mu sync.Mutex
	// vol is nil while there is none; ready: it has recovered and records.
	vol   *volume
	ready bool
	doing string // what recovery is doing; empty: nothing
	// fault says why there is no volume, and since when.
	fault error
	since time.Time
	stats map[string]cameraStats
}

// cameraStats is what was last known of a camera, so that it can be told while the
// index waits for the disk.
type cameraStats struct {
	index.Camera
	advanced time.Time
}

func newSlot(r *Recorder, n int, place Volume) *slot {
	return &slot{
		r: r, n: n, place: place, since: r.opts.Clock.Now(), doing: "starting", stats: map[string]cameraStats{},
		opening: busy{clock: r.opts.Clock}, probing: busy{clock: r.opts.Clock}, closing: busy{clock: r.opts.Clock},
	}
}

// open takes possession of the directory.
func (s *slot) open() error {
	s.opening.begin()
	defer s.opening.end()
	o := &s.r.opts
	held, err := s.possess()
	if err == nil && s.place.Mounted {
		if err = mounted(o.FS, s.place.Dir); err != nil {
			err = errors.Join(err, held.lock.Close())
		}
	}
	if err == nil {
		if err = s.r.locks.open(s.place.Dir); err != nil {
			err = errors.Join(err, held.lock.Close())
		}
	}
	if err != nil {
		s.failed(err)
		return err
	}
	v := newVolume(o, s.place, held, s.r.meters, s.r.every)
	v.say, v.steady = s.say, s.r.steadyNow
	v.locks, v.others = s.r.locks, s.r.exchange.others
	v.hold = func() string { return s.r.exchange.hold(v) }
	v.disk.restart = s.r.restart
	v.changed = func() {
		s.refresh(v)
		s.r.committed()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vol, s.fault, s.doing = v, nil, "starting"
	s.had = held.identity
	return nil
}

// possess takes the directory. One that this process has had before is not begun anew:
// what was there is on a disk that will come back.
func (s *slot) possess() (*possession, error) {
	o := &s.r.opts
	if s.place.Mounted {
		if err := mounted(o.FS, s.place.Dir); err != nil {
			return nil, err
		}
	}
	if had := s.had; had.ID != "" {
		id, err := readIdentity(o.FS, o.FS.PathJoin(s.place.Dir, metaDir, identityFile))
		if err != nil {
			return nil, fmt.Errorf("data directory %s: %w: waiting for the disk with id %s", s.place.Dir, err, had.ID)
		}
		if id != had {
			return nil, fmt.Errorf("data directory %s: another disk (id %s) is there: waiting for the one with id %s; to change disks, restart the recorder", s.place.Dir, id.ID, had.ID)
		}
	}
	return possess(o.FS, s.place.Dir, o.Name, o.Clock.Now())
}

// failed notes why there is no volume.
func (s *slot) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		s.since = s.r.opts.Clock.Now()
	}
	s.vol, s.ready, s.fault, s.doing = nil, false, err, ""
}

// run keeps the volume until ctx ends and last is closed.
func (s *slot) run(ctx context.Context, last <-chan struct{}) {
	for {
		if s.volume() != nil {
			err := s.session(ctx, last)
			if ctx.Err() != nil {
				return
			}
			s.failed(err)
			s.r.locks.leave(s.place.Dir)
			s.r.opts.Log.Error().Err(err).Str("data", s.place.Dir).Msg("a disk is gone; looking for it")
		}
		if !pause(ctx, mountRetry) {
			return
		}
		if err := s.open(); err != nil {
			if n, ok := s.r.every.Allow("open " + s.place.Dir); ok {
				s.r.opts.Log.Warn().Err(err).Int("suppressed", n).Msg("a disk is not there")
			}
		}
	}
}

// session recovers the volume and records to it until ctx ends or the disk is gone,
// which the error says.
func (s *slot) session(parent context.Context, last <-chan struct{}) (err error) {
	v := s.volume()
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	defer func() {
		s.closing.begin()
		defer s.closing.end()
		if closed := v.close(); closed != nil && err == nil {
			err = closed
		}
	}()
	s.opening.begin()
	err = v.recover(ctx)
	s.opening.end()
	if err != nil {
		return fmt.Errorf("recover %s: %w", s.place.Dir, err)
	}
	s.refresh(v)
	s.mu.Lock()
	s.ready, s.doing = true, ""
	s.mu.Unlock()
	s.r.assignSoon()
	s.r.opts.Log.Info().Str("data", s.place.Dir).Msg("recording")
	var others sync.WaitGroup
	others.Go(func() { s.probe(ctx, v, cancel) })
	end := make(chan struct{})
	others.Go(func() {
		defer close(end)
		if <-ctx.Done(); parent.Err() != nil {
			<-last
		}
	})
	v.run(ctx, end)
	others.Wait()
	return context.Cause(ctx)
}

// stuck returns how long the disk has been at one operation.
func (s *slot) stuck() time.Duration {
	long := max(s.opening.long(), s.probing.long(), s.closing.long())
	if v := s.volume(); v != nil {
		long = max(long, v.disk.stuck(), v.adopt.reading.long())
	}
	return long
}

// status returns the state of the disk, why and since when, without waiting for it.
func (s *slot) status() (state, why string, since time.Time) {
	if long := s.stuck(); long > hungAfter {
		return diskHung, "the disk has not answered for " + long.Round(time.Second).String(), s.r.opts.Clock.Now().Add(-long)
	}
	s.mu.Lock()
	v, fault, since := s.vol, s.fault, s.since
	s.mu.Unlock()
	switch {
	case fault != nil:
		return faultState(fault), fault.Error(), since
	case v == nil:
		return diskGood, "", since // New is at it
	}
	if state, why, since = v.disk.state.get(); state == diskGood {
		if why, slow := v.disk.slow(); slow != 0 {
			return diskSlow, why, s.r.opts.Clock.Now().Add(-time.Duration(s.r.opts.Clock.Mono() - slow))
		}
	}
	return state, why, since
}

// faultState says what keeps a volume away.
func faultState(err error) string {
	switch {
	case isFull(err):
		return diskFull
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.EROFS):
		return diskFailing
	}
	return diskGone
}

func (s *slot) volume() *volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vol
}

// serving returns the volume if it has recovered.
func (s *slot) serving() *volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		return nil
	}
	return s.vol
}

func (s *slot) say(what string) {
	if s.opening.long() > 0 {
		s.opening.begin() // it gets on
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doing = what
}

// recovering says what the recovery is doing; empty: nothing.
func (s *slot) recovering() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doing
}

// refresh remembers what the index holds.
func (s *slot) refresh(v *volume) {
	st := v.index.store()
	if st == nil || v.index.err() != nil {
		return
	}
	cameras := st.Cameras()
	now := s.r.opts.Clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := make(map[string]cameraStats, len(cameras))
	for _, c := range cameras {
		at := s.stats[c.Name].advanced
		if s.ready && s.stats[c.Name].Position != c.Position {
			at = now
		}
		stats[c.Name] = cameraStats{Camera: c, advanced: at}
	}
	s.stats = stats
}

// known returns what was last known of the cameras. The map is not changed.
func (s *slot) known() map[string]cameraStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
)

const (
	// adoptRetry is how long to wait after a file could not be read or named, adoptTries
	// how often that may be before the file is left to the next start.
	adoptRetry = time.Second
	adoptTries = 3
	// adoptSay is how often it is logged how far it is.
	adoptSay = 10 * time.Second
	// freshFor is how long before the newest write a file was written to for a power cut
	// to have damaged it.
	freshFor = 10 * time.Minute
)

// An adopter names in the index what the media files hold, while the recorder records: an
// index that was gone or corrupt begins empty. The newest files come first. Until it is
// done, a mark on the disk says so, and the next start goes on. Safe for concurrent use;
// what it tells comes from memory.
type adopter struct {
	archive
	index *indexHandle
	clock clock.Clock
	log   zerolog.Logger
	// isLive reports whether a file is being written, busy whether what records needs
	// the disk now.
	isLive func(path string) bool
	busy   func() bool
	wake   chan struct{}
	// reading is at one fragment of one file.
	reading busy

	// working is held by who reads and names a file.
	working sync.Mutex

	mu sync.Mutex
	// active: there may be files that the index does not name. round counts how often it
	// began; listed: it is known which these are.
	active, listed bool
	round          int
	mark           adoptMark
	files          unnamedFiles
	began          time.Time
	said           time.Time
}

func newAdopter(a archive, h *indexHandle, c clock.Clock, log zerolog.Logger) *adopter {
	return &adopter{
		archive: a, index: h, clock: c, log: log, isLive: func(string) bool { return false }, busy: func() bool { return false },
		wake: make(chan struct{}, 1), reading: busy{clock: c},
	}
}

// begin says that the index, which was opened, does not name all that there is.
func (a *adopter) begin(m adoptMark) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.active, a.listed, a.mark, a.files = true, false, m, unnamedFiles{}
	a.round++
	a.began = a.clock.Now()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// adopting reports whether there may be files that the index does not name.
func (a *adopter) adopting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.active
}

// run works whenever there is something to do, until ctx ends.
func (a *adopter) run(ctx context.Context) {
	for {
		for a.adopting() && ctx.Err() == nil {
			if err := a.work(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn().Err(err).Msg("rebuilding the index: trying again")
			}
			if a.adopting() && !pause(ctx, adoptRetry) {
				return
			}
		}
		select {
		case <-a.wake:
		case <-ctx.Done():
			return
		}
	}
}

// work names everything, newest first. Files that cannot be read do not keep it from the
// others; they are what its error is about.
func (a *adopter) work(ctx context.Context) error {
	if !a.adopting() {
		return nil
	}
	round, err := a.list(ctx)
	if err != nil {
		return err
	}
	var failed error
	for {
		f := a.pick(round)
		if f == nil {
			break
		}
		for range scrubPatience {
			if !a.busy() || !pause(ctx, scrubYield) {
				break
			}
		}
		a.working.Lock()
		err := a.adopt(ctx, f)
		a.working.Unlock()
		if err := errors.Join(ctx.Err(), a.index.err()); err != nil {
			return err
		}
		failed = errors.Join(failed, err)
		a.tell(round)
	}
	if failed != nil {
		return failed
	}
	return a.finish(round)
}

// adopt names what one file holds. With working held.
func (a *adopter) adopt(ctx context.Context, f *unnamed) error {
	if a.settled(f) {
		return nil
	}
	a.reading.begin()
	defer a.reading.end()
	err := a.enter(ctx, f)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		a.done(f)
		return nil
	case ctx.Err() != nil || a.index.err() != nil:
		return err
	}
	if a.again(f) {
		return err
	}
	a.log.Error().Err(err).Str("camera", f.camera).Str("segment", f.path).Msg("rebuilding the index: a segment cannot be adopted; it is left out until the next start")
	return nil
}

// enter reads a file and names what it holds.
func (a *adopter) enter(ctx context.Context, f *unnamed) error {
	live := a.isLive(f.path)
	fresh := !live && f.fresh
	scan := a.scan
	if fresh {
		scan = a.scanAhead
	}
	s, err := scan(f.path, 0, func(*index.Ref) bool {
		a.reading.begin() // it gets on
		return fresh
	})
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	if fresh { // what a power cut has torn
		if _, _, err := a.trim(s, 0); err != nil {
			return err
		}
		if err := a.fill(s, initOf(a.index.store())); err != nil {
			return err
		}
		if err := a.syncNames(f.path); err != nil {
			return err
		}
	}
	if s.damaged > 0 || s.foreign > 0 {
		a.log.Warn().Str("segment", f.path).Int64("damagedBytes", s.damaged).Int("foreignFragments", s.foreign).
			Msg("a segment holds bytes that are no whole fragment of its camera")
	}
	store := a.index.store()
	mark := func() error {
		if len(s.quarantined) == 0 {
			return nil
		}
		return store.MarkDamaged(s.quarantined)
	}
	// The marks come first: with its fragments, the file counts as named. Of a camera that
	// the index has not heard of, they can only come after.
	if err := mark(); err != nil {
		return err
	}
	if len(s.refs) > 0 {
		init := index.Init{Camera: f.camera, Hash: hashOf(s.init), Data: s.init}
		err := commitEach(a.index.commit, s.refs, init, func(ref *index.Ref, err error) {
			a.log.Error().Err(err).Str("segment", f.path).Uint64("offset", ref.First).Msg("the index refuses a fragment; it is not adopted")
		})
		if err != nil {
			return err
		}
	}
	return mark()
}

// commitEach commits fragments of one file together, or, where the index refuses one, one
// at a time: the good ones count.
func commitEach(commit func([]index.Ref, []index.Init) error, refs []index.Ref, init index.Init, refused func(*index.Ref, error)) error {
	inits := []index.Init{init}
	err := commit(refs, inits)
	if !errors.Is(err, index.ErrInvalid) {
		return err
	}
	for i := range refs {
		switch err := commit(refs[i:i+1], inits); {
		case errors.Is(err, index.ErrInvalid):
			refused(&refs[i], err)
		case err != nil:
			return err
		}
	}
	return nil
}

// oldest names the oldest files of the cameras that want says, up to a number of them:
// retention can only tell what has to go when it knows what is oldest. each is called
// before each, and while it waits for its turn.
func (a *adopter) oldest(ctx context.Context, want func(camera string) bool, limit int, each func()) error {
	for range limit {
		f := a.pickOldest(want)
		if f == nil {
			return nil
		}
		for each(); !a.working.TryLock(); each() {
			if !pause(ctx, scrubYield/2) {
				return ctx.Err()
			}
		}
		err := a.adopt(ctx, f)
		a.working.Unlock()
		if err != nil {
			return fmt.Errorf("adopt segment %s: %w", f.path, err)
		}
	}
	return nil
}

// one names a file that the index does not know, outside of a rebuild.
func (a *adopter) one(ctx context.Context, path string) error {
	name, ok := parseSegmentPath(path)
	if !ok {
		return nil
	}
	a.working.Lock()
	defer a.working.Unlock()
	a.reading.begin()
	defer a.reading.end()
	return a.enter(ctx, &unnamed{camera: name.camera, path: path, fresh: true})
}

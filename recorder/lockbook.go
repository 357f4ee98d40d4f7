package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/lock"
)

const (
	locksFile    = "locks.json"
	locksDamaged = "locks.json.bad"
	// locksWait is how long a change of the locks waits for a data directory before it
	// counts without it. One at least has to hold it.
	locksWait = 3 * time.Second
)

// lockbook is what the recorder knows of evidence locks. It lies in a file of every data
// directory; what is answered is durable in one of them at least. Safe for concurrent
// use; reading it never waits for a disk.
type lockbook struct {
	fs  vfs.FS
	log zerolog.Logger
	// wait is locksWait.
	wait time.Duration

	// saving and deciding are semaphores that can be given up waiting for. saving is
	// held by who changes the locks; deciding by who changes what is in force and by who
	// decides that a segment goes, until the index has forgotten it: a lock that was
	// answered to be in force is never overtaken by a deletion that did not see it.
	saving, deciding chan struct{}
	work             sync.WaitGroup // of writes, which a disk may hold up

	mu    sync.Mutex
	set   lock.Set
	homes []*lockHome
	// unsure says why not all locks are known that may be in force: the file of a data
	// directory is damaged. Nothing is deleted until another recorder told its locks.
	unsure string
}

// lockHome is a data directory with a file of locks.
type lockHome struct {
	dir  string // with identity and index
	busy chan struct{}

	mu     sync.Mutex
	stored []byte // what is durable there
}

func newLockbook(fsys vfs.FS, log zerolog.Logger) *lockbook {
	return &lockbook{
		fs: fsys, log: log, wait: locksWait,
		saving: make(chan struct{}, 1), deciding: make(chan struct{}, 1),
	}
}

// open reads the locks of a data directory, and keeps them there from now on. It fails
// where the directory cannot be read; a damaged file is set aside.
func (b *lockbook) open(dir string) error {
	meta := b.fs.PathJoin(dir, metaDir)
	name := b.fs.PathJoin(meta, locksFile)
	h := &lockHome{dir: meta, busy: make(chan struct{}, 1)}
	data, err := readFile(b.fs, name, lock.MaxFile)
	var found lock.Set
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := b.fs.Stat(b.fs.PathJoin(meta, locksDamaged)); err == nil {
			b.doubt(fmt.Sprintf("%s in %s was damaged", locksFile, meta))
		}
	case err != nil:
		return fmt.Errorf("read the locks in %s: %w", meta, err)
	default:
		if found, err = lock.Decode(data); err != nil {
			b.log.Error().Err(err).Str("file", name).
				Msg("the file of evidence locks is damaged; it is set aside, and nothing is deleted until another recorder told its locks")
			b.doubt(fmt.Sprintf("%s is damaged: %v", name, err))
			if err := b.fs.Rename(name, b.fs.PathJoin(meta, locksDamaged)); err != nil {
				return fmt.Errorf("set a damaged file of locks aside: %w", err)
			}
			data = nil
		}
		h.stored = data
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set, _ = b.set.With(found.All()...)
	b.homes = append(slices.DeleteFunc(slices.Clone(b.homes), func(o *lockHome) bool { return o.dir == meta }), h)
	return nil
}

// leave forgets a data directory that is gone. What it told counts on.
func (b *lockbook) leave(dir string) {
	meta := b.fs.PathJoin(dir, metaDir)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.homes = slices.DeleteFunc(slices.Clone(b.homes), func(o *lockHome) bool { return o.dir == meta })
}

func (b *lockbook) doubt(why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsure = why
}

// doubts says why locks may be missing; empty: none are.
func (b *lockbook) doubts() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unsure
}

// trusted ends doubts: another recorder told all that it knows, which is in the book now.
func (b *lockbook) trusted() {
	b.mu.Lock()
	was, homes := b.unsure, slices.Clone(b.homes)
	b.unsure = ""
	b.mu.Unlock()
	if was == "" {
		return
	}
	b.log.Info().Msg("another recorder told its evidence locks; retention goes on")
	for _, h := range homes {
		bad, kept := b.fs.PathJoin(h.dir, locksDamaged), b.fs.PathJoin(h.dir, locksDamaged+".old")
		if err := b.fs.Rename(bad, kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.log.Warn().Err(err).Str("file", bad).Msg("cannot rename a damaged file of locks")
		}
	}
}

// current returns the locks that count.
func (b *lockbook) current() lock.Set {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set
}

// acquire takes a semaphore, or gives up with ctx.
func acquire(ctx context.Context, sem chan struct{}) error {
	select {
	case sem <- struct{}{}:
		return nil
	default:
	}
	select {
	case sem <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add takes locks, which have been checked, into the book. When it returns nil they are
// durable in one data directory at least, and in force (or released). It also stores
// anew what a directory lacks.
func (b *lockbook) add(ctx context.Context, locks ...lock.Lock) error {
	ctx, cancel := context.WithTimeout(ctx, 2*b.wait)
	defer cancel()
	if err := acquire(ctx, b.saving); err != nil {
		return fmt.Errorf("store locks: another change is under way: %w", err)
	}
	defer func() { <-b.saving }()
	next, grew := b.current().With(locks...)
	if err := b.store(next); err != nil {
		return err
	}
	if !grew {
		return nil
	}
	if err := acquire(ctx, b.deciding); err != nil {
		return fmt.Errorf("put locks in force: a deletion is under way: %w", err)
	}
	defer func() { <-b.deciding }()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set = next
	return nil
}

// store writes the set to all data directories that lack it. It returns when all are
// done, or one is and the others took too long.
func (b *lockbook) store(s lock.Set) error {
	data, err := lock.Encode(s)
	if err != nil {
		return err
	}
	b.mu.Lock()
	homes := slices.Clone(b.homes)
	b.mu.Unlock()
	if len(homes) == 0 {
		return errors.New("store locks: no data directory is there")
	}
	results := make(chan error, len(homes))
	for _, h := range homes {
		b.work.Go(func() { results <- b.storeAt(h, data, s.Len() == 0) })
	}
	limit := time.NewTimer(b.wait)
	defer limit.Stop()
	good := 0
	var errs []error
	for good+len(errs) < len(homes) {
		select {
		case err := <-results:
			if err != nil {
				errs = append(errs, err)
				continue
			}
			good++
		case <-limit.C:
			errs = append(errs, fmt.Errorf("%d data directories did not answer within %v", len(homes)-good-len(errs), b.wait))
			if good == 0 {
				return fmt.Errorf("store locks: %w", errors.Join(errs...))
			}
			return nil // the exchange that follows tries again
		}
	}
	if good == 0 {
		return fmt.Errorf("store locks: %w", errors.Join(errs...))
	}
	for _, err := range errs {
		b.log.Warn().Err(err).Msg("a data directory lacks evidence locks; it is tried again")
	}
	return nil
}

// storeAt makes the file of a data directory say data, durably.
func (b *lockbook) storeAt(h *lockHome, data []byte, empty bool) error {
	select {
	case h.busy <- struct{}{}:
	default:
		return fmt.Errorf("store locks in %s: an earlier write has not ended", h.dir)
	}
	defer func() { <-h.busy }()
	h.mu.Lock()
	same := bytes.Equal(h.stored, data) || empty && h.stored == nil
	h.mu.Unlock()
	if same {
		return nil
	}
	if err := replaceBy(b.fs, bytes.NewReader(data), b.fs.PathJoin(h.dir, locksFile)); err != nil {
		return fmt.Errorf("store locks in %s: %w", h.dir, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stored = data
	return nil
}

// close waits for writes that are under way.
func (b *lockbook) close() { b.work.Wait() }

// unlessLocked runs forget while the locks cannot change, for those of the segments that
// no lock in force covers.
func (b *lockbook) unlessLocked(ctx context.Context, segs []doomed, forget func([]doomed) error) error {
	if err := acquire(ctx, b.deciding); err != nil {
		return err
	}
	defer func() { <-b.deciding }()
	s := b.current()
	free := slices.DeleteFunc(slices.Clone(segs), func(d doomed) bool { return s.Holds(d.camera, d.startNS, d.endNS) })
	if len(free) == 0 {
		return nil
	}
	return forget(free)
}

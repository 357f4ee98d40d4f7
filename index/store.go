package index

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Options say where an index lives.
type Options struct {
	// FS is the file system; nil is the machine's.
	FS vfs.FS
	// Dir is the directory of the database, made when missing.
	Dir string
	Log zerolog.Logger
	// CacheBytes bounds the block cache; 0 means 64 MiB.
	CacheBytes int64
	// MustExist makes a missing database ErrCorrupt instead of an empty index: set it
	// when there is media that the index should know.
	MustExist bool
}

const (
	defaultCacheBytes = 64 << 20
	memTableBytes     = 8 << 20
	maxOpenFiles      = 500
	dirMode           = 0o755
)

// Store is a recorder's index. All methods may be called concurrently.
type Store struct {
	opts  Options
	fs    *freezer
	lock  *pebble.Lock
	db    *pebble.DB
	write *pebble.WriteOptions

	failOnce sync.Once
	failed   chan struct{}
	err      error // set before failed is closed

	// Locks, in this order.
	life    sync.RWMutex // held for reading by every call, for writing by Close
	closed  bool
	writing sync.Mutex   // one change at a time
	mu      sync.RWMutex // guards cameras and what they point to
	cameras map[string]*camera
}

// camera is what the store keeps in memory of a camera. Only the holder of
// Store.writing changes it, and only with Store.mu held as well.
type camera struct {
	cameraRow
	extent
	newestNS int64   // no fragment in the database starts later
	recent   Segment // the row of a media file that was changed last; may be none
	// hour is the digest of the newest hour that was changed; may be none. horizonNS is
	// Camera.HorizonNS.
	hour      Digest
	horizonNS int64
	removals  uint64
	inits     map[media.Hash]int64
	deleting  map[string]Segment
	damaged   map[place]*Damage
}

// Init is an init header (ftyp and moov) of a camera.
type Init struct {
	Camera string
	Hash   media.Hash
	Data   []byte
}

// Camera sums up what the index holds of a camera.
type Camera struct {
	Name string
	// Position is the durable position: one past the newest record, by epoch and
	// offset, that was ever committed. It stays when the media is deleted.
	Position record.Position
	// StartNS is the start of the oldest fragment and EndNS the end of the newest one
	// that is held; 0 when none is. Unix ns.
	StartNS, EndNS int64
	// Bytes are those of the fragments, moof and mdat.
	Bytes     int64
	Fragments int64
	// HorizonNS is how far retention has come: no footage that starts before is missing,
	// whoever else has it; it was deleted here. 0: nothing was. Unix ns. An index that is
	// rebuilt from media does not know it.
	HorizonNS int64
}

// Open opens the index, or makes an empty one.
//
// An error that wraps ErrCorrupt asks for another one, made of the media files: commit what
// they hold, in any order, to an empty index. Any other error is the environment's:
// another process has the database open, the disk is full, there is no permission.
func Open(o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	s := &Store{
		opts:    o,
		write:   pebble.Sync,
		failed:  make(chan struct{}),
		cameras: map[string]*camera{},
	}
	s.fs = &freezer{FS: o.FS, onFail: s.fail}
	if err := s.openDB(); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		_ = s.Close() // err says more
		return nil, fmt.Errorf("open index %s: %w", o.Dir, err)
	}
	return s, nil
}

// openDB opens Pebble and translates what it says about a database that is broken.
func (s *Store) openDB() (err error) {
	defer func() {
		// Pebble panics on some damaged files.
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
		if err != nil {
			_ = s.unlock() // err says more
			err = fmt.Errorf("open index %s: %w", s.opts.Dir, err)
		}
	}()
	if err := s.takeLock(); err != nil {
		return err
	}
	s.db, err = pebble.Open(s.opts.Dir, s.pebbleOptions())
	if failure := s.Err(); failure != nil {
		if err == nil {
			_ = s.db.Close() // the failure says more
		}
		return failure
	}
	if err != nil && !environment(err) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// takeLock makes the directory and locks it, so that Pebble need not: who holds the lock
// is no matter of what the database is like.
func (s *Store) takeLock() (err error) {
	if err := s.opts.FS.MkdirAll(s.opts.Dir, dirMode); err != nil {
		return err
	}
	s.lock, err = pebble.LockDirectory(s.opts.Dir, s.opts.FS)
	if err != nil {
		return fmt.Errorf("lock it: %w", err)
	}
	return nil
}

func (s *Store) unlock() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// environment reports whether an error of opening says nothing about the database.
func environment(err error) bool {
	for _, e := range []error{
		fs.ErrPermission, syscall.EIO, syscall.ENOSPC, syscall.EROFS, syscall.EDQUOT, syscall.EMFILE,
		syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EBUSY, syscall.ENODEV, syscall.ENOTDIR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *Store) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                 s.fs,
		CacheSize:          s.opts.CacheBytes,
		FormatMajorVersion: pebble.FormatValueSeparation,
		MemTableSize:       memTableBytes,
		MaxOpenFiles:       maxOpenFiles,
		Logger:             pebbleLog{s},
		ErrorIfNotExists:   s.opts.MustExist,
		Lock:               s.lock,
	}
	if o.CacheSize == 0 {
		o.CacheSize = defaultCacheBytes
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	o.EventListener = &pebble.EventListener{
		BackgroundError: func(err error) {
			if !errors.Is(err, pebble.ErrCancelledCompaction) {
				s.fail(fmt.Errorf("in the background: %w", err))
			}
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			s.fail(fmt.Errorf("%w: %s: %w", ErrCorrupt, i.Path, i.Details))
		},
	}
	return o
}

// pebbleLog is Pebble's logger. Pebble expects Fatalf to end the process; here it ends
// the store.
type pebbleLog struct{ s *Store }

func (l pebbleLog) Infof(format string, args ...any) {
	if e := l.s.opts.Log.Trace(); e.Enabled() {
		e.Msgf("index database: "+format, args...)
	}
}

func (l pebbleLog) Errorf(format string, args ...any) {
	if e := l.s.opts.Log.Debug(); e.Enabled() {
		e.Msgf("index database: "+format, args...)
	}
}

func (l pebbleLog) Fatalf(format string, args ...any) { l.s.fail(fmt.Errorf(format, args...)) }

// fail ends the store: the first cause counts. When it returns, nothing is written
// any more. The order matters: a write that the frozen disk swallowed must never be
// taken for done, so whoever finds the disk frozen finds the failure as well.
func (s *Store) fail(cause error) {
	s.failOnce.Do(func() {
		if pebble.IsCorruptionError(cause) && !errors.Is(cause, ErrCorrupt) {
			cause = fmt.Errorf("%w: %w", ErrCorrupt, cause)
		}
		s.err = fmt.Errorf("index %s: %w: %w", s.opts.Dir, ErrFailed, cause)
		close(s.failed)
		s.fs.frozen.Store(true)
	})
}

// Failed is closed when the disk has failed the store, or a part of it turned out to
// be damaged; Err then says why. Nothing can be changed from then on; reads go on as
// well as they can. Close the store and open it anew, or make another one where Err wraps
// ErrCorrupt.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err returns why the store failed, wrapping ErrFailed; nil while it works.
func (s *Store) Err() error {
	select {
	case <-s.failed:
		return s.err
	default:
		return nil
	}
}

// Close ends the store. It waits for calls that are under way. Idempotent.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := errors.Join(s.db.Close(), s.unlock())
	switch {
	case s.Err() != nil:
		return nil // whoever asked knows already, and Pebble only repeats it
	case err != nil:
		return fmt.Errorf("close index %s: %w", s.opts.Dir, err)
	}
	return nil
}

// enter begins a call, which ends with s.life.RUnlock.
func (s *Store) enter() error {
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return fmt.Errorf("index %s: %w", s.opts.Dir, ErrClosed)
	}
	return nil
}

// change runs f as the only change at a time.
func (s *Store) change(f func() error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.life.RUnlock()
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.Err(); err != nil {
		return err
	}
	err := f()
	if err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNotFound) {
		s.fail(err) // memory and database may differ now
		return s.err
	}
	return err
}

// apply makes a batch durable. What it returns has failed the store.
func (s *Store) apply(b *pebble.Batch) error {
	if err := s.db.Apply(b, s.write); err != nil {
		s.fail(err)
	}
	return s.Err()
}

// readErr makes an error of reading what a caller should see.
func (s *Store) readErr(err error) error {
	if err == nil {
		return nil
	}
	if failure := s.Err(); failure != nil {
		return fmt.Errorf("%w, and then: %w", failure, err) // which may only be its consequence
	}
	if pebble.IsCorruptionError(err) && !errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if errors.Is(err, ErrCorrupt) {
		s.fail(err)
	}
	return err
}

// Position returns the durable position of a camera, from memory; zero when nothing
// was ever committed.
func (s *Store) Position(camera string) record.Position {
	c, _ := s.Camera(camera)
	return c.Position
}

// Camera returns what is held of one camera, from memory; false when the index never
// heard of it.
func (s *Store) Camera(name string) (Camera, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.cameras[name]
	if !ok {
		return Camera{Name: name}, false
	}
	return c.summary(name), true
}

// Removals counts the fragments of a camera that were taken out of the index since it was
// opened, for whatever reason. From memory.
func (s *Store) Removals(camera string) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c, ok := s.cameras[camera]; ok {
		return c.removals
	}
	return 0
}

// Cameras returns what is held of every camera, by name, from memory.
func (s *Store) Cameras() []Camera {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]Camera, 0, len(s.cameras))
	for _, name := range slices.Sorted(maps.Keys(s.cameras)) {
		all = append(all, s.cameras[name].summary(name))
	}
	return all
}

func (c *camera) summary(name string) Camera {
	return Camera{
		Name: name, Position: c.position, StartNS: c.startNS, EndNS: c.endNS,
		Bytes: c.bytes, Fragments: c.fragments, HorizonNS: c.horizonNS,
	}
}

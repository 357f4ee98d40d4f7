package recorder

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/node"
)

// The states of a disk.
const (
	diskGood    = "good"
	diskSlow    = "slow"
	diskFull    = "full"
	diskFailing = "failing"
	diskHung    = "hung"
	diskGone    = "gone"
)

var diskStates = []string{diskGood, diskSlow, diskFull, diskFailing, diskHung, diskGone}

const (
	// hungAfter is how long a file operation takes before the disk counts as hung.
	hungAfter = 4 * time.Second
	// seenFor is how long a state lasts that whoever asks once a second gets to see.
	seenFor = 2 * time.Second
)

// disk is the data directory: the writer appends fragments to segments, the committer
// makes them durable and names them in the index. Nothing takes mu while it waits for
// the file system, so what is known in memory can be asked for at any time.
type disk struct {
	fs     vfs.FS
	dir    string
	clock  clock.Clock
	log    zerolog.Logger
	every  *node.Every
	meters *meters
	index  *indexHandle
	// restart is called, without mu, for lanes whose feeds have to fetch anew what was lost.
	restart func([]*lane)
	// onFull is called when a write found no room.
	onFull func()
	// present says, with an error, that the directory is not there any more; nil: it is.
	present func() error
	// syncers is how many files are synced at once.
	syncers int

	queue chan *finished
	// repairs is what was copied from other recorders: it is written when nothing is
	// queued. ended is closed when the writer ends.
	repairs chan *finished
	ended   chan struct{}
	// commits counts commits, and entered the fragments that they made durable; committed
	// has something in it after one.
	commits   atomic.Uint64
	entered   atomic.Uint64
	committed chan struct{}
	// wake tells the writer that there are condemned segments.
	wake    chan struct{}
	scratch []byte

	// putting is at one fragment, however often that is tried, writing at one attempt.
	putting, writing, committing, sweeping busy

	mu        sync.Mutex
	live      map[*segment]struct{} // open, or not wholly durable
	born      string                // a file that is being begun
	lanes     map[*lane]struct{}    // those with progress that is not durable
	condemned []*segment
	// fresh are the fragments that are written and not in the index yet.
	fresh map[freshKey]index.Ref
	left  []*lane           // their files are complete: nothing comes any more
	named map[string]string // by camera: its newest directory whose name is durable

	// wrote is when a commit made something durable last, monotonic.
	wrote atomic.Int64
	state diskState
	syncs syncTimes
	room  atomic.Pointer[vfs.DiskUsage]
	files atomic.Pointer[fileRoom]
}

func newDisk(o *Options, dir string, h *indexHandle, m *meters, queue int) *disk {
	return &disk{
		fs: o.FS, dir: dir, clock: o.Clock, log: o.Log, meters: m, index: h,
		every:   node.NewEvery(time.Second, o.Clock.Now),
		restart: func([]*lane) {}, onFull: func() {}, present: func() error { return nil }, syncers: 8,
		queue: make(chan *finished, queue), wake: make(chan struct{}, 1),
		fresh:   map[freshKey]index.Ref{},
		repairs: make(chan *finished), ended: make(chan struct{}), committed: make(chan struct{}, 1),
		putting: busy{clock: o.Clock}, writing: busy{clock: o.Clock}, committing: busy{clock: o.Clock}, sweeping: busy{clock: o.Clock},
		live: map[*segment]struct{}{}, lanes: map[*lane]struct{}{}, named: map[string]string{},
		state: diskState{clock: o.Clock, state: diskGood},
	}
}

// name returns the name of a file below the data directory.
func (d *disk) name(path string) string { return d.fs.PathJoin(d.dir, path) }

// isLive reports whether the file is one that is being written, or not wholly durable.
func (d *disk) isLive(path string) bool { return d.livePaths()[path] }

// livePaths returns the files for which isLive says so.
func (d *disk) livePaths() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string]bool, len(d.live)+1)
	for s := range d.live {
		out[s.path] = true
	}
	for _, s := range d.condemned { // to be cut off
		out[s.path] = true
	}
	if d.born != "" {
		out[d.born] = true
	}
	return out
}

// uses reports whether a directory must stay: the writer takes it that one whose name
// is durable does, and makes the others right before it makes a file in them.
func (d *disk) uses(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, named := range d.named {
		if named == dir {
			return true
		}
	}
	for s := range d.live {
		if d.fs.PathDir(d.name(s.path)) == dir {
			return true
		}
	}
	return false
}

// stuck returns how long the disk has been at one file operation.
func (d *disk) stuck() time.Duration {
	return max(d.writing.long(), d.committing.long(), d.sweeping.long())
}

// busy remembers since when a file operation is under way.
type busy struct {
	clock clock.Clock
	since atomic.Int64
}

func (b *busy) begin() { b.since.Store(b.clock.Mono() + 1) }
func (b *busy) end()   { b.since.Store(0) }

func (b *busy) long() time.Duration {
	since := b.since.Load()
	if since == 0 {
		return 0
	}
	return time.Duration(b.clock.Mono() + 1 - since)
}

// diskState is what the disk was last seen to be. The writer, the committer and the
// probe each have their view; the worst one counts.
type diskState struct {
	clock clock.Clock

	mu    sync.Mutex
	views [3]view
	state string
	why   string
	since time.Time
	// failedAt and failedWhy are of the last failure that was over sooner than seenFor.
	failedAt  time.Time
	failedWhy string
}

type view struct{ state, why string }

const (
	byWriter = iota
	byCommitter
	byProbe
)

// set records the outcome of an operation and reports whether the state has changed.
func (s *diskState) set(who int, err error) (state string, changed bool) {
	v := view{state: diskGood}
	switch {
	case err == nil:
	case isFull(err):
		v = view{diskFull, err.Error()}
	default:
		v = view{diskFailing, err.Error()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.views[who] = v
	worst := view{state: diskGood}
	for _, v := range s.views {
		if v.state == diskFailing || v.state == diskFull && worst.state == diskGood {
			worst = v
		}
	}
	changed = worst.state != s.state
	if changed {
		now := s.clock.Now()
		if s.state == diskFailing && now.Sub(s.since) < seenFor {
			s.failedAt, s.failedWhy = s.since, s.why
		}
		s.since = now
	}
	s.state, s.why = worst.state, worst.why
	if worst.state == "" {
		s.state = diskGood
	}
	return s.state, changed
}

func (s *diskState) get() (state, why string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.why, s.since
}

// failed returns when the disk failed last for less than seenFor, and why; zero: it never
// did.
func (s *diskState) failed() (at time.Time, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failedAt, s.failedWhy
}

// note tells state, log and metrics how an operation went.
func (d *disk) note(who int, err error) {
	state, changed := d.state.set(who, err)
	switch {
	case changed && state == diskGood:
		d.log.Info().Msg("the disk is good again")
	case err != nil:
		if n, ok := d.every.Allow("disk " + state); ok {
			d.log.Error().Err(err).Str("disk", state).Int("suppressed", n).Msg("cannot record; trying again")
		}
	}
}

// pause waits, and reports whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wanted reports whether what records needs the disk now.
func (d *disk) wanted() bool {
	return len(d.queue) > 0 || d.putting.long() > 0 || d.committing.long() > 0
}

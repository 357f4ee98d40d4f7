package recorder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/record"
)

// Recorder records cameras to one data directory and serves what it holds.
type Recorder struct {
	opts    Options
	meters  *meters
	every   *node.Every
	held    *possession
	archive archive
	index   *indexHandle
	disk    *disk
	peers   []*peer

	started     time.Time
	startedMono int64
	sweepNow    chan struct{}

	closeOnce sync.Once
	closeErr  error

	mu      sync.Mutex
	doing   string // what recovery is doing; empty: it is done
	streams []*stream
	stats   map[string]cameraStats
}

// cameraStats is what was last known of a camera, so that it can be told while the
// index waits for the disk.
type cameraStats struct {
	index.Camera
	advanced time.Time
}

// New checks the options and takes possession of the data directory. It fails, saying
// what to do, where the directory is not this recorder's, is in use or cannot be
// written. The Recorder is to be run or closed.
func New(o Options) (*Recorder, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	m, err := newMeters(o.Registry)
	if err != nil {
		return nil, err
	}
	held, err := possess(o.FS, o.DataDir, o.Name, o.Clock.Now())
	if err != nil {
		return nil, fmt.Errorf("recorder %s: %w", o.Name, err)
	}
	r := &Recorder{
		opts: o, meters: m, every: node.NewEvery(time.Second, o.Clock.Now), held: held,
		archive: archive{fs: o.FS, dir: o.DataDir}, index: &indexHandle{},
		started: o.Clock.Now(), startedMono: o.Clock.Mono(), sweepNow: make(chan struct{}, 1),
		doing: "starting", stats: map[string]cameraStats{},
	}
	if err := o.Registry.Register(collector{r}); err != nil {
		return nil, errors.Join(fmt.Errorf("register the recorder's metrics: %w", err), r.Close())
	}
	if r.peers, err = newPeers(&r.opts); err != nil {
		return nil, errors.Join(fmt.Errorf("recorder %s: %w", o.Name, err), r.Close())
	}
	feeds := 0
	for _, c := range o.Cameras {
		feeds += max(len(c.Proxies), len(o.Proxies))
	}
	r.disk = newDisk(&r.opts, r.index, m, 2*feeds+1) // two builders each: it never overflows
	r.disk.onFull = r.sweepSoon
	r.disk.restart = r.restart
	if held.fresh {
		o.Log.Info().Str("data", o.DataDir).Str("id", held.identity.ID).Msg("began a data directory")
	}
	return r, nil
}

// Close gives free what New took. Run does it too.
func (r *Recorder) Close() error {
	r.closeOnce.Do(func() {
		r.closeErr = errors.Join(closePeers(r.peers), r.index.close(), r.held.lock.Close())
	})
	return r.closeErr
}

// Run recovers the data directory (what a crash left behind is adopted, cut off or
// finished; an index that is missing or corrupt is made anew), then records and serves
// until ctx ends. It serves its state from the beginning. At the end it makes durable
// what is finished, and drops what is not: the proxy's log has it. A recorder runs once.
func (r *Recorder) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var server errgroup.Group
	server.Go(func() error {
		err := r.serve(serving)
		if err != nil {
			cancel(err)
		}
		return err
	})
	err = r.record(ctx)
	stopServing()
	return errors.Join(err, server.Wait())
}

// record recovers and records until ctx ends.
func (r *Recorder) record(ctx context.Context) error {
	resume, err := r.recover(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("recorder %s: recover %s: %w", r.opts.Name, r.opts.DataDir, err)
	}
	r.connect(resume)
	r.refresh()
	r.say("")
	r.opts.Log.Info().Str("data", r.opts.DataDir).Int("cameras", len(r.opts.Cameras)).Msg("recording")

	committing, stopCommitting := context.WithCancel(context.WithoutCancel(ctx))
	var streams, writer, committer, sweeper sync.WaitGroup
	writer.Go(func() { r.disk.runWriter(ctx) })
	committer.Go(func() { r.disk.runCommitter(committing, r.opts.SyncInterval, r.committed) })
	sweeper.Go(func() { r.runSweeper(ctx) })
	for _, s := range r.allStreams() {
		streams.Go(func() { s.run(ctx) })
	}

	<-ctx.Done()
	streams.Wait() // nobody reads,
	close(r.disk.queue)
	writer.Wait() // what is finished is written,
	stopCommitting()
	committer.Wait() // and durable
	sweeper.Wait()
	r.disk.closeAll()
	r.opts.Log.Info().Msg("stopped")
	return nil
}

func (r *Recorder) recover(ctx context.Context) (map[string]record.Position, error) {
	rec := &recovery{archive: r.archive, clock: r.opts.Clock, log: r.opts.Log, say: r.say}
	r.say("opening the index")
	s, err := rec.openIndex(ctx, nil)
	if err != nil {
		return nil, err
	}
	r.index.set(s)
	again := &recovery{archive: r.archive, clock: r.opts.Clock, log: r.opts.Log, say: func(string) {}}
	r.index.open = func(suspect error) (*index.Store, error) { return again.openIndex(ctx, suspect) }
	return rec.run(ctx, s)
}

// connect makes the feeds and streams.
func (r *Recorder) connect(resume map[string]record.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.opts.Proxies {
		s := newStream(p, &r.opts, r.every)
		for _, c := range r.opts.Cameras {
			if len(c.Proxies) > 0 && !slices.Contains(c.Proxies, p.Name) {
				continue
			}
			f := newFeed(c.Name, p.Name, resume[c.Name], func(fin *finished) { r.disk.queue <- fin })
			held, _ := r.index.store().Camera(c.Name)
			f.known = held.Position
			if f.durable == held.Position {
				f.durableEnd = held.EndNS
			}
			s.feeds = append(s.feeds, f)
		}
		r.streams = append(r.streams, s)
	}
}

// committed is called after every commit.
func (r *Recorder) committed() {
	r.refresh()
	for _, s := range r.allStreams() {
		s.committed()
	}
}

// restart makes the streams of feeds that were rewound begin anew.
func (r *Recorder) restart(feeds []*feed) {
	for _, s := range r.allStreams() {
		if slices.ContainsFunc(feeds, func(f *feed) bool { return slices.Contains(s.feeds, f) }) {
			s.restart()
		}
	}
}

func (r *Recorder) sweepSoon() {
	select {
	case r.sweepNow <- struct{}{}:
	default:
	}
}

func (r *Recorder) say(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doing = what
}

func (r *Recorder) recovering() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.doing
}

func (r *Recorder) allStreams() []*stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.streams // it does not change once it is set
}

func (r *Recorder) allFeeds() []*feed {
	var out []*feed
	for _, s := range r.allStreams() {
		out = append(out, s.feeds...)
	}
	return out
}

// refresh remembers what the index holds.
func (r *Recorder) refresh() {
	s := r.index.store()
	if s == nil || r.index.err() != nil {
		return
	}
	cameras := s.Cameras()
	now := r.opts.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range cameras {
		at := r.stats[c.Name].advanced
		if r.doing == "" && r.stats[c.Name].Position != c.Position {
			at = now
		}
		r.stats[c.Name] = cameraStats{Camera: c, advanced: at}
	}
}

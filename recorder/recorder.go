package recorder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/internal/node"
)

// Recorder records cameras to one or more volumes and serves what they hold.
type Recorder struct {
	opts   Options
	meters *meters
	every  *node.Every
	slots  []*slot
	peers  []*peer
	repair *repairer // nil: nothing is repaired
	// locks are the evidence locks, exchange what spreads them.
	locks    *lockbook
	exchange *exchange

	started     time.Time
	startedMono int64

	closeOnce sync.Once
	closeErr  error

	streams []*stream // they do not change
	// assignNow asks for cameras to be given to disks soon. What follows belongs to the
	// assigner: where each camera is, where it was last, and since when disks are unfit.
	assignNow chan struct{}
	at        map[string]whereabouts
	home      map[string]*slot
	unfit     map[*slot]int64
}

// New checks the options and takes possession of the data directories. It fails, saying
// what to do, where none of them can be had: it is not this recorder's, is in use or
// cannot be written. One of several that cannot is an alarm. The Recorder is to be run
// or closed.
func New(o Options) (*Recorder, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	m, err := newMeters(o.Registry)
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		opts: o, meters: m, every: node.NewEvery(time.Second, o.Clock.Now),
		started: o.Clock.Now(), startedMono: o.Clock.Mono(),
		assignNow: make(chan struct{}, 1), at: map[string]whereabouts{}, home: map[string]*slot{}, unfit: map[*slot]int64{},
	}
	if r.peers, err = newPeers(&r.opts); err != nil {
		return nil, fmt.Errorf("recorder %s: %w", o.Name, err)
	}
	r.locks = newLockbook(o.FS, o.Log)
	r.exchange = newExchange(r)
	for n, place := range o.Volumes {
		r.slots = append(r.slots, newSlot(r, n, place))
	}
	if err := r.openAll(); err != nil {
		return nil, fmt.Errorf("recorder %s: %w", o.Name, errors.Join(err, r.Close()))
	}
	if err := o.Registry.Register(collector{r}); err != nil {
		return nil, errors.Join(fmt.Errorf("register the recorder's metrics: %w", err), r.Close())
	}
	if len(r.peers) > 0 && !o.Repair.Off {
		r.repair = newRepairer(newRepairShelf(r), &r.opts, r.peers)
	}
	r.connect()
	return r, nil
}

// openAll opens the slots, side by side. A disk that does not answer is not waited for
// long; its slot goes on by itself.
func (r *Recorder) openAll() error {
	errs := make([]error, len(r.slots))
	var wait sync.WaitGroup
	for i, s := range r.slots {
		s.opened = make(chan struct{})
		wait.Go(func() {
			go func() {
				defer close(s.opened)
				errs[i] = s.open()
			}()
			select {
			case <-s.opened:
			case <-time.After(mountWait):
			}
		})
	}
	wait.Wait()
	var failed []error
	for i, s := range r.slots {
		select {
		case <-s.opened:
			if errs[i] == nil {
				return nil
			}
			failed = append(failed, errs[i])
		default: // it may still come
			return nil
		}
	}
	return errors.Join(failed...)
}

// Close gives free what New took. Run does it too.
func (r *Recorder) Close() error {
	r.closeOnce.Do(func() {
		var errs []error
		for _, s := range r.slots {
			if v := s.volume(); v != nil {
				errs = append(errs, v.close())
			}
		}
		r.closeErr = errors.Join(closePeers(r.peers), errors.Join(errs...))
	})
	return r.closeErr
}

// Run recovers the data directories (what a crash left behind is adopted, cut off or
// finished; an index that is missing or corrupt is made anew), and records and serves
// until ctx ends. It serves its state from the beginning. At the end it makes durable
// what is finished, and drops what is not: the proxy's log has it. A disk that hangs is
// not waited for. A recorder runs once.
func (r *Recorder) Run(ctx context.Context) (err error) {
	r.closeOnce.Do(func() {}) // the slots close the volumes
	defer func() { err = errors.Join(err, closePeers(r.peers)) }()
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
	r.record(ctx)
	stopServing()
	served := make(chan error, 1)
	go func() { served <- server.Wait() }()
	return r.within(served)
}

// record records until ctx ends.
func (r *Recorder) record(ctx context.Context) {
	var streams, assigner, slots, exchange sync.WaitGroup
	last := make(chan struct{})
	for _, s := range r.slots {
		slots.Go(func() {
			<-s.opened
			s.run(ctx, last)
		})
	}
	assigner.Go(func() { r.runAssigner(ctx) })
	exchange.Go(func() { r.exchange.run(ctx) })
	if r.repair != nil {
		slots.Go(func() { r.repair.run(ctx) }) // with them, because it may wait for a disk
	}
	for _, s := range r.streams {
		streams.Go(func() { s.run(ctx) })
	}
	<-ctx.Done()
	before := r.entered()
	assigner.Wait()
	streams.Wait() // nobody reads,
	close(last)    // and everything that is finished becomes durable
	done := make(chan error, 1)
	go func() {
		slots.Wait()
		exchange.Wait()
		r.locks.close()
		done <- nil
	}()
	if err := r.within(done); err != nil {
		r.opts.Log.Error().Err(err).Msg("stopped without a disk")
		return
	}
	unfinished := 0
	for _, f := range r.allFeeds() {
		if f.building {
			unfinished++
		}
	}
	r.opts.Log.Info().Uint64("madeDurable", r.entered()-before).Int("unfinished", unfinished).
		Msg("stopped: fragments that were finished are durable; those that were not are still in the log of the proxy")
}

// entered counts the fragments that were made durable, on the disks that are there.
func (r *Recorder) entered() (n uint64) {
	for _, s := range r.slots {
		if v := s.volume(); v != nil {
			n += v.disk.entered.Load()
		}
	}
	return n
}

// hangGrace is how long the end waits for a disk that hangs.
const hangGrace = 3 * time.Second

// within waits for done, but not for a disk that hangs.
func (r *Recorder) within(done <-chan error) error {
	t := time.NewTicker(stallLook)
	defer t.Stop()
	began := time.Now()
	for {
		select {
		case err := <-done:
			return err
		case <-t.C:
		}
		if time.Since(began) < hangGrace {
			continue
		}
		for _, s := range r.slots {
			if s.stuck() > hangGrace {
				return fmt.Errorf("recorder %s: the disk of %s has not answered for %s", r.opts.Name, s.place.Dir, s.stuck().Round(time.Second))
			}
		}
	}
}

// connect makes the feeds and streams.
func (r *Recorder) connect() {
	for _, p := range r.opts.Proxies {
		s := newStream(p, &r.opts, r.every)
		for _, c := range r.opts.Cameras {
			if len(c.Proxies) == 0 || slices.Contains(c.Proxies, p.Name) {
				s.feeds = append(s.feeds, newFeed(c.Name, p.Name))
			}
		}
		r.streams = append(r.streams, s)
	}
}

// committed is called after every commit.
func (r *Recorder) committed() {
	for _, s := range r.streams {
		s.committed()
	}
}

// restart makes the streams of lanes begin anew whose feeds were rewound or moved.
func (r *Recorder) restart(lanes []*lane) {
	for _, s := range r.streams {
		if slices.ContainsFunc(lanes, func(l *lane) bool { return l.feed.counts.linked.Load() && slices.Contains(s.feeds, l.feed) }) {
			s.restart()
		} else {
			s.committed()
		}
	}
}

func (r *Recorder) allFeeds() []*feed {
	var out []*feed
	for _, s := range r.streams {
		out = append(out, s.feeds...)
	}
	return out
}

// steadyNow is the wall time by a clock that does not step, Unix ns.
func (r *Recorder) steadyNow() int64 {
	return r.started.UnixNano() + r.opts.Clock.Mono() - r.startedMono
}

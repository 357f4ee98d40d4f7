package recorder

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/record"
)

// A volume is one data directory that this process holds: segments, index, writer,
// committer, sweeper. It shares nothing with the other volumes of the recorder, so that
// a disk which dies takes only itself away.
type volume struct {
	opts    *Options
	place   Volume
	meters  *meters
	every   *node.Every
	held    *possession
	archive archive
	index   *indexHandle
	disk    *disk
	// steady is the wall time by a clock that does not step, Unix ns.
	steady   func() int64
	sweepNow chan struct{}
	// resume says where recording of each camera goes on after the recovery.
	resume map[string]record.Position
	// say is told what recovery is doing; empty: it is done.
	say func(string)
	// changed is called after every commit.
	changed func()
	// locks protect footage from retention. hold says why nothing is to be deleted now;
	// empty: nothing speaks against it. others returns what other recorders hold of a
	// camera, as far as that is known.
	locks  *lockbook
	hold   func() string
	others func(camera string) []footage
	// locked is how many bytes locks keep, as last measured for lockedSet at lockedAt.
	locked    atomic.Int64
	lockedSet lock.Set
	lockedAt  int64
	// stuck is how many files could not be unlinked when it was last tried. Of the sweeper.
	stuck int

	// scrub re-reads what is stored; adopt makes the index complete where it is not.
	scrub *scrubber
	adopt *adopter

	// reads bounds the media reads that are under way at once: writing comes first.
	reads *semaphore.Weighted

	mu    sync.Mutex
	lanes map[*feed]*lane
}

func newVolume(o *Options, place Volume, held *possession, m *meters, every *node.Every) *volume {
	v := &volume{
		opts: o, place: place, meters: m, every: every, held: held,
		archive: archive{fs: o.FS, dir: place.Dir}, index: &indexHandle{},
		steady: func() int64 { return o.Clock.Now().UnixNano() }, sweepNow: make(chan struct{}, 1),
		say: func(string) {}, changed: func() {}, locks: newLockbook(o.FS, o.Log),
		hold: func() string { return "" }, others: func(string) []footage { return nil },
		lanes: map[*feed]*lane{}, reads: semaphore.NewWeighted(maxReads),
	}
	v.disk = newDisk(o, place.Dir, v.index, m, 2*o.feeds()+1) // two builders each: it never overflows
	v.disk.onFull, v.disk.present = v.sweepSoon, v.present
	v.adopt = newAdopter(v.archive, v.index, o.Clock, o.Log.With().Str("data", place.Dir).Logger())
	v.adopt.isLive, v.adopt.busy = v.disk.isLive, v.disk.wanted
	v.scrub = newScrubber(v.archive, o.Scrub, v.index, o.Clock, o.Log.With().Str("data", place.Dir).Logger())
	v.scrub.isLive, v.scrub.busy, v.scrub.mounted = v.disk.isLive, v.disk.wanted, v.present
	v.scrub.adopt = v.adopt
	v.scrub.found = func(d *index.Damage) {
		m.damaged.WithLabelValues(d.Camera).Inc()
		v.changed()
	}
	if held.fresh {
		o.Log.Info().Str("data", place.Dir).Str("id", held.identity.ID).Msg("began a data directory")
	}
	return v
}

// recover opens the index and makes it and the media agree.
func (v *volume) recover(ctx context.Context) error {
	log := v.opts.Log.With().Str("data", v.place.Dir).Logger()
	rec := &recovery{archive: v.archive, log: log, adopt: v.adopt, say: v.say}
	v.say("opening the index")
	s, err := rec.openIndex(ctx, nil)
	if err != nil {
		return err
	}
	v.index.set(s)
	again := &recovery{archive: v.archive, log: log, adopt: v.adopt, say: func(what string) {
		v.disk.committing.begin() // it gets on
		v.say(what)
	}}
	v.index.open = func(suspect error) (*index.Store, error) {
		defer v.say("")
		return again.openIndex(ctx, suspect)
	}
	v.resume, err = rec.run(ctx, s)
	v.say("")
	return err
}

// run writes, commits and sweeps until ctx ends and last is closed: nobody gives it
// anything any more. What was finished is durable then.
func (v *volume) run(ctx context.Context, last <-chan struct{}) {
	committing, stopCommitting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCommitting()
	var writer, committer, sweeper, readers sync.WaitGroup
	writer.Go(func() { v.disk.runWriter(ctx, last) })
	committer.Go(func() { v.disk.runCommitter(committing, v.opts.SyncInterval, v.changed) })
	sweeper.Go(func() { v.runSweeper(ctx) })
	readers.Go(func() { v.scrub.run(ctx) })
	readers.Go(func() { v.adopt.run(ctx) })
	<-ctx.Done()
	writer.Wait() // what is finished is written,
	stopCommitting()
	committer.Wait() // and durable
	sweeper.Wait()
	v.disk.sweeping.begin() // what is left may hang like everything else
	readers.Wait()
	v.disk.closeAll()
	v.disk.sweeping.end()
}

// close gives the directory free.
func (v *volume) close() error { return errors.Join(v.index.close(), v.held.lock.Close()) }

// lane returns the way of a feed to this volume.
func (v *volume) lane(f *feed) *lane {
	v.mu.Lock()
	l := v.lanes[f]
	if l == nil {
		l = newLane(f, func(fin *finished) { v.disk.queue <- fin })
		l.stalled = func() bool { return v.disk.putting.long() > stallAfter }
		v.lanes[f] = l
	}
	v.mu.Unlock()
	return l
}

func (v *volume) sweepSoon() {
	select {
	case v.sweepNow <- struct{}{}:
	default:
	}
}

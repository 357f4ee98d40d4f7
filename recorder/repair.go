package recorder

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/node"
)

// Repair says how fragments that this recorder lacks are copied from others.
type Repair struct {
	// Off: nothing is copied.
	Off bool
	// Rate bounds the bytes per second; 0: 32 MiB/s.
	Rate int64
	// Ask is how often another recorder is asked for its state. 0: 1 s.
	Ask time.Duration
	// OldestFirst copies the oldest gap first; otherwise it is the newest one.
	OldestFirst bool
}

const (
	defaultRepairRate = 32 << 20

	// repairTick is how often it is looked what there is to do, compareEach how often the
	// newest footage of a camera is compared with that of a recorder, and compareAll how
	// often all of it is, without anything having happened.
	repairTick  = time.Second
	compareEach = 2 * time.Second
	compareAll  = 10 * time.Minute
	// compareLate is how often the footage of the last hour or two is: a recorder that was
	// cut off from a proxy may store late what it had received before.
	compareLate = 20 * time.Second
	// peerEach is how often another recorder is asked for its state.
	peerEach    = time.Second
	peerTimeout = 2 * time.Second
	// repairSlice is how long one hour is worked at before it is looked what else there is.
	repairSlice = 5 * time.Second
	// repairAgain is how long to wait after a fragment could not be copied.
	repairAgain = 5 * time.Second
	// idleAfter is how long a camera's newest footage has not advanced before what others
	// have beyond it counts as lacking, and not as still on its way.
	idleAfter = 6 * time.Second
	// repairLog is how often at most the same trouble is logged.
	repairLog = time.Minute
)

// repairHost is the recorder as repair sees it.
type repairHost interface {
	// held returns what is held of every camera; nil while that cannot be told. From memory.
	held() map[string]index.Camera
	// removals counts what was taken out of the index of a camera.
	removals(camera string) uint64
	// settled returns the time before which nothing of a camera is on its way any more.
	settled(camera string, have index.Camera) int64
	// rule says what of a camera is wanted.
	rule(camera string) copyRule
	// ageNow is the time by which ages are told, given the end of the newest footage
	// that is known anywhere.
	ageNow(newestNS int64) int64
	// digests are those of what is held and starts in [fromNS, toNS); list is what overlaps it.
	digests(camera string, fromNS, toNS int64) ([]index.Digest, error)
	list(camera string, fromNS, toNS int64) ([]index.Ref, error)
	// header returns an init header that is held, or index.ErrNotFound.
	header(camera string, hash media.Hash) ([]byte, error)
	// blocked says why nothing is to be written now; empty: all is well.
	blocked(camera string) string
	// room returns how many bytes the disk that a camera's copies go to takes before
	// retention deletes there, and how many of what locks keep; disk tells disks apart.
	room(camera string) (disk any, bytes, evidence int64)
	// put writes a fragment after all that is recorded, and waits until that is done. It
	// is not durable yet.
	put(ctx context.Context, f *media.Fragment) error
	// settle waits until what was put of a camera is durable, or was given up, and
	// completes its file.
	settle(ctx context.Context, camera string)
}

// A repairer copies what its recorder lacks. One goroutine compares and copies, one for
// each other recorder watches that one.
type repairer struct {
	host    repairHost
	clock   clock.Clock
	log     zerolog.Logger
	every   *node.Every
	newest  bool
	pace    *pace
	sources []*source
	ask     time.Duration
	wake    chan struct{}

	// tasks is what is known to differ, by camera and hour. Of the copying goroutine.
	tasks map[taskKey]*task
	// wants is what is wanted of each camera, as of the last comparison.
	wants map[string]want

	mu     sync.Mutex
	states map[string]*repairState
	rate   rateMeter
}

func newRepairer(host repairHost, o *Options, peers []*peer) *repairer {
	r := &repairer{
		host: host, clock: o.Clock, log: o.Log, every: node.NewEvery(repairLog, o.Clock.Now),
		newest: !o.Repair.OldestFirst, ask: cmp.Or(o.Repair.Ask, peerEach), wake: make(chan struct{}, 1),
		tasks: map[taskKey]*task{}, wants: map[string]want{}, states: map[string]*repairState{},
		pace: newPace(o.Clock, cmp.Or(o.Repair.Rate, defaultRepairRate)),
	}
	for _, p := range peers {
		r.sources = append(r.sources, &source{name: p.Name, client: p.client, marks: map[string]*compared{}})
	}
	return r
}

// run compares and copies until ctx ends.
func (r *repairer) run(ctx context.Context) {
	var watchers sync.WaitGroup
	defer watchers.Wait()
	for _, s := range r.sources {
		watchers.Go(func() { s.watch(ctx, r.ask, r.wakeUp) })
	}
	t := time.NewTicker(repairTick)
	defer t.Stop()
	for {
		r.compareAll(ctx)
		if !r.work(ctx) {
			select {
			case <-t.C:
			case <-r.wake:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func (r *repairer) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// work works at the task that is first for a while; false: there is nothing to do now.
func (r *repairer) work(ctx context.Context) bool {
	now := r.clock.Mono()
	var best *task
	r.fit()
	for _, t := range r.tasks {
		if t.again > now || t.unfit || !t.reachable() {
			continue
		}
		if best == nil || r.before(t, best) {
			best = t
		}
	}
	if best == nil {
		return false
	}
	done, err := r.do(ctx, best)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		best.why, best.again = err.Error(), r.clock.Mono()+int64(repairAgain)
		r.complain(ctx, fmt.Sprintf("copy what is lacking of camera %s", best.camera), err)
	case done:
		delete(r.tasks, best.taskKey)
	}
	if held := r.host.held(); held != nil {
		r.publish(best.camera, held[best.camera])
	}
	return true
}

// fit marks the tasks for which there is no room, when the oldest are worked at first:
// what is oldest would be deleted as soon as the rest has come. Newest first, there is no
// such question: it ends when retention begins.
func (r *repairer) fit() {
	if r.newest {
		return
	}
	left := map[any]int64{}
	for _, t := range slices.SortedFunc(maps.Values(r.tasks), func(a, b *task) int { return cmp.Compare(b.hourNS, a.hourNS) }) {
		disk, bytes, _ := r.host.room(t.camera)
		if _, ok := left[disk]; !ok {
			left[disk] = bytes
		}
		left[disk] -= t.bytes
		w := r.wants[t.camera]
		// What is newer than the oldest that is held takes its room, and locks keep theirs.
		t.unfit = left[disk] < 0 && (w.heldNS == 0 || t.toNS <= w.heldNS) && t.fromNS >= w.fromNS
	}
}

// before reports whether a is worked at before b.
func (r *repairer) before(a, b *task) bool {
	c := cmp.Compare(a.hourNS, b.hourNS)
	if r.newest {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(a.camera, b.camera)) < 0
}

func (r *repairer) complain(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	if n, ok := r.every.Allow(what); ok {
		r.log.Warn().Err(err).Int("suppressed", n).Msg("repair: cannot " + what + "; trying again")
	}
}

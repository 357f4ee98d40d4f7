package recorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/nodepb"
)

// Repair says how fragments that this recorder lacks are copied from others.
type Repair struct {
	// Off: nothing is copied.
	Off bool
	// Rate bounds the bytes per second; 0: 32 MiB/s.
	Rate int64
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
	// digests and list are those of what is held and starts in [fromNS, toNS).
	digests(camera string, fromNS, toNS int64) ([]index.Digest, error)
	list(camera string, fromNS, toNS int64) ([]index.Ref, error)
	// header returns an init header that is held, or index.ErrNotFound.
	header(camera string, hash media.Hash) ([]byte, error)
	// blocked says why nothing is to be written now; empty: all is well.
	blocked(camera string) string
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
	wake    chan struct{}

	// tasks is what is known to differ, by camera and hour. Of the copying goroutine.
	tasks map[taskKey]*task

	mu     sync.Mutex
	states map[string]*repairState
	rate   rateMeter
}

// source is another recorder.
type source struct {
	name   string
	client nodepb.RecorderClient

	// marks say how far each camera was compared, of the copying goroutine.
	marks map[string]*compared

	mu     sync.Mutex
	up     bool
	ups    int // how often it has come up
	status *nodepb.RecorderStatus
}

// compared says that everything before atNS was compared with one recorder: it is held, or
// there is a task for it.
type compared struct {
	atNS  int64
	ups   int   // the source's at the last whole comparison
	all   int64 // when that was, by the clock that does not step
	late  int64 // when the last hours were
	last  int64 // when the last one was
	knows bool
	// What was held at the last comparison: where something has gone since, all is to be
	// compared again.
	removals uint64
	held     int64
}

type taskKey struct {
	camera string
	hourNS int64
}

// task is a stretch of one hour that differs.
type task struct {
	taskKey
	fromNS, toNS     int64
	sources          map[*source]bool
	fragments, bytes int64 // that are lacking, at least; exact once it is listed
	firstNS          int64 // where what is lacking begins
	again            int64 // not before, by the clock that does not step
	why              string
}

func newRepairer(host repairHost, o *Options, peers []*peer) *repairer {
	r := &repairer{
		host: host, clock: o.Clock, log: o.Log, every: node.NewEvery(repairLog, o.Clock.Now),
		newest: !o.Repair.OldestFirst, wake: make(chan struct{}, 1),
		tasks: map[taskKey]*task{}, states: map[string]*repairState{},
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
		watchers.Go(func() { s.watch(ctx, r.wakeUp) })
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

// watch keeps the state of a recorder until ctx ends.
func (s *source) watch(ctx context.Context, changed func()) {
	for {
		asked, cancel := context.WithTimeout(ctx, peerTimeout)
		st, err := s.client.Status(asked, &nodepb.StatusRequest{})
		cancel()
		s.mu.Lock()
		cameUp := err == nil && !s.up
		s.up = err == nil
		if err == nil {
			if old := s.status; old != nil && old.GetStartedNs() != st.GetStartedNs() {
				cameUp = true // it was away between two questions
			}
			s.status = st
		}
		if cameUp {
			s.ups++
		}
		s.mu.Unlock()
		if cameUp {
			changed()
		}
		if !pause(ctx, peerEach) {
			return
		}
	}
}

// camera returns what the recorder said last of a camera, whether it is up, and how
// often it has come up.
func (s *source) camera(name string) (c *nodepb.RecorderCamera, up bool, ups int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.status.GetCameras() {
		if c.GetCamera() == name {
			return c, s.up, s.ups
		}
	}
	return nil, s.up, s.ups
}

// heard returns the cameras that the recorder has footage of.
func (s *source) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, c := range s.status.GetCameras() {
		if c.GetFragmentsStored() > 0 {
			out = append(out, c.GetCamera())
		}
	}
	return out
}

// compareAll compares every camera with every recorder that is up, as far as it is time.
func (r *repairer) compareAll(ctx context.Context) {
	held := r.host.held()
	if held == nil {
		return
	}
	var newest int64
	cameras := map[string]bool{}
	for name, c := range held {
		newest = max(newest, c.EndNS)
		cameras[name] = true
	}
	for _, s := range r.sources {
		for _, name := range s.heard() {
			cameras[name] = true
			c, _, _ := s.camera(name)
			newest = max(newest, c.GetDurableEndNs())
		}
	}
	age := r.host.ageNow(newest)
	for name := range cameras {
		from, to := r.host.rule(name).bounds(held[name], age, r.host.settled(name, held[name]))
		for _, s := range r.sources {
			if ctx.Err() != nil {
				return
			}
			if from < to {
				r.compare(ctx, s, held[name], name, from, to)
			}
		}
		r.drop(name, from)
		r.publish(name, held[name])
	}
}

// compare compares one camera with one recorder and makes tasks of what differs.
func (r *repairer) compare(ctx context.Context, s *source, have index.Camera, camera string, from, to int64) {
	said, up, ups := s.camera(camera)
	if !up || said.GetFragmentsStored() == 0 {
		return
	}
	m := s.marks[camera]
	if m == nil {
		m = &compared{}
		s.marks[camera] = m
	}
	now := r.clock.Mono()
	removals := r.host.removals(camera)
	gone := removals != m.removals || have.Fragments < m.held
	whole := !m.knows || m.ups != ups || now-m.all > int64(compareAll) || gone && now-m.last >= int64(compareEach)
	if !whole && now-m.last < int64(compareEach) {
		return
	}
	to = min(to, said.GetDurableEndNs())
	start := max(from, m.atNS)
	late := now-m.late > int64(compareLate)
	switch {
	case whole:
		start = from
	case late:
		start = max(from, min(start, m.atNS-m.atNS%index.HourNS-index.HourNS))
	}
	m.last = now
	if start < to {
		theirs, err := digestsOf(ctx, s.client, camera, start, to)
		var own []index.Digest
		if err == nil {
			own, err = r.host.digests(camera, start, to)
		}
		if err != nil {
			r.complain(ctx, "compare camera "+camera+" with recorder "+s.name, err)
			return
		}
		for _, d := range differing(own, theirs) {
			r.add(s, camera, &d, max(start, d.HourNS), min(to, d.HourNS+index.HourNS))
		}
		m.atNS = max(m.atNS, to)
	}
	m.held = have.Fragments
	if whole || late {
		m.late = now
	}
	if whole {
		m.all, m.ups, m.knows, m.removals = now, ups, true, removals
	}
}

// add makes or widens the task of an hour.
func (r *repairer) add(s *source, camera string, d *index.Digest, from, to int64) {
	key := taskKey{camera, d.HourNS}
	t := r.tasks[key]
	if t == nil {
		t = &task{taskKey: key, fromNS: from, toNS: to, firstNS: from, sources: map[*source]bool{}}
		r.tasks[key] = t
	}
	t.fromNS, t.toNS, t.firstNS = min(t.fromNS, from), max(t.toNS, to), min(t.firstNS, from)
	t.fragments, t.bytes = max(t.fragments, d.Fragments), max(t.bytes, d.Bytes)
	t.sources[s] = true
}

// drop forgets what retention would delete.
func (r *repairer) drop(camera string, from int64) {
	for key, t := range r.tasks {
		if key.camera == camera && t.toNS <= from {
			delete(r.tasks, key)
		}
	}
}

// work works at the task that is first for a while; false: there is nothing to do now.
func (r *repairer) work(ctx context.Context) bool {
	now := r.clock.Mono()
	var best *task
	for _, t := range r.tasks {
		if t.again > now || !t.reachable() {
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

func (t *task) reachable() bool {
	for s := range t.sources {
		if _, up, _ := s.camera(t.camera); up {
			return true
		}
	}
	return false
}

// before reports whether a is worked at before b.
func (r *repairer) before(a, b *task) bool {
	c := cmp.Compare(a.hourNS, b.hourNS)
	if r.newest {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(a.camera, b.camera)) < 0
}

// errBlocked is wrapped where this recorder cannot take anything now.
var errBlocked = errors.New("nothing is copied now")

// do copies what a task says, for a while; done: nothing of it is lacking any more.
func (r *repairer) do(ctx context.Context, t *task) (done bool, err error) {
	if why := r.host.blocked(t.camera); why != "" {
		return false, fmt.Errorf("%w: %s", errBlocked, why)
	}
	list, sources, err := r.lacks(ctx, t)
	if err != nil {
		return false, err
	}
	if len(list) == 0 {
		return true, nil
	}
	arrange(list, r.newest)
	t.measure(list)
	until := r.clock.Mono() + int64(repairSlice)
	copied := 0
	var failed error
	for i := range list {
		if ctx.Err() != nil || r.clock.Mono() > until {
			break
		}
		if why := r.host.blocked(t.camera); why != "" {
			failed = fmt.Errorf("%w: %s", errBlocked, why)
			break
		}
		if err := r.copy(ctx, &list[i], sources); err != nil {
			failed = errors.Join(failed, err)
			if i-copied >= 3 { // it is not this one
				break
			}
			continue
		}
		copied++
		t.fragments, t.bytes = max(t.fragments-1, 0), max(t.bytes-list[i].info.Size, 0)
		r.book(list[i].info.Camera, list[i].info.Size)
	}
	if copied > 0 {
		r.host.settle(ctx, t.camera)
	}
	if failed != nil {
		return false, failed
	}
	if copied < len(list) {
		return false, nil
	}
	// What did not become durable is still lacking.
	list, _, err = r.lacks(ctx, t)
	if err == nil && len(list) > 0 {
		t.measure(list)
		err = fmt.Errorf("%d fragments of camera %s were copied and did not become durable", len(list), t.camera)
	}
	return err == nil, err
}

// measure takes over what a listing says is lacking.
func (t *task) measure(list []lacking) {
	t.fragments, t.bytes, t.firstNS = int64(len(list)), 0, list[0].info.StartNS
	for i := range list {
		t.bytes += list[i].info.Size
		t.firstNS = min(t.firstNS, list[i].info.StartNS)
	}
}

// lacks lists what of a task is lacking now, and the recorders that the list means.
func (r *repairer) lacks(ctx context.Context, t *task) ([]lacking, []*source, error) {
	var sources []*source
	var lists [][]index.Ref
	var failed error
	names := make([]*source, 0, len(t.sources))
	for s := range t.sources {
		names = append(names, s)
	}
	slices.SortFunc(names, func(a, b *source) int { return cmp.Compare(a.name, b.name) })
	for _, s := range names {
		list, err := listOf(ctx, s.client, t.camera, t.fromNS, t.toNS)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("list camera %s on recorder %s: %w", t.camera, s.name, err))
			continue
		}
		sources, lists = append(sources, s), append(lists, list)
	}
	own, err := r.host.list(t.camera, t.fromNS, t.toNS)
	if err != nil {
		return nil, nil, fmt.Errorf("list camera %s: %w", t.camera, err)
	}
	out, conflicts := difference(own, lists)
	if conflicts > 0 {
		if n, ok := r.every.Allow("conflict " + t.camera); ok {
			r.log.Error().Str("camera", t.camera).Int("fragments", conflicts).Int("suppressed", n).
				Msg("recorders hold different bytes of the same records; that cannot be repaired by copying")
		}
	}
	if len(out) == 0 {
		return nil, nil, failed // who did not answer may have something
	}
	return out, sources, nil
}

// copy copies one fragment from the first recorder that gives it.
func (r *repairer) copy(ctx context.Context, l *lacking, sources []*source) error {
	var failed error
	for _, i := range l.sources {
		s := sources[i]
		err := r.copyFrom(ctx, &l.info, s)
		if err == nil || ctx.Err() != nil {
			return err
		}
		failed = errors.Join(failed, fmt.Errorf("copy fragment %d of %s of camera %s from recorder %s: %w",
			l.info.First, l.info.Epoch, l.info.Camera, s.name, err))
	}
	r.fail(l.info.Camera)
	return failed
}

func (r *repairer) copyFrom(ctx context.Context, info *media.Info, s *source) error {
	init, err := r.host.header(info.Camera, info.InitHash)
	if errors.Is(err, index.ErrNotFound) {
		init, err = fetchInit(ctx, s.client, info)
	}
	if err != nil {
		return err
	}
	data, err := fetch(ctx, s.client, info, r.pace)
	if err != nil {
		return err
	}
	return r.host.put(ctx, fragmentFrom(*info, init, data))
}

func (r *repairer) complain(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	if n, ok := r.every.Allow(what); ok {
		r.log.Warn().Err(err).Int("suppressed", n).Msg("repair: cannot " + what + "; trying again")
	}
}

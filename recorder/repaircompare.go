package recorder

import (
	"context"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
)

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
	// locks and sinceNS are those of what was wanted then.
	locks   lock.Set
	sinceNS int64
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
	listed           bool // fragments, bytes and firstNS are what a listing says
	unfit            bool // there is no room for it beside what is newer: it is not wanted
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
		have := held[name]
		have.Name = name
		w := r.host.rule(name).wanted(have, age, r.host.settled(name, have))
		r.wants[name] = w
		for _, s := range r.sources {
			if ctx.Err() != nil {
				return
			}
			r.compare(ctx, s, have, &w)
		}
		r.drop(name, &w)
		r.publish(name, held[name])
	}
}

// compare compares one camera with one recorder and makes tasks of what differs.
func (r *repairer) compare(ctx context.Context, s *source, have index.Camera, w *want) {
	camera := have.Name
	said, up, ups := s.camera(camera)
	if !up || said.GetFragmentsStored() == 0 || w.toNS == 0 {
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
	told := m.sinceNS != w.sinceNS && (w.sinceNS == 0 || now-m.all >= int64(compareLate)) // more is known here
	whole := !m.knows || m.ups != ups || told || now-m.all > int64(compareAll) || gone && now-m.last >= int64(compareEach)
	relocked := !w.locks.Same(m.locks)
	if !whole && !relocked && now-m.last < int64(compareEach) {
		return
	}
	to := min(w.toNS, said.GetDurableEndNs())
	start := max(w.fromNS, m.atNS)
	late := now-m.late > int64(compareLate)
	switch {
	case whole:
		start = w.fromNS
	case late:
		start = max(w.fromNS, min(start, m.atNS-m.atNS%index.HourNS-index.HourNS))
	}
	m.last = now
	err := r.compareStretch(ctx, s, camera, start, to)
	if err == nil && (whole || relocked) {
		err = r.compareEvidence(ctx, s, camera, w, to)
	}
	if err != nil {
		r.complain(ctx, "compare camera "+camera+" with recorder "+s.name, err)
		return
	}
	m.atNS = max(m.atNS, to)
	m.held = have.Fragments
	if whole || late {
		m.late = now
	}
	if whole || relocked {
		m.locks = w.locks
	}
	if whole {
		m.all, m.ups, m.knows, m.removals, m.sinceNS = now, ups, true, removals, w.sinceNS
	}
}

// compareStretch compares what starts in [fromNS, toNS).
func (r *repairer) compareStretch(ctx context.Context, s *source, camera string, fromNS, toNS int64) error {
	if fromNS >= toNS {
		return nil
	}
	theirs, err := digestsOf(ctx, s.client, camera, fromNS, toNS)
	if err != nil {
		return err
	}
	own, err := r.host.digests(camera, fromNS, toNS)
	if err != nil {
		return err
	}
	for _, d := range differing(own, theirs) {
		r.add(s, camera, &d, max(fromNS, d.HourNS), min(toNS, d.HourNS+index.HourNS))
	}
	return nil
}

// compareEvidence compares what locks cover of the footage that is older than all that is
// wanted without them.
func (r *repairer) compareEvidence(ctx context.Context, s *source, camera string, w *want, toNS int64) error {
	for _, x := range w.evidence() {
		if err := r.compareStretch(ctx, s, camera, x.StartNS, min(x.EndNS, toNS)); err != nil {
			return err
		}
		// The fragment that a lock begins within starts before it.
		theirs, err := listOf(ctx, s.client, camera, x.StartNS, x.StartNS+1)
		if err != nil {
			return err
		}
		own, err := r.host.list(camera, x.StartNS, x.StartNS+1)
		if err != nil {
			return err
		}
		lacks, _ := difference(own, [][]index.Ref{theirs})
		for i := range lacks {
			f := &lacks[i].info
			if wanted, _ := w.has(f); wanted {
				r.add(s, camera, &index.Digest{HourNS: index.HourOf(f.StartNS), Fragments: 1, Bytes: f.Size}, f.StartNS, f.StartNS+1)
			}
		}
	}
	return nil
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
	t.fragments, t.bytes, t.listed = max(t.fragments, d.Fragments), max(t.bytes, d.Bytes), false
	t.sources[s] = true
}

// drop forgets what is not wanted any more: retention would delete it at once.
func (r *repairer) drop(camera string, w *want) {
	for key, t := range r.tasks {
		if key.camera == camera && !w.touches(t.fromNS, t.toNS) {
			delete(r.tasks, key)
		}
	}
}

func (t *task) reachable() bool {
	for s := range t.sources {
		if _, up, _ := s.camera(t.camera); up {
			return true
		}
	}
	return false
}

// measure takes over what a listing says is lacking.
func (t *task) measure(list []lacking) {
	t.fragments, t.bytes, t.firstNS, t.listed = int64(len(list)), 0, list[0].info.StartNS, true
	for i := range list {
		t.bytes += list[i].info.Size
		t.firstNS = min(t.firstNS, list[i].info.StartNS)
	}
}

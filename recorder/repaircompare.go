package recorder

import (
	"context"

	"github.com/duet-video/duet/index"
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
	t.fragments, t.bytes, t.firstNS = int64(len(list)), 0, list[0].info.StartNS
	for i := range list {
		t.bytes += list[i].info.Size
		t.firstNS = min(t.firstNS, list[i].info.StartNS)
	}
}

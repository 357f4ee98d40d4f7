package recorder

import (
	"cmp"
	"context"
	"hash/fnv"
	"math"
	"time"

	"github.com/duet-video/duet/internal/record"
)

const (
	assignEach = 500 * time.Millisecond
	// settle is how long the disks have at the start to show what they hold, before
	// cameras are given to those that are ready.
	settle = 3 * time.Second
	// moveAfter is how long a disk is unfit before its cameras move.
	moveAfter = 2 * time.Second
)

// runAssigner keeps every camera at a volume that can take it, until ctx ends.
func (r *Recorder) runAssigner(ctx context.Context) {
	t := time.NewTicker(assignEach)
	defer t.Stop()
	for {
		r.assign()
		select {
		case <-t.C:
		case <-r.assignNow:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Recorder) assignSoon() {
	select {
	case r.assignNow <- struct{}{}:
	default:
	}
}

// fit returns what is ready to record, and reports whether all disks have shown what
// they hold, or had the time for it.
func (r *Recorder) fit() (fit map[*slot]*volume, settled bool) {
	fit = map[*slot]*volume{}
	waiting := false
	for _, s := range r.slots {
		v := s.serving()
		state, _, _ := s.status()
		now := r.opts.Clock.Mono()
		switch {
		case v != nil && (state == diskGood || state == diskSlow):
			delete(r.unfit, s)
			fit[s] = v
		case r.unfit[s] == 0 && state == diskHung: // it had its time
			r.unfit[s] = now - int64(moveAfter)
		case r.unfit[s] == 0:
			r.unfit[s] = now
		}
		waiting = waiting || v == nil && s.recovering() != ""
	}
	return fit, !waiting || r.opts.Clock.Mono()-r.startedMono > int64(settle)
}

// assign gives cameras that are nowhere, or at a disk that is unfit, to one that is fit.
// A camera stays where it is otherwise: it does not come home.
func (r *Recorder) assign() {
	fit, settled := r.fit()
	for _, camera := range r.opts.Cameras {
		at := r.at[camera.Name]
		if at.slot != nil && at.slot.serving() == at.vol {
			if fit[at.slot] != nil || r.opts.Clock.Mono()-r.unfit[at.slot] < int64(moveAfter) || len(fit) == 0 {
				continue
			}
		}
		to := r.choose(camera.Name, fit, settled)
		switch {
		case to.slot != nil:
			r.move(camera.Name, to)
		case at.slot != nil && at.slot.serving() != at.vol:
			r.move(camera.Name, whereabouts{}) // it waits for a disk
		}
	}
}

// whereabouts is where a camera is recorded.
type whereabouts struct {
	slot *slot
	vol  *volume
}

// choose returns the volume for a camera: the one with its newest footage, else one that
// the camera's name draws, by size. None while that cannot be told.
func (r *Recorder) choose(camera string, fit map[*slot]*volume, settled bool) whereabouts {
	home := r.at[camera].slot
	if home == nil {
		home = r.home[camera]
	}
	if home == nil {
		home, _ = r.newest(camera)
	}
	if v := fit[home]; v != nil {
		return whereabouts{home, v}
	}
	if !settled {
		return whereabouts{}
	}
	if home == nil && len(fit) == 0 { // one whose disk is full, say, is better than none
		for _, s := range r.slots {
			if v := s.serving(); v != nil {
				return whereabouts{s, v}
			}
		}
	}
	if home != nil && len(fit) == 0 {
		return whereabouts{home, home.serving()}.orNone()
	}
	var best whereabouts
	high := math.Inf(-1)
	for _, s := range r.slots { // rendezvous: every disk draws, weighted by its size
		v := fit[s]
		if v == nil {
			continue
		}
		size := 1.0
		if u := v.disk.room.Load(); u != nil {
			size = float64(u.TotalBytes)
		}
		if s.place.Quota > 0 {
			size = float64(s.place.Quota)
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(camera + "\x00" + v.held.identity.ID))
		if draw := -size / math.Log((float64(mix(h.Sum64())>>11)+0.5)/(1<<53)); draw > high {
			high, best = draw, whereabouts{s, v}
		}
	}
	return best
}

// mix spreads what a weak hash leaves alike (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (w whereabouts) orNone() whereabouts {
	if w.vol == nil {
		return whereabouts{}
	}
	return w
}

// newest returns the ready volume with the newest footage of a camera; nil: none has any.
func (r *Recorder) newest(camera string) (*slot, *volume) {
	var best *slot
	var vol *volume
	var at record.Position
	for _, s := range r.slots {
		v := s.serving()
		if v == nil || v.index.store() == nil {
			continue
		}
		if p := v.index.store().Position(camera); p.Compare(at) > 0 {
			best, vol, at = s, v, p
		}
	}
	return best, vol
}

// move makes the feeds of a camera write to a volume, or to none.
func (r *Recorder) move(camera string, to whereabouts) {
	from := r.at[camera]
	r.at[camera] = to
	if from.slot != nil {
		r.home[camera] = from.slot
		r.opts.Log.Warn().Str("camera", camera).Str("from", from.slot.place.Dir).Str("to", to.dir()).Msg("a camera moves to another disk")
	}
	_, newest := r.newest(camera)
	var moved []*lane
	for _, f := range r.allFeeds() {
		if f.camera != camera {
			continue
		}
		if from.vol != nil {
			from.vol.leave(f)
		}
		if to.vol == nil {
			moved = append(moved, f.detach())
			continue
		}
		l := to.vol.lane(f)
		f.attach(l, r.whence(f, to, newest, r.home[camera] == to.slot))
		moved = append(moved, l)
	}
	if to.vol != nil {
		r.home[camera] = to.slot
		delete(to.vol.resume, camera)
	}
	r.restart(moved)
}

// whence returns where a feed goes on: where what is durable ends, wherever that is; or,
// at the disk that it came from, where that one's recovery says that something is missing.
func (r *Recorder) whence(f *feed, to whereabouts, newest *volume, home bool) progress {
	at, endNS := f.state()
	if home || at.IsZero() {
		v := to.vol
		if at.IsZero() && newest != nil {
			v = newest
		}
		if p, ok := v.resume[f.camera]; ok {
			at, endNS = p, 0
		}
		if held, _ := v.index.store().Camera(f.camera); held.Position == at {
			endNS = cmp.Or(held.EndNS, endNS)
		}
	}
	return progress{at: at, endNS: endNS}
}

func (w whereabouts) dir() string {
	if w.slot == nil {
		return "none"
	}
	return w.slot.place.Dir
}

// leave ends the file that a feed writes to.
func (v *volume) leave(f *feed) {
	v.mu.Lock()
	l := v.lanes[f]
	v.mu.Unlock()
	if l == nil {
		return
	}
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	v.disk.left = append(v.disk.left, l)
	select {
	case v.disk.wake <- struct{}{}:
	default:
	}
}

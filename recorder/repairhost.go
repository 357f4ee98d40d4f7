package recorder

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/media"
)

const (
	// goneAfter is how long a disk is gone or hangs before what it held counts as lacking:
	// a cable that was pulled and put back must not copy a whole disk.
	goneAfter = time.Minute
	// putPatience is how long a disk may be at one write before repair goes elsewhere.
	putPatience = 10 * time.Second
)

// errDisk is wrapped where a disk did not take what was copied.
var errDisk = errors.New("the disk does not take it")

// repairShelf is the recorder's side of repair. Of the copying goroutine.
type repairShelf struct {
	r *Recorder
	// lanes are the ways of what is copied to the disks: files of their own.
	lanes map[laneKey]*lane
	moves map[string]motion
	// oldest is where what no lock keeps begins, of each camera on each disk.
	oldest map[slotKey]oldest
}

func newRepairShelf(r *Recorder) *repairShelf {
	return &repairShelf{r: r, lanes: map[laneKey]*lane{}, moves: map[string]motion{}, oldest: map[slotKey]oldest{}}
}

type slotKey struct {
	slot   *slot
	camera string
}

type laneKey struct {
	vol    *volume
	camera string
}

// volumes are those that can be asked now; false: what is held cannot be told.
func (h *repairShelf) volumes() (out volumes, ok bool) {
	for _, s := range h.r.slots {
		state, _, since := s.status()
		away := state == diskGone || state == diskHung
		switch v := s.serving(); {
		case away && h.r.opts.Clock.Now().Sub(since) < goneAfter:
			return nil, false
		case away:
		case v == nil || v.index.err() != nil:
			return nil, false
		default:
			out = append(out, v)
		}
	}
	return out, len(out) > 0
}

// oldest is where the footage of a camera on a disk begins that no lock keeps, as found
// with what is in set, when the oldest of all began at startNS.
type oldest struct {
	set       lock.Set
	startNS   int64
	ns, until int64
}

// oldestFor is how long it is believed.
const oldestFor = 10 * time.Second

// unlockedStart returns the start of the oldest segment of a camera on a disk that no lock
// keeps; the end of all, where locks keep everything.
func (h *repairShelf) unlockedStart(s *slot, camera string, c *index.Camera) int64 {
	set := h.r.locks.current()
	if c.Fragments == 0 || len(set.Active(camera)) == 0 {
		return c.StartNS
	}
	key, now := slotKey{s, camera}, h.r.opts.Clock.Mono()
	if o, ok := h.oldest[key]; ok && o.set.Same(set) && o.startNS == c.StartNS && now < o.until {
		return o.ns
	}
	o := oldest{set: set, startNS: c.StartNS, ns: c.EndNS, until: now + int64(oldestFor)}
	v := s.serving()
	if v == nil || v.index.err() != nil {
		return c.StartNS
	}
	for seg, err := range v.index.store().Segments(camera) {
		if err != nil {
			return c.StartNS
		}
		if seg.Fragments > 0 && !set.Holds(camera, seg.StartNS, seg.EndNS) {
			o.ns = seg.StartNS
			break
		}
	}
	h.oldest[key] = o
	return o.ns
}

// held returns what is held; StartNS is that of the oldest footage that no lock keeps.
func (h *repairShelf) held() map[string]index.Camera {
	if _, ok := h.volumes(); !ok {
		return nil
	}
	out := map[string]index.Camera{}
	for _, c := range h.r.opts.Cameras {
		out[c.Name] = index.Camera{Name: c.Name}
	}
	for _, s := range h.r.slots {
		for name, c := range s.known() {
			all := out[name]
			if start := h.unlockedStart(s, name, &c.Camera); c.Fragments > 0 && (all.Fragments == 0 || start < all.StartNS) {
				all.StartNS = start
			}
			all.Name, all.EndNS = name, max(all.EndNS, c.EndNS)
			all.Bytes, all.Fragments = all.Bytes+c.Bytes, all.Fragments+c.Fragments
			all.HorizonNS = max(all.HorizonNS, c.HorizonNS)
			out[name] = all
		}
	}
	return out
}

func (h *repairShelf) removals(camera string) (n uint64) {
	for _, s := range h.r.slots {
		if v := s.serving(); v != nil && v.index.err() == nil {
			n += v.index.store().Removals(camera)
		}
	}
	return n
}

// motion is when records of a camera came in last.
type motion struct {
	records uint64
	at      int64 // by the clock that does not step
}

// settled: while records come in, what the proxy has sent, or has said to be lost, up to
// what is durable. A feed that was rewound says nothing before it is durable again. When
// no records come in for a while, everything that is not quite new.
func (h *repairShelf) settled(camera string, have index.Camera) int64 {
	at, linked := have.EndNS, false
	var records uint64
	for _, f := range h.r.allFeeds() {
		if f.camera != camera {
			continue
		}
		n := f.counts.records.Load()
		records += n
		if !f.counts.linked.Load() {
			continue
		}
		if durable, endNS := f.state(); n > 0 || !durable.IsZero() {
			at, linked = min(at, endNS), true
		}
	}
	now := h.r.opts.Clock.Mono()
	m, ok := h.moves[camera]
	if !ok || m.records != records {
		m = motion{records, now}
		h.moves[camera] = m
	}
	if idle := now-m.at >= int64(idleAfter); idle {
		return max(have.EndNS, h.r.opts.Clock.Now().Add(-idleAfter).UnixNano())
	}
	if !linked {
		return have.EndNS
	}
	return at
}

func (h *repairShelf) rule(camera string) copyRule {
	c := copyRule{keep: h.r.opts.retention(camera), locks: h.r.locks.current()}
	if s := h.target(camera); s != nil {
		c.pressed = s.pressed()
	}
	for _, s := range h.r.slots {
		if v := s.serving(); v != nil {
			c.since = max(c.since, v.adopt.since(camera))
		}
	}
	if i := slices.IndexFunc(h.r.opts.Cameras, func(c Camera) bool { return c.Name == camera }); i >= 0 {
		c.placed, c.spare = true, h.r.opts.Cameras[i].Spare
	}
	return c
}

// target returns the disk that a camera's copied fragments go to: where its newest
// footage is, if that one is well; nil: none is.
func (h *repairShelf) target(camera string) *slot {
	var best *slot
	var newest int64
	for _, s := range h.r.slots {
		v := s.serving()
		if v == nil || v.index.err() != nil {
			continue
		}
		if state, _, _ := s.status(); state != diskGood && state != diskSlow {
			continue
		}
		if end := s.known()[camera].EndNS; best == nil || end > newest {
			best, newest = s, end
		}
	}
	return best
}

// pressed reports whether retention deletes for want of room, or is about to.
func (s *slot) pressed() bool { return s.left() < 0 }

// left returns how many bytes may come before retention deletes for want of room, but for
// a little; negative: it does.
func (s *slot) left() int64 {
	out := int64(math.MaxInt64)
	if q := s.place.Quota; q > 0 {
		var used int64
		for _, c := range s.known() {
			used += c.Bytes
		}
		if v := s.serving(); v != nil {
			used += int64(v.adopt.status().GetBytes() - v.adopt.status().GetBytesDone())
		}
		out = q - q/32 - used
	}
	if v := s.serving(); v != nil {
		if u := v.disk.room.Load(); u != nil {
			least := v.minFree(u)
			out = min(out, int64(u.AvailBytes)-least-least/32)
		}
	}
	return out
}

func (h *repairShelf) room(camera string) (disk any, bytes, evidence int64) {
	s := h.target(camera)
	if s == nil {
		return nil, 0, 0
	}
	evidence = math.MaxInt64
	if v := s.serving(); v != nil {
		if most := v.lockable(); most > 0 {
			evidence = most - v.locked.Load()
		}
	}
	return s, max(s.left(), 0), evidence
}

func (h *repairShelf) ageNow(newestNS int64) int64 {
	return ageNow(h.r.opts.Clock.Now().UnixNano(), h.r.steadyNow(), newestNS)
}

var errNoVolume = errors.New("no disk can tell what it holds")

func (h *repairShelf) digests(camera string, fromNS, toNS int64) ([]index.Digest, error) {
	vols, ok := h.volumes()
	if !ok {
		return nil, errNoVolume
	}
	return vols.digests(camera, fromNS, toNS)
}

func (h *repairShelf) list(camera string, fromNS, toNS int64) ([]index.Ref, error) {
	vols, ok := h.volumes()
	if !ok {
		return nil, errNoVolume
	}
	var out []index.Ref
	for m, err := range vols.fragments(camera, fromNS, toNS) {
		if err != nil {
			return nil, err
		}
		out = append(out, m.Ref)
	}
	return out, nil
}

func (h *repairShelf) header(camera string, hash media.Hash) ([]byte, error) {
	vols, ok := h.volumes()
	if !ok {
		return nil, errNoVolume
	}
	return vols.init(camera, hash)
}

func (h *repairShelf) blocked(camera string) string {
	s := h.target(camera)
	if s == nil {
		return "no disk is well"
	}
	state, why, _ := s.status()
	if state == diskSlow {
		return "the disk is slow: " + why
	}
	if v := s.serving(); v != nil {
		if err := v.disk.hasRoom(); err != nil {
			return err.Error()
		}
	}
	return ""
}

// lane returns the way of a camera's copied fragments to a volume.
func (h *repairShelf) lane(v *volume, camera string) *lane {
	key := laneKey{v, camera}
	l := h.lanes[key]
	if l == nil {
		f := newFeed(camera, "repair")
		l = &lane{feed: f, free: make(chan *media.Builder, 1)}
		f.attach(l, progress{})
		h.lanes[key] = l
	}
	return l
}

func (h *repairShelf) put(ctx context.Context, fragment *media.Fragment) error {
	camera := fragment.Info.Camera
	s := h.target(camera)
	if s == nil {
		return fmt.Errorf("%w: none is well", errDisk)
	}
	v := s.serving()
	if v == nil {
		return fmt.Errorf("%w: it is gone", errDisk)
	}
	l := h.lane(v, camera)
	fin := &finished{lane: l, fragment: fragment, generation: l.feed.current(), once: true}
	t := time.NewTimer(putPatience)
	defer t.Stop()
	select {
	case v.disk.repairs <- fin:
	case <-v.disk.ended:
		return fmt.Errorf("%w: it is gone", errDisk)
	case <-t.C:
		return fmt.Errorf("%w: it is busy", errDisk)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-l.free:
		return fin.err
	case <-t.C:
		delete(h.lanes, laneKey{v, camera}) // what is stuck stays with it
		return fmt.Errorf("%w: it hangs", errDisk)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *repairShelf) settle(ctx context.Context, camera string) {
	t := time.NewTimer(putPatience)
	defer t.Stop()
	for key, l := range h.lanes {
		d := key.vol.disk
		select {
		case <-d.ended:
			delete(h.lanes, key)
			continue
		default:
		}
		if key.camera != camera {
			continue
		}
		d.mu.Lock()
		if l.seg != nil {
			l.seg.sealed, l.seg = true, nil
		}
		d.mu.Unlock()
		// The commit that is under way may have begun before the last write.
		for want := d.commits.Load() + 2; d.commits.Load() < want; {
			select {
			case <-d.committed:
			case <-d.ended:
				want = 0
			case <-t.C:
				return
			case <-ctx.Done():
				return
			}
		}
	}
	for _, s := range h.r.slots {
		if v := s.serving(); v != nil {
			s.refresh(v)
		}
	}
}

package recorder

import (
	"cmp"
	"slices"
	"time"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/media"
)

// Repair is planned by pure functions on sorted lists: what the others hold and this
// recorder does not, and in which order it is copied.

// lacking is a fragment that others hold and this recorder does not, or only a worse
// copy of it.
type lacking struct {
	info media.Info
	// sources are the indices of the lists that have it, ascending.
	sources []int
}

// difference returns what own lacks of what the others hold, and how many fragments
// contradict each other: the same records with other bytes, which copying cannot mend.
// All lists are of one camera, sorted by index.Compare, without repetition.
func difference(own []index.Ref, others [][]index.Ref) (out []lacking, conflicts int) {
	at := make([]int, len(others))
	mine := 0
	for {
		var low *index.Ref
		for i, list := range others {
			if at[i] < len(list) && (low == nil || index.Compare(&list[at[i]], low) < 0) {
				low = &list[at[i]]
			}
		}
		if low == nil {
			return out, conflicts
		}
		best := low
		for i, list := range others {
			if at[i] < len(list) && index.Compare(&list[at[i]], low) == 0 && worse(best, &list[at[i]]) {
				best = &list[at[i]]
			}
		}
		for mine < len(own) && index.Compare(&own[mine], low) < 0 {
			mine++
		}
		have := mine < len(own) && index.Compare(&own[mine], low) == 0
		l := lacking{info: best.Info}
		l.info.Flags &^= media.Repaired
		for i, list := range others {
			if at[i] == len(list) || index.Compare(&list[at[i]], low) != 0 {
				continue
			}
			if same(&list[at[i]], best) {
				l.sources = append(l.sources, i)
			}
		}
		switch {
		case !have || worse(&own[mine], best):
			out = append(out, l)
		case !same(&own[mine], best) && !worse(best, &own[mine]):
			conflicts++
		}
		for i, list := range others { // low points into one of them, and stays what it is
			if at[i] < len(list) && index.Compare(&list[at[i]], low) == 0 {
				at[i]++
			}
		}
	}
}

// worse reports whether b is to be had rather than a, a copy of the same fragment: it has
// more records, or as many and an end that was seen.
func worse(a, b *index.Ref) bool {
	if a.End != b.End {
		return a.End < b.End
	}
	return a.Flags&media.Truncated != 0 && b.Flags&media.Truncated == 0
}

func same(a, b *index.Ref) bool { return a.End == b.End && a.Hash == b.Hash }

// arrange puts what is lacking into the order in which it is copied: the fragments of
// one file one after the other, the files newest or oldest first.
func arrange(list []lacking, newest bool) {
	slices.SortStableFunc(list, func(a, b lacking) int {
		byFile := cmp.Or(cmp.Compare(a.info.WindowNS, b.info.WindowNS), a.info.Epoch.Compare(b.info.Epoch))
		if newest {
			byFile = -byFile
		}
		return cmp.Or(byFile, cmp.Compare(a.info.StartNS, b.info.StartNS), cmp.Compare(a.info.First, b.info.First))
	})
}

// copyRule says what of a camera a recorder wants to have.
type copyRule struct {
	// placed: the camera is recorded here. Otherwise only what lies within the footage
	// that is still here is completed.
	placed bool
	// spare: it is recorded here only while its primary does not.
	spare bool
	keep  Retention
	// pressed: what is older than what is held would be deleted at once.
	pressed bool
	// since is where what the disk has to tell begins: what starts before it may be held,
	// though the index does not name it yet. 0: all is told.
	since int64
	locks lock.Set
}

// wanted returns what of a camera is wanted. have is what is held of it, though StartNS is
// that of the oldest footage that no lock keeps. now is the time by which ages are told
// (see ageNow); settled is the time before which nothing is on its way any more.
func (c copyRule) wanted(have index.Camera, now, settled int64) want {
	if c.spare || !c.placed && have.Fragments == 0 {
		return want{}
	}
	w := want{fromNS: max(have.HorizonNS, 0), toNS: settled, locks: c.locks, sinceNS: c.since}
	if c.keep.Age > 0 {
		w.fromNS = max(w.fromNS, now-int64(c.keep.Age))
	}
	full := c.pressed || c.keep.Bytes > 0 && stored(have.Bytes, have.Fragments) >= c.keep.Bytes
	if !c.placed || full && have.Fragments > 0 {
		w.fromNS = max(w.fromNS, have.StartNS)
	}
	if c.placed {
		// No rule deletes what a lock covers, so that no rule speaks against copying it.
		w.locked = c.locks.Active(have.Name)
	} else {
		w.toNS = min(w.toNS, have.EndNS)
	}
	w.fromNS = max(w.fromNS, c.since)
	w.heldNS = have.StartNS
	return w
}

// want is what of a camera a recorder wants to have: what starts in [fromNS, toNS), where
// fromNS may be the later one, and what starts in [sinceNS, toNS) and a lock covers, however
// old it is.
type want struct {
	fromNS, toNS, sinceNS int64
	locks                 lock.Set
	locked                []lock.Lock // of the camera, in force
	// heldNS is the start of the oldest footage that is held and that no lock keeps.
	heldNS int64
}

// has reports whether a fragment is wanted, and whether only because a lock covers it.
func (w *want) has(i *media.Info) (wanted, evidence bool) {
	switch {
	case i.StartNS >= w.toNS || i.StartNS < w.sinceNS:
		return false, false
	case i.StartNS >= w.fromNS:
		return true, false
	}
	covered := slices.ContainsFunc(w.locked, func(l lock.Lock) bool { return l.Overlaps(i.StartNS, i.EndNS) })
	return covered, covered
}

// evidence returns the stretches before fromNS that locks cover.
func (w *want) evidence() []index.Stretch {
	var out []index.Stretch
	for i := range w.locked {
		if from, to := max(w.locked[i].StartNS, w.sinceNS), min(w.locked[i].EndNS, w.fromNS, w.toNS); from < to {
			out = append(out, index.Stretch{StartNS: from, EndNS: to})
		}
	}
	return out
}

// touches reports whether anything that starts in [fromNS, toNS) may be wanted.
func (w *want) touches(fromNS, toNS int64) bool {
	if max(fromNS, w.fromNS) < min(toNS, w.toNS) {
		return true
	}
	return slices.ContainsFunc(w.evidence(), func(x index.Stretch) bool { return fromNS < x.EndNS && x.StartNS < toNS+lockLead })
}

// lockLead is how long before a lock a fragment may begin that reaches into it.
const lockLead = int64(10 * time.Minute)

// differing returns the hours in which the others' digests tell of fragments that own
// may lack, and by how much, at least, theirs is more.
func differing(own, theirs []index.Digest) []index.Digest {
	mine := make(map[int64]*index.Digest, len(own))
	for i := range own {
		mine[own[i].HourNS] = &own[i]
	}
	var out []index.Digest
	for i := range theirs {
		t := theirs[i]
		if o := mine[t.HourNS]; o != nil {
			if o.Equal(&t) {
				continue
			}
			t.Fragments, t.Bytes = max(t.Fragments-o.Fragments, 0), max(t.Bytes-o.Bytes, 0)
		}
		out = append(out, t)
	}
	return out
}

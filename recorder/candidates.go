package recorder

import (
	"cmp"
	"slices"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/record"
)

// candidates picks the segments of a camera that may go. It is given them oldest first,
// and says when it has seen enough.
type candidates struct {
	camera string
	locks  lock.Set
	// live reports whether a file is being written.
	live func(path string) bool
	// sole reports whether this is the only copy of a segment; nil: it makes no
	// difference, since there is no pressure.
	sole func(seg *index.Segment) bool
	// want is how many are looked for.
	want int

	oldest []heldSegment
	plain  int // of oldest, those that are not sole
}

// take considers a segment, and reports whether to go on.
func (c *candidates) take(seg *index.Segment) (more bool) {
	if c.live(seg.Path) || c.locks.Holds(c.camera, seg.StartNS, seg.EndNS) {
		return true
	}
	h := heldSegment{
		path: seg.Path, startNS: seg.StartNS, endNS: seg.EndNS, bytes: stored(seg.Bytes, seg.Fragments), fragments: seg.Fragments,
	}
	h.sole = c.sole != nil && c.sole(seg)
	switch {
	case !h.sole:
		c.plain++
	case len(c.oldest)-c.plain >= c.want:
		return true // enough of these
	}
	c.oldest = append(c.oldest, h)
	return c.plain < c.want
}

// footage is what another recorder holds durably of a camera, by start.
type footage []index.Span

// covers reports whether all of [startNS, endNS) of the epoch that mine has is theirs too.
func (theirs footage) covers(mine footage, epoch record.Epoch, startNS, endNS int64) bool {
	for i := range mine {
		m := &mine[i]
		if m.StartNS >= endNS {
			break
		}
		from, to := max(m.StartNS, startNS), min(m.EndNS, endNS)
		if m.Epoch != epoch || from >= to {
			continue
		}
		if !theirs.has(epoch, from, to) {
			return false
		}
	}
	return true
}

// has reports whether one span of the epoch covers [startNS, endNS).
func (theirs footage) has(epoch record.Epoch, startNS, endNS int64) bool {
	// Spans may overlap (two epochs at once), so the first that starts later is only
	// where to begin to look back.
	n, _ := slices.BinarySearchFunc(theirs, startNS, func(s index.Span, at int64) int {
		return cmp.Or(cmp.Compare(s.StartNS, at), -1)
	})
	for i := n - 1; i >= 0; i-- {
		s := &theirs[i]
		if s.Epoch == epoch {
			return s.EndNS >= endNS
		}
	}
	return false
}

// soleCopy reports whether nobody else holds all of a segment, while somebody holds older
// footage of the camera: what is older than all that another recorder holds, that one
// let go of by its own rules, and it is no more precious than what both have.
func soleCopy(seg *index.Segment, mine footage, others []footage) bool {
	name, ok := parseSegmentPath(seg.Path)
	if !ok {
		return false
	}
	lacked := false
	for _, o := range others {
		switch {
		case len(o) == 0 || o[0].StartNS >= seg.StartNS:
		case o.covers(mine, name.epoch, seg.StartNS, seg.EndNS):
			return false
		default:
			lacked = true
		}
	}
	return lacked
}

// stored estimates what fragments take of a disk, with what describes them: bytes are
// moof and mdat.
func stored(bytes, fragments int64) int64 { return bytes + fragments*boxBytes }

// boxBytes is the size of the box before a fragment, but for the letters of its camera's
// name and the like.
const boxBytes = 256

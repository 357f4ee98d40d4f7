package recorder

import (
	"cmp"
	"slices"
	"time"
)

// Retention is a pure machine: it is told what there is and says what goes. It knows
// only segments that may go (see candidates): those that are complete and that no lock
// covers. The others count, and stay.

// held is what a recorder holds of one camera.
type held struct {
	camera string
	rule   Retention
	// bytes of all its segments, the open and the locked ones included.
	bytes int64
	// oldest are its oldest segments that may go, oldest first. It may be a part of them.
	oldest []heldSegment
}

// due reports whether the camera's own rule may ask for something to go, where its
// oldest footage starts at startNS.
func (h *held) due(startNS, now int64) bool {
	return h.rule.Age > 0 && startNS < now-int64(h.rule.Age) || h.rule.Bytes > 0 && h.bytes > h.rule.Bytes
}

type heldSegment struct {
	path string
	// startNS and endNS are the capture times it covers, Unix ns.
	startNS, endNS int64
	bytes          int64
	fragments      int64
	// sole: another recorder keeps older footage of the camera, but not all of this.
	sole bool
}

// diskRoom is what there is to share.
type diskRoom struct {
	quota   int64 // of this recorder; 0: none
	minFree int64
	free    int64 // of the file system; negative: unknown
}

// The causes for which a segment goes.
const (
	goesAge     = "age"
	goesBytes   = "bytes"
	goesQuota   = "quota"
	goesMinFree = "min_free"
)

type doomed struct {
	camera string
	heldSegment
	cause string
}

// expire returns up to limit segments that have to go, in the order in which they go:
// first what is too old or too much of one camera, oldest first; then what the recorder
// as a whole has no room for, the oldest of all cameras first, and those of which this
// is the only copy (sole) after all others. now is the time by which ages are told (see
// ageNow), Unix ns.
func expire(now int64, cameras []held, room diskRoom, limit int) []doomed {
	var out, rest []doomed
	var total int64
	free := room.free
	take := func(d doomed, cause string) {
		total -= d.bytes
		free += d.bytes
		d.cause = cause
		out = append(out, d)
	}
	for _, c := range cameras {
		total += c.bytes
	}
	for _, c := range cameras {
		left := c.bytes
		for i, s := range c.oldest {
			d := doomed{camera: c.camera, heldSegment: s}
			cause := ""
			switch {
			case c.rule.Age > 0 && s.endNS < now-int64(c.rule.Age):
				cause = goesAge
			case c.rule.Bytes > 0 && left > c.rule.Bytes:
				cause = goesBytes
			}
			if cause == "" || len(out) == limit {
				for _, s := range c.oldest[i:] {
					rest = append(rest, doomed{camera: c.camera, heldSegment: s})
				}
				break
			}
			left -= s.bytes
			take(d, cause)
		}
	}
	slices.SortStableFunc(rest, func(a, b doomed) int {
		if a.sole != b.sole {
			if b.sole {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.startNS, b.startNS)
	})
	for _, d := range rest {
		if len(out) == limit {
			break
		}
		cause := room.pressure(total, free)
		if cause == "" {
			break
		}
		take(d, cause)
	}
	return out
}

// pressure says what there is too little of; empty: nothing.
func (r diskRoom) pressure(used, free int64) string {
	switch {
	case r.quota > 0 && used > r.quota:
		return goesQuota
	case r.free >= 0 && free < r.minFree:
		return goesMinFree
	}
	return ""
}

// ageNow returns the time by which ages are told. A wall clock that steps forward must
// not delete an archive, so now counts only as far as something else agrees with it:
// the clock that never steps, counted from the start of the process (steady), or the
// capture time of the newest footage, which a proxy stamped. All Unix ns.
func ageNow(now, steady, newest int64) int64 {
	return min(now, max(steady, newest)+int64(time.Minute))
}

package recorder

import (
	"time"
)

// Retention is a pure machine: it is told what there is and says what goes. It knows
// only segments that are complete; the one that is being written counts, and stays.

// held is what a recorder holds of one camera.
type held struct {
	camera string
	rule   Retention
	// bytes of all its segments, the open ones included.
	bytes int64
	// oldest are its oldest complete segments, oldest first. It may be a part of them.
	oldest []heldSegment
}

type heldSegment struct {
	path string
	// startNS and endNS are the capture times it covers, Unix ns.
	startNS, endNS int64
	bytes          int64
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
// first what is too old or too much of one camera, then what the recorder as a whole
// has no room for, the oldest of all cameras first. now is the time by which ages are
// told (see ageNow), Unix ns.
func expire(now int64, cameras []held, room diskRoom, limit int) []doomed {
	var out []doomed
	next := make([]int, len(cameras)) // the first segment of each that stays
	left := make([]int64, len(cameras))
	var total int64
	free := room.free
	take := func(i int, cause string) {
		s := cameras[i].oldest[next[i]]
		next[i]++
		left[i] -= s.bytes
		total -= s.bytes
		free += s.bytes
		out = append(out, doomed{cameras[i].camera, s, cause})
	}
	for i, c := range cameras {
		left[i] = c.bytes
		total += c.bytes
	}
	for i, c := range cameras {
		for next[i] < len(c.oldest) && len(out) < limit {
			s := c.oldest[next[i]]
			switch {
			case c.rule.Age > 0 && s.endNS < now-int64(c.rule.Age):
				take(i, goesAge)
				continue
			case c.rule.Bytes > 0 && left[i] > c.rule.Bytes:
				take(i, goesBytes)
				continue
			}
			break
		}
	}
	for len(out) < limit {
		cause := ""
		switch {
		case room.quota > 0 && total > room.quota:
			cause = goesQuota
		case room.free >= 0 && free < room.minFree:
			cause = goesMinFree
		default:
			return out
		}
		oldest := -1
		for i, c := range cameras {
			if next[i] < len(c.oldest) && (oldest < 0 ||
				c.oldest[next[i]].startNS < cameras[oldest].oldest[next[oldest]].startNS) {
				oldest = i
			}
		}
		if oldest < 0 {
			return out
		}
		take(oldest, cause)
	}
	return out
}

// ageNow returns the time by which ages are told. A wall clock that steps forward must
// not delete an archive, so now counts only as far as something else agrees with it:
// the clock that never steps, counted from the start of the process (steady), or the
// capture time of the newest footage, which a proxy stamped. All Unix ns.
func ageNow(now, steady, newest int64) int64 {
	return min(now, max(steady, newest)+int64(time.Minute))
}

package index

import (
	"math"
	"slices"
	"time"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Source is what one recorder answered about a camera.
type Source struct {
	// Name is the recorder's.
	Name string
	// Spans are those that overlap the range, and the nearest one on either side:
	// they tell why footage is missing at the edges. In any order.
	Spans []Span
	// Damaged are stretches of which its copy is damaged.
	Damaged []Stretch
	// HorizonNS is how far its retention has come (Camera.HorizonNS).
	HorizonNS int64
	// Unknown: the recorder did not answer, or not for all that it has; it may hold
	// anything that starts before UnknownBeforeNS; 0: anything.
	Unknown         bool
	UnknownBeforeNS int64
}

// Query says what a timeline is asked for. All times are Unix ns.
type Query struct {
	StartNS, EndNS int64
	NowNS          int64
	// LiveNS is an instant a few seconds ago: when the newest footage ends at it or
	// later the camera is being recorded, and what is missing since is not a gap but
	// still to come. math.MaxInt64 says that the camera is not being recorded.
	LiveNS int64
	// OpenCause is the cause of a gap that goes on until now; empty means
	// media.CauseConnection.
	OpenCause media.Cause
	// Locked are the stretches that no retention deletes from. In any order.
	Locked []Stretch
}

// TimelineSpan is a stretch that the same recorders hold without a missing record.
type TimelineSpan struct {
	StartNS, EndNS int64
	Epoch          record.Epoch
	// Recorders are the names of those that hold it, in the order of the sources.
	// Shared between spans; must not be modified.
	Recorders []string
}

// Gap is a stretch that no recorder holds.
type Gap struct {
	StartNS, EndNS int64
	Cause          media.Cause
}

// UnknownStretch is a stretch that no recorder which answered holds, while those named
// did not answer.
type UnknownStretch struct {
	StartNS, EndNS int64
	Recorders      []string
}

// Result is a merged timeline. Every instant of the range is in spans, or in exactly
// one gap or unknown stretch, or at or after FutureNS. Each list is sorted; spans of
// different epochs may overlap, where two proxies pulled the camera at once.
type Result struct {
	Spans   []TimelineSpan
	Gaps    []Gap
	Unknown []UnknownStretch
	// FutureNS is where the part of the range begins that is not recorded yet; the
	// end of the range when there is none.
	FutureNS int64
}

// sinceSlack is how much earlier than its session the footage of a camera may end
// without that records are missing: a session is lost only when it is found to be, and
// the last pictures may not have been complete.
const sinceSlack = int64(15 * time.Second)

// Timeline merges what recorders answered about a camera. Pure.
//
// Within an epoch it counts offsets, not time: what is missing there was never
// recorded by anybody. Between epochs it believes what the later one says about the
// session before.
func Timeline(sources []Source, q Query) Result {
	if q.EndNS <= q.StartNS {
		return Result{FutureNS: q.EndNS}
	}
	runs := union(sources)
	t := timeline{q: q, runs: runs, knownNS: math.MinInt64, res: Result{FutureNS: future(runs, q)}}
	for _, s := range sources {
		if s.Unknown {
			if s.UnknownBeforeNS == 0 {
				s.UnknownBeforeNS = math.MaxInt64
			}
			t.silent = append(t.silent, silence{s.Name, s.UnknownBeforeNS})
		}
	}
	t.spans()
	t.holes()
	t.res.Gaps = markDamage(markExpired(t.res.Gaps, sources, q.Locked), sources)
	return t.res
}

// future returns where in the range nothing can be recorded yet.
func future(runs []run, q Query) int64 {
	newest := int64(math.MinInt64)
	for i := range runs {
		newest = max(newest, runs[i].EndNS)
	}
	from := q.NowNS
	switch {
	case len(runs) > 0 && newest >= q.LiveNS:
		from = newest
	case newest > q.NowNS:
		from = newest // a recorder whose clock is ahead
	}
	return min(max(from, q.StartNS), q.EndNS)
}

type timeline struct {
	q      Query
	runs   []run
	silent []silence
	// knownNS is up to where the hole at hand is unknown.
	knownNS int64
	res     Result
}

// silence is a recorder that may have anything that starts before untilNS.
type silence struct {
	name    string
	untilNS int64
}

// Doubt says who may have footage of [fromNS, toNS) that they have not told of: in order,
// without a hole, up to where all is told. untilNS[i] is up to where recorder names[i] is
// silent.
func Doubt(fromNS, toNS int64, names []string, untilNS []int64) []UnknownStretch {
	var out []UnknownStretch
	for fromNS < toNS {
		end := toNS
		var who []string
		for i, until := range untilNS {
			if until > fromNS {
				who, end = append(who, names[i]), min(end, until)
			}
		}
		if len(who) == 0 {
			break
		}
		out = append(out, UnknownStretch{StartNS: fromNS, EndNS: end, Recorders: who})
		fromNS = end
	}
	return out
}

// spans takes over what is held within the range.
func (t *timeline) spans() {
	for i := range t.runs {
		r := &t.runs[i]
		for _, p := range r.pieces {
			p.StartNS, p.EndNS = max(p.StartNS, t.q.StartNS), min(p.EndNS, t.q.EndNS)
			if p.StartNS < p.EndNS {
				t.res.Spans = append(t.res.Spans, p)
			}
		}
	}
	slices.SortStableFunc(t.res.Spans, func(a, b TimelineSpan) int {
		switch {
		case a.StartNS < b.StartNS:
			return -1
		case a.StartNS > b.StartNS:
			return 1
		}
		return a.Epoch.Compare(b.Epoch)
	})
}

// holes finds what nobody holds: before, between and after the runs.
func (t *timeline) holes() {
	covered := int64(math.MinInt64)
	for i := range t.runs {
		r := &t.runs[i]
		if r.StartNS > covered {
			t.hole(covered, r.StartNS, r)
		}
		covered = max(covered, r.EndNS)
	}
	if covered < t.res.FutureNS {
		t.hole(covered, t.res.FutureNS, nil)
	}
}

// hole reports [from, to), which nobody holds and which ends at next; from is
// math.MinInt64 where no footage is older.
func (t *timeline) hole(from, to int64, next *run) {
	if start, end, ok := t.clip(from, to); ok && len(t.silent) > 0 {
		names, until := make([]string, len(t.silent)), make([]int64, len(t.silent))
		for i, s := range t.silent {
			names[i], until[i] = s.name, s.untilNS
		}
		doubt := Doubt(start, end, names, until)
		t.res.Unknown = append(t.res.Unknown, doubt...)
		if n := len(doubt); n > 0 {
			t.knownNS = doubt[n-1].EndNS // what is behind is a gap all the same
			defer func() { t.knownNS = math.MinInt64 }()
		}
	}
	oldest := from == math.MinInt64
	switch {
	case next == nil && oldest:
		t.gap(from, to, media.CauseStart)
	case next == nil:
		cause := t.q.OpenCause
		if cause == "" {
			cause = media.CauseConnection
		}
		t.gap(from, to, cause)
	case !next.firstHeld: // an earlier part of its epoch is held
		t.gap(from, to, media.CauseBehind)
	case oldest:
		t.beginning(to, next)
	default:
		began := to
		if next.First > 0 {
			// Its first records are held by nobody: from when the epoch began.
			began = min(max(next.Epoch.Time().UnixNano(), from), to)
		}
		t.between(from, began, next)
		t.gap(began, to, media.CauseBehind)
	}
}

// beginning reports what is before the oldest footage, which is that of next.
func (t *timeline) beginning(to int64, next *run) {
	switch {
	case next.First > 0:
		t.gap(math.MinInt64, to, media.CauseRetention)
	case next.Since == media.CauseStart || next.Since == "":
		t.gap(math.MinInt64, to, media.CauseStart)
	case next.SinceNS > 0 && next.SinceNS <= to:
		t.gap(math.MinInt64, next.SinceNS, media.CauseRetention)
		t.gap(next.SinceNS, to, next.Since)
	default:
		t.gap(math.MinInt64, to, media.CauseRetention)
	}
}

// between reports what is between footage that ends at from and the epoch of next,
// which begins at to. Where the session before ended well after from there were
// records that nobody holds.
func (t *timeline) between(from, to int64, next *run) {
	lost := from
	if next.SinceNS > satAdd(from, sinceSlack) && next.SinceNS <= to {
		lost = next.SinceNS
	}
	t.gap(from, lost, media.CauseBehind)
	cause := next.Since
	switch cause {
	case "":
		cause = media.CauseConnection
	case media.CauseStart: // the first session of a proxy, and there was one before
		cause = media.CauseProxy
	}
	t.gap(lost, to, cause)
}

// gap adds a gap, or makes the last one longer.
func (t *timeline) gap(from, to int64, cause media.Cause) {
	from, to, ok := t.clip(from, to)
	if !ok {
		return
	}
	if n := len(t.res.Gaps); n > 0 && t.res.Gaps[n-1].EndNS == from && t.res.Gaps[n-1].Cause == cause {
		t.res.Gaps[n-1].EndNS = to
		return
	}
	t.res.Gaps = append(t.res.Gaps, Gap{StartNS: from, EndNS: to, Cause: cause})
}

// clip returns the part of [from, to) that is asked for and past.
func (t *timeline) clip(from, to int64) (int64, int64, bool) {
	from, to = max(from, t.q.StartNS, t.knownNS), min(to, t.res.FutureNS)
	return from, to, from < to
}

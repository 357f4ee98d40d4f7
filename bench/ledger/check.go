package ledger

import (
	"fmt"
	"slices"
	"time"
)

// AccessUnit is one access unit of a recording, as a reader found it.
type AccessUnit struct {
	// Track is an index into the ledger's tracks.
	Track int
	Hash  Hash
	// Size in bytes, in the form that was hashed.
	Size int
	// Mark is valid when Marked is set.
	Mark   Mark
	Marked bool
	Key    bool
	// CaptureNS is its capture time by the recording, Unix ns; 0 when that is not known.
	CaptureNS int64
	// Preroll: it is there to be decoded and not to be shown (before the start of the
	// edit list). It must be genuine and is otherwise not counted.
	Preroll bool
}

// Gap is a stretch that a recording says it lacks. Unix ns, end exclusive.
type Gap struct {
	StartNS, EndNS int64
	Cause          string
}

// Options say what a recording has to be compared with.
type Options struct {
	// FromNS and ToNS bound what was asked for, Unix ns. Everything that the camera
	// produced between them must be there or lie in a gap. 0: from the first, up to the
	// last access unit that the recording has, so that a loss at the ends is not seen.
	FromNS, ToNS int64
	// Gaps are the gaps that were reported for it.
	Gaps []Gap
	// Tolerance bounds how far capture times may be from the ledger's times of sending.
	// Default 200 ms.
	Tolerance time.Duration
	// Tracks are the tracks to look at; nil: all of the ledger.
	Tracks []int
}

// Check compares the access units of a recording, in the order in which it has them,
// with the ledger.
func Check(l *Ledger, got []AccessUnit, o Options) *Report {
	if o.Tolerance == 0 {
		o.Tolerance = 200 * time.Millisecond
	}
	if o.Tracks == nil {
		for i := range l.Tracks {
			o.Tracks = append(o.Tracks, i)
		}
	}
	r := &Report{Camera: l.Camera, Tracks: make([]TrackReport, len(l.Tracks))}
	seen := make([][]bool, len(l.Tracks))
	for i := range l.Tracks {
		r.Tracks[i].Codec = l.Tracks[i].Codec
		if !slices.Contains(o.Tracks, i) {
			continue
		}
		c := trackCheck{l: l, o: &o, r: r, track: i, seen: make([]bool, len(l.Entries[i])), hidden: make([]bool, len(l.Entries[i]))}
		c.run(got)
		seen[i] = c.seen
	}
	for _, a := range got {
		if a.Track < 0 || a.Track >= len(l.Tracks) {
			r.fault(Fault{Kind: Extra, Track: a.Track, Detail: "a track that the camera does not have"})
		}
	}
	checkGaps(l, seen, &o, r)
	return r
}

// trackCheck is the comparison of one track.
type trackCheck struct {
	l       *Ledger
	o       *Options
	r       *Report
	track   int
	seen    []bool // by index into the entries
	hidden  []bool // there, outside the range by its capture time, and not shown
	byHash  map[Hash][]int
	excused map[int]bool
	last    int // the highest index seen, -1 before the first
	first   int // the lowest index seen, -1: none; set when all have been seen
}

func (c *trackCheck) run(got []AccessUnit) {
	c.last = -1
	c.excused = make(map[int]bool)
	if c.l.Unmarked {
		c.byHash = make(map[Hash][]int)
		for i := range c.entries() {
			h := c.entries()[i].Hash
			c.byHash[h] = append(c.byHash[h], i)
		}
	}
	for i := range got {
		if got[i].Track == c.track {
			c.unit(&got[i])
		}
	}
	c.missing()
}

func (c *trackCheck) entries() []Entry { return c.l.Entries[c.track] }

func (c *trackCheck) fault(k Kind, number uint64, detail string) {
	c.r.fault(Fault{Kind: k, Track: c.track, Codec: c.l.Tracks[c.track].Codec, First: number, Last: number, Detail: detail})
}

func (c *trackCheck) unit(a *AccessUnit) {
	t := &c.r.Tracks[c.track]
	t.Got++
	i, ok := c.identify(a)
	if !ok {
		return
	}
	e := &c.entries()[i]
	if a.Hash != e.Hash {
		if e.Lost == 0 {
			c.fault(Altered, e.Number, fmt.Sprintf("%d bytes, sent were %d", a.Size, e.Size))
		} else {
			t.Damaged++
		}
	}
	if a.Preroll {
		t.Preroll++
		c.hidden[i] = c.hidden[i] || a.CaptureNS != 0 && !c.o.asked(a.CaptureNS)
		return
	}
	switch {
	case c.seen[i]:
		c.fault(Repeated, e.Number, "")
		return
	case i < c.last:
		c.fault(Reordered, e.Number, fmt.Sprintf("after %d", c.entries()[c.last].Number))
	}
	c.seen[i] = true
	c.last = max(c.last, i)
	if a.CaptureNS != 0 {
		t.skew(a.CaptureNS - e.AtNS)
	}
	tol := int64(c.o.Tolerance)
	early := c.o.FromNS != 0 && e.AtNS < c.o.FromNS-tol
	late := c.o.ToNS != 0 && e.AtNS > c.o.ToNS+tol
	if (early || late) && (a.CaptureNS == 0 || !c.o.asked(a.CaptureNS)) {
		c.fault(Outside, e.Number, "sent "+clockTime(e.AtNS))
	}
}

// identify returns the index of the entry that a claims to be.
func (c *trackCheck) identify(a *AccessUnit) (int, bool) {
	if c.l.Unmarked {
		list := c.byHash[a.Hash]
		if len(list) == 0 {
			c.fault(Extra, 0, fmt.Sprintf("%d bytes that the camera never sent, after number %s", a.Size, c.lastNumber()))
			return 0, false
		}
		// Equal access units may occur: take the next one that could stand here.
		for _, i := range list {
			if i > c.last {
				return i, true
			}
		}
		for _, i := range list {
			if !c.seen[i] {
				return i, true
			}
		}
		return list[len(list)-1], true
	}
	if !a.Marked {
		if c.excuse() {
			return 0, false
		}
		c.fault(Extra, 0, fmt.Sprintf("%d bytes without a mark, after number %s", a.Size, c.lastNumber()))
		return 0, false
	}
	if codec := c.l.Tracks[c.track].Codec; !a.Mark.Matches(codec, c.l.Camera) {
		c.fault(Extra, a.Mark.Number, "of another camera")
		return 0, false
	}
	if c.l.Find(c.track, a.Mark.Number) == nil {
		c.fault(Extra, a.Mark.Number, "not in the ledger")
		return 0, false
	}
	return int(a.Mark.Number - c.entries()[0].Number), true
}

// excuse reports whether an access unit without a mark may be what is left of one of
// which the camera withheld the packet with the mark. Each one excuses once.
func (c *trackCheck) excuse() bool {
	const near = 10
	for i := c.last + 1; i < len(c.entries()) && i <= c.last+near; i++ {
		if c.entries()[i].Lost > 0 && !c.excused[i] {
			c.excused[i] = true
			return true
		}
	}
	return false
}

func (c *trackCheck) lastNumber() string {
	if c.last < 0 {
		return "none"
	}
	return fmt.Sprint(c.entries()[c.last].Number)
}

// expected reports whether the i-th entry has to be there or in a gap.
func (c *trackCheck) expected(i int) bool {
	at, tol := c.entries()[i].AtNS, int64(c.o.Tolerance)
	if c.o.FromNS == 0 {
		if c.first < 0 || i < c.first {
			return false
		}
	} else if at < c.o.FromNS+tol {
		return false
	}
	if c.o.ToNS == 0 {
		return i <= c.last
	}
	return at <= c.o.ToNS-tol
}

func (c *trackCheck) missing() {
	t := &c.r.Tracks[c.track]
	c.first = slices.Index(c.seen, true)
	if c.first < 0 && (c.o.FromNS == 0 || c.o.ToNS == 0) && len(c.entries()) > 0 {
		c.fault(Missing, c.entries()[0].Number, "and all others: the recording has nothing of the track")
		return
	}
	for i := range c.entries() {
		e := &c.entries()[i]
		if c.seen[i] {
			t.Matched++
			continue
		}
		if !c.expected(i) || c.hidden[i] {
			continue
		}
		switch {
		case c.o.covers(e.AtNS):
			t.InGaps++
		case e.Lost > 0:
			t.Damaged++
		default:
			c.fault(Missing, e.Number, "sent "+clockTime(e.AtNS))
		}
	}
}

// asked reports whether a capture time is in the range that was asked for. A camera on a
// loaded machine may send long after that.
func (o *Options) asked(captureNS int64) bool {
	return (o.FromNS == 0 || captureNS >= o.FromNS) && (o.ToNS == 0 || captureNS < o.ToNS)
}

// covers reports whether a gap, give or take the tolerance, covers the instant.
func (o *Options) covers(ns int64) bool {
	tol := int64(o.Tolerance)
	for _, g := range o.Gaps {
		if ns >= g.StartNS-tol && ns < g.EndNS+tol {
			return true
		}
	}
	return false
}

// checkGaps looks for gaps that are not there: nothing is missing in them, or something
// that they are said to lack was found.
func checkGaps(l *Ledger, seen [][]bool, o *Options, r *Report) {
	tol := int64(o.Tolerance)
	for _, g := range o.Gaps {
		missing, inside := 0, 0
		lived := false
		for _, t := range o.Tracks {
			entries := l.Entries[t]
			if len(entries) == 0 {
				continue
			}
			// A gap from before the camera's first access unit, or after its last one,
			// or outside what was asked for, is not for the ledger to judge.
			lo, hi := entries[0].AtNS, entries[len(entries)-1].AtNS
			if o.FromNS != 0 {
				lo = max(lo, o.FromNS)
			}
			if o.ToNS != 0 {
				hi = min(hi, o.ToNS)
			}
			if g.EndNS < lo+tol || g.StartNS > hi-tol {
				continue
			}
			lived = true
			for i := range entries {
				at := entries[i].AtNS
				switch {
				case seen[t][i] && at > g.StartNS+tol && at < g.EndNS-tol:
					inside++
				case !seen[t][i] && at >= g.StartNS-tol && at < g.EndNS+tol:
					missing++
				}
			}
		}
		what := fmt.Sprintf("%s – %s (%s)", clockTime(g.StartNS), clockTime(g.EndNS), g.Cause)
		if lived && missing == 0 {
			r.fault(Fault{Kind: Phantom, Track: -1, Detail: what + ": nothing is missing there"})
		}
		if inside > 0 {
			r.fault(Fault{Kind: Phantom, Track: -1, Detail: fmt.Sprintf("%s: %d access units of it are there", what, inside)})
		}
	}
}

func clockTime(ns int64) string { return time.Unix(0, ns).UTC().Format("15:04:05.000") }

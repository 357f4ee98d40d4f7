package ledger

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is a kind of fault.
type Kind string

// The kinds of fault.
const (
	Missing   Kind = "missing"   // neither there nor in a reported gap
	Extra     Kind = "extra"     // the camera never sent it
	Repeated  Kind = "repeated"  // there more than once
	Reordered Kind = "reordered" // after one that was sent later
	Altered   Kind = "altered"   // its bytes are not those that were sent
	Outside   Kind = "outside"   // outside what was asked for
	Phantom   Kind = "phantom"   // a reported gap that is none
)

// Fault is something that must not be, for a run of consecutive numbers.
type Fault struct {
	Kind        Kind
	Track       int // -1: of the whole camera
	Codec       Codec
	First, Last uint64
	// Detail is that of the first number.
	Detail string
}

func (f Fault) String() string {
	if f.Track < 0 {
		return fmt.Sprintf("%s gap: %s", f.Kind, f.Detail)
	}
	s := fmt.Sprintf("track %d %s ", f.Track, f.Codec)
	if f.First == f.Last {
		s += fmt.Sprintf("%d %s", f.First, f.Kind)
	} else {
		s += fmt.Sprintf("%d…%d %s (%d)", f.First, f.Last, f.Kind, f.Last-f.First+1)
	}
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// TrackReport counts what was found of a track.
type TrackReport struct {
	Codec Codec
	// Got counts the access units of the recording, Matched those entries of the ledger
	// that it has.
	Got, Matched int
	// InGaps counts missing ones that lie in a reported gap; Damaged those that are
	// missing or incomplete because the camera withheld packets; Preroll those that are
	// only there to be decoded.
	InGaps, Damaged, Preroll int
	// MinSkewNS and MaxSkewNS bound capture time minus time of sending, where known.
	MinSkewNS, MaxSkewNS int64
	skewKnown            bool
}

func (t *TrackReport) skew(ns int64) {
	if !t.skewKnown {
		t.MinSkewNS, t.MaxSkewNS, t.skewKnown = ns, ns, true
	}
	t.MinSkewNS, t.MaxSkewNS = min(t.MinSkewNS, ns), max(t.MaxSkewNS, ns)
}

// Report is what Check found.
type Report struct {
	Camera string
	Tracks []TrackReport
	Faults []Fault
}

// fault adds f, or lengthens the run that it continues.
func (r *Report) fault(f Fault) {
	if n := len(r.Faults); n > 0 && f.Track >= 0 {
		l := &r.Faults[n-1]
		if l.Kind == f.Kind && l.Track == f.Track && f.First == l.Last+1 {
			l.Last = f.Last
			return
		}
	}
	r.Faults = append(r.Faults, f)
}

// Count returns how many access units (for Phantom: gaps) have a fault of the kind.
func (r *Report) Count(k Kind) int {
	n := 0
	for _, f := range r.Faults {
		if f.Kind == k {
			n += int(f.Last-f.First) + 1
		}
	}
	return n
}

// Err returns nil when nothing is wrong, and otherwise an error that tells everything.
func (r *Report) Err() error {
	if len(r.Faults) == 0 {
		return nil
	}
	return errors.New(r.String())
}

// String tells what was compared and each fault, one a line.
func (r *Report) String() string {
	var b strings.Builder
	for i, t := range r.Tracks {
		fmt.Fprintf(&b, "%s: track %d %s: %d of the recording, %d matched, %d in gaps, %d damaged by the camera, %d pre-roll\n",
			r.Camera, i, t.Codec, t.Got, t.Matched, t.InGaps, t.Damaged, t.Preroll)
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "%s: %s\n", r.Camera, f)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

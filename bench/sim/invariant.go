package sim

import "fmt"

// invariant is one of the things that must hold of a site, numbered as in the design and
// in docs/DURABILITY.md.
type invariant int

const (
	// ackedIsPlayed: what a recorder has acknowledged it holds, and merged playback
	// returns it once, in order, bit by bit.
	ackedIsPlayed invariant = 1 + iota
	// gapsAreReal: nothing is returned that the camera did not send, no gap is hidden,
	// none is made up.
	gapsAreReal
	// sameBytes: two recorders that were fed the same offsets hold the same fragments.
	sameBytes
	// crashCostsNothing: a kill or a power cut at any instant leaves what was
	// acknowledged, and an index that names nothing else.
	crashCostsNothing
	// indexEqualsMedia: an index that is made anew of the media equals the one there is.
	indexEqualsMedia
	// faultsStayApart: what happens to one recorder changes nothing for the camera, the
	// other recorder and live readers.
	faultsStayApart
	// readersSeeOneStream: the same connection, no other SSRC, no time that goes back,
	// through any failure of recorders.
	readersSeeOneStream
	// boundsHold: the proxy's log, and the footage on disks, stay within their bounds.
	boundsHold
	// copiesConverge: when all has healed, both copies come to have the same fragments.
	copiesConverge
	// evidenceStays: retention deletes what its rules name, oldest first, and never what
	// is locked. It has no number in the design.
	evidenceStays
)

var invariants = map[invariant]string{
	ackedIsPlayed: "acknowledged is played", gapsAreReal: "gaps are real", sameBytes: "same bytes",
	crashCostsNothing: "a crash costs nothing", indexEqualsMedia: "the index equals the media",
	faultsStayApart: "faults stay apart", readersSeeOneStream: "readers see one stream", boundsHold: "bounds hold",
	copiesConverge: "copies converge", evidenceStays: "evidence stays",
}

// broken says that, and how, the invariant does not hold.
func (i invariant) broken(format string, a ...any) error {
	return fmt.Errorf("invariant %d (%s): %w", int(i), invariants[i], fmt.Errorf(format, a...))
}

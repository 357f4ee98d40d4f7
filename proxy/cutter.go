package proxy

import (
	"time"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// cutter decides at which access units fragments begin. It is a pure machine: the same
// access units give the same cuts.
type cutter struct {
	minNS, maxNS int64
	reference    int

	begun    bool // the first access unit came by
	beginNS  int64
	started  bool // the epoch has its first record
	lastCut  int64
	storable []bool
}

// slack is the part of fragment.min by which a fragment may be shorter. Capture times follow
// a camera's clock by small changes of rate: of a camera whose GOP is as long as
// fragment.min, every other one would be a little short, and its fragment twice as long.
const slack = 20

// newCutter returns a cutter for an epoch with these tracks. Fragments last at least
// least (less a twentieth), where random access points allow, and at most most.
func newCutter(tracks []media.Track, least, most time.Duration) *cutter {
	c := &cutter{minNS: int64(least - least/slack), maxNS: int64(most), reference: referenceTrack(tracks)}
	for _, t := range tracks {
		c.storable = append(c.storable, t.Kind != media.KindMetadata)
	}
	return c
}

// referenceTrack returns the track whose random access points are cut at: the first
// video that can be stored, or else the first audio, or else the first of all.
func referenceTrack(tracks []media.Track) int {
	for _, kind := range []media.Kind{media.KindVideo, media.KindAudio} {
		for i, t := range tracks {
			if t.Kind == kind && t.Codec.Storable() {
				return i
			}
		}
	}
	for i, t := range tracks {
		if t.Kind == media.KindVideo {
			return i
		}
	}
	return 0
}

// accessUnit is a decided access unit.
type accessUnit struct {
	track                         int
	captureNS                     int64
	randomAccess, openGOP, jumped bool
}

// decide returns the flags of the first record of an access unit. keep is false for
// what comes before the epoch's first cut: it must not be recorded.
func (c *cutter) decide(u accessUnit) (flags record.Flags, keep bool) {
	if !c.begun {
		c.begun, c.beginNS = true, u.captureNS
	}
	flags = record.AccessUnit
	if u.randomAccess {
		flags |= record.RandomAccess
		if u.openGOP {
			flags |= record.OpenGOP
		}
	}
	if u.jumped {
		flags |= record.Discontinuity
	}
	since := c.lastCut
	if !c.started {
		since = c.beginNS
	}
	elapsed := u.captureNS - since
	reference := u.track == c.reference
	switch {
	case reference && u.randomAccess && (!c.started || elapsed >= c.minNS):
		flags |= record.Cut
	// The first access unit from there on is later than all before it: a forced cut is
	// never among B-frames, where decode times would step back from fragment to fragment.
	case reference && elapsed >= c.maxNS,
		// The reference track is silent: another one must keep fragments bounded.
		!reference && c.storable[u.track] && elapsed >= 2*c.maxNS:
		flags |= record.Cut
		if !u.randomAccess || !reference {
			flags |= record.Forced
		}
	}
	if flags.Has(record.Cut) {
		c.started, c.lastCut = true, u.captureNS
	}
	return flags, c.started
}

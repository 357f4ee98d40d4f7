package media

import (
	"encoding/binary"
	"fmt"
)

// Retiming moves a fragment to another place of another presentation.
type Retiming struct {
	// Sequence is the number of the fragment in the presentation, from 1.
	Sequence uint32
	// WindowNS is where the fragment's times count from (Info.WindowNS), BaseNS where
	// those of the presentation do. Neither is negative. BaseNS must not be after the
	// first sample is decoded, less Edit.LeadNS; see Trimmed.FirstNS.
	WindowNS, BaseNS int64
	// Source is the number of the fragment's init header among those that Merged was
	// made of.
	Source int
}

// Retime patches the moof at the start of b in place: sequence number, decode times,
// composition offsets, track IDs and sample descriptions become those of m. The length does not change.
// On an error b is not modified.
func (m *Merged) Retime(b []byte, r Retiming) error {
	moof, _, ok := nextBox(b)
	if !ok || moof.typ != "moof" {
		return fmt.Errorf("%w: no whole moof", ErrMalformed)
	}
	mfhd, ok := findBox(moof.body, "mfhd")
	if !ok || len(mfhd) != 8 {
		return fmt.Errorf("%w: no mfhd", ErrMalformed)
	}
	type patch struct {
		traf
		place Placement
		base  uint64
	}
	be := binary.BigEndian
	var patches [maxTracks]patch
	n := 0
	for rest := moof.body; len(rest) > 0; {
		box, after, ok := nextBox(rest)
		if !ok {
			return fmt.Errorf("%w: a box of moof is not whole", ErrMalformed)
		}
		rest = after
		if box.typ != "traf" {
			continue
		}
		t, err := parseTraf(box.body)
		if err != nil {
			return fmt.Errorf("traf %d: %w", n+1, err)
		}
		id := be.Uint32(t.tfhd[4:])
		place, ok := m.Place(r.Source, id)
		if !ok || n == maxTracks {
			return fmt.Errorf("%w: the header %d has no track %d", ErrMalformed, r.Source, id)
		}
		base := be.Uint64(t.tfdt[4:])
		if base > maxTicks {
			return fmt.Errorf("%w: decode time %d of track %d", ErrMalformed, base, id)
		}
		if r.WindowNS < 0 || r.BaseNS < 0 {
			return fmt.Errorf("times count from %d, to be from %d: negative", r.WindowNS, r.BaseNS)
		}
		moved := int64(base) + shift(r.WindowNS, r.BaseNS, place.Timescale) - int64(place.lead) - place.skip
		if moved < 0 {
			return fmt.Errorf("track %d starts %d ticks before the presentation counts", id, -moved)
		}
		patches[n] = patch{t, place, uint64(moved)}
		n++
	}
	be.PutUint32(mfhd[4:], r.Sequence)
	for _, p := range patches[:n] {
		be.PutUint32(p.tfhd[4:], p.place.TrackID)
		be.PutUint32(p.tfhd[8:], p.place.Description)
		be.PutUint64(p.tfdt[4:], p.base)
		for at := 12 + 12; p.place.lead != 0 && at < len(p.trun); at += trunSample {
			be.PutUint32(p.trun[at:], be.Uint32(p.trun[at:])+uint32(p.place.lead))
		}
	}
	return nil
}

// shift returns the ticks from base to window, each rounded down to a tick since 1970:
// so the ticks between two windows do not depend on base.
func shift(windowNS, baseNS int64, timescale uint32) int64 {
	return toTicks(windowNS, timescale) - toTicks(baseNS, timescale)
}

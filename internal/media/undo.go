package media

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// Undo says what Retime made of a track of a source, so that it can be taken back
// without the header that the source had.
type Undo struct {
	// Track and Description are those of the presentation, Original the track of the
	// fragment as it was recorded.
	Track       uint32 `json:"track"`
	Description uint32 `json:"description"`
	Original    uint32 `json:"original"`
	Timescale   uint32 `json:"timescale"`
	// Lead was added to composition offsets, and with Skip taken from decode times.
	Lead int32 `json:"lead,omitempty"`
	Skip int64 `json:"skip,omitempty"`
}

// Undo returns how to take back what Retime does to fragments of a source.
func (m *Merged) Undo(source int) []Undo {
	if source < 0 || source >= len(m.places) {
		return nil
	}
	var out []Undo
	for _, id := range slices.Sorted(maps.Keys(m.places[source])) {
		p := m.places[source][id]
		out = append(out, Undo{p.TrackID, p.Description, id, p.Timescale, p.lead, p.skip})
	}
	return out
}

// Unretime makes a whole fragment of a presentation what it was when it was recorded, in
// place: the moof at the start of b gets back its sequence number (its first offset plus
// one), track IDs, decode times and composition offsets. r is what it was moved with.
func Unretime(b []byte, undo []Undo, r Retiming, first uint64) error {
	moof, _, ok := nextBox(b)
	if !ok || moof.typ != "moof" {
		return fmt.Errorf("%w: no whole moof", ErrMalformed)
	}
	mfhd, ok := findBox(moof.body, "mfhd")
	be := binary.BigEndian
	if !ok || len(mfhd) != 8 {
		return fmt.Errorf("%w: no mfhd", ErrMalformed)
	}
	if got := be.Uint32(mfhd[4:]); got != r.Sequence {
		return fmt.Errorf("%w: it is number %d, not %d", ErrMalformed, got, r.Sequence)
	}
	if r.WindowNS < 0 || r.BaseNS < 0 {
		return fmt.Errorf("%w: times count from %d and %d", ErrMalformed, r.WindowNS, r.BaseNS)
	}
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
			return err
		}
		u, ok := find(undo, be.Uint32(t.tfhd[4:]), be.Uint32(t.tfhd[8:]))
		if !ok {
			return fmt.Errorf("%w: track %d with description %d comes from nowhere", ErrMalformed, be.Uint32(t.tfhd[4:]), be.Uint32(t.tfhd[8:]))
		}
		be.PutUint32(t.tfhd[4:], u.Original)
		be.PutUint32(t.tfhd[8:], 1)
		be.PutUint64(t.tfdt[4:], uint64(int64(be.Uint64(t.tfdt[4:]))-shift(r.WindowNS, r.BaseNS, u.Timescale)+int64(u.Lead)+u.Skip))
		for at := 12 + 12; u.Lead != 0 && at < len(t.trun); at += trunSample {
			be.PutUint32(t.trun[at:], be.Uint32(t.trun[at:])-uint32(u.Lead))
		}
	}
	be.PutUint32(mfhd[4:], uint32(first)+1)
	return nil
}

func find(undo []Undo, track, description uint32) (Undo, bool) {
	for _, u := range undo {
		if u.Track == track && u.Description == description && u.Timescale != 0 {
			return u, true
		}
	}
	return Undo{}, false
}

package media

// Edit says which part of a presentation is shown.
type Edit struct {
	// BaseNS is where the times of the presentation count from, see Retiming. Unix ns.
	BaseNS int64
	// StartNS is where it begins: an edit list (ISO/IEC 14496-12 8.6.6) hides what is
	// before it (the pre-roll), and the time of the player counts from it.
	StartNS int64
	// EndNS is where it ends, exclusive; 0: not known.
	EndNS int64
}

// Placement is where a track of a source goes in a merged presentation.
type Placement struct{ TrackID, Timescale, Description uint32 }

// Merged is an init header for a presentation that is put together of fragments with
// different init headers.
type Merged struct {
	// Header is ftyp and moov.
	Header []byte
}

// MergeInits returns one header for fragments that need different ones, which must not
// be empty. Tracks with the same ID, timescale and codec become one, with a sample
// description for each distinct one; others become tracks of their own.
func MergeInits(sources []*Init, e Edit) (*Merged, error) { return nil, ErrMalformed }

// Place returns where the track of the source goes. False: there is no such track.
func (m *Merged) Place(source int, trackID uint32) (Placement, bool) { return Placement{}, false }

package media

// Retiming moves a fragment to another place of another presentation.
type Retiming struct {
	// Sequence is the number of the fragment in the presentation, from 1.
	Sequence uint32
	// WindowNS is where the fragment's times count from (Info.WindowNS), BaseNS where
	// those of the presentation do. BaseNS must not be after the first sample. Take a
	// BaseNS that is a whole second: then no rounding comes in.
	WindowNS, BaseNS int64
	// Source is the number of the fragment's init header among those that Merged was
	// made of.
	Source int
}

// Retime patches the moof at the start of b in place: sequence number, decode times,
// track IDs and sample descriptions become those of m. The length does not change.
// On an error b is not modified.
func (m *Merged) Retime(b []byte, r Retiming) error { return ErrMalformed }

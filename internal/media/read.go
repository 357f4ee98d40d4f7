package media

// Parsed is what the moof of a fragment says.
type Parsed struct {
	// Sequence is the number in mfhd.
	Sequence uint32
	// MoofSize is the length of the moof; Size that of moof and mdat.
	MoofSize, Size int64
	Tracks         []ParsedTrack
}

// ParsedTrack is a track's run of samples.
type ParsedTrack struct {
	ID, Timescale uint32
	Kind          Kind
	// Description is the index of the sample description, from 1.
	Description uint32
	// Samples are in decoding order.
	Samples []Sample
}

// Sample is an access unit.
type Sample struct {
	// CaptureNS is when it was captured: the time of its tick of the track's timescale,
	// Unix ns, up to one tick before the time in the record.
	CaptureNS int64
	// DTS and PTS are ticks since Info.WindowNS.
	DTS, PTS int64
	// Duration in ticks: DTS + Duration is the DTS of the next one.
	Duration uint32
	Sync     bool
	// At and Size are where its bytes are, counted from the start of the moof.
	At   int64
	Size uint32
}

// ParseFragment reads the moof of a fragment that Builder made (or Trim). b starts with
// the moof and holds at least all of it; size is the length of moof and mdat, against
// which the byte ranges of the samples are checked. windowNS is Info.WindowNS. It keeps
// no reference to b.
func ParseFragment(b []byte, size int64, init *Init, windowNS int64) (*Parsed, error) {
	return nil, ErrMalformed
}

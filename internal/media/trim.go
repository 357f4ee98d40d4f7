package media

// Trim says which samples of a fragment to keep: those whose CaptureNS is in
// [FromNS, ToNS).
type Trim struct {
	FromNS, ToNS int64
	// PreRoll keeps, of video, also what has to be decoded before the first of them:
	// everything from the last sync sample at or before FromNS on (in decoding order).
	// An edit list hides it, see MergeInits.
	PreRoll bool
	// PostRoll keeps, of video, also samples at or after ToNS that are decoded before
	// one that is kept: B-frames refer to them.
	PostRoll bool
}

// Range is a stretch of bytes of a fragment, counted from the start of its moof.
type Range struct{ At, Len int64 }

// Trimmed is a fragment with fewer samples: Head, then Ranges of the fragment that it
// was made of.
type Trimmed struct {
	// Head is the new moof and the header of the new mdat.
	Head []byte
	// MoofSize is the length of the moof in Head.
	MoofSize int64
	Ranges   []Range
	// Size is the length of all of it. 0: no sample is left, and there is no Head.
	Size int64
	// MinNS is the capture time of the earliest sample that is kept for its own sake,
	// MaxNS the end of the latest one. Unix ns; 0 when there is none.
	MinNS, MaxNS int64
	// Samples counts those that are kept, pre-roll and post-roll included.
	Samples int
}

// Trim returns the fragment with only the samples that t keeps. Their bytes, decode
// times and capture times stay.
func (p *Parsed) Trim(t Trim) *Trimmed { return &Trimmed{} }

// Append appends the trimmed fragment, taking the samples from the whole fragment (moof
// and mdat) that was parsed.
func (t *Trimmed) Append(dst, fragment []byte) []byte { return dst }

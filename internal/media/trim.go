package media

import (
	"slices"
)

// Trim says which samples of a fragment to keep: those whose CaptureNS is in
// [FromNS, ToNS).
type Trim struct {
	FromNS, ToNS int64
	// Only keeps the tracks of one kind. Empty: all.
	Only Kind
	// Without leaves tracks out: bit i is the track with ID i.
	Without uint32
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
	// FirstNS is when the first sample is decoded: the latest BaseNS for it. Unix ns.
	FirstNS int64
	// Samples counts those that are kept, pre-roll and post-roll included.
	Samples int
	// Units are those samples, in the order of their bytes.
	Units []Unit

	runs []trackRun
}

// Unit is an access unit in a fragment that was trimmed.
type Unit struct {
	// At is where its bytes are, counted from the end of Trimmed.Head.
	At        int64
	Size      uint32
	Track     uint32 // of the fragment
	CaptureNS int64
}

// Trim returns the fragment with only the samples that t keeps. Their bytes, decode
// times and capture times stay.
func (p *Parsed) Trim(t Trim) *Trimmed {
	out := &Trimmed{}
	var runs []trackRun
	kept := int64(0)
	for i := range p.Tracks {
		track := &p.Tracks[i]
		if t.Only != "" && t.Only != track.Kind || t.Without&(1<<(track.ID&31)) != 0 {
			continue
		}
		keep := track.keep(t)
		run := trackRun{id: track.ID, description: track.Description}
		prev := int64(0)
		for j := range track.Samples {
			if !keep[j] {
				continue
			}
			s := &track.Samples[j]
			if n := len(run.samples); n == 0 {
				run.base = uint64(s.DTS)
				first := p.windowNS + floorNS(s.DTS, track.Timescale)
				if out.FirstNS == 0 || first < out.FirstNS {
					out.FirstNS = first
				}
			} else { // what was left out before it counts as a longer one
				run.samples[n-1].duration = uint32(s.DTS - prev)
			}
			prev = s.DTS
			flags := uint32(nonSyncSample)
			if s.Sync {
				flags = syncSample
			}
			run.samples = append(run.samples, runSample{s.Duration, s.Size, flags, int32(s.PTS - s.DTS)})
			out.Units = append(out.Units, Unit{At: kept, Size: s.Size, Track: track.ID, CaptureNS: s.CaptureNS})
			kept += int64(s.Size)
			run.bytes += int64(s.Size)
			out.addRange(s.At, int64(s.Size))
			if s.CaptureNS >= t.FromNS && s.CaptureNS < t.ToNS {
				if out.MinNS == 0 || s.CaptureNS < out.MinNS {
					out.MinNS = s.CaptureNS
				}
				out.MaxNS = max(out.MaxNS, s.CaptureNS+toNS(int64(s.Duration), track.Timescale))
			}
		}
		if len(run.samples) > 0 {
			runs = append(runs, run)
			out.Samples += len(run.samples)
		}
	}
	if len(runs) == 0 {
		return out
	}
	mdat := int64(boxHeader)
	for i := range runs {
		mdat += runs[i].bytes
	}
	out.runs = runs
	out.MoofSize = moofSize(runs)
	out.Head = appendMoof(make([]byte, 0, out.MoofSize+boxHeader), p.Sequence, runs)
	out.Head = appendBoxHeader(out.Head, uint32(mdat), "mdat")
	out.Size = out.MoofSize + mdat
	return out
}

// keep says which samples of the track stay.
func (pt *ParsedTrack) keep(t Trim) []bool {
	keep := make([]bool, len(pt.Samples))
	first, last := -1, -1
	for i, s := range pt.Samples {
		keep[i] = s.CaptureNS >= t.FromNS && s.CaptureNS < t.ToNS
		if keep[i] {
			last = i
			if first < 0 {
				first = i
			}
		}
	}
	if last < 0 || pt.Kind != KindVideo {
		return keep
	}
	start := first
	if t.PreRoll {
		sync := slices.IndexFunc(pt.Samples, func(s Sample) bool { return s.Sync })
		for i := 0; i <= first; i++ {
			if s := pt.Samples[i]; s.Sync && s.CaptureNS <= t.FromNS {
				sync = i
			}
		}
		start = min(start, max(sync, 0))
		for i := start; i < last; i++ {
			keep[i] = keep[i] || pt.Samples[i].CaptureNS < t.FromNS
		}
	}
	if t.PostRoll {
		for i := start; i < last; i++ {
			keep[i] = keep[i] || pt.Samples[i].CaptureNS >= t.ToNS
		}
	}
	return keep
}

func (t *Trimmed) addRange(at, n int64) {
	if k := len(t.Ranges) - 1; k >= 0 && t.Ranges[k].At+t.Ranges[k].Len == at {
		t.Ranges[k].Len += n
		return
	}
	t.Ranges = append(t.Ranges, Range{at, n})
}

// Append appends the trimmed fragment, taking the samples from the whole fragment (moof
// and mdat) that was parsed.
func (t *Trimmed) Append(dst, fragment []byte) []byte {
	dst = append(dst, t.Head...)
	for _, r := range t.Ranges {
		dst = append(dst, fragment[r.At:r.At+r.Len]...)
	}
	return dst
}

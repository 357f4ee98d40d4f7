package index

import (
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Source is what one recorder answered about a camera.
type Source struct {
	// Name is the recorder's.
	Name string
	// Spans are sorted by start time, epoch, first offset.
	Spans []Span
	// Unknown: the recorder did not answer; it may hold anything.
	Unknown bool
}

// Query says what a timeline is asked for. All times are Unix ns.
type Query struct {
	StartNS, EndNS int64
	NowNS          int64
	// LiveNS: a camera whose newest footage is no older than this is being recorded,
	// and what is missing after it is not a gap but still to come.
	LiveNS int64
	// OpenCause is the cause of a gap that goes on until now; empty means
	// media.CauseConnection.
	OpenCause media.Cause
}

// TimelineSpan is a stretch that the same recorders hold without a missing record.
type TimelineSpan struct {
	StartNS, EndNS int64
	Epoch          record.Epoch
	// Recorders are the names of those that hold it, in the order of the sources.
	Recorders []string
}

// Gap is a stretch that no recorder holds.
type Gap struct {
	StartNS, EndNS int64
	Cause          media.Cause
}

// UnknownStretch is a stretch that no recorder which answered holds, while those named
// did not answer.
type UnknownStretch struct {
	StartNS, EndNS int64
	Recorders      []string
}

// Result is a merged timeline. Every instant of the range is in spans, or in exactly
// one gap or unknown stretch, or at or after FutureNS. Each list is sorted; spans of
// different epochs may overlap, where two proxies pulled the camera at once.
type Result struct {
	Spans   []TimelineSpan
	Gaps    []Gap
	Unknown []UnknownStretch
	// FutureNS is where the part of the range begins that is not recorded yet; the
	// end of the range when there is none.
	FutureNS int64
}

// Timeline merges what recorders answered about a camera. Pure.
func Timeline(sources []Source, q Query) Result { return Result{} }

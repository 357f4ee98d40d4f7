package index

import (
	"cmp"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Ref names a fragment and where a recorder holds it.
type Ref struct {
	media.Info
	// Segment is the path of the file below the data directory, with slashes.
	Segment string
	// At is the offset in that file of the box that describes the fragment; moof and
	// mdat follow it.
	At int64
}

// Key is what identifies a fragment of a camera across recorders.
type Key struct {
	Epoch record.Epoch
	First uint64
}

// Key returns the identity of the fragment.
func (r *Ref) Key() Key { return Key{Epoch: r.Epoch, First: r.First} }

// Compare orders the fragments of a camera by start time, epoch and first offset.
func Compare(a, b *Ref) int {
	if c := cmp.Compare(a.StartNS, b.StartNS); c != 0 {
		return c
	}
	if c := a.Epoch.Compare(b.Epoch); c != 0 {
		return c
	}
	return cmp.Compare(a.First, b.First)
}

// Span is a stretch of an epoch that a recorder holds without a missing offset.
type Span struct {
	Epoch      record.Epoch
	First, End uint64
	// StartNS and EndNS: the capture times that it covers, Unix ns, end exclusive.
	StartNS, EndNS int64
	// Since and SinceNS: why footage is missing before this epoch (see media.Description).
	Since   media.Cause
	SinceNS int64
}

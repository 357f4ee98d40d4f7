package index

import "iter"

// Merged is a fragment of a merged listing, and who holds it.
type Merged struct {
	Ref
	// Holders are the indices of the sources that hold exactly this fragment (epoch,
	// first, End and hash), ascending. Ref is that of the first one. The slice is
	// shared and must not be modified; it may be kept.
	Holders []int
	// Conflict: another copy of the same records has other bytes. All the copies
	// are yielded, one right after the other, the one with most holders first.
	Conflict bool
	// Unknown are the sources that failed before they came to this fragment and may
	// hold it as well (only with Continue), ascending. Shared, like Holders.
	Unknown []int
}

// MergeOptions say what a merge does with a source that fails.
type MergeOptions struct {
	// Continue makes the merge go on without a source that fails: what follows names
	// it in Unknown. Otherwise the merge ends with a *SourceError.
	Continue bool
	// OnError, if set, is told of each source that failed, with Continue.
	OnError func(*SourceError)
}

// SourceError says which source of a merge failed.
type SourceError struct {
	Source int // index among the sources
	// AfterNS is the start time of the last fragment that it gave, Unix ns; 0 if none.
	AfterNS int64
	Err     error
}

func (e *SourceError) Error() string { return "" }
func (e *SourceError) Unwrap() error { return e.Err }

// Merge yields the union of sorted listings of one camera, each fragment once.
func Merge(sources ...iter.Seq2[Ref, error]) iter.Seq2[Merged, error] {
	return MergeWith(MergeOptions{}, sources...)
}

// MergeWith is Merge with options.
func MergeWith(o MergeOptions, sources ...iter.Seq2[Ref, error]) iter.Seq2[Merged, error] {
	return func(yield func(Merged, error) bool) { yield(Merged{}, nil) }
}

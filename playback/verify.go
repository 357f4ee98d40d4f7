package playback

import (
	"context"
	"errors"
	"time"
)

// VerifyOptions say what VerifySite compares. Recorders, Cameras, Start and End are used
// from the call on and must not be modified.
type VerifyOptions struct {
	Options
	// Start and End bound what is compared, by the start of fragments. End should lie
	// some seconds in the past: what one recorder has not committed yet counts as OnlyOne.
	Start, End time.Time
	// Progress is called from one goroutine, about every 1000 fragments and at the end of
	// each camera. May be nil.
	Progress func(VerifyCamera)
}

// VerifyCamera is what was found of a camera, in fragments.
type VerifyCamera struct {
	Camera string
	// Fragments is how many different ones there are: Equal + OnlyOne + Mismatch + Unreadable.
	Fragments int64
	// Equal: at least two copies, and all files hash to what their indexes say, which is the same.
	Equal int64
	// OnlyOne: one whole copy, none damaged.
	OnlyOne int64
	// Mismatch: a file hashes to something else than its index says, or two indexes disagree.
	Mismatch int64
	// Unreadable: a copy could not be read, and none mismatches.
	Unreadable int64
	// Bytes is how much was hashed, over all copies.
	Bytes int64
	// Problems names the first fragments that are not Equal or OnlyOne, at most 20.
	Problems []string
	// Missing names the recorders that did not answer, or not to the end, and why.
	Missing map[string]string
	// Done is set in the last call for the camera, and in the result.
	Done bool
}

// VerifySite asks every recorder for the hashes of its files, recomputed, and compares
// them with its index and with the other copies. It returns one result per camera, in
// the order of o.Cameras. Recorders that fail are named in the results; the error is for
// options that cannot work and for a context that ended.
func VerifySite(ctx context.Context, o VerifyOptions) ([]VerifyCamera, error) {
	return nil, errors.New("playback: verify is not there yet")
}

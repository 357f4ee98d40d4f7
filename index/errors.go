package index

import "errors"

var (
	// ErrCorrupt is wrapped where the database cannot be trusted, is missing although
	// it must be there, or was being rebuilt when the process ended: rebuild it from
	// the media files.
	ErrCorrupt = errors.New("index is corrupt")
	// ErrFailed is wrapped by everything that a store answers after its disk failed
	// it. What Commit acknowledged before is safe; close the store and open it anew.
	ErrFailed = errors.New("index has failed")
	// ErrClosed is returned by a store that was closed.
	ErrClosed = errors.New("index is closed")
	// ErrNotFound is wrapped where the index does not hold what was asked for.
	ErrNotFound = errors.New("not in the index")
	// ErrInvalid is wrapped where a reference contradicts itself or the index: it
	// came from a bug or from a damaged file, and nothing of its batch was taken.
	ErrInvalid = errors.New("invalid reference")
)

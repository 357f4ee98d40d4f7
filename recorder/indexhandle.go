package recorder

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/duet-video/duet/index"
)

// indexHandle holds the index, and opens it anew after the disk has failed it.
type indexHandle struct {
	// open opens the index; suspect, if not nil, says why it is to be made anew.
	open func(suspect error) (*index.Store, error)

	// opening: it is being opened anew, which may take long.
	opening atomic.Bool

	mu sync.RWMutex
	// current is never nil once the recorder has recovered; failure says why it cannot
	// be used.
	current *index.Store
	failure error
}

// errRecovering is what there is to say of an index that is not open yet.
var errRecovering = errors.New("the recorder is still recovering its index")

// set gives the handle its store.
func (h *indexHandle) set(s *index.Store) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current, h.failure = s, nil
}

// store returns the store, which may have failed; nil while recovering.
func (h *indexHandle) store() *index.Store {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.current
}

// err says why the index cannot be used now.
func (h *indexHandle) err() error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.failure != nil {
		return h.failure
	}
	if h.current == nil {
		return errRecovering
	}
	return h.current.Err()
}

// commit is index.Store.Commit; it remembers a failure until reopen.
func (h *indexHandle) commit(refs []index.Ref, inits []index.Init) error {
	s := h.store()
	if s == nil {
		return errRecovering
	}
	err := s.Commit(refs, inits)
	if err != nil && !errors.Is(err, index.ErrInvalid) {
		h.mu.Lock()
		h.failure = fmt.Errorf("commit %d fragments to the index: %w", len(refs), err)
		h.mu.Unlock()
	}
	return err
}

// reopen opens an index anew that has failed, and reports whether it did.
func (h *indexHandle) reopen() (bool, error) {
	failure := h.err()
	if failure == nil {
		return false, nil
	}
	old := h.store()
	if old == nil {
		return false, errRecovering
	}
	closed := old.Close() // of a failed store, it may fail too
	if !errors.Is(failure, index.ErrCorrupt) {
		failure = nil
	}
	h.opening.Store(true)
	defer h.opening.Store(false)
	s, err := h.open(failure)
	if err != nil {
		err = fmt.Errorf("open the index anew: %w", errors.Join(err, closed))
		h.mu.Lock()
		h.failure = err
		h.mu.Unlock()
		return false, err
	}
	h.set(s)
	return true, nil
}

// names reports whether the index has anything to say of a file, which may be gone: a new
// one in its place would be taken for it, by the scrubber and by deletions under way, and
// what it holds would be refused. While the index cannot be used, that is what memory has of it.
func (h *indexHandle) names(camera, path string) (bool, error) {
	s := h.store()
	if s == nil {
		return false, nil
	}
	if !h.opening.Load() && h.err() == nil { // first: a deletion makes a mark of a segment
		for seg, err := range s.SegmentsFrom(camera, path) {
			if err != nil {
				return false, err
			}
			if seg.Path == path {
				return true, nil
			}
			break
		}
	}
	for _, m := range s.Deleting() {
		if m.Camera == camera && m.Path == path {
			return true, nil
		}
	}
	for _, m := range s.Damaged(camera, math.MinInt64, math.MaxInt64) {
		if m.Segment == path {
			return true, nil
		}
	}
	return false, nil
}

// close closes the store.
func (h *indexHandle) close() error {
	if s := h.store(); s != nil {
		return s.Close()
	}
	return nil
}

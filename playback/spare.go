package playback

import "sync"

// spare are a few buffers of fragments that nobody needs any more, to be used again. Nil
// is one that has none. Safe for concurrent use.
type spare struct {
	most int64 // larger ones are not kept

	mu   sync.Mutex
	bufs [][]byte
}

// take returns an empty buffer with room for size bytes.
func (s *spare) take(size int64) []byte {
	if s == nil {
		return make([]byte, 0, size)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.bufs) - 1; i >= 0; i-- {
		b := s.bufs[i]
		if int64(cap(b)) < size {
			continue
		}
		s.bufs = append(s.bufs[:i], s.bufs[i+1:]...)
		return b[:0]
	}
	return make([]byte, 0, size+size/spareRoom)
}

// The next fragment is as large as this one, or a little larger: spareRoom is the part by
// which a buffer has more than it needs.
const spareRoom = 8

// give hands over a buffer that nobody uses any more.
func (s *spare) give(b []byte) {
	if s == nil || cap(b) == 0 || int64(cap(b)) > s.most {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bufs) > maxAhead { // the oldest is the one that nothing fits into
		s.bufs = append(s.bufs[:0], s.bufs[1:]...)
	}
	s.bufs = append(s.bufs, b[:0])
}

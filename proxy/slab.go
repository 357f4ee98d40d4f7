package proxy

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Slabs are as small as an idle camera wants, and of a busy one as large as costs least: it
// has one that is half full and one that is half gone, and at the end of each some hundred
// bytes are left over.
const (
	minSlab = 16 << 10
	maxSlab = 32 << 10
	// A slab that is full sooner is followed by a larger one, later by a smaller one.
	slabFullSoon = time.Second
	slabFullLate = 4 * time.Second
)

// slab is a stretch of a log's memory. It is filled once, from front to back, and not
// changed after that. Who has a view of it counts in refs, and so does the log that has it.
// At none its memory, not the slab itself, is used again. Who does not say that a view is
// not needed any more keeps the memory from that, and leaves it to the garbage collector:
// a view stays valid as long as anyone holds it.
type slab struct {
	buf  []byte
	pool *slabPool // nil: the memory is not used again
	refs atomic.Int32
	// first is the offset of its first record.
	first uint64
	// count and end are the records and bytes that readers may see. Under Log.mu.
	count uint64
	end   int
	// filled and used are the same for what is written but not published. The writer's.
	filled uint64
	used   int
}

// Return implements link.Lender: somebody needs the slab no more.
func (s *slab) Return() {
	if s.refs.Add(-1) == 0 {
		s.pool.put(s.buf)
	}
}

// next returns the offset after the slab's last published record.
func (s *slab) next() uint64 { return s.first + s.count }

// sizeAt returns the length of the record at pos.
func (s *slab) sizeAt(pos int) int { return int(binary.LittleEndian.Uint32(s.buf[pos:])) }

// seek returns where the record with that offset is. It must be in the slab.
func (s *slab) seek(offset uint64) int {
	pos := 0
	for o := s.first; o < offset; o++ {
		pos += s.sizeAt(pos)
	}
	return pos
}

// run returns where the records end that start at pos with offset at, are before limit
// and take at most size bytes; at least one, and how many they are.
func (s *slab) run(pos int, at, limit uint64, size int) (end int, count uint64) {
	if limit >= s.next() && s.end-pos <= size {
		return s.end, s.next() - at
	}
	limit = min(limit, s.next())
	for end = pos; at+count < limit; count++ {
		n := s.sizeAt(end)
		if count > 0 && end+n-pos > size {
			break
		}
		end += n
	}
	return end, count
}

// cut is where a fragment begins.
type cut struct {
	offset    uint64
	captureNS int64
}

// epochLog is what a log holds of one epoch. All under Log.mu.
type epochLog struct {
	id record.Epoch
	// slabs hold the records base ≤ offset < next, and, before base in the first slab,
	// some that are gone for readers.
	slabs      []*slab
	cuts       []cut
	base, next uint64
	// lastNS is the latest capture time.
	lastNS int64
	ended  bool
	cause  media.Cause
}

// slabOf returns the slab that holds offset, which is in base … next-1.
func (e *epochLog) slabOf(offset uint64) *slab {
	lo, hi := 0, len(e.slabs)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; e.slabs[mid].first <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return e.slabs[lo]
}

// cutFrom returns the first cut at or after offset that the log still has.
func (e *epochLog) cutFrom(offset uint64) (cut, bool) {
	for _, c := range e.cuts {
		if c.offset >= offset {
			return c, true
		}
	}
	return cut{}, false
}

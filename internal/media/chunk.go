package media

import (
	"math/bits"
	"sync"
)

// minChunk is the size of the smallest chunks; only tests change it. Chunks have powers of
// two bytes. Larger ones than maxPooled are for single access units, and are not kept.
var minChunk = 8 << 10

const (
	maxChunk  = 256 << 10
	maxPooled = 8 << 20
	// As many chunks are kept as were in use at once, and spareAside bytes. That falls
	// again by a part of 1 << peakFades for each chunk that comes back: the bytes of a GOP
	// of all cameras, and more, pass until then.
	spareAside = 4 << 20
	peakFades  = 13
	// roomAside is what a packet can add to data beside twice its payload (samples of
	// 16 bits for bytes): the headers of a JPEG, lengths in front of NAL units.
	roomAside = 1 << 10
)

// chunks are the chunks that nobody uses. All builders of a process share them: a camera
// needs as many as its fragment has grown to, and gives them back as soon as the fragment
// is written. This is no sync.Pool, which any collection of garbage empties.
var chunks struct {
	sync.Mutex
	free              [bits.UintSize][][]byte // by the logarithm of their size
	used, peak, spare int                     // bytes
}

// HeldBytes returns how much memory builders have, and hold ready.
func HeldBytes() int64 {
	chunks.Lock()
	defer chunks.Unlock()
	return int64(chunks.used + chunks.spare)
}

// getChunk returns an empty chunk for n bytes or more.
func getChunk(n int) []byte {
	class := bits.Len(uint(max(n, minChunk) - 1))
	size := 1 << class
	chunks.Lock()
	chunks.used += size
	chunks.peak = max(chunks.peak, chunks.used)
	var b []byte
	if free := chunks.free[class]; len(free) > 0 {
		b, free[len(free)-1] = free[len(free)-1], nil
		chunks.free[class] = free[:len(free)-1]
		chunks.spare -= size
	}
	chunks.Unlock()
	if b == nil {
		b = make([]byte, 0, size)
	}
	return b
}

// putChunk gives a chunk back. Nobody may have a slice of it any more.
func putChunk(b []byte) {
	size := cap(b)
	if size == 0 || size&(size-1) != 0 { // data that append has moved
		return
	}
	class := bits.Len(uint(size - 1))
	chunks.Lock()
	defer chunks.Unlock()
	chunks.used -= size
	chunks.peak -= (chunks.peak - chunks.used) >> peakFades
	if size > maxPooled || !makeRoom(class, size) {
		return
	}
	chunks.free[class] = append(chunks.free[class], b[:0])
	chunks.spare += size
}

// makeRoom lets chunks of other sizes go, so that one more may be kept. It reports whether
// it may. With chunks locked.
func makeRoom(class, size int) bool {
	for chunks.used+chunks.spare+size > chunks.peak+spareAside {
		most := class
		for c := range chunks.free {
			if len(chunks.free[c])<<c > len(chunks.free[most])<<most {
				most = c
			}
		}
		n := len(chunks.free[most]) - 1
		if most == class || n < 0 {
			return false
		}
		chunks.free[most][n] = nil
		chunks.free[most] = chunks.free[most][:n]
		chunks.spare -= 1 << most
	}
	return true
}

// room sees to it that n more bytes fit into data. What precedes the access unit stays in
// its chunk; the access unit, which is always in one piece, moves to the next one.
func (t *trackBuilder) room(n int) {
	if cap(t.data)-len(t.data) >= n {
		return
	}
	unit := t.data[t.unitStart:]
	size := n + len(unit)
	if len(unit) > 0 && t.unitStart == 0 {
		size = max(size, 2*cap(t.data)) // it is large: not to be moved again and again
	}
	next := append(getChunk(max(size, min(t.usual/6, maxChunk))), unit...)
	if t.unitStart > 0 {
		t.full = append(t.full, t.data[:t.unitStart])
		t.before += t.unitStart
	} else {
		putChunk(t.data)
	}
	if t.open != closed {
		t.open -= t.unitStart
	}
	t.jpeg.scan -= t.unitStart
	t.data, t.unitStart = next, 0
}

// size returns how many bytes of media the track has.
func (t *trackBuilder) size() int { return t.before + len(t.data) }

// release gives the chunks back.
func (t *trackBuilder) release() {
	for i, b := range t.full {
		putChunk(b)
		t.full[i] = nil
	}
	putChunk(t.data)
	t.full, t.data, t.before = t.full[:0], nil, 0
}

package proxy

import "sync"

// slabPool keeps the memory of slabs of the largest size that nobody looks at any more, for
// the next ones of all logs that share a Budget. What was not needed for a second it leaves
// to the garbage collector by and by. It may be used concurrently. A nil *slabPool keeps
// nothing.
type slabPool struct {
	mu   sync.Mutex
	free [][]byte
	low  int // the least that free had since trim
}

// get returns memory of size bytes, with anything in it.
func (p *slabPool) get(size int) []byte {
	if p != nil && size == maxSlab {
		if b := p.take(); b != nil {
			return b
		}
	}
	return make([]byte, size)
}

func (p *slabPool) take() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return nil
	}
	b := p.free[n-1]
	p.free[n-1] = nil
	p.free = p.free[:n-1]
	p.low = min(p.low, n-1)
	return b
}

// put takes memory that nobody has a view of.
func (p *slabPool) put(b []byte) {
	if p == nil || len(b) != maxSlab {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, b)
}

// trim lets half of what was not needed since it was called last go.
func (p *slabPool) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free) - (p.low+1)/2
	clear(p.free[n:])
	p.free = p.free[:n]
	p.low = n
}

package link

import "sync"

// framePool lends gRPC the buffers that it reads frames of HTTP/2 into. Those of its own
// are cleared each time.
type framePool struct{ pool sync.Pool }

// maxFrame is the largest frame that gRPC takes, in bytes.
const maxFrame = 16 << 10

func newFramePool() *framePool {
	return &framePool{sync.Pool{New: func() any {
		b := make([]byte, maxFrame)
		return &b
	}}}
}

// Get implements mem.BufferPool.
func (p *framePool) Get(length int) *[]byte {
	if length > maxFrame {
		b := make([]byte, length)
		return &b
	}
	b := p.pool.Get().(*[]byte)
	*b = (*b)[:length]
	return b
}

// Put implements mem.BufferPool.
func (p *framePool) Put(b *[]byte) {
	if cap(*b) == maxFrame {
		*b = (*b)[:maxFrame]
		p.pool.Put(b)
	}
}

package wire

import (
	"sync"

	"google.golang.org/grpc/mem"
)

// NewFramePool returns a pool of the buffers that gRPC reads frames of HTTP/2 into. Those
// of its own are cleared each time.
func NewFramePool() mem.BufferPool {
	return &framePool{sync.Pool{New: func() any {
		b := make([]byte, maxFrame)
		return &b
	}}}
}

type framePool struct{ pool sync.Pool }

// maxFrame is the largest frame that gRPC takes, in bytes.
const maxFrame = 16 << 10

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

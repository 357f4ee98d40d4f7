package recorder

import (
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
)

// readChunk is how much of a fragment is read and sent at once, in bytes.
const readChunk = 256 << 10

// chunks are buffers of readChunk that are used again. It is a mem.BufferPool: gRPC gives
// back what was sent.
type chunks struct{ pool sync.Pool }

func newChunks() *chunks {
	return &chunks{sync.Pool{New: func() any {
		b := make([]byte, readChunk)
		return &b
	}}}
}

// get returns a buffer of readChunk.
func (c *chunks) get() *[]byte { return c.Get(readChunk) }

// Get implements mem.BufferPool, for readChunk at most.
func (c *chunks) Get(length int) *[]byte {
	b := c.pool.Get().(*[]byte)
	*b = (*b)[:length]
	return b
}

// Put implements mem.BufferPool.
func (c *chunks) Put(b *[]byte) {
	*b = (*b)[:cap(*b)]
	c.pool.Put(b)
}

// send sends the bytes of a fragment, or only the first ones; sent tells whether any of
// them went out.
func (s *server) send(v *volume, ref *index.Ref, q *nodepb.ReadRequest, out grpc.ServerStreamingServer[nodepb.ReadReply], sent *bool) error {
	if err := v.reads.Acquire(out.Context(), 1); err != nil {
		return status.FromContextError(err).Err()
	}
	defer v.reads.Release(1)
	size := ref.Size
	if limit := q.GetLimit(); limit > 0 && limit < uint64(size) {
		size = int64(limit)
	}
	h := newHash()
	hashed := size == ref.Size && !q.GetUnhashed()
	var chunk *[]byte // of the callee of take, while that runs
	next := func() []byte {
		chunk = s.chunks.get()
		return *chunk
	}
	err := s.eachChunk(v, ref, size, next, func(b []byte) error {
		if hashed {
			_, _ = h.Write(b) // never fails
		}
		s.r.meters.served.Add(float64(len(b)))
		*chunk = b
		m := nodepb.Chunk{Data: mem.NewBuffer(chunk, s.chunks)}
		if !*sent {
			m.Size = uint64(size)
		}
		chunk, *sent = nil, true
		return out.SendMsg(&m)
	})
	if chunk != nil { // reading failed
		s.chunks.Put(chunk)
	}
	if err == nil && hashed && media.Hash(h.Sum(nil)) != ref.Hash {
		v.scrub.suspect(ref)
		err = status.Errorf(codes.DataLoss, "recorder %s: fragment %d in segment %s is damaged", s.r.opts.Name, ref.First, ref.Segment)
	}
	return err
}

// eachChunk reads moof and mdat of a fragment, so many bytes of it, into buffers that next
// returns. It calls take with each buffer that was filled.
func (s *server) eachChunk(v *volume, ref *index.Ref, size int64, next func() []byte, take func([]byte) error) (err error) {
	f, err := s.r.opts.FS.Open(v.disk.name(ref.Segment))
	if err != nil {
		return s.unreadable(v, ref, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	at := ref.At + boxLen(&ref.Info)
	for left := size; left > 0; {
		b := next()
		b = b[:min(left, int64(len(b)))]
		if n, err := f.ReadAt(b, at); n < len(b) {
			return s.unreadable(v, ref, err)
		}
		if err := take(b); err != nil {
			return err
		}
		at += int64(len(b))
		left -= int64(len(b))
	}
	return nil
}

package link

import (
	"bytes"

	"google.golang.org/grpc/mem"
)

// lent are bytes that gRPC is lent. It counts who has views of them (mem.Buffer), and gives
// them back to where it thinks they are from when it has copied them into what it writes.
type lent struct {
	b  []byte
	to Lender
}

// records returns a part of the message.
func (m *Message) records(b []byte, to Lender) mem.Buffer {
	switch {
	case to == nil:
		return mem.SliceBuffer(b)
	case mem.IsBelowBufferPoolingThreshold(len(b)): // of those gRPC counts nothing
		b = bytes.Clone(b)
		to.Return()
		return mem.SliceBuffer(b)
	}
	// Where that moves lent, those before stay where gRPC knows them.
	m.lent = append(m.lent, lent{b: b[:len(b):len(b)], to: to})
	l := &m.lent[len(m.lent)-1]
	return mem.NewBuffer(&l.b, l)
}

// Put implements mem.BufferPool.
func (l *lent) Put(*[]byte) { l.to.Return() }

// Get implements mem.BufferPool. gRPC takes nothing out of what it puts back to.
func (l *lent) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

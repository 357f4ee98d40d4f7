package link

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/grpc/mem"

	"github.com/duet-video/duet/internal/record"
)

// Message collects frames to be sent together. The zero value is an empty message. It
// is not safe for concurrent use, and is handed over by Send.
type Message struct {
	// parts are what is sent, in order: header pieces and, unchanged, Batch.Records.
	parts mem.BufferSlice
	// lent are parts that somebody gets back.
	lent []lent
	// head holds the header pieces; those before open are in parts already.
	head []byte
	open int
	size int
	n    int
	err  error
}

// headChunk is the capacity that the header pieces of a message start with, in bytes.
const headChunk = 1024

// NewMessage returns an empty message that takes as many batches as its likes before did
// without growing.
func NewMessage(batches int) *Message {
	return &Message{
		parts: make(mem.BufferSlice, 0, 2*batches+1), // the header and the records of each
		lent:  make([]lent, 0, batches),
		head:  make([]byte, 0, max(headChunk, batches*(frameHead+batchHead))),
	}
}

// Len returns how many frames m holds.
func (m *Message) Len() int { return m.n }

// Size returns the length of m on the wire in bytes.
func (m *Message) Size() int { return m.size }

// Add appends a frame. Batch.Records is not copied: it must not change until its Lender
// is told that it has left, and without one never. What cannot be encoded (a name that is too long) is
// reported by Send.
func (m *Message) Add(f Frame) {
	switch f := f.(type) {
	case Hello:
		m.begin(kindHello, 0, len(f.Recorder))
		m.head = append(m.head, f.Recorder...)
		m.check(len(f.Recorder) <= MaxName, "name of a recorder", len(f.Recorder))
	case Subscribe:
		m.begin(kindSubscribe, f.Channel, positionSize+len(f.Camera))
		m.position(f.From)
		m.head = append(m.head, f.Camera...)
		m.check(len(f.Camera) <= MaxName, "name of a camera", len(f.Camera))
	case Unsubscribe:
		m.begin(kindUnsubscribe, f.Channel, 0)
	case Ack:
		m.begin(kindAck, f.Channel, positionSize+8)
		m.position(f.Durable)
		m.u64(uint64(f.EndNS))
	case Open:
		m.begin(kindOpen, f.Channel, positionSize)
		m.position(record.Position{Epoch: f.Epoch, Offset: f.Offset})
	case Batch:
		m.begin(kindBatch, f.Channel, batchHead+len(f.Records))
		m.u64(f.First)
		m.head = binary.LittleEndian.AppendUint32(m.head, f.Count)
		m.flush()
		m.parts = append(m.parts, m.records(f.Records, f.Lender))
		m.check(len(f.Records) <= MaxMessage/2, "records of a batch", len(f.Records))
	case Lost:
		m.begin(kindLost, f.Channel, positionSize+8)
		m.position(record.Position{Epoch: f.Epoch, Offset: f.From})
		m.u64(f.To)
	case Pause:
		m.begin(kindPause, f.Channel, positionSize+8)
		m.position(record.Position{Epoch: f.Epoch, Offset: f.Offset})
		m.u64(uint64(f.CaptureNS))
	case End:
		m.begin(kindEnd, f.Channel, positionSize+len(f.Cause))
		m.position(record.Position{Epoch: f.Epoch, Offset: f.End})
		m.head = append(m.head, f.Cause...)
		m.check(len(f.Cause) <= maxCause, "cause", len(f.Cause))
	case Reject:
		reason := f.Reason[:min(len(f.Reason), maxReason)]
		m.begin(kindReject, f.Channel, len(reason))
		m.head = append(m.head, reason...)
	}
}

func (m *Message) check(ok bool, what string, size int) {
	if !ok && m.err == nil {
		m.err = fmt.Errorf("link frame: %s of %d bytes is too long", what, size)
	}
}

func (m *Message) begin(kind kind, channel uint32, payload int) {
	if m.head == nil {
		m.head = make([]byte, 0, headChunk)
	}
	m.head = append(m.head, byte(kind), 0, 0, 0)
	m.head = binary.LittleEndian.AppendUint32(m.head, channel)
	m.head = binary.LittleEndian.AppendUint32(m.head, uint32(min(payload, math.MaxUint32)))
	m.size += frameHead + payload
	m.n++
}

func (m *Message) position(p record.Position) {
	m.head = append(m.head, p.Epoch[:]...)
	m.u64(p.Offset)
}

func (m *Message) u64(v uint64) { m.head = binary.LittleEndian.AppendUint64(m.head, v) }

// flush closes the current header piece. Later appends never touch its bytes.
func (m *Message) flush() {
	if len(m.head) > m.open {
		m.parts = append(m.parts, mem.SliceBuffer(m.head[m.open:len(m.head):len(m.head)]))
		m.open = len(m.head)
	}
}

func (m *Message) buffers() (mem.BufferSlice, error) {
	if m.err != nil {
		return nil, m.err
	}
	if m.size > MaxMessage {
		return nil, fmt.Errorf("link message of %d bytes is over %d", m.size, MaxMessage)
	}
	m.flush()
	return m.parts, nil
}

package link

import (
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Frame is one of Hello, Subscribe, Unsubscribe, Ack (recorder to proxy), Open, Batch,
// Lost, Pause, End, Reject (proxy to recorder), by value.
type Frame interface{ frame() }

func (Hello) frame()       {}
func (Subscribe) frame()   {}
func (Unsubscribe) frame() {}
func (Ack) frame()         {}
func (Open) frame()        {}
func (Batch) frame()       {}
func (Lost) frame()        {}
func (Pause) frame()       {}
func (End) frame()         {}
func (Reject) frame()      {}

// Hello is the first frame of a recorder, and sent once.
type Hello struct {
	Recorder string
}

// Subscribe asks for a camera from a position on (the zero Position: from the oldest
// record that the log has). It may be sent at any time. Channel is the recorder's
// choice and must not be in use on the stream.
type Subscribe struct {
	Channel uint32
	Camera  string
	From    record.Position
}

// Unsubscribe ends a channel. Frames that are under way may still arrive on it, so its
// number is not to be used again on the stream.
type Unsubscribe struct {
	Channel uint32
}

// Ack says that everything before Durable is on the recorder's disk and in its index.
type Ack struct {
	Channel uint32
	Durable record.Position
	// EndNS is the capture time up to which footage is durable, Unix ns.
	EndNS int64
}

// Open begins the delivery of an epoch, at Offset.
type Open struct {
	Channel uint32
	Epoch   record.Epoch
	Offset  uint64
}

// Batch carries Count records in their wire form, the first of which has offset First.
// Records is a view of the log's slab (sending), or of the message (receiving), which is
// valid until the next Recv; it holds Count well-formed records: the decoder has checked
// that.
type Batch struct {
	Channel uint32
	First   uint64
	Count   uint32
	Records []byte
	// Lender is told when Records have left; nil (and when receiving): nobody is.
	Lender Lender
}

// Lender is where memory belongs to that a message is sent from.
type Lender interface {
	// Return says that the memory is not looked at any more. It is called once, by any
	// goroutine, or never where the message could not be sent.
	Return()
}

// Lost says that the offsets From ≤ offset < To of Epoch have left the log.
type Lost struct {
	Channel  uint32
	Epoch    record.Epoch
	From, To uint64
}

// Pause says that nothing from Offset on is sent for now. The record at Offset is a cut
// with capture time CaptureNS (Unix ns): the fragment before it is whole and ends there.
type Pause struct {
	Channel   uint32
	Epoch     record.Epoch
	Offset    uint64
	CaptureNS int64
}

// End says that Epoch is over, that its records end before offset End, and why.
type End struct {
	Channel uint32
	Epoch   record.Epoch
	End     uint64
	Cause   media.Cause
}

// Reject refuses a subscription: the proxy has no such camera, or the recorder may not
// have it. The other channels of the stream go on.
type Reject struct {
	Channel uint32
	Reason  string
}

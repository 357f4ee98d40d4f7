package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/record"
)

const (
	// messageTarget is the size from which on a message is sent, in bytes.
	messageTarget = 256 << 10
	// leastBatch: a message with less room than that left is sent.
	leastBatch = 4 << 10
	// tickEvery is how often gates are looked at, and whether a heartbeat is due.
	tickEvery = link.Heartbeat / 4
)

// recorderStream is the stream of one recorder. Its sender (run) owns channels, its
// receiver only looks up byID.
type recorderStream struct {
	srv      *linkServer
	recorder string
	stream   *link.ServerStream
	waker    *Waker
	check    atomic.Bool // look at the gates

	requests chan link.Frame // what the receiver leaves to the sender
	failed   chan error      // why the receiver ended
	ended    chan error      // why the server ends the stream
	always   <-chan struct{} // closed

	channels []*channel
	turn     int // index of the channel that is served first
	batches  int // of the message before

	mu   sync.Mutex
	byID map[uint32]*channel
}

// channel is a subscription.
type channel struct {
	id     uint32
	camera *camera
	copy   *copyState
	// cursor is nil while the gate is held.
	cursor *Cursor
	// sent is the position before which everything was sent, here or before.
	sent  record.Position
	gate  gate
	spare bool
}

// receive takes what the recorder sends, until the stream ends.
func (r *recorderStream) receive() {
	hello := false
	for {
		f, err := r.stream.Recv()
		if err == nil {
			err = r.take(f, &hello)
		}
		if err != nil {
			r.failed <- streamError(err)
			return
		}
	}
}

func (r *recorderStream) take(f link.Frame, hello *bool) error {
	if _, ok := f.(link.Hello); ok != !*hello {
		return fmt.Errorf("%w: %T out of turn", link.ErrCorrupt, f)
	}
	*hello = true
	if a, ok := f.(link.Ack); ok {
		return r.ack(a)
	}
	return r.ask(f)
}

// ask leaves a frame to the sender.
func (r *recorderStream) ask(f link.Frame) error {
	select {
	case r.requests <- f:
		return nil
	case <-r.stream.Context().Done():
		return r.stream.Context().Err()
	}
}

// streamError returns the status that tells a recorder why its stream ends.
func streamError(err error) error {
	switch {
	case errors.Is(err, link.ErrCorrupt):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, io.EOF):
		return status.Error(codes.Canceled, "the recorder has closed the stream")
	}
	return err
}

// ack notes what is durable. It does not wait for the sender, which may be stuck.
func (r *recorderStream) ack(a link.Ack) error {
	r.mu.Lock()
	ch := r.byID[a.Channel]
	r.mu.Unlock()
	if ch == nil {
		// The sender may not have come to the subscription yet.
		return r.ask(a)
	}
	return r.acked(ch, a)
}

func (r *recorderStream) acked(ch *channel, a link.Ack) error {
	if !ch.camera.log.Plausible(a.Durable) {
		return fmt.Errorf("%w: acknowledgement of %s for camera %s is past the end of the epoch", link.ErrCorrupt, a.Durable, ch.camera.cfg.Name)
	}
	ch.copy.ack(r, a.Durable, a.EndNS, r.srv.clock.Now().UnixNano())
	r.srv.acked.wake()
	return nil
}

// end makes run return err.
func (r *recorderStream) end(err error) {
	select {
	case r.ended <- err:
	default:
	}
}

// recheck makes run look at the gates.
func (r *recorderStream) recheck() {
	r.check.Store(true)
	r.waker.wake()
}

// run serves the recorder until the stream ends.
func (r *recorderStream) run(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	linger := time.NewTimer(r.srv.linger)
	defer linger.Stop()
	lingering, more := true, false
	last := r.srv.clock.Mono() // when something was sent
	for {
		wake, again := r.waker.C(), (<-chan struct{})(nil)
		if lingering || more {
			wake = nil
		}
		if more {
			again = r.always
		}
		due := false
		select {
		case <-again:
			due = true
		case <-wake:
			lingering = true
			linger.Reset(r.srv.linger)
		case <-linger.C:
			due = true
		case f := <-r.requests:
			if err := r.request(f); err != nil {
				return err
			}
			due = true
		case <-tick.C:
			r.check.Store(true)
			due = r.srv.clock.Mono()-last >= int64(link.Heartbeat)
		case err := <-r.failed:
			return err
		case err := <-r.ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		if r.check.Swap(false) && r.gates() {
			due = true
		}
		if !due {
			continue
		}
		lingering = false
		linger.Stop()
		m := link.NewMessage(r.batches)
		more = r.collect(m)
		r.batches = m.Len()
		if now := r.srv.clock.Mono(); m.Len() > 0 || now-last >= int64(link.Heartbeat) {
			last = now
			if err := r.stream.Send(m); err != nil {
				return err
			}
		}
	}
}

// collect fills a message, channel after channel, and reports whether it got full. The
// next one begins with the channel after, so that one with much to send does not keep
// the others waiting.
func (r *recorderStream) collect(m *link.Message) (more bool) {
	idle := 0
	for idle < len(r.channels) {
		if r.turn >= len(r.channels) {
			r.turn = 0
		}
		ch := r.channels[r.turn]
		r.turn++
		if ch.cursor == nil {
			idle++
			continue
		}
		k, ok := ch.cursor.TryNext(messageTarget - m.Size())
		if !ok {
			idle++
			continue
		}
		idle = 0
		r.add(m, ch, k)
		if k.Kind == ChunkOpen {
			r.turn-- // its records may go along
		}
		if m.Size() > messageTarget-leastBatch {
			return true
		}
	}
	return false
}

// add appends a chunk as a frame.
func (r *recorderStream) add(m *link.Message, ch *channel, k Chunk) {
	switch k.Kind {
	case ChunkOpen:
		m.Add(link.Open{Channel: ch.id, Epoch: k.Epoch, Offset: k.First})
	case ChunkBatch:
		m.Add(link.Batch{Channel: ch.id, First: k.First, Count: uint32(k.End - k.First), Records: k.Records, Lender: k.slab})
		ch.sent = record.Position{Epoch: k.Epoch, Offset: k.End}
	case ChunkLost:
		ch.copy.lose(k.End - k.First)
		m.Add(link.Lost{Channel: ch.id, Epoch: k.Epoch, From: k.First, To: k.End})
	case ChunkEnd:
		m.Add(link.End{Channel: ch.id, Epoch: k.Epoch, End: k.End, Cause: k.Cause})
	case ChunkPause:
		if !k.Epoch.IsZero() {
			m.Add(link.Pause{Channel: ch.id, Epoch: k.Epoch, Offset: k.First, CaptureNS: k.CaptureNS})
		}
		ch.stopCursor()
		ch.gate = gateHeld
		ch.copy.hold(true)
	}
}

// request handles what the recorder asks for. An error ends the stream.
func (r *recorderStream) request(f link.Frame) error {
	switch f := f.(type) {
	case link.Subscribe:
		if r.byID[f.Channel] != nil {
			return status.Errorf(codes.InvalidArgument, "channel %d is in use", f.Channel)
		}
		if err := r.subscribe(f); err != nil {
			r.srv.say("refused "+r.recorder, func(e *zerolog.Event) {
				e.Str("recorder", r.recorder).Str("camera", f.Camera).Err(err).Msg("subscription refused")
			})
			m := &link.Message{}
			m.Add(link.Reject{Channel: f.Channel, Reason: err.Error()})
			return r.stream.Send(m)
		}
	case link.Unsubscribe:
		r.unsubscribe(f.Channel)
	case link.Ack:
		// Without a channel it is of one that was refused or unsubscribed meanwhile.
		if ch := r.byID[f.Channel]; ch != nil {
			return streamError(r.acked(ch, f))
		}
	}
	return nil
}

func (r *recorderStream) subscribe(f link.Subscribe) error {
	cam := r.srv.cameras[f.Camera]
	if cam == nil {
		return fmt.Errorf("this proxy has no camera %q", f.Camera)
	}
	k := cam.copyOf(r.recorder)
	if k == nil {
		return fmt.Errorf("recorder %s is not to record camera %s", r.recorder, f.Camera)
	}
	for _, ch := range r.channels {
		if ch.camera == cam {
			return fmt.Errorf("camera %s is subscribed already, on channel %d", f.Camera, ch.id)
		}
	}
	if !cam.log.Plausible(f.From) {
		return fmt.Errorf("camera %s: position %s is past the end of its epoch", f.Camera, f.From)
	}
	cam.notBefore(f.From.Epoch)
	ch := &channel{id: f.Channel, camera: cam, copy: k, sent: f.From, spare: cam.cfg.Copies == Spare && k.role == roleRedundant}
	if !ch.spare {
		ch.gate = gateRunning
		if err := ch.startCursor(f.From, r.waker); err != nil {
			return err
		}
	}
	k.link(r, f.From, ch.spare)
	r.channels = append(r.channels, ch)
	r.mu.Lock()
	r.byID[f.Channel] = ch
	r.mu.Unlock()
	r.check.Store(true)
	return nil
}

func (r *recorderStream) unsubscribe(id uint32) {
	r.mu.Lock()
	ch := r.byID[id]
	delete(r.byID, id)
	r.mu.Unlock()
	if ch == nil {
		return
	}
	r.channels = slices.DeleteFunc(r.channels, func(o *channel) bool { return o == ch })
	r.close(ch)
}

func (r *recorderStream) close(ch *channel) {
	ch.stopCursor()
	if ch.copy.unlink(r) && ch.copy.role == rolePrimary {
		ch.camera.redundant().recheck()
	}
}

func (r *recorderStream) closeAll() {
	for _, ch := range r.channels {
		r.close(ch)
	}
}

func (ch *channel) startCursor(from record.Position, w *Waker) error {
	c, err := ch.camera.log.NewCursor(from, w)
	ch.cursor = c
	return err
}

func (ch *channel) stopCursor() {
	if ch.cursor != nil {
		ch.cursor.Close()
		ch.cursor = nil
	}
}

package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// ChunkKind says what a Chunk is.
type ChunkKind uint8

// The kinds of chunk, which come in the order that package link describes.
const (
	// ChunkOpen: the records that follow are of Epoch and begin at First.
	ChunkOpen ChunkKind = iota + 1
	// ChunkBatch: Records holds the records First ≤ offset < End.
	ChunkBatch
	// ChunkLost: the records First ≤ offset < End of Epoch have left the log.
	ChunkLost
	// ChunkEnd: Epoch is over, its records end before End, because of Cause.
	ChunkEnd
	// ChunkPause: after StopAtCut, the cut at First of Epoch, with capture time
	// CaptureNS, is reached. Epoch is zero where the cursor was between epochs or had
	// lost records, so that there is no fragment to close. It delivers no more.
	ChunkPause
)

// Chunk is what a cursor delivers.
type Chunk struct {
	Kind       ChunkKind
	Epoch      record.Epoch
	First, End uint64
	// Records are whole records in wire form: a view of the log that must not be changed.
	// It stays valid until Release is called, and where that is not called for as long as it
	// is held. It keeps up to 32 KiB alive.
	Records   []byte
	Cause     media.Cause
	CaptureNS int64

	slab *slab // of Records
}

// Release says that Records are not looked at any more: the memory may be used again. It
// is called once at most, by whoever the chunk, or its Lender, was handed to.
func (k *Chunk) Release() {
	if k.slab != nil {
		k.slab.Return()
	}
}

// Waker wakes one goroutine that waits for any number of cursors. Any number of
// wake-ups before it looks are one.
type Waker struct{ c chan struct{} }

// NewWaker returns a Waker.
func NewWaker() *Waker { return &Waker{c: make(chan struct{}, 1)} }

// C is readable when something may be there to read.
func (w *Waker) C() <-chan struct{} { return w.c }

func (w *Waker) wake() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// LiveStart says where a live reader begins.
type LiveStart uint8

const (
	// LiveCut: at the newest cut, so that a picture is there at once.
	LiveCut LiveStart = iota
	// LiveTail: at the next record that is appended.
	LiveTail
)

// Cursor is one consumer's place in a log. It belongs to one goroutine.
type Cursor struct {
	log   *Log
	waker *Waker
	// epoch is the one that is being read; nil: the first one after the epoch after,
	// or, with oldest set, whichever has the oldest record.
	epoch  *epochLog
	after  record.Epoch
	oldest bool
	next   uint64
	opened bool
	// told: the reader has heard of the epoch, so it wants to hear of its end.
	told  bool
	stop  bool
	slab  *slab
	pos   int
	waits bool // under Log.mu: the cursor is in Log.waiting
}

// ErrBeyond says that a position is past the end of its epoch.
var ErrBeyond = errors.New("the position is past the end of its epoch")

// NewCursor returns a cursor that begins at a position (see package link for what
// positions mean that are zero, unknown or gone), and wakes waker. Close it.
func (l *Log) NewCursor(from record.Position, waker *Waker) (*Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &Cursor{log: l, waker: waker}
	if from.IsZero() {
		c.oldest = true
		return c, nil
	}
	if e := l.find(from.Epoch); e != nil {
		if from.Offset > e.next {
			return nil, fmt.Errorf("begin at %s: %w, which is %d", from, ErrBeyond, e.next)
		}
		c.epoch, c.next, c.told = e, from.Offset, true
		return c, nil
	}
	c.after = from.Epoch
	return c, nil
}

// NewLiveCursor returns a cursor for a reader that wants what is new; Next waits for it.
func (l *Log) NewLiveCursor(start LiveStart) *Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &Cursor{log: l, waker: NewWaker()}
	n := len(l.epochs)
	if n == 0 {
		return c
	}
	e := l.epochs[n-1]
	c.after = e.id
	switch cuts := len(e.cuts); {
	case e.ended:
	case start == LiveTail, cuts == 0:
		c.epoch, c.next = e, e.next
	default:
		c.epoch, c.next = e, e.cuts[cuts-1].offset
	}
	return c
}

// Untold says that the reader is not at the position that the cursor began at, and has
// not heard of its epoch: it is not to hear of its end before anything else.
func (c *Cursor) Untold() { c.told = false }

// StopAtCut makes the cursor deliver ChunkPause at the next cut, and nothing after it.
func (c *Cursor) StopAtCut() { c.stop = true }

// GoOn takes StopAtCut back, unless ChunkPause has been delivered.
func (c *Cursor) GoOn() { c.stop = false }

// Close makes the cursor wake nobody any more.
func (c *Cursor) Close() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	if c.waits {
		c.waits = false
		c.log.waiting = slices.DeleteFunc(c.log.waiting, func(o *Cursor) bool { return o == c })
	}
}

// Next waits for the next chunk, of at most maxBytes where the record is not larger.
func (c *Cursor) Next(ctx context.Context, maxBytes int) (Chunk, error) {
	for {
		if k, ok := c.TryNext(maxBytes); ok {
			return k, nil
		}
		select {
		case <-c.waker.c:
		case <-ctx.Done():
			return Chunk{}, ctx.Err()
		}
	}
}

// TryNext returns the next chunk if there is one. Otherwise the waker is woken once when
// there may be.
func (c *Cursor) TryNext(maxBytes int) (Chunk, bool) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	k, ok := c.step(maxBytes)
	if !ok && !c.waits {
		c.waits = true
		c.log.waiting = append(c.log.waiting, c)
	}
	return k, ok
}

// step is TryNext under Log.mu.
func (c *Cursor) step(maxBytes int) (Chunk, bool) {
	if c.stop && !c.opened {
		return Chunk{Kind: ChunkPause}, true
	}
	if c.epoch != nil && !c.told && c.epoch.ended && c.next == c.epoch.next {
		c.leave()
	}
	for c.epoch == nil {
		if !c.enter() {
			return Chunk{}, false
		}
		if c.epoch.ended && c.epoch.next == 0 { // without a record there is nothing to tell
			c.leave()
		}
	}
	e := c.epoch
	switch {
	case c.next == e.next && e.ended:
		c.leave()
		return Chunk{Kind: ChunkEnd, Epoch: e.id, End: e.next, Cause: e.cause}, true
	case c.next == e.next:
		return Chunk{}, false
	case c.next < e.base:
		return c.lose()
	case c.stop:
		if k, ok := c.pause(); ok {
			return k, true
		}
	}
	if !c.opened {
		c.opened, c.told = true, true
		return Chunk{Kind: ChunkOpen, Epoch: e.id, First: c.next}, true
	}
	return c.batch(maxBytes), true
}

// enter finds the epoch to go on with.
func (c *Cursor) enter() bool {
	if c.oldest {
		for _, e := range c.log.epochs {
			if len(e.cuts) > 0 {
				c.epoch, c.next, c.oldest = e, e.cuts[0].offset, false
				return true
			}
		}
		return false
	}
	for _, e := range c.log.epochs {
		if e.id.Compare(c.after) > 0 {
			c.epoch, c.next = e, 0
			return true
		}
	}
	return false
}

func (c *Cursor) leave() {
	c.after, c.epoch, c.slab, c.opened, c.told = c.epoch.id, nil, nil, false, false
}

// lose goes on at the next cut. Where there is none yet, what is lost is not known yet.
func (c *Cursor) lose() (Chunk, bool) {
	e := c.epoch
	to := e.next
	if k, ok := e.cutFrom(c.next); ok {
		to = k.offset
	} else if !e.ended {
		return Chunk{}, false
	}
	k := Chunk{Kind: ChunkLost, Epoch: e.id, First: c.next, End: to}
	c.next, c.opened, c.told, c.slab = to, false, true, nil
	return k, true
}

func (c *Cursor) pause() (Chunk, bool) {
	k, ok := c.epoch.cutFrom(c.next)
	if !ok || k.offset != c.next {
		return Chunk{}, false
	}
	return Chunk{Kind: ChunkPause, Epoch: c.epoch.id, First: k.offset, CaptureNS: k.captureNS}, true
}

// batch returns records from next on; there is one at least.
func (c *Cursor) batch(maxBytes int) Chunk {
	e := c.epoch
	if c.slab == nil || c.next >= c.slab.next() {
		c.slab = e.slabOf(c.next)
		c.pos = c.slab.seek(c.next)
	}
	limit := e.next
	if c.stop {
		if k, ok := e.cutFrom(c.next); ok {
			limit = k.offset
		}
	}
	end, n := c.slab.run(c.pos, c.next, limit, maxBytes)
	k := Chunk{
		Kind: ChunkBatch, Epoch: e.id, First: c.next, End: c.next + n,
		Records: c.slab.buf[c.pos:end:end], slab: c.slab,
	}
	c.slab.refs.Add(1) // the log has it, so it is not at none
	c.next += n
	c.pos = end
	return k
}

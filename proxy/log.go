package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// LogOptions say how much a Log keeps. A fragment leaves as a whole when one of the
// limits asks for it.
type LogOptions struct {
	// Window is how much footage is kept, in capture time. It must be positive.
	Window time.Duration
	// MaxBytes bounds the memory of the log. It must be positive.
	MaxBytes int64
	// Budget bounds the memory of all logs that share it, and lets them use it again one
	// after the other; nil: no bound.
	Budget *Budget
	Clock  clock.Clock
}

// Log is the bounded window, in memory, of the records of one camera.
//
// There is one writer: Begin, Append, Publish and End must not be called concurrently
// with each other. Everything else may be called at any time from anywhere. The writer
// never waits for a reader, and takes the log's lock once for each Publish, not for each
// record.
type Log struct {
	opts  LogOptions
	slabs *slabPool // of the Budget

	// Of the writer alone.
	w struct {
		epoch  *epochLog
		slab   *slab
		fresh  []*slab // not in epoch.slabs yet
		cuts   []cut
		next   uint64
		lastNS int64
		// Size of the next slab and when the current one was begun, Clock.Mono.
		slabSize int
		slabAt   int64
	}

	mu     sync.Mutex
	epochs []*epochLog // in the order in which they began; all that are remembered
	bytes  int64       // capacity of all slabs
	dues   dueList
	// waiting are the cursors that want to be woken; woken is the spare of the two.
	waiting, woken []*Cursor

	// held mirrors bytes for Budget and metrics.
	held atomic.Int64
}

// maxEpochs is how many epochs a log remembers, most of them without records.
const maxEpochs = 256

// Errors of a log's writer.
var (
	ErrEpochOrder = errors.New("the epoch does not follow the one before")
	ErrNoEpoch    = errors.New("no epoch has begun")
	ErrNoCut      = errors.New("an epoch must begin with a cut")
	ErrTooLarge   = fmt.Errorf("record is larger than %d bytes", record.MaxSize)
)

// NewLog returns an empty log. Close it to return its share of the Budget.
func NewLog(opts LogOptions) *Log {
	l := &Log{opts: opts}
	l.w.slabSize = minSlab
	if opts.Budget != nil {
		l.slabs = &opts.Budget.slabs
		opts.Budget.add(l)
	}
	return l
}

// Begin starts an epoch, which must be later than every one before it. The one before
// must have ended.
func (l *Log) Begin(id record.Epoch) error {
	if l.w.epoch != nil {
		return fmt.Errorf("begin epoch %s: %w: %s has not ended", id, ErrEpochOrder, l.w.epoch.id)
	}
	l.mu.Lock()
	if n := len(l.epochs); n > 0 && l.epochs[n-1].id.Compare(id) >= 0 {
		last := l.epochs[n-1].id
		l.mu.Unlock()
		return fmt.Errorf("begin epoch %s: %w: it is not later than %s", id, ErrEpochOrder, last)
	}
	e := &epochLog{id: id}
	l.epochs = append(l.epochs, e)
	l.forget()
	l.mu.Unlock()
	l.w.epoch, l.w.slab, l.w.next, l.w.lastNS = e, nil, 0, 0
	return nil
}

// Append adds a record of the current epoch and returns its offset. The packet is p,
// marshalled straight into the log, or r.Packet where p is nil; neither r nor p is kept.
// Readers see it after the next Publish. After an error the log is as it was.
func (l *Log) Append(r *record.Record, p *rtp.Packet) (offset uint64, err error) {
	w := &l.w
	switch {
	case w.epoch == nil:
		return 0, ErrNoEpoch
	case w.next == 0 && !r.Flags.Has(record.Cut):
		return 0, ErrNoCut
	}
	n := len(r.Packet)
	if p != nil {
		n = p.MarshalSize()
	}
	size := record.HeaderSize + len(r.Ext) + n
	if size > record.MaxSize {
		return 0, ErrTooLarge
	}
	if w.slab == nil || w.slab.used+size > len(w.slab.buf) {
		l.newSlab(size)
	}
	s := w.slab
	at := len(record.AppendHeader(s.buf[:s.used], r, n))
	if p == nil {
		copy(s.buf[at:], r.Packet)
	} else if _, err := p.MarshalTo(s.buf[at : at+n]); err != nil {
		return 0, fmt.Errorf("append a packet to the log: %w", err)
	}
	s.used += size
	s.filled++
	if r.Flags.Has(record.Cut) {
		w.cuts = append(w.cuts, cut{offset: w.next, captureNS: r.CaptureNS})
	}
	w.lastNS = max(w.lastNS, r.CaptureNS)
	w.next++
	return w.next - 1, nil
}

// newSlab makes room for a record of size bytes.
func (l *Log) newSlab(size int) {
	w := &l.w
	now := l.opts.Clock.Mono()
	if w.slab != nil {
		switch took := time.Duration(now - w.slabAt); {
		case took < slabFullSoon:
			w.slabSize = min(2*w.slabSize, maxSlab)
		case took > slabFullLate:
			w.slabSize = max(w.slabSize/2, minSlab)
		}
	}
	w.slabAt = now
	w.slab = &slab{buf: l.slabs.get(max(w.slabSize, size)), pool: l.slabs, first: w.next}
	w.slab.refs.Store(1)
	w.fresh = append(w.fresh, w.slab)
}

// Publish shows readers what was appended, and wakes those that wait. Call it once for
// an access unit or a burst of packets.
func (l *Log) Publish() { l.publish(nil) }

// End ends the current epoch, publishing what was appended. It does nothing where none
// has begun.
func (l *Log) End(cause media.Cause) {
	if l.w.epoch != nil {
		l.publish(&cause)
		l.w.epoch = nil
	}
}

func (l *Log) publish(ended *media.Cause) {
	w := &l.w
	e := w.epoch
	if e == nil {
		return
	}
	l.mu.Lock()
	before := l.bytes
	if n := len(e.slabs); n > 0 {
		e.slabs[n-1].publish()
	}
	for _, s := range w.fresh {
		s.publish()
		e.slabs = append(e.slabs, s)
		l.bytes += int64(cap(s.buf))
	}
	if len(w.cuts) > 0 {
		l.dues.cuts(l.opts.Clock.Mono(), e.id, w.cuts)
		e.cuts = append(e.cuts, w.cuts...)
	}
	e.next, e.lastNS = w.next, w.lastNS
	if ended != nil {
		e.ended, e.cause = true, *ended
		l.dues.add(l.opts.Clock.Mono(), record.Position{Epoch: e.id, Offset: e.next})
		l.shrink(e)
	}
	l.evict()
	l.held.Store(l.bytes)
	delta := l.bytes - before
	l.waiting, l.woken = l.woken[:0], l.waiting
	for _, c := range l.woken {
		c.waits = false
	}
	// The wake-ups stay under the lock: woken is reused, and a wake-up never waits.
	for i, c := range l.woken {
		c.waker.wake()
		l.woken[i] = nil
	}
	l.mu.Unlock()

	clear(w.fresh)
	w.fresh, w.cuts = w.fresh[:0], w.cuts[:0]
	if l.opts.Budget != nil {
		l.opts.Budget.grow(delta)
	}
}

func (s *slab) publish() { s.count, s.end = s.filled, s.used }

// shrink gives back what the last slab of an ended epoch does not need.
func (l *Log) shrink(e *epochLog) {
	if n := len(e.slabs); n > 0 {
		s := e.slabs[n-1]
		small := &slab{buf: bytes.Clone(s.buf[:s.end]), first: s.first, count: s.count, end: s.end}
		small.refs.Store(1)
		e.slabs[n-1] = small
		l.bytes += int64(cap(small.buf) - cap(s.buf))
		// A cursor may be at s: it is not returned.
	}
}

// forget bounds what is remembered of epochs that are over.
func (l *Log) forget() {
	for len(l.epochs) > maxEpochs && l.epochs[0].ended && len(l.epochs[0].slabs) == 0 {
		l.epochs[0] = nil
		l.epochs = l.epochs[1:]
	}
}

// Close drops everything that the log holds. Views that readers have stay valid. The memory
// is not used again: nothing is said here about a writer.
func (l *Log) Close() {
	l.mu.Lock()
	freed := l.bytes
	for _, e := range l.epochs {
		e.slabs, e.cuts, e.base = nil, nil, e.next
		e.ended = true
	}
	l.bytes = 0
	l.held.Store(0)
	l.mu.Unlock()
	if l.opts.Budget != nil {
		l.opts.Budget.remove(l, freed)
	}
}

// Bytes returns the memory that the log holds.
func (l *Log) Bytes() int64 { return l.held.Load() }

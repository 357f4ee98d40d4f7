package proxy

import (
	"slices"
	"sync"
	"sync/atomic"
)

// drop lets the records before offset go, and returns the bytes that this frees. An
// offset of e.next lets everything go.
func (e *epochLog) drop(offset uint64) (freed int64) {
	n := 0
	for _, s := range e.slabs {
		if s.next() > offset {
			break
		}
		freed += int64(cap(s.buf))
		s.Return() // the writer has filled it: there is one after it, or the epoch has ended
		n++
	}
	clear(e.slabs[:n])
	e.slabs = e.slabs[n:]
	if len(e.slabs) == 0 {
		e.slabs = nil
	}
	n = 0
	for n < len(e.cuts) && e.cuts[n].offset < offset {
		n++
	}
	e.cuts = e.cuts[n:]
	e.base = offset
	return freed
}

// oldest returns the oldest epoch that has records, or nil.
func (l *Log) oldest() *epochLog {
	for _, e := range l.epochs {
		if e.base < e.next {
			return e
		}
	}
	return nil
}

// evict lets fragments go until the limits are kept. Under mu.
func (l *Log) evict() {
	if len(l.epochs) == 0 {
		return
	}
	newest := l.epochs[len(l.epochs)-1].lastNS
	for {
		e := l.oldest()
		if e == nil {
			return
		}
		if l.bytes <= l.opts.MaxBytes && !e.oldestEndsBefore(newest-int64(l.opts.Window)) {
			return
		}
		if !l.evictOne(e) {
			return
		}
	}
}

// oldestEndsBefore reports whether the oldest fragment is whole and ends before ns.
func (e *epochLog) oldestEndsBefore(ns int64) bool {
	switch {
	case len(e.cuts) > 0 && e.cuts[0].offset > e.base:
		return e.cuts[0].captureNS < ns
	case len(e.cuts) > 1:
		return e.cuts[1].captureNS < ns
	}
	return e.ended && e.lastNS < ns
}

// evictOne lets go of the oldest fragment. Where that is the one which is being
// written, and so large that the limits cannot be kept otherwise, its oldest slab goes:
// until the next cut the log has no place to begin at, but it stays bounded, and readers
// that keep up lose nothing. It returns false where nothing can go. Under mu.
func (l *Log) evictOne(e *epochLog) bool {
	var to uint64
	switch {
	case len(e.cuts) > 0 && e.cuts[0].offset > e.base:
		to = e.cuts[0].offset
	case len(e.cuts) > 1:
		to = e.cuts[1].offset
	case e.ended:
		to = e.next
	case len(e.slabs) > 1:
		to = e.slabs[0].next()
	default:
		return false
	}
	l.bytes -= e.drop(to)
	return true
}

// Budget bounds the memory of several logs together. It may be used concurrently.
type Budget struct {
	max   int64
	total atomic.Int64
	slabs slabPool

	mu   sync.Mutex // before Log.mu
	logs []*Log
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{max: limit} }

// Bytes returns what the logs hold together.
func (b *Budget) Bytes() int64 { return b.total.Load() }

func (b *Budget) add(l *Log) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs = append(b.logs, l)
}

func (b *Budget) remove(l *Log, freed int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs = slices.DeleteFunc(b.logs, func(o *Log) bool { return o == l })
	b.total.Add(-freed)
}

// grow counts what a log has taken or freed, and trims while the total is over the
// limit: always the log that holds most, so that a camera of a hundred times the bit
// rate of the others cannot push them out.
func (b *Budget) grow(delta int64) {
	if b.total.Add(delta) <= b.max || !b.mu.TryLock() {
		return // within the limit, or someone else is trimming
	}
	defer b.mu.Unlock()
	for b.total.Load() > b.max {
		var largest *Log
		for _, l := range b.logs {
			if largest == nil || l.Bytes() > largest.Bytes() {
				largest = l
			}
		}
		if largest == nil {
			return
		}
		freed, ok := largest.trim()
		b.total.Add(-freed)
		if !ok {
			return
		}
	}
}

// trim lets the oldest fragment go.
func (l *Log) trim() (freed int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.oldest()
	if e == nil {
		return 0, false
	}
	before := l.bytes
	ok = l.evictOne(e)
	l.held.Store(l.bytes)
	return before - l.bytes, ok
}

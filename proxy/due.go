package proxy

import "github.com/duet-video/duet/internal/record"

// maxDues bounds how many of the latest cuts a log remembers the time of.
const maxDues = 128

// due says that everything before At was complete, and could be made durable, from the
// moment Mono (clock.Clock.Mono) on.
type due struct {
	mono int64
	at   record.Position
}

// dueList is the latest dues, oldest first.
type dueList struct{ list []due }

func (d *dueList) add(mono int64, at record.Position) {
	if len(d.list) == maxDues {
		d.list = d.list[:copy(d.list, d.list[1:])]
	}
	d.list = append(d.list, due{mono, at})
}

// cuts adds what a run of cuts makes complete. The first cut of an epoch completes
// nothing.
func (d *dueList) cuts(mono int64, epoch record.Epoch, cuts []cut) {
	if last := cuts[len(cuts)-1]; last.offset > 0 {
		d.add(mono, record.Position{Epoch: epoch, Offset: last.offset})
	}
}

// by returns the latest position that was complete at mono; zero where there was none.
func (d *dueList) by(mono int64) record.Position {
	for i := len(d.list) - 1; i >= 0; i-- {
		if d.list[i].mono <= mono {
			return d.list[i].at
		}
	}
	if len(d.list) == maxDues {
		return d.list[0].at // what was due then is forgotten; this is not far from it
	}
	return record.Position{}
}

// Tail returns the position after the newest record; zero before the first epoch.
func (l *Log) Tail() record.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.epochs); n > 0 {
		return record.Position{Epoch: l.epochs[n-1].id, Offset: l.epochs[n-1].next}
	}
	return record.Position{}
}

// DueBy returns the position before which every fragment was complete at mono
// (clock.Clock.Mono): a recorder that is not that far later on is behind. Zero where
// nothing was.
func (l *Log) DueBy(mono int64) record.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dues.by(mono)
}

// Reached reports whether a consumer at position at has passed want, a position of this
// log. One whose epoch the log does not know has reached nothing but zero.
func (l *Log) Reached(at, want record.Position) bool {
	if want.IsZero() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.find(at.Epoch) != nil && at.Compare(want) >= 0
}

// Behind returns how many records a consumer at position at has still to take. For one
// whose epoch the log does not know these are the records that the log holds.
func (l *Log) Behind(at record.Position) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n uint64
	known := l.find(at.Epoch) != nil
	for _, e := range l.epochs {
		switch c := e.id.Compare(at.Epoch); {
		case !known:
			n += e.next - e.base
		case c > 0:
			n += e.next
		case c == 0 && at.Offset < e.next:
			n += e.next - at.Offset
		}
	}
	return n
}

// Plausible reports whether a consumer may claim to be at position at: not past the end
// of an epoch that the log knows.
func (l *Log) Plausible(at record.Position) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.find(at.Epoch)
	return e == nil || at.Offset <= e.next
}

// find returns what the log knows of an epoch, or nil. Under mu.
func (l *Log) find(id record.Epoch) *epochLog {
	for i := len(l.epochs) - 1; i >= 0; i-- {
		if l.epochs[i].id == id {
			return l.epochs[i]
		}
	}
	return nil
}

// Knows reports whether the log remembers an epoch.
func (l *Log) Knows(id record.Epoch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.find(id) != nil
}

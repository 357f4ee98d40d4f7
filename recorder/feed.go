package recorder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// A feed turns what one proxy sends of one camera into fragments. It is driven by the
// goroutine that reads the proxy's stream. What it is in the middle of outlives the
// stream: after a link loss it goes on at the next record.
type feed struct {
	camera, proxy string

	// next is the record that is needed next; zero: the oldest that there is. first is
	// the offset of the cut that the unfinished fragment starts at, while building.
	next     record.Position
	first    uint64
	building bool
	open     bool // an Open has come and records follow
	builder  *media.Builder
	// seen is the generation that what is being built belongs to.
	seen uint32
	// way is the lane that what is being built goes to.
	way *lane

	counts feedCounts

	mu sync.Mutex
	// lane is where the fragments go; nil: nowhere, so nothing is subscribed. generation
	// changes with it, and when what was not durable has to be fetched again; durable is
	// the position to fetch it from. Guarded by mu.
	lane       *lane
	generation uint32
	durable    record.Position
	durableEnd int64
	acked      record.Position
}

// feedCounts are read by metrics and status while the feed works.
type feedCounts struct {
	records, bytes, fragments atomic.Uint64
	lost                      [lossCauses]atomic.Uint64
	linked                    atomic.Bool
	// firstNS and lastNS are the capture times of the first and the newest record that
	// came in, Unix ns; 0: none yet.
	firstNS, lastNS atomic.Int64
}

type lossCause int

// Why offsets were not recorded.
const (
	lostEvicted   lossCause = iota // they had left the proxy's log
	lostNoCut                      // they precede the cut that recording could go on at
	lostNotSent                    // the proxy went on at a later place: a spare's pause
	lostMalformed                  // they formed no fragment
	lossCauses
)

var lossNames = [lossCauses]string{"evicted", "no_cut", "not_sent", "malformed"}

func (c *feedCounts) offsetsLost() uint64 {
	var n uint64
	for i := range c.lost {
		n += c.lost[i].Load()
	}
	return n
}

// progress is how far a feed has come.
type progress struct {
	at    record.Position
	endNS int64
}

// finished is a fragment on its way to the disk. done gives its buffers back.
type finished struct {
	lane       *lane
	fragment   *media.Fragment
	builder    *media.Builder
	generation uint32
	// once: it is tried once, and err says how that went.
	once bool
	err  error
}

func (f *finished) done() { f.lane.giveBack(f.builder) }

// maxFragment bounds what a fragment may grow to when a proxy never cuts.
const maxFragment = 128 << 20

// errViolation is wrapped where a proxy sends what the protocol does not allow.
var errViolation = errors.New("protocol violation")

// newFeed returns a feed without a lane.
func newFeed(camera, proxy string) *feed { return &feed{camera: camera, proxy: proxy} }

// attach gives the feed a lane. It goes on at a position; what was on its way elsewhere
// is given up.
func (f *feed) attach(l *lane, from progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lane = l
	f.generation++
	f.durable, f.durableEnd = from.at, from.endNS
}

// detach takes the lane away and returns it.
func (f *feed) detach() *lane {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lane
	f.lane = nil
	f.generation++
	return l
}

// takes reports whether the feed can take records: it has a lane with a builder to spare.
func (f *feed) takes() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lane != nil && (len(f.lane.free) > 0 || f.way == f.lane && f.builder != nil)
}

// stale reports whether the feed was rewound or moved, and its stream does not know yet.
func (f *feed) stale() bool { return f.current() != f.seen }

// resume returns the position to subscribe from, for a new stream.
func (f *feed) resume() record.Position {
	f.open = false
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen != f.generation {
		f.seen = f.generation
		f.drop()
		f.next, f.way = f.durable, f.lane
	}
	f.acked = record.Position{} // a new stream has heard of nothing
	return f.next
}

// drop forgets the unfinished fragment.
func (f *feed) drop() {
	if f.builder != nil {
		f.way.giveBack(f.builder)
	}
	f.builder, f.building = nil, false
}

// take does what a frame says. ctx is that of the recorder: where it ends, take gives
// up. Other errors wrap errViolation; the feed is then still consistent.
func (f *feed) take(ctx context.Context, frame link.Frame) error {
	switch m := frame.(type) {
	case link.Open:
		return f.takeOpen(m)
	case link.Batch:
		return f.takeBatch(ctx, m)
	case link.Lost:
		return f.takeLost(m)
	case link.Pause:
		return f.takePause(m)
	case link.End:
		return f.takeEnd(m)
	}
	return fmt.Errorf("%w: %T was not expected", errViolation, frame)
}

func (f *feed) violation(format string, a ...any) error {
	return fmt.Errorf("%w: camera %s, next is %s: %s", errViolation, f.camera, f.next, fmt.Sprintf(format, a...))
}

func (f *feed) takeOpen(m link.Open) error {
	if m.Epoch.IsZero() {
		return f.violation("open of no epoch")
	}
	at := record.Position{Epoch: m.Epoch, Offset: m.Offset}
	switch c := m.Epoch.Compare(f.next.Epoch); {
	case c < 0:
		return f.violation("open at %s, of an older epoch", at)
	case c == 0 && m.Offset < f.next.Offset:
		return f.violation("open at %s, which was had before", at)
	case c == 0 && m.Offset > f.next.Offset && f.open:
		return f.violation("open at %s leaves a hole", at)
	case c == 0:
		f.skip(m.Offset)
	default:
		f.finish(nil, false)
		if !f.next.IsZero() {
			f.lose(lostNotSent, m.Offset)
		}
	}
	f.next = at
	f.open = true
	return nil
}

func (f *feed) takeBatch(ctx context.Context, m link.Batch) error {
	if !f.open {
		return f.violation("a batch at offset %d without an open", m.First)
	}
	if m.First != f.next.Offset {
		return f.violation("a batch at offset %d", m.First)
	}
	var r record.Record
	for rest := m.Records; len(rest) > 0; {
		var err error
		if rest, err = record.Next(rest, &r); err != nil {
			return f.violation("%v", err)
		}
		if err := f.takeRecord(ctx, &r); err != nil {
			return err
		}
		f.next.Offset++
	}
	f.counts.firstNS.CompareAndSwap(0, r.CaptureNS)
	f.counts.lastNS.Store(r.CaptureNS)
	f.counts.records.Add(uint64(m.Count))
	f.counts.bytes.Add(uint64(len(m.Records)))
	return nil
}

// takeRecord takes the record at f.next.
func (f *feed) takeRecord(ctx context.Context, r *record.Record) error {
	if r.Flags.Has(record.Cut) {
		f.finish(r, true)
		if err := f.begin(ctx); err != nil {
			return err
		}
	}
	if !f.building {
		f.lose(lostNoCut, 1)
		return nil
	}
	if err := f.builder.Push(f.next.Offset, r); err != nil {
		f.lose(lostMalformed, f.next.Offset-f.first+1)
		f.drop()
		return nil
	}
	if f.builder.Size() > maxFragment {
		f.next.Offset++ // what was pushed is kept
		f.finish(nil, false)
		f.next.Offset--
	}
	return nil
}

// begin starts a fragment at f.next. It waits while both builders are at the disk, unless
// that would take long: then it is errParked, and the record is to be sent again.
func (f *feed) begin(ctx context.Context) (err error) {
	if f.builder, err = f.way.builder(ctx); err != nil {
		f.builder = nil
		return err
	}
	f.builder.Begin(f.next.Epoch, f.next.Offset)
	f.first, f.building = f.next.Offset, true
	return nil
}

// finish ends the fragment that is being built, if any, and gives it to the disk.
func (f *feed) finish(cut *record.Record, closed bool) {
	if !f.building {
		return
	}
	fragment, err := f.builder.Finish(cut, closed)
	if err != nil {
		f.lose(lostMalformed, f.next.Offset-f.first)
		f.drop()
		return
	}
	b := f.builder
	f.builder, f.building = nil, false
	f.way.emit(&finished{lane: f.way, fragment: fragment, builder: b, generation: f.seen})
}

func (f *feed) takeLost(m link.Lost) error {
	switch c := m.Epoch.Compare(f.next.Epoch); {
	case c < 0, m.From >= m.To:
		return f.violation("lost %d … %d of %s", m.From, m.To, m.Epoch)
	case c == 0 && (m.From < f.next.Offset || m.From > f.next.Offset && f.open):
		return f.violation("lost %d … %d", m.From, m.To)
	case c == 0:
		f.skip(m.From)
	}
	f.finish(nil, false)
	f.lose(lostEvicted, m.To-m.From)
	f.next = record.Position{Epoch: m.Epoch, Offset: m.To}
	f.open = false
	return nil
}

func (f *feed) takePause(m link.Pause) error {
	if !f.open || m.Epoch != f.next.Epoch || m.Offset != f.next.Offset {
		return f.violation("pause at offset %d of %s", m.Offset, m.Epoch)
	}
	f.finish(&record.Record{Flags: record.Cut | record.AccessUnit, CaptureNS: m.CaptureNS}, true)
	f.open = false
	return nil
}

func (f *feed) takeEnd(m link.End) error {
	switch {
	case m.Epoch != f.next.Epoch:
		return f.violation("end of epoch %s", m.Epoch)
	case m.End < f.next.Offset, m.End > f.next.Offset && f.open:
		return f.violation("end at offset %d (%s)", m.End, m.Cause)
	}
	f.skip(m.End)
	f.finish(nil, true)
	f.next.Offset = m.End
	f.open = false
	return nil
}

// skip goes on at a later offset than the next one: where a spare is not delivered to,
// its proxy goes on where the primary's copy ends. What is unfinished ends here.
func (f *feed) skip(to uint64) {
	if to == f.next.Offset {
		return
	}
	f.finish(nil, false)
	f.lose(lostNotSent, to-f.next.Offset)
	f.next.Offset = to
}

// abandon gives what is being built to the disk as Truncated, because its end may never
// come, and asks for the whole fragment again should the proxy be back.
func (f *feed) abandon() {
	if !f.building || f.next.Offset == f.first {
		return
	}
	again := record.Position{Epoch: f.next.Epoch, Offset: f.first}
	f.finish(nil, false)
	f.next = again
}

func (f *feed) lose(c lossCause, n uint64) {
	if n > 0 {
		f.counts.lost[c].Add(n)
	}
}

// committed tells the feed that everything before at is durable.
func (f *feed) committed(p progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.durable.Compare(p.at) < 0 {
		f.durable, f.durableEnd = p.at, p.endNS
	}
}

// rewind tells the feed that what is not durable has to be fetched again, unless it goes
// another way by now.
func (f *feed) rewind(l *lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lane == l {
		f.generation++
	}
}

// state returns what is durable of the feed, and where it goes on.
func (f *feed) state() (durable record.Position, endNS int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.durable, f.durableEnd
}

func (f *feed) current() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.generation
}

// ack returns what there is to acknowledge; false: nothing new.
func (f *feed) ack() (at record.Position, endNS int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.durable.IsZero() || f.durable == f.acked {
		return at, 0, false
	}
	f.acked = f.durable
	return f.durable, f.durableEnd, true
}

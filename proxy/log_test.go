package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// fakeClock stands still until it is moved.
type fakeClock struct{ ns atomic.Int64 }

func (c *fakeClock) Now() time.Time          { return time.Unix(1_700_000_000, c.ns.Load()) }
func (c *fakeClock) Mono() int64             { return c.ns.Load() }
func (c *fakeClock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func testEpoch(n int) record.Epoch {
	var e record.Epoch
	binary.BigEndian.PutUint64(e[:], uint64(n)<<16)
	return e
}

func testLog(window time.Duration, maxBytes int64) *Log {
	return NewLog(LogOptions{Window: window, MaxBytes: maxBytes, Clock: &fakeClock{}})
}

// model is the log as it would be without any bound.
type model struct {
	epochs []*modelEpoch
}

type modelEpoch struct {
	id      record.Epoch
	records []record.Record
	ended   bool
	cause   media.Cause
}

// follower checks that what a cursor delivers is what the protocol promises.
type follower struct {
	m      *model
	cursor *Cursor
	// at is what the next chunk must go on at; epoch nil: any.
	epoch *modelEpoch
	next  uint64
	open  bool
	lost  bool
	start bool // the first chunk may be anywhere
	// gone counts lost offsets.
	gone, got uint64
}

type fatal interface {
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	FailNow()
}

func (f *follower) take(t fatal, k Chunk) {
	switch k.Kind {
	case ChunkOpen:
		e := f.find(t, k.Epoch)
		require.False(t, f.open, "open twice")
		if f.start {
			f.epoch, f.next, f.start = e, k.First, false
		}
		f.enter(t, e)
		require.Equal(t, f.next, k.First)
		if f.lost {
			require.True(t, e.records[k.First].Flags.Has(record.Cut), "after lost offsets the next record must be a cut")
		}
		f.open, f.lost = true, false
	case ChunkBatch:
		require.True(t, f.open)
		require.Equal(t, f.epoch.id, k.Epoch)
		require.Equal(t, f.next, k.First)
		b := k.Records
		for o := k.First; o < k.End; o++ {
			var r record.Record
			var err error
			b, err = record.Next(b, &r)
			require.NoError(t, err)
			require.Equal(t, f.epoch.records[o], r)
		}
		require.Empty(t, b)
		require.Greater(t, k.End, k.First)
		f.got += k.End - k.First
		f.next = k.End
	case ChunkLost:
		f.enter(t, f.find(t, k.Epoch))
		require.Equal(t, f.next, k.First)
		require.Greater(t, k.End, k.First)
		f.gone += k.End - k.First
		f.next, f.open, f.lost = k.End, false, true
	case ChunkEnd:
		e := f.find(t, k.Epoch)
		f.enter(t, e)
		require.True(t, e.ended)
		require.Equal(t, e.cause, k.Cause)
		require.Equal(t, uint64(len(e.records)), k.End)
		require.Equal(t, f.next, k.End, "the end comes after everything")
		f.leave()
	default:
		t.Fatalf("chunk of kind %d", k.Kind)
	}
}

func (f *follower) find(t fatal, id record.Epoch) *modelEpoch {
	for _, e := range f.m.epochs {
		if e.id == id {
			return e
		}
	}
	t.Fatalf("epoch %s is unknown", id)
	return nil
}

// enter goes to an epoch: the one that is being read, or the one right after the last
// that has records.
func (f *follower) enter(t fatal, e *modelEpoch) {
	for f.epoch != nil && f.epoch != e && f.next == 0 && f.epoch.ended && len(f.epoch.records) == 0 {
		f.leave()
	}
	if f.start {
		f.epoch, f.next, f.start = e, 0, false
	}
	require.Same(t, f.epoch, e, "epochs must come one after the other")
}

func (f *follower) leave() {
	for i, e := range f.m.epochs {
		if e == f.epoch && i+1 < len(f.m.epochs) {
			f.epoch, f.next, f.open, f.lost = f.m.epochs[i+1], 0, false, false
			return
		}
	}
	f.start, f.open, f.lost = true, false, false
}

func (f *follower) drain(t fatal) {
	for {
		k, ok := f.cursor.TryNext(64 << 10)
		if !ok {
			return
		}
		f.take(t, k)
	}
}

// machine drives a log and its model.
type machine struct {
	log       *Log
	m         model
	window    time.Duration
	ns        int64
	followers []*follower
	published int // records of the last epoch that readers see
	open      bool
}

func (s *machine) last() *modelEpoch { return s.m.epochs[len(s.m.epochs)-1] }

func (s *machine) begin(t *rapid.T) {
	if s.open {
		t.Skip("an epoch is open")
	}
	e := &modelEpoch{id: testEpoch(len(s.m.epochs) + 1)}
	require.NoError(t, s.log.Begin(e.id))
	s.m.epochs = append(s.m.epochs, e)
	s.open, s.published = true, 0
}

func (s *machine) append(t *rapid.T) {
	if !s.open {
		t.Skip("no epoch is open")
	}
	e := s.last()
	n := rapid.IntRange(1, 40).Draw(t, "n")
	big := rapid.IntRange(0, 20).Draw(t, "big") == 0
	for range n {
		s.ns += rapid.Int64Range(0, int64(200*time.Millisecond)).Draw(t, "step")
		size := rapid.IntRange(0, 1500).Draw(t, "size")
		if big {
			size = 30_000
		}
		r := record.Record{CaptureNS: s.ns, Packet: bytes.Repeat([]byte{byte(len(e.records))}, size)}
		if len(e.records) == 0 || rapid.IntRange(0, 15).Draw(t, "cut") == 0 {
			r.Flags, r.Ext = record.AccessUnit|record.Cut, []byte("{}")
		}
		o, err := s.log.Append(&r, nil)
		require.NoError(t, err)
		require.Equal(t, uint64(len(e.records)), o)
		e.records = append(e.records, r)
	}
}

func (s *machine) publish(*rapid.T) {
	s.log.Publish()
	if s.open {
		s.published = len(s.last().records)
	}
}

func (s *machine) end(t *rapid.T) {
	if !s.open {
		t.Skip("no epoch is open")
	}
	e := s.last()
	e.ended, e.cause = true, media.CauseConnection
	s.log.End(e.cause)
	s.open, s.published = false, len(e.records)
}

func (s *machine) subscribe(t *rapid.T) {
	f := &follower{m: &s.m, start: true}
	var from record.Position
	if len(s.m.epochs) > 0 && rapid.Bool().Draw(t, "resume") {
		i := rapid.IntRange(0, len(s.m.epochs)-1).Draw(t, "epoch")
		e := s.m.epochs[i]
		visible := len(e.records)
		if i == len(s.m.epochs)-1 {
			visible = s.published
		}
		from = record.Position{Epoch: e.id, Offset: uint64(rapid.IntRange(0, visible).Draw(t, "offset"))}
		f.start, f.epoch, f.next = false, e, from.Offset
	}
	var err error
	f.cursor, err = s.log.NewCursor(from, NewWaker())
	require.NoError(t, err)
	s.followers = append(s.followers, f)
}

func (s *machine) read(t *rapid.T) {
	if len(s.followers) == 0 {
		t.Skip("nobody reads")
	}
	f := rapid.SampledFrom(s.followers).Draw(t, "follower")
	for range rapid.IntRange(1, 10).Draw(t, "chunks") {
		k, ok := f.cursor.TryNext(rapid.SampledFrom([]int{1, 2000, 64 << 10}).Draw(t, "max"))
		if !ok {
			return
		}
		f.take(t, k)
	}
}

func TestEveryOffsetIsDeliveredOrToldLostExactlyOnceInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &machine{window: time.Duration(rapid.Int64Range(1, 60).Draw(t, "window")) * time.Second}
		maxBytes := rapid.SampledFrom([]int64{64 << 10, 512 << 10, 1 << 30}).Draw(t, "bytes")
		s.log = testLog(s.window, maxBytes)
		t.Repeat(map[string]func(*rapid.T){
			"begin": s.begin, "append": s.append, "append2": s.append, "publish": s.publish,
			"end": s.end, "subscribe": s.subscribe, "read": s.read,
			"": func(t *rapid.T) {
				require.LessOrEqual(t, s.log.Bytes(), maxBytes+maxSlab)
				if maxBytes == 1<<30 {
					s.checkWindow(t)
				}
			},
		})
		s.publish(t)
		for _, f := range s.followers {
			f.drain(t)
			if !f.start && f.epoch != nil && f.next < uint64(len(f.epoch.records)) {
				// Only where there is no cut to go on at may something be untold.
				for _, r := range f.epoch.records[max(f.next, s.log.find(f.epoch.id).base):] {
					require.False(t, r.Flags.Has(record.Cut), "offsets from %d on are neither delivered nor lost", f.next)
				}
			}
		}
	})
}

// checkWindow compares what the log holds with what a bound by seconds alone asks for.
func (s *machine) checkWindow(t *rapid.T) {
	var newest int64
	for _, e := range s.m.epochs {
		for i, r := range e.records {
			if e != s.last() || i < s.published {
				newest = max(newest, r.CaptureNS)
			}
		}
	}
	for _, e := range s.m.epochs {
		visible := len(e.records)
		if e == s.last() {
			visible = s.published
		}
		want := 0
		for i := 1; i < visible; i++ {
			if e.records[i].Flags.Has(record.Cut) && e.records[i].CaptureNS < newest-int64(s.window) {
				want = i
			}
		}
		if e.ended && visible > 0 && e.records[visible-1].CaptureNS < newest-int64(s.window) {
			want = visible
		}
		require.Equal(t, uint64(want), s.log.find(e.id).base, "oldest offset of epoch %s", e.id)
	}
}

func appendFragments(t testing.TB, l *Log, fragments, packets, size int, startNS int64) (lastNS int64) {
	p := bytes.Repeat([]byte{1}, size)
	for f := range fragments {
		for i := range packets {
			r := record.Record{CaptureNS: startNS + int64(f)*int64(time.Second) + int64(i), Packet: p}
			if i == 0 {
				r.Flags, r.Ext = record.AccessUnit|record.RandomAccess|record.Cut, []byte("{}")
			}
			_, err := l.Append(&r, nil)
			require.NoError(t, err)
			lastNS = r.CaptureNS
		}
		l.Publish()
	}
	return lastNS
}

func TestLogStaysBoundedWhenNoCutEverComes(t *testing.T) {
	const limit = 1 << 20
	l := testLog(time.Hour, limit)
	require.NoError(t, l.Begin(testEpoch(1)))
	keeps, err := l.NewCursor(record.Position{}, NewWaker())
	require.NoError(t, err)
	stopped, err := l.NewCursor(record.Position{}, NewWaker())
	require.NoError(t, err)
	k, ok := stopped.TryNext(1)
	require.False(t, ok, "%v", k)

	put := func(cut bool) {
		r := record.Record{CaptureNS: 1, Packet: make([]byte, 1400)}
		if cut {
			r.Flags, r.Ext = record.Cut|record.AccessUnit, []byte("{}")
		}
		_, err := l.Append(&r, nil)
		require.NoError(t, err)
		l.Publish()
	}
	put(true)
	k, _ = stopped.TryNext(1 << 20)
	require.Equal(t, ChunkOpen, k.Kind)
	k, _ = stopped.TryNext(1 << 20)
	require.Equal(t, ChunkBatch, k.Kind)

	var kept uint64
	for range 5000 {
		put(false)
		require.LessOrEqual(t, l.Bytes(), int64(limit+maxSlab))
		for {
			k, ok := keeps.TryNext(1 << 20)
			if !ok {
				break
			}
			require.NotEqual(t, ChunkLost, k.Kind, "a reader that keeps up loses nothing")
			kept += uint64(len(k.Records) / 1400)
		}
	}
	require.Equal(t, uint64(5001), kept)
	_, ok = stopped.TryNext(1 << 20)
	require.False(t, ok, "there is no cut to go on at, so what is lost is not known yet")
	fresh, err := l.NewCursor(record.Position{}, NewWaker())
	require.NoError(t, err)
	_, ok = fresh.TryNext(1 << 20)
	require.False(t, ok, "a new reader begins at a cut")

	put(true)
	k, ok = stopped.TryNext(1 << 20)
	require.True(t, ok)
	require.Equal(t, Chunk{Kind: ChunkLost, Epoch: testEpoch(1), First: 1, End: 5001}, k)
	k, _ = fresh.TryNext(1 << 20)
	require.Equal(t, Chunk{Kind: ChunkOpen, Epoch: testEpoch(1), First: 5001}, k)
}

func TestBudgetTrimsTheLargestLog(t *testing.T) {
	b := NewBudget(4 << 20)
	mk := func() *Log {
		return NewLog(LogOptions{Window: time.Hour, MaxBytes: 1 << 30, Budget: b, Clock: &fakeClock{}})
	}
	small, large := mk(), mk()
	require.NoError(t, small.Begin(testEpoch(1)))
	appendFragments(t, small, 10, 20, 1000, 0)
	held := small.Bytes()
	require.NoError(t, large.Begin(testEpoch(1)))
	appendFragments(t, large, 100, 200, 1000, 0)
	require.Equal(t, held, small.Bytes(), "the small one keeps everything")
	require.LessOrEqual(t, b.Bytes(), int64(4<<20))
	require.Equal(t, small.Bytes()+large.Bytes(), b.Bytes())
	require.Greater(t, large.Bytes(), int64(3<<20))
	large.Close()
	small.Close()
	require.Zero(t, b.Bytes())
}

func TestEndedEpochStaysKnownAfterItsRecordsLeft(t *testing.T) {
	l := testLog(time.Second, 1<<30)
	require.NoError(t, l.Begin(testEpoch(1)))
	appendFragments(t, l, 3, 10, 100, 0)
	l.End(media.CauseStalled)
	require.NoError(t, l.Begin(testEpoch(2)))
	appendFragments(t, l, 3, 10, 100, int64(time.Minute))

	c, err := l.NewCursor(record.Position{Epoch: testEpoch(1), Offset: 5}, NewWaker())
	require.NoError(t, err)
	var got []Chunk
	for range 3 {
		k, ok := c.TryNext(1 << 20)
		require.True(t, ok)
		got = append(got, k)
	}
	require.Equal(t, []Chunk{
		{Kind: ChunkLost, Epoch: testEpoch(1), First: 5, End: 30},
		{Kind: ChunkEnd, Epoch: testEpoch(1), End: 30, Cause: media.CauseStalled},
		{Kind: ChunkLost, Epoch: testEpoch(2), First: 0, End: 10},
	}, got)

	_, err = l.NewCursor(record.Position{Epoch: testEpoch(1), Offset: 31}, NewWaker())
	require.ErrorIs(t, err, ErrBeyond)
}

func TestOnlyWhoHasHeardOfAnEpochHearsOfItsEnd(t *testing.T) {
	l := testLog(time.Hour, 1<<30)
	require.NoError(t, l.Begin(testEpoch(1)))
	appendFragments(t, l, 1, 10, 100, 0)
	l.End(media.CauseStalled)
	require.NoError(t, l.Begin(testEpoch(2)))
	l.End(media.CauseStalled) // without a record
	require.NoError(t, l.Begin(testEpoch(3)))
	appendFragments(t, l, 1, 10, 100, int64(time.Second))
	end := record.Position{Epoch: testEpoch(1), Offset: 10}
	for _, told := range []bool{true, false} {
		c, err := l.NewCursor(end, NewWaker())
		require.NoError(t, err)
		if !told {
			c.Untold()
		} else {
			k, _ := c.TryNext(1)
			require.Equal(t, Chunk{Kind: ChunkEnd, Epoch: testEpoch(1), End: 10, Cause: media.CauseStalled}, k)
		}
		k, _ := c.TryNext(1)
		require.Equal(t, Chunk{Kind: ChunkOpen, Epoch: testEpoch(3)}, k)
	}
}

func TestCursorPausesAtTheNextCut(t *testing.T) {
	l := testLog(time.Hour, 1<<30)
	require.NoError(t, l.Begin(testEpoch(1)))
	last := appendFragments(t, l, 2, 10, 100, 0)
	c, err := l.NewCursor(record.Position{}, NewWaker())
	require.NoError(t, err)
	for range 2 {
		k, _ := c.TryNext(15 * 130)
		require.Contains(t, []ChunkKind{ChunkOpen, ChunkBatch}, k.Kind)
	}
	c.StopAtCut()
	for {
		k, ok := c.TryNext(1)
		if !ok {
			break // the next cut is not there yet
		}
		require.Equal(t, ChunkBatch, k.Kind)
	}
	appendFragments(t, l, 1, 10, 100, last+7)
	k, ok := c.TryNext(1 << 20)
	require.True(t, ok)
	require.Equal(t, Chunk{Kind: ChunkPause, Epoch: testEpoch(1), First: 20, CaptureNS: last + 7}, k)

	c, err = l.NewCursor(record.Position{}, NewWaker())
	require.NoError(t, err)
	c.StopAtCut()
	k, _ = c.TryNext(1)
	require.Equal(t, Chunk{Kind: ChunkPause}, k, "nothing was delivered, so there is no fragment to close")
}

func TestLiveCursorWakesWithoutPolling(t *testing.T) {
	l := testLog(time.Hour, 1<<30)
	require.NoError(t, l.Begin(testEpoch(1)))
	appendFragments(t, l, 3, 10, 100, 0)
	cut, tail := l.NewLiveCursor(LiveCut), l.NewLiveCursor(LiveTail)
	k, err := cut.Next(t.Context(), 1<<20)
	require.NoError(t, err)
	require.Equal(t, uint64(20), k.First)

	got := make(chan Chunk)
	go func() {
		k, _ := tail.Next(t.Context(), 1<<20)
		got <- k
	}()
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.waiting) == 1
	}, 5*time.Second, time.Millisecond)
	appendFragments(t, l, 1, 1, 100, int64(time.Hour))
	require.Equal(t, uint64(30), (<-got).First)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	empty := testLog(time.Hour, 1<<30).NewLiveCursor(LiveTail)
	_, err = empty.Next(ctx, 1)
	require.ErrorIs(t, err, context.Canceled)
	empty.Close()
	require.Empty(t, empty.log.waiting)
}

func TestAStoppedCursorChangesNothingForWriterAndOthers(t *testing.T) {
	const limit = 2 << 20
	l := testLog(time.Hour, limit)
	require.NoError(t, l.Begin(testEpoch(1)))
	stopped, err := l.NewCursor(record.Position{}, NewWaker())
	require.NoError(t, err)
	_, ok := stopped.TryNext(1)
	require.False(t, ok)
	live := l.NewLiveCursor(LiveTail)
	var got uint64
	for i := range 200 {
		appendFragments(t, l, 1, 50, 1000, int64(i)*int64(time.Second))
		for {
			k, ok := live.TryNext(1 << 20)
			if !ok {
				break
			}
			require.NotEqual(t, ChunkLost, k.Kind)
			if k.Kind == ChunkBatch {
				got += k.End - k.First
			}
		}
		require.Equal(t, uint64(50*(i+1)), got, "delivered at once")
		require.LessOrEqual(t, l.Bytes(), int64(limit))
	}
}

func TestAPacketIsStoredAsItWasSent(t *testing.T) {
	l := testLog(time.Hour, 1<<30)
	require.NoError(t, l.Begin(testEpoch(1)))
	p := &rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: 7, Timestamp: 9, SSRC: 3, Marker: true},
		Payload: []byte("payload"),
	}
	require.NoError(t, p.SetExtension(1, []byte{1, 2, 3}))
	want, err := p.Marshal()
	require.NoError(t, err)
	_, err = l.Append(&record.Record{Flags: record.Cut | record.AccessUnit, Ext: []byte("{}")}, p)
	require.NoError(t, err)
	l.Publish()
	c := l.NewLiveCursor(LiveCut)
	_, _ = c.TryNext(1)
	k, _ := c.TryNext(1)
	var r record.Record
	_, err = record.Next(k.Records, &r)
	require.NoError(t, err)
	require.Equal(t, want, r.Packet)
}

func TestWhatTheLogRefuses(t *testing.T) {
	l := testLog(time.Hour, 1<<30)
	_, err := l.Append(&record.Record{}, nil)
	require.ErrorIs(t, err, ErrNoEpoch)
	require.NoError(t, l.Begin(testEpoch(2)))
	require.ErrorIs(t, l.Begin(testEpoch(3)), ErrEpochOrder)
	_, err = l.Append(&record.Record{}, nil)
	require.ErrorIs(t, err, ErrNoCut)
	cut := record.Record{Flags: record.Cut | record.AccessUnit, Ext: []byte("{}")}
	_, err = l.Append(&cut, nil)
	require.NoError(t, err)
	_, err = l.Append(&record.Record{Packet: make([]byte, record.MaxSize)}, nil)
	require.ErrorIs(t, err, ErrTooLarge)
	l.End(media.CauseProxy)
	require.ErrorIs(t, l.Begin(testEpoch(1)), ErrEpochOrder)
	require.Equal(t, record.Position{Epoch: testEpoch(2), Offset: 1}, l.Tail())
}

func TestWhatIsDue(t *testing.T) {
	clk := &fakeClock{}
	l := NewLog(LogOptions{Window: time.Hour, MaxBytes: 1 << 30, Clock: clk})
	require.NoError(t, l.Begin(testEpoch(1)))
	at := func(n int) record.Position { return record.Position{Epoch: testEpoch(1), Offset: uint64(n)} }
	for i := range 3 {
		clk.advance(time.Second)
		appendFragments(t, l, 1, 10, 10, int64(i)*int64(time.Second))
	}
	require.Equal(t, at(20), l.DueBy(clk.Mono()))
	require.Equal(t, at(10), l.DueBy(clk.Mono()-1))
	require.Zero(t, l.DueBy(int64(time.Second)))
	clk.advance(time.Second)
	l.End(media.CauseStalled)
	require.Equal(t, at(30), l.DueBy(clk.Mono()))

	require.True(t, l.Reached(at(20), at(20)))
	require.False(t, l.Reached(at(19), at(20)))
	require.True(t, l.Reached(record.Position{}, record.Position{}))
	require.False(t, l.Reached(record.Position{Epoch: testEpoch(7)}, at(1)), "what the log does not know covers nothing")
	require.Equal(t, uint64(11), l.Behind(at(19)))
	require.Equal(t, uint64(30), l.Behind(record.Position{}))
	require.True(t, l.Plausible(at(30)))
	require.False(t, l.Plausible(at(31)))
}

func TestAppendDoesNotAllocatePerPacket(t *testing.T) {
	l := testLog(time.Second, 8<<20)
	require.NoError(t, l.Begin(testEpoch(1)))
	c, err := l.NewCursor(record.Position{}, NewWaker())
	require.NoError(t, err)
	p := &rtp.Packet{Header: rtp.Header{Version: 2}, Payload: make([]byte, 1400)}
	ext := []byte("{}")
	n := 0
	require.Zero(t, testing.AllocsPerRun(20_000, func() {
		r := record.Record{CaptureNS: int64(n) * int64(time.Millisecond)}
		if n%500 == 0 {
			r.Flags, r.Ext = record.Cut|record.AccessUnit, ext
		}
		if _, err := l.Append(&r, p); err != nil {
			panic(err)
		}
		if n++; n%10 == 0 {
			l.Publish()
			for {
				if _, ok := c.TryNext(64 << 10); !ok {
					break
				}
			}
		}
	}))
}

func TestAnIdleCameraTakesLittleMemory(t *testing.T) {
	clk := &fakeClock{}
	l := NewLog(LogOptions{Window: 20 * time.Second, MaxBytes: 1 << 30, Clock: clk})
	require.NoError(t, l.Begin(testEpoch(1)))
	var payload int64
	for i := range 300 {
		clk.advance(100 * time.Millisecond)
		r := record.Record{CaptureNS: clk.Mono(), Packet: make([]byte, 1000)}
		if i%10 == 0 {
			r.Flags, r.Ext = record.Cut|record.AccessUnit, []byte("{}")
		}
		_, err := l.Append(&r, nil)
		require.NoError(t, err)
		l.Publish()
		payload = 210 * 1020
	}
	require.LessOrEqual(t, l.Bytes(), payload+64<<10)
}

func BenchmarkAppend(b *testing.B) {
	for _, readers := range []int{0, 1, 3} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			l := testLog(time.Second, 32<<20)
			require.NoError(b, l.Begin(testEpoch(1)))
			var cursors []*Cursor
			for range readers {
				c, err := l.NewCursor(record.Position{}, NewWaker())
				require.NoError(b, err)
				cursors = append(cursors, c)
			}
			p := &rtp.Packet{Header: rtp.Header{Version: 2}, Payload: make([]byte, 1400)}
			ext := []byte("{}")
			b.SetBytes(1400)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				r := record.Record{CaptureNS: int64(n) * int64(time.Millisecond)}
				if n%500 == 0 {
					r.Flags, r.Ext = record.Cut|record.AccessUnit, ext
				}
				if _, err := l.Append(&r, p); err != nil {
					b.Fatal(err)
				}
				if n++; n%10 == 0 {
					l.Publish()
					for _, c := range cursors {
						for {
							if _, ok := c.TryNext(64 << 10); !ok {
								break
							}
						}
					}
				}
			}
		})
	}
}

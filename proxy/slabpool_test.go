package proxy

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// spoil overwrites what the pool has: nobody may look at it.
func (p *slabPool) spoil() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.free {
		for i := range b {
			b[i] = 0xdb
		}
	}
}

func (p *slabPool) spare() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.free)
}

// keptView is a view of a log that somebody still has, and what is in it.
type keptView struct {
	chunk Chunk
	want  []byte
}

// TestMemoryIsNotUsedAgainWhileSomebodyLooksAtIt: cameras take turns with the memory that
// readers give back sooner, later or never.
func TestMemoryIsNotUsedAgainWhileSomebodyLooksAtIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBudget(1 << 30)
		var machines []*machine
		for range 2 {
			s := &machine{window: time.Duration(rapid.Int64Range(1, 20).Draw(t, "window")) * time.Second}
			s.log = NewLog(LogOptions{Window: s.window, MaxBytes: 512 << 10, Budget: b, Clock: &fakeClock{}})
			s.log.w.slabSize = maxSlab
			machines = append(machines, s)
		}
		var kept []keptView
		of := func() *machine { return rapid.SampledFrom(machines).Draw(t, "camera") }
		check := func(v *keptView) {
			require.True(t, bytes.Equal(v.want, v.chunk.Records), "a view changed while it was held")
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) { of().begin(t) },
			"append": func(t *rapid.T) {
				s := of()
				s.append(t)
				s.publish(t)
			},
			"append2":   func(t *rapid.T) { of().append(t) },
			"publish":   func(t *rapid.T) { of().publish(t) },
			"end":       func(t *rapid.T) { of().end(t) },
			"subscribe": func(t *rapid.T) { of().subscribe(t) },
			"read": func(t *rapid.T) {
				s := of()
				if len(s.followers) == 0 {
					t.Skip("nobody reads")
				}
				f := rapid.SampledFrom(s.followers).Draw(t, "follower")
				for k, ok := f.cursor.TryNext(16 << 10); ok; k, ok = f.cursor.TryNext(16 << 10) {
					f.take(t, k)
					if rapid.Bool().Draw(t, "keep") {
						kept = append(kept, keptView{k, bytes.Clone(k.Records)})
					} else {
						k.Release()
					}
				}
			},
			"release": func(t *rapid.T) {
				if len(kept) == 0 {
					t.Skip("nothing is kept")
				}
				i := rapid.IntRange(0, len(kept)-1).Draw(t, "view")
				check(&kept[i])
				kept[i].chunk.Release()
				kept = append(kept[:i], kept[i+1:]...)
			},
			"": func(*rapid.T) { b.slabs.spoil() },
		})
		for i := range kept {
			check(&kept[i])
		}
	})
}

func TestTheEndOfAnEpochTakesNoMemoryFromReaders(t *testing.T) {
	b := NewBudget(1 << 30)
	l := NewLog(LogOptions{Window: time.Hour, MaxBytes: 1 << 30, Budget: b, Clock: &fakeClock{}})
	l.w.slabSize = maxSlab
	require.NoError(t, l.Begin(testEpoch(1)))
	c, err := l.NewCursor(record.Position{}, NewWaker())
	require.NoError(t, err)
	packet := bytes.Repeat([]byte{7}, 100)
	read := func() (got int) {
		for k, ok := c.TryNext(1 << 20); ok; k, ok = c.TryNext(1 << 20) {
			var r record.Record
			for rest := k.Records; len(rest) > 0; got++ {
				rest, err = record.Next(rest, &r)
				require.NoError(t, err)
				require.Equal(t, packet, r.Packet)
			}
			k.Release()
		}
		return got
	}
	for i := range 10 {
		r := record.Record{Packet: packet}
		if i == 0 {
			r.Flags, r.Ext = record.AccessUnit|record.Cut, []byte("{}")
		}
		_, err := l.Append(&r, nil)
		require.NoError(t, err)
		if i == 4 {
			l.Publish()
			require.Equal(t, 5, read())
		}
	}
	l.End(media.CauseProxy)
	b.slabs.spoil()
	require.Equal(t, 5, read(), "in the slab that it was at")
}

func TestALogInItsSteadyStateMakesNoSlabs(t *testing.T) {
	b := NewBudget(1 << 30)
	l := NewLog(LogOptions{Window: 2 * time.Second, MaxBytes: 1 << 30, Budget: b, Clock: &fakeClock{}})
	require.NoError(t, l.Begin(testEpoch(1)))
	c, err := l.NewCursor(record.Position{}, NewWaker())
	require.NoError(t, err)
	read := func() (got int) {
		for k, ok := c.TryNext(64 << 10); ok; k, ok = c.TryNext(64 << 10) {
			got += len(k.Records)
			k.Release()
		}
		return got
	}
	at := int64(0)
	for range 10 {
		appendFragments(t, l, 1, 200, 1000, at)
		at += int64(time.Second)
		read()
	}
	allocated := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.TotalAlloc)
	}
	made := allocated()
	for range 100 {
		appendFragments(t, l, 1, 200, 1000, at)
		at += int64(time.Second)
		require.Greater(t, read(), 200_000)
		b.slabs.spoil()
	}
	require.Less(t, allocated()-made, int64(100*maxSlab), "for 100 times more than six slabs")
	require.NotZero(t, b.slabs.spare())

	spare := b.slabs.spare()
	l.End(media.CauseProxy)
	l.Close()
	require.Equal(t, spare, b.slabs.spare(), "a log that is closed gives nothing: its writer may still write")
}

func TestThePoolKeepsWhatIsNeededInASecond(t *testing.T) {
	var p slabPool
	for range 1000 {
		p.put(make([]byte, maxSlab))
	}
	p.put(make([]byte, minSlab)) // of the largest size only
	require.Equal(t, 1000, p.spare())
	p.trim()
	var lent [][]byte
	for range 20 {
		for range 100 {
			lent = append(lent, p.get(maxSlab))
		}
		for _, b := range lent {
			p.put(b)
		}
		lent = nil
		p.trim()
	}
	require.Equal(t, 100, p.spare())
	for range 20 {
		p.trim()
	}
	require.Zero(t, p.spare())
}

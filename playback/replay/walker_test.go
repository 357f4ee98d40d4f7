package replay

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/record"
)

// madeUp are fragments in a random order of gaps, epochs and lengths.
func madeUp(dice *rand.Rand) []Fragment {
	var out []Fragment
	at := zeroTime.UnixNano()
	first, epoch := uint64(0), record.Epoch{1}
	for i := range 1 + dice.IntN(60) {
		if i > 0 && dice.IntN(8) == 0 {
			epoch[0]++
			first = 0
			at += dice.Int64N(int64(2 * time.Hour))
		} else if i > 0 && dice.IntN(10) == 0 { // records that were lost
			first += 7
			at += dice.Int64N(int64(time.Minute)) + 1
		}
		f := Fragment{Epoch: epoch, First: first, End: first + 10, StartNS: at, RandomAccess: i == 0 || first == 0 || dice.IntN(3) > 0}
		at += 1e9 + dice.Int64N(9e9)
		f.EndNS, f.MinNS, f.MaxNS = at, f.StartNS, at
		first += 10
		out = append(out, f)
	}
	return out
}

// walk carries out what a walker wants, of footage that does not change.
func walk(t require.TestingT, w *walker, frags []Fragment, nowNS int64) []step {
	m := &memory{}
	for _, f := range frags {
		m.frags = append(m.frags, stored{Fragment: f})
	}
	var out []step
	for moves := 0; moves < 20_000; moves++ {
		mv := w.next(nowNS)
		switch mv.kind {
		case moveStep:
			out = append(out, mv.step)
		case moveList:
			l, _ := m.List(context.Background(), "gate", mv.fromNS, mv.toNS, mv.after)
			w.listed(&mv, &l, nowNS)
		case moveFind:
			find := m.Next
			if w.reverse {
				find = m.Previous
			}
			ns, err := find(context.Background(), "gate", mv.fromNS)
			w.found(ns, err == nil)
		case moveWait, moveEnd:
			return out
		}
	}
	require.Fail(t, "it does not end")
	return nil
}

func TestWalkerGoesOverEverythingOnceInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		frags := madeUp(dice)
		end := frags[len(frags)-1].EndNS
		a := &ask{scale: 1, fromNS: frags[0].StartNS, toNS: end, paced: dice.IntN(2) == 0}
		if dice.IntN(2) == 0 {
			a.fromNS -= dice.Int64N(int64(10 * time.Hour))
		}
		if dice.IntN(2) == 0 {
			a.toNS = 0
		}
		got := walk(rt, newWalker(a), frags, end+2*lateNS)
		require.Len(rt, got, len(frags))
		for i := range got {
			require.Equal(rt, frags[i], got[i].Fragment)
			require.Equal(rt, i == 0 || !frags[i].follows(&frags[i-1]), got[i].fresh, "D of %d", i)
			if i+1 < len(frags) {
				require.Equal(rt, !frags[i+1].follows(&frags[i]), got[i].last, "E of %d", i)
			} else {
				require.Equal(rt, a.toNS == 0, got[i].last, "E at the end of the footage, not of the range")
			}
			require.Equal(rt, a.toNS != 0 && i+1 == len(frags), got[i].end, "T of %d", i)
		}
	})
}

func TestWalkerInReverseGoesOverEverythingOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		frags := madeUp(dice)
		end := frags[len(frags)-1].EndNS
		a := &ask{scale: -1, fromNS: end + dice.Int64N(int64(10*time.Hour))}
		got := walk(rt, newWalker(a), frags, end+2*lateNS)
		// Each part of each fragment is there once, and no fragment before one that is later,
		// but within the group of a GOP.
		parts := map[uint64]map[part]int{}
		key := func(f *Fragment) uint64 { return uint64(f.Epoch[0])<<32 | f.First }
		low := end
		for i := range got {
			s := &got[i]
			if parts[key(&s.Fragment)] == nil {
				parts[key(&s.Fragment)] = map[part]int{}
			}
			parts[key(&s.Fragment)][s.part]++
			if s.part == partAll || s.part == partSynced {
				require.LessOrEqual(rt, s.EndNS, low)
			}
			if s.part == partAll || s.part == partLeading {
				low = s.StartNS
			}
		}
		require.Len(rt, parts, len(frags))
		for _, f := range frags {
			p := parts[key(&f)]
			whole := p[partAll] == 1 && len(p) == 1
			newest := p[partSynced] == 1 && p[partLead] == 1 && len(p) == 2
			middle := p[partMiddle] == 1 && len(p) == 1
			oldest := p[partTail] == 1 && p[partLeading] == 1 && len(p) == 2
			require.True(rt, whole || newest || middle || oldest, "%v", p)
			if oldest || whole && f.First == 0 {
				require.True(rt, f.RandomAccess)
			}
		}
		require.True(rt, got[len(got)-1].end)
	})
}

func TestWalkerAtTheLiveEdge(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 1))
	var frags []Fragment
	for len(frags) < 10 {
		frags = madeUp(dice)
	}
	frags = frags[:3]
	frags = append(frags, frags[2])
	last := &frags[3]
	last.First, last.End, last.StartNS, last.EndNS = last.End, last.End+10, last.EndNS, last.EndNS+1e9
	w := newWalker(&ask{scale: 1, fromNS: frags[0].StartNS, paced: true})
	now := frags[2].EndNS + int64(2*time.Second)
	got := walk(t, w, frags[:3], now)
	require.Len(t, got, 3)
	require.False(t, got[2].last, "E is not set on the newest one while it is being recorded")
	require.Empty(t, walk(t, w, frags[:3], now))
	got = walk(t, w, frags, now+1e9)
	require.Len(t, got, 1)
	require.False(t, got[0].fresh)
	require.Equal(t, *last, got[0].Fragment)
}

func TestWalkerWaitsForThoseWhoDoNotAnswerButNotForEver(t *testing.T) {
	frags := slices.Clone(madeUp(rand.New(rand.NewPCG(3, 3))))
	for i := range frags { // one epoch
		frags[i].Epoch, frags[i].First, frags[i].End = record.Epoch{1}, uint64(i*10), uint64(i*10+10)
		frags[i].StartNS = zeroTime.UnixNano() + int64(i)*1e9
		frags[i].EndNS = frags[i].StartNS + 1e9
	}
	w := newWalker(&ask{scale: 1, fromNS: frags[0].StartNS, toNS: frags[5].EndNS})
	hole := Stretch{frags[2].StartNS, frags[2].EndNS}
	l := Listing{Fragments: append(slices.Clone(frags[:2]), frags[3:6]...), Unknown: []Stretch{hole}}
	now := frags[len(frags)-1].EndNS + lateNS
	m := w.next(now)
	require.False(t, w.listed(&m, &l, now))
	require.Equal(t, moveStep, w.next(now).kind)
	l.Fragments = l.Fragments[2:]
	waited := int64(0)
	for ; waited < 2*patienceNS; waited += 3e8 {
		m = w.next(now + waited)
		if m.kind == moveStep {
			break
		}
		require.Equal(t, moveList, m.kind)
		require.Equal(t, hole.StartNS, m.fromNS)
		w.listed(&m, &l, now+waited)
	}
	require.InDelta(t, patienceNS, waited, 6e8)
	require.True(t, m.step.last, "what was waited for in vain is a gap")
	m = w.next(now + waited)
	require.True(t, m.step.fresh)
}

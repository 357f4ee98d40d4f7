package index

import (
	"math"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
)

func damaged(t *testing.T, s *Store) (at []int64) {
	t.Helper()
	for _, d := range s.Damaged("gate", math.MinInt64, math.MaxInt64) {
		at = append(at, (d.StartNS-t0)/second)
	}
	return at
}

func held2(t *testing.T, s *Store) (at []int64) {
	t.Helper()
	for r, err := range s.Fragments("gate", math.MinInt64, math.MaxInt64) {
		require.NoError(t, err)
		at = append(at, (r.StartNS-t0)/second)
	}
	return at
}

func TestDamagedFragmentIsListedNowhereButAsDamagedUntilAnotherCopyComes(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open(Options{FS: fs, Dir: "index"})
	require.NoError(t, err)
	var refs []Ref
	for n := range 4 {
		r := ref("gate", 0, n)
		r.InitHash = media.Hash{}
		refs = append(refs, r)
	}
	require.NoError(t, s.Commit(refs, nil))
	before, _ := s.Camera("gate")
	require.NoError(t, s.MarkDamaged([]Damage{{Ref: refs[1], FoundNS: 7, Why: "hash"}}))
	check := func() {
		t.Helper()
		require.Equal(t, []int64{0, 4, 6}, held2(t, s))
		require.Equal(t, []int64{2}, damaged(t, s))
		_, err := s.Lookup("gate", refs[1].StartNS, refs[1].Key())
		require.ErrorIs(t, err, ErrNotFound)
		spans, err := s.Spans("gate", math.MinInt64, math.MaxInt64)
		require.NoError(t, err)
		require.Len(t, spans, 2)
		c, _ := s.Camera("gate")
		require.Equal(t, before.Position, c.Position, "the log is not asked again for what it has forgotten")
		require.Equal(t, before.Bytes-refs[1].Size, c.Bytes)
	}
	check()
	require.NoError(t, s.Close())
	s, err = Open(Options{FS: fs, Dir: "index"})
	require.NoError(t, err)
	defer s.Close()
	check()
	require.Equal(t, "hash", s.Damaged("", math.MinInt64, math.MaxInt64)[0].Why)

	require.NoError(t, s.Commit(refs[1:2], nil), "what is damaged does not become whole by being named again")
	check()
	require.NoError(t, s.MarkDamaged([]Damage{{Ref: refs[1], FoundNS: 7, Why: "hash", Quarantined: true}}))
	check()
	require.True(t, s.Damaged("gate", math.MinInt64, math.MaxInt64)[0].Quarantined)

	repaired := refs[1]
	repaired.Segment, repaired.At = "gate/2025-06-01/repaired.mp4", 800
	require.NoError(t, s.Commit([]Ref{repaired}, nil))
	require.Equal(t, []int64{0, 2, 4, 6}, held2(t, s))
	require.Empty(t, damaged(t, s))
	require.NoError(t, s.MarkDamaged([]Damage{{Ref: refs[1]}}), "the old place")
	require.Equal(t, []int64{0, 2, 4, 6}, held2(t, s))
}

func TestMarksOfDamageGoWithTheirSegment(t *testing.T) {
	s, err := Open(Options{FS: vfs.NewMem(), Dir: "index"})
	require.NoError(t, err)
	defer s.Close()
	r := ref("gate", 0, 0)
	r.InitHash = media.Hash{}
	require.NoError(t, s.Commit([]Ref{r}, nil))
	require.NoError(t, s.MarkDamaged([]Damage{{Ref: r}}))
	_, err = s.DeleteSegment("gate", r.Segment)
	require.NoError(t, err)
	require.Empty(t, damaged(t, s))
}

func TestGapOfWhichEveryCopyIsDamagedSaysSo(t *testing.T) {
	a, b := ref("gate", 0, 0), ref("gate", 0, 2)
	mid := ref("gate", 0, 1)
	q := Query{StartNS: a.StartNS, EndNS: b.EndNS, NowNS: b.EndNS + 100*second, LiveNS: math.MaxInt64}
	lost := Source{Name: "r1", Spans: []Span{spanOf(&a), spanOf(&b)}, Damaged: []Stretch{{mid.StartNS, mid.EndNS}}}
	res := Timeline([]Source{lost, {Name: "r2", Spans: []Span{spanOf(&a), spanOf(&b)}}}, q)
	require.Equal(t, []Gap{{mid.StartNS, mid.EndNS, media.CauseDamaged}}, res.Gaps)
	res = Timeline([]Source{lost, {Name: "r2", Spans: []Span{spanOf(&a), spanOf(&mid), spanOf(&b)}}}, q)
	require.Empty(t, res.Gaps, "the other one has it")
	wider := q
	wider.EndNS += 10 * second
	res = Timeline([]Source{lost}, wider)
	require.Equal(t, []Gap{{mid.StartNS, mid.EndNS, media.CauseDamaged}, {b.EndNS, wider.EndNS, media.CauseConnection}}, res.Gaps)
}

package lock

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func one(id string, start, end int64) Lock {
	return Lock{ID: "lock" + strings.Repeat("0", 6) + id, Camera: "gate", StartNS: start, EndNS: end, Reason: "theft", CreatedNS: 1}
}

func TestALockCoversItsRangeUntilItIsReleased(t *testing.T) {
	a := one("a", 10, 20)
	s, grew := Set{}.With(a, one("b", 40, 50))
	require.True(t, grew)
	for _, c := range []struct {
		start, end int64
		want       bool
	}{{0, 10, false}, {0, 11, true}, {12, 13, true}, {19, 40, true}, {20, 40, false}, {49, 60, true}, {50, 60, false}, {0, 100, true}} {
		require.Equal(t, c.want, s.Holds("gate", c.start, c.end), "%d … %d", c.start, c.end)
	}
	require.False(t, s.Holds("door", 10, 20))
	a.ReleasedNS = 5
	released, grew := s.With(a)
	require.True(t, grew)
	require.False(t, released.Holds("gate", 10, 20))
	require.True(t, s.Holds("gate", 10, 20), "a set does not change")
	again, grew := released.With(one("a", 10, 20))
	require.False(t, grew, "a release is not undone by who has not heard of it")
	require.False(t, again.Holds("gate", 10, 20))
}

func TestMalformedLocksAreRefused(t *testing.T) {
	for name, bend := range map[string]func(*Lock){
		"no id":            func(l *Lock) { l.ID = "" },
		"an id of letters": func(l *Lock) { l.ID = "../../../../etc" },
		"no camera":        func(l *Lock) { l.Camera = "" },
		"inverted":         func(l *Lock) { l.EndNS = l.StartNS - 1 },
		"empty":            func(l *Lock) { l.EndNS = l.StartNS },
		"no reason":        func(l *Lock) { l.Reason = " " },
		"a long reason":    func(l *Lock) { l.Reason = strings.Repeat("x", MaxReason+1) },
		"a bell":           func(l *Lock) { l.Reason = "\a" },
		"no time":          func(l *Lock) { l.CreatedNS = 0 },
	} {
		l := one("a", 1, 2)
		require.NoError(t, l.Check())
		bend(&l)
		require.Error(t, l.Check(), name)
	}
}

func drawLocks(t *rapid.T, label string) []Lock {
	var out []Lock
	for range rapid.IntRange(0, 6).Draw(t, label) {
		l := one(fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "id")), rapid.Int64Range(0, 50).Draw(t, "start"), rapid.Int64Range(51, 99).Draw(t, "end"))
		l.Camera = rapid.SampledFrom([]string{"gate", "door"}).Draw(t, "camera")
		l.ReleasedNS = rapid.SampledFrom([]int64{0, 0, 7, 9}).Draw(t, "released")
		if l.ReleasedNS > 0 {
			l.ReleasedBy = rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "by")
		}
		out = append(out, l)
	}
	return out
}

func TestSetsMergeIntoTheSameWhateverTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, _ := Set{}.With(drawLocks(t, "a")...)
		b, _ := Set{}.With(drawLocks(t, "b")...)
		c, _ := Set{}.With(drawLocks(t, "c")...)
		merge := func(x, y Set) Set {
			z, _ := x.With(y.All()...)
			return z
		}
		bytes := func(s Set) string {
			b, err := Encode(s)
			require.NoError(t, err)
			return string(b)
		}
		require.Equal(t, bytes(merge(a, b)), bytes(merge(b, a)))
		require.Equal(t, bytes(merge(merge(a, b), c)), bytes(merge(a, merge(b, c))))
		same, grew := a.With(a.All()...)
		require.False(t, grew)
		require.Equal(t, bytes(a), bytes(same))
		for _, l := range a.All() { // nothing that was protected is not, unless somebody released it
			m, ok := merge(a, b).Get(l.ID)
			require.True(t, ok)
			if m.Active() {
				require.True(t, l.Active())
				require.LessOrEqual(t, m.StartNS, l.StartNS)
				require.GreaterOrEqual(t, m.EndNS, l.EndNS)
			}
		}
		read, err := Decode([]byte(bytes(a)))
		require.NoError(t, err)
		require.Equal(t, bytes(a), bytes(read))
	})
}

func FuzzDecode(f *testing.F) {
	s, _ := Set{}.With(one("a", 1, 2), one("b", 3, 4))
	b, err := Encode(s)
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte(`{"version":2,"locks":[]}`))
	f.Add([]byte(`{"version":1,"locks":[{"ID":"x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			return
		}
		for _, l := range s.All() {
			require.NoError(t, l.Check())
		}
		again, err := Encode(s)
		require.NoError(t, err)
		_, err = Decode(again)
		require.NoError(t, err)
	})
}

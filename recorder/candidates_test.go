package recorder

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/record"
)

const (
	day0 = int64(1_779_999_600) * int64(time.Second) // where a segment begins
	min1 = int64(time.Minute)
)

func stretchOf(epoch record.Epoch, from, to int64) index.Span {
	return index.Span{Epoch: epoch, First: uint64(from) * 10, End: uint64(to) * 10, StartNS: day0 + from*min1, EndNS: day0 + to*min1}
}

func segmentOf(epoch record.Epoch, from, to int64) index.Segment {
	return index.Segment{
		Camera: "gate", Path: segmentPath("gate", day0+from*min1, epoch, 0),
		StartNS: day0 + from*min1, EndNS: day0 + to*min1, Bytes: 100, Fragments: 0,
	}
}

func TestASegmentIsTheSoleCopyWhereAnotherThatKeepsOlderOnesLacksAPart(t *testing.T) {
	e := testEpoch(t, time.Unix(0, day0), 1)
	other := testEpoch(t, time.Unix(0, day0), 2)
	mine := footage{stretchOf(e, 0, 100)}
	for name, c := range map[string]struct {
		theirs []footage
		want   bool
	}{
		"nobody answered":               {nil, false},
		"the other has it":              {[]footage{{stretchOf(e, 0, 100)}}, false},
		"exactly":                       {[]footage{{stretchOf(e, 0, 10), stretchOf(e, 40, 50)}}, false},
		"the other lacks it":            {[]footage{{stretchOf(e, 0, 30), stretchOf(e, 60, 100)}}, true},
		"the other lacks its end":       {[]footage{{stretchOf(e, 0, 45)}}, true},
		"the other lacks its middle":    {[]footage{{stretchOf(e, 0, 43), stretchOf(e, 44, 100)}}, true},
		"another session has that time": {[]footage{{stretchOf(e, 0, 30), stretchOf(other, 30, 60)}}, true},
		"both at once":                  {[]footage{{stretchOf(e, 0, 60), stretchOf(other, 30, 60)}}, false},
		"the other let go of it":        {[]footage{{stretchOf(e, 60, 100)}}, false},
		"the other never had any":       {[]footage{{}}, false},
		"a third has it":                {[]footage{{stretchOf(e, 0, 30)}, {stretchOf(e, 0, 100)}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			seg := segmentOf(e, 40, 50)
			require.Equal(t, c.want, soleCopy(&seg, mine, c.theirs))
		})
	}
	t.Run("what nobody has is not missing at the other", func(t *testing.T) {
		seg := segmentOf(e, 40, 50)
		hole := footage{stretchOf(e, 0, 43), stretchOf(e, 44, 100)}
		require.False(t, soleCopy(&seg, hole, []footage{hole}))
	})
}

func TestUnderPressureSoleCopiesGoLast(t *testing.T) {
	seg := func(at int64, sole bool) heldSegment {
		return heldSegment{path: fmt.Sprint(at), startNS: at, endNS: at + 1, bytes: 100, sole: sole}
	}
	cameras := []held{
		{camera: "a", bytes: 400, oldest: []heldSegment{seg(1, true), seg(3, false), seg(5, false)}},
		{camera: "b", bytes: 300, oldest: []heldSegment{seg(2, false), seg(4, true)}},
	}
	goes := func(rule Retention, quota int64) (out []string) {
		for i := range cameras {
			cameras[i].rule = rule
		}
		for _, d := range expire(1000, cameras, diskRoom{quota: quota, free: -1}, 100) {
			out = append(out, d.camera+d.path)
		}
		return out
	}
	require.Equal(t, []string{"b2"}, goes(Retention{}, 650))
	require.Equal(t, []string{"b2", "a3", "a5"}, goes(Retention{}, 400))
	require.Equal(t, []string{"b2", "a3", "a5", "a1", "b4"}, goes(Retention{}, 1))
	require.Equal(t, []string{"a1", "a3"}, goes(Retention{Bytes: 250}, 650)[:2], "a camera's own rule knows no others")
}

func TestCandidatesAreNeitherLiveNorLocked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := testEpoch(t, time.Unix(0, day0), 1)
		n := rapid.Int64Range(0, 40).Draw(t, "segments")
		var locks []lock.Lock
		for i := range rapid.IntRange(0, 4).Draw(t, "locks") {
			from := rapid.Int64Range(-20, 420).Draw(t, "from")
			l := lock.Lock{
				ID: fmt.Sprintf("lock%010d", i), Camera: rapid.SampledFrom([]string{"gate", "gate", "door"}).Draw(t, "camera"),
				StartNS: day0 + from*min1, EndNS: day0 + (from+rapid.Int64Range(1, 60).Draw(t, "long"))*min1, Reason: "x", CreatedNS: 1,
				ReleasedNS: rapid.SampledFrom([]int64{0, 0, 5}).Draw(t, "released"),
			}
			require.NoError(t, l.Check())
			locks = append(locks, l)
		}
		set, _ := lock.Set{}.With(locks...)
		live := rapid.Int64Range(0, 40).Draw(t, "live")
		sole := rapid.SliceOfN(rapid.Bool(), 40, 40).Draw(t, "sole")
		c := candidates{
			camera: "gate", locks: set, want: rapid.IntRange(1, 8).Draw(t, "want"),
			live: func(p string) bool { return p == segmentPath("gate", day0+live*10*min1, e, 0) },
			sole: func(s *index.Segment) bool { return sole[(s.StartNS-day0)/min1/10] },
		}
		seen := int64(0)
		for seen < n {
			seg := segmentOf(e, seen*10, seen*10+10)
			seen++
			if !c.take(&seg) {
				break
			}
		}
		got := map[string]bool{}
		plain := 0
		for i, h := range c.oldest {
			got[h.path] = true
			require.False(t, set.Holds("gate", h.startNS, h.endNS), "a segment that overlaps a lock stays whole")
			require.False(t, c.live(h.path))
			if !h.sole {
				plain++
			}
			if i > 0 {
				require.Less(t, c.oldest[i-1].startNS, h.startNS)
			}
		}
		require.LessOrEqual(t, plain, c.want)
		require.True(t, seen == n || plain == c.want, "it looks until there are enough that go first")
		for i := range seen { // nothing that may go first is passed over
			s := segmentOf(e, i*10, i*10+10)
			free := !set.Holds("gate", s.StartNS, s.EndNS) && !c.live(s.Path)
			if free && !sole[i] {
				require.True(t, got[s.Path])
			}
		}
	})
}

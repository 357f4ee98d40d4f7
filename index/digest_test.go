package index

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/media"
)

func digests(t require.TestingT, s *Store, camera string) []Digest {
	d, err := s.Digests(camera, math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	return d
}

// recount makes the digests of a camera from a listing.
func recount(refs []Ref) []Digest {
	var out []Digest
	for i := range refs {
		hour := HourOf(refs[i].StartNS)
		if len(out) == 0 || out[len(out)-1].HourNS != hour {
			out = append(out, Digest{HourNS: hour})
		}
		out[len(out)-1].Add(&refs[i])
	}
	return out
}

func TestDigestsAreThoseOfTheFragmentsWhateverWasAddedReplacedAndDeleted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fs := vfs.NewMem()
		s, err := Open(Options{FS: fs, Dir: "index"})
		require.NoError(rt, err)
		defer func() { require.NoError(rt, s.Close()) }()
		all := refs("gate", 0, 0, 40)
		for i := range all { // over four hours
			shift := int64(i) * 6 * 60 * second
			for _, p := range []*int64{&all[i].StartNS, &all[i].EndNS, &all[i].MinNS, &all[i].MaxNS} {
				*p += shift
			}
			all[i].Segment = all[i].Segment[:len(all[i].Segment)-4] + string(rune('a'+i/5)) + ".mp4"
		}
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			a := rapid.IntRange(0, len(all)-1).Draw(rt, "a")
			b := rapid.IntRange(a, len(all)).Draw(rt, "b")
			part := slices.Clone(all[a:b])
			switch rapid.SampledFrom([]string{"add", "short", "repaired", "take", "segment"}).Draw(rt, "step") {
			case "add":
				require.NoError(rt, s.Commit(part, nil))
			case "short":
				for i := range part {
					part[i] = truncate(part[i])
				}
				require.NoError(rt, s.Commit(part, nil))
			case "repaired":
				for i := range part {
					part[i].Flags |= media.Repaired
				}
				require.NoError(rt, s.Commit(part, nil))
			case "take":
				require.NoError(rt, s.DeleteFragments(part))
			case "segment":
				for seg, err := range s.Segments("gate") {
					require.NoError(rt, err)
					_, err = s.DeleteSegment("gate", seg.Path)
					require.NoError(rt, err)
					require.NoError(rt, s.DropSegment("gate", seg.Path))
					break
				}
			}
			held := []Ref{}
			for r, err := range s.Fragments("gate", math.MinInt64, math.MaxInt64) {
				require.NoError(rt, err)
				held = append(held, r)
			}
			require.Equal(rt, recount(held), digests(rt, s, "gate"))
			from := t0 + rapid.Int64Range(-HourNS, 5*HourNS).Draw(rt, "from")
			to := from + rapid.Int64Range(1, 5*HourNS).Draw(rt, "length")
			got, err := s.Digests("gate", from, to)
			require.NoError(rt, err)
			held = slices.DeleteFunc(held, func(r Ref) bool { return r.StartNS < from || r.StartNS >= to })
			require.Equal(rt, recount(held), got, "of a range that cuts hours")
		}
		before := digests(rt, s, "gate")
		require.NoError(rt, s.Close())
		s, err = Open(Options{FS: fs, Dir: "index"})
		require.NoError(rt, err)
		require.Equal(rt, before, digests(rt, s, "gate"), "after a restart")
	})
}

func TestSetsAreEqualExactlyWhenTheirDigestsAre(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pool := refs("gate", 0, 0, 6)
		for i := range 3 {
			pool = append(pool, truncate(pool[i]))
		}
		draw := func(name string) (Digest, map[media.Hash]bool) {
			var d Digest
			set := map[media.Hash]bool{}
			for _, i := range rapid.SliceOfDistinct(rapid.IntRange(0, len(pool)-1), rapid.ID[int]).Draw(rt, name) {
				d.Add(&pool[i])
				set[pool[i].Hash] = true
			}
			return d, set
		}
		a, as := draw("a")
		b, bs := draw("b")
		same := len(as) == len(bs)
		for h := range as {
			same = same && bs[h]
		}
		require.Equal(rt, same, a.Equal(&b))
	})
}

func TestADigestDoesNotTellHowTheFragmentsCame(t *testing.T) {
	all := refs("gate", 0, 0, 100)
	var a, b Digest
	for i := range all {
		a.Add(&all[i])
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i := range all {
		all[i].Flags |= media.Repaired
		b.Add(&all[i])
	}
	require.True(t, a.Equal(&b))
	require.EqualValues(t, 100, b.Repaired)
	require.Zero(t, a.Repaired)
}

func TestHourOf(t *testing.T) {
	for _, c := range [][2]int64{{0, 0}, {1, 0}, {HourNS - 1, 0}, {HourNS, HourNS}, {-1, -HourNS}, {-HourNS, -HourNS}, {-HourNS - 1, -2 * HourNS}} {
		require.Equal(t, c[1], HourOf(c[0]), "%d", c[0])
	}
}

func TestRepairedStretchesAreThoseOfTheRepairedFragments(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	all := refs("gate", 0, 0, 5400) // three hours
	for i := range all {
		if i >= 1700 && i < 3700 { // the end of the first, all of the second, the start of the third
			all[i].Flags |= media.Repaired
		}
	}
	require.NoError(t, s.Commit(all, nil))
	want := Stretch{all[1700].StartNS, all[3699].EndNS}
	got, err := s.Repaired("gate", math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	require.Equal(t, []Stretch{want}, got)
	got, err = s.Repaired("gate", want.StartNS+second, want.StartNS+3*second)
	require.NoError(t, err)
	require.Equal(t, []Stretch{{want.StartNS + second, want.StartNS + 3*second}}, got, "only what was asked for")
	got, err = s.Repaired("gate", t0, want.StartNS)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestTheHorizonIsWhereRetentionHasComeTo(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open(Options{FS: fs, Dir: "index"})
	require.NoError(t, err)
	all := refs("gate", 0, 0, 600) // three segments
	require.NoError(t, s.Commit(all, nil))
	_, err = s.DeleteSegment("gate", all[0].Segment)
	require.NoError(t, err)
	c, _ := s.Camera("gate")
	require.Zero(t, c.HorizonNS, "what was lost may come back")
	_, err = s.ExpireSegments([]SegmentName{{"gate", all[200].Segment}})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s = openMem(t, fs)
	c, _ = s.Camera("gate")
	require.Equal(t, all[399].EndNS, c.HorizonNS, "also after a restart")
}

package recorder

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
)

// scrubRig is a recorder with two minutes of one camera, in three segments.
func scrubRig(t *testing.T) (*rig, *scrubber) {
	t.Helper()
	g := openRig(t, vfs.NewMem())
	l := newTestLog(t, "gate", testBase, 30, 10*time.Second)
	l.ended = true
	l.play(t, g.feed("gate"), 25)
	g.commit()
	return g, g.scrubber(Scrub{Rate: math.MaxInt64})
}

func (g *rig) scrubber(o Scrub) *scrubber {
	require.NoError(g.t, o.complete())
	s := newScrubber(g.rec.archive, o, g.disk.index, g.opts.Clock, zerolog.Nop())
	s.isLive = g.disk.isLive
	return s
}

// harm changes bytes of a file.
func (g *rig) harm(path string, at int64, change func([]byte), n int) {
	g.t.Helper()
	f, err := g.opts.FS.OpenReadWrite(g.disk.name(path), vfs.WriteCategoryUnspecified)
	require.NoError(g.t, err)
	b := make([]byte, n)
	_, err = f.ReadAt(b, at)
	require.NoError(g.t, err)
	change(b)
	_, err = f.WriteAt(b, at)
	require.NoError(g.t, err)
	require.NoError(g.t, f.Close())
}

func flip(b []byte) { b[0] ^= 0x10 }

func (g *rig) refs() []index.Ref {
	var out []index.Ref
	for ref, err := range g.disk.index.store().Fragments("gate", 0, math.MaxInt64) {
		require.NoError(g.t, err)
		out = append(out, ref)
	}
	return out
}

func (g *rig) damage() []index.Damage {
	return g.disk.index.store().Damaged("gate", math.MinInt64, math.MaxInt64)
}

func TestOneFlippedBitAnywhereInMediaIsFoundAndQuarantined(t *testing.T) {
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	for try := range 8 {
		t.Run(fmt.Sprint(try), func(t *testing.T) {
			g, s := scrubRig(t)
			defer g.close()
			before := g.refs()
			i := random.IntN(len(before))
			bad := before[i]
			at := random.Int64N(bad.Size)
			t.Logf("seed %d, fragment %d, byte %d", seed, i, at)
			g.harm(bad.Segment, bad.At+boxLen(&bad.Info)+at, flip, 1)
			found := 0
			s.found = func(d *index.Damage) {
				found++
				require.Equal(t, bad, d.Ref)
			}
			require.NoError(t, s.step(t.Context()))
			require.Equal(t, 1, found)
			require.Len(t, g.refs(), len(before)-1)
			d := g.damage()
			require.Len(t, d, 1)
			require.True(t, d[0].Quarantined)
			require.Equal(t, bad.StartNS, d[0].StartNS)
			require.Contains(t, d[0].Why, "SHA-256")
			g.check() // an index made anew of the media does not adopt it
			again := remade(t, g.rec.archive)
			require.Len(t, again.Damaged("gate", math.MinInt64, math.MaxInt64), 1, "and knows that it is damaged")
			require.NoError(t, again.Close())

			// The next round finds nothing more.
			s.set(scrubState{})
			require.NoError(t, s.step(t.Context()))
			require.Equal(t, 1, found)
			require.Zero(t, s.progress().Unlisted)
		})
	}
}

func TestEveryByteOfADamagedFragmentIsKept(t *testing.T) {
	g, s := scrubRig(t)
	defer g.close()
	bad := g.refs()[3]
	g.harm(bad.Segment, bad.At+boxLen(&bad.Info)+100, flip, 1)
	before := g.files()[bad.Segment]
	require.NoError(t, s.step(t.Context()))
	after := g.files()[bad.Segment]
	require.Len(t, after, len(before))
	copy(after[bad.At:], before[bad.At:bad.At+8])
	require.Equal(t, before, after)
}

func TestDamagedBoxAndHeaderAreWrittenAnewWhenTheMediaIsRight(t *testing.T) {
	g, s := scrubRig(t)
	defer g.close()
	want := g.files()
	refs := g.refs()
	g.harm(refs[4].Segment, refs[4].At+40, flip, 1)
	g.harm(refs[12].Segment, 5, flip, 1)
	s.isLive = func(string) bool { return false }
	require.NoError(t, s.step(t.Context()))
	require.Equal(t, want, g.files())
	require.Empty(t, g.damage())
	require.EqualValues(t, 2, s.progress().Mended)
}

func TestFileThatIsCutOffOrGoneLosesItsFragmentsOnly(t *testing.T) {
	g, s := scrubRig(t)
	defer g.close()
	refs := g.refs()
	var cut, gone string
	for _, r := range refs {
		if r.Segment != refs[0].Segment && cut == "" {
			cut = r.Segment
		}
		gone = r.Segment
	}
	require.NotEqual(t, cut, gone)
	var in []index.Ref
	lost := 0
	for _, r := range refs {
		if r.Segment == cut {
			in = append(in, r)
		}
		if r.Segment == gone {
			lost++
		}
	}
	mid := in[len(in)/2]
	require.NoError(t, truncate(g.opts.FS, g.disk.name(cut), mid.At+boxLen(&mid.Info)+50))
	require.NoError(t, g.opts.FS.Remove(g.disk.name(gone)))
	require.NoError(t, s.step(t.Context()))
	lost += len(in) - len(in)/2
	require.Len(t, g.damage(), lost)
	require.Len(t, g.refs(), len(refs)-lost)
}

func TestRoundGoesOnWhereAnEarlierProcessWas(t *testing.T) {
	g, s := scrubRig(t)
	defer g.close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	s.busy = func() bool {
		if n++; n == 11 {
			cancel()
		}
		return false
	}
	require.Error(t, s.step(ctx))
	s.save()
	require.EqualValues(t, 10, s.progress().Fragments)

	s = g.scrubber(Scrub{Rate: math.MaxInt64})
	n = 0
	s.busy = func() bool { n++; return false }
	s.load()
	require.NoError(t, s.step(t.Context()))
	require.Equal(t, len(g.refs())-10, n, "each fragment of the test is read in one piece")
	require.EqualValues(t, len(g.refs()), s.progress().Fragments)
	require.False(t, s.progress().Finished.IsZero())
	require.Equal(t, s.progress().Total, s.progress().Done)

	require.NoError(t, s.step(t.Context()))
	require.Equal(t, len(g.refs())-10, n, "the next round is not due")
}

func TestReadingKeepsToTheRate(t *testing.T) {
	g, _ := scrubRig(t)
	defer g.close()
	total := int64(0)
	for _, r := range g.refs() {
		total += r.Size
	}
	s := g.scrubber(Scrub{Rate: total * 4})
	began := time.Now()
	require.NoError(t, s.step(t.Context()))
	require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
}

func TestCrashBetweenMarkAndQuarantineIsFinishedAtTheStart(t *testing.T) {
	g, s := scrubRig(t)
	defer g.close()
	bad := g.refs()[7]
	g.harm(bad.Segment, bad.At+boxLen(&bad.Info)+7, flip, 1)
	require.NoError(t, g.disk.index.store().MarkDamaged([]index.Damage{{Ref: bad}}))
	s.finishQuarantine()
	require.True(t, g.damage()[0].Quarantined)
	g.check()
}

func TestQuarantineAtTheEndOfAFileSurvivesAStart(t *testing.T) {
	fsys := vfs.NewMem()
	g := openRig(t, fsys)
	l := newTestLog(t, "gate", testBase, 5, time.Hour)
	l.ended = true
	l.play(t, g.feed("gate"), 25)
	g.commit()
	refs := g.refs()
	last := refs[len(refs)-1]
	g.harm(last.Segment, last.At+boxLen(&last.Info)+7, flip, 1)
	require.NoError(t, g.scrubber(Scrub{Rate: math.MaxInt64}).step(t.Context()))
	size := len(g.files()[last.Segment])
	g.close()
	g = openRig(t, fsys)
	defer g.close()
	require.Len(t, g.files()[last.Segment], size)
	require.Len(t, g.damage(), 1)
	require.Len(t, g.refs(), len(refs)-1)
}

func TestUnreadableDiskIsNotTakenForDamagedFragments(t *testing.T) {
	g, s := scrubRig(t)
	defer g.close()
	s.mounted = func() error { return context.DeadlineExceeded }
	bad := g.refs()[0]
	g.harm(bad.Segment, bad.At+boxLen(&bad.Info)+7, flip, 1)
	require.ErrorIs(t, s.step(t.Context()), context.DeadlineExceeded)
	require.Empty(t, g.damage())
}

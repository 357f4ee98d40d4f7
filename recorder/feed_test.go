package recorder

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// collected is a feed whose fragments are kept in memory.
type collected struct {
	*feed
	got []media.Info
}

func newCollected(from record.Position) *collected {
	c := &collected{}
	c.feed = testFeed("gate", from, func(f *finished) {
		c.got = append(c.got, f.fragment.Info)
		f.done()
	})
	return c
}

func (c *collected) mustTake(t require.TestingT, frames ...link.Frame) {
	for _, f := range frames {
		require.NoError(t, c.take(context.Background(), f))
	}
}

func (c *collected) ranges() [][2]uint64 {
	var out [][2]uint64
	for _, i := range c.got {
		out = append(out, [2]uint64{i.First, i.End})
	}
	return out
}

func (c *collected) lost() map[string]uint64 {
	out := map[string]uint64{}
	for i, name := range lossNames {
		if n := c.counts.lost[i].Load(); n > 0 {
			out[name] = n
		}
	}
	return out
}

func TestLinkLossInAFragmentCostsNothing(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 3, time.Hour)
	whole := newCollected(record.Position{})
	whole.mustTake(t, link.Open{Epoch: l.epoch}, l.batch(0, 0, 150), link.End{Epoch: l.epoch, End: 150})
	require.Equal(t, [][2]uint64{{0, 50}, {50, 100}, {100, 150}}, whole.ranges())
	for at := uint64(1); at < 150; at++ {
		c := newCollected(record.Position{})
		c.mustTake(t, link.Open{Epoch: l.epoch}, l.batch(0, 0, at))
		require.Equal(t, record.Position{Epoch: l.epoch, Offset: at}, c.resume())
		c.mustTake(t, link.Open{Epoch: l.epoch, Offset: at}, l.batch(0, at, 150), link.End{Epoch: l.epoch, End: 150})
		require.Equal(t, whole.got, c.got)
		require.Empty(t, c.lost())
	}
}

func TestLostOffsetsEndTheFragmentAndRecordingGoesOnAtTheNextCut(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 4, time.Hour)
	c := newCollected(record.Position{})
	c.mustTake(t, link.Open{Epoch: l.epoch}, l.batch(0, 0, 70),
		link.Lost{Epoch: l.epoch, From: 70, To: 150}, link.Open{Epoch: l.epoch, Offset: 150}, l.batch(0, 150, 200),
		link.End{Epoch: l.epoch, End: 200})
	require.Equal(t, [][2]uint64{{0, 50}, {50, 70}, {150, 200}}, c.ranges())
	require.Zero(t, c.got[0].Flags)
	require.Equal(t, media.Truncated, c.got[1].Flags)
	require.Zero(t, c.got[2].Flags)
	require.Equal(t, map[string]uint64{"evicted": 80}, c.lost())
}

func TestRecordsBeforeTheFirstCutAreCountedAsLost(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 2, time.Hour)
	c := newCollected(record.Position{})
	c.mustTake(t, link.Open{Epoch: l.epoch, Offset: 10}, l.batch(0, 10, 100), link.End{Epoch: l.epoch, End: 100})
	require.Equal(t, [][2]uint64{{50, 100}}, c.ranges())
	require.Equal(t, map[string]uint64{"no_cut": 40}, c.lost())
}

func TestNewerEpochTruncatesWhatTheOldOneLeftOpen(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 2, time.Hour)
	next := newTestLog(t, "gate", testBase.Add(time.Minute), 1, time.Hour)
	c := newCollected(record.Position{})
	c.mustTake(t, link.Open{Epoch: l.epoch}, l.batch(0, 0, 60))
	c.resume()
	c.mustTake(t, link.Open{Epoch: next.epoch}, next.batch(0, 0, 50), link.End{Epoch: next.epoch, End: 50})
	require.Equal(t, [][2]uint64{{0, 50}, {50, 60}, {0, 50}}, c.ranges())
	require.Equal(t, media.Truncated, c.got[1].Flags)
	require.Zero(t, c.got[2].Flags)
}

func TestPauseEndsAFragmentWholeAndALaterOpenIsNoHole(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 6, time.Hour)
	whole := newCollected(record.Position{})
	whole.mustTake(t, link.Open{Epoch: l.epoch}, l.batch(0, 0, 300), link.End{Epoch: l.epoch, End: 300})
	c := newCollected(record.Position{})
	c.mustTake(t, link.Open{Epoch: l.epoch}, l.batch(0, 0, 100),
		link.Pause{Epoch: l.epoch, Offset: 100, CaptureNS: whole.got[2].StartNS},
		link.Open{Epoch: l.epoch, Offset: 200}, l.batch(0, 200, 300), link.End{Epoch: l.epoch, End: 300})
	require.Equal(t, append(whole.got[:2:2], whole.got[4:]...), c.got)
	require.Equal(t, map[string]uint64{"not_sent": 100}, c.lost())
}

func TestSpareGoesOnWhereThePrimaryEndsWhateverItWasInTheMiddleOf(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 6, time.Hour)
	end := link.End{Epoch: l.epoch, End: 300}
	for name, frames := range map[string][]link.Frame{
		"open":          {link.Open{Epoch: l.epoch, Offset: 200}, l.batch(0, 200, 300), end},
		"lost and open": {link.Lost{Epoch: l.epoch, From: 180, To: 200}, link.Open{Epoch: l.epoch, Offset: 200}, l.batch(0, 200, 300), end},
		"end":           {end},
	} {
		c := newCollected(record.Position{})
		c.mustTake(t, link.Open{Epoch: l.epoch}, l.batch(0, 0, 70))
		c.resume() // the stream broke
		c.mustTake(t, frames...)
		require.Equal(t, [2]uint64{50, 70}, c.ranges()[1], name)
		require.Equal(t, media.Truncated, c.got[1].Flags, name)
		for _, i := range c.got[2:] {
			require.Zero(t, i.Flags, name)
		}
		require.Equal(t, record.Position{Epoch: l.epoch, Offset: 300}, c.next, name)
		var covered, lost uint64
		for _, r := range c.ranges() {
			covered += r[1] - r[0]
		}
		for _, n := range c.lost() {
			lost += n
		}
		require.EqualValues(t, 300, covered+lost, name)
	}
}

func TestAbandonedFragmentIsFetchedAgainWhole(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 2, time.Hour)
	c := newCollected(record.Position{})
	c.mustTake(t, link.Open{Epoch: l.epoch}, l.batch(0, 0, 70))
	c.abandon()
	c.abandon()
	require.Equal(t, [][2]uint64{{0, 50}, {50, 70}}, c.ranges())
	require.Equal(t, record.Position{Epoch: l.epoch, Offset: 50}, c.resume())
	c.mustTake(t, link.Open{Epoch: l.epoch, Offset: 50}, l.batch(0, 50, 100), link.End{Epoch: l.epoch, End: 100})
	require.Equal(t, [2]uint64{50, 100}, c.ranges()[2])
	require.Zero(t, c.got[2].Flags)
}

func TestWhatTheProtocolDoesNotAllowIsRefused(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 4, time.Hour)
	older := newTestLog(t, "gate", testBase.Add(-time.Hour), 1, time.Hour)
	for name, frame := range map[string]link.Frame{
		"a batch that leaves a hole":     l.batch(0, 71, 80),
		"a batch that comes twice":       l.batch(0, 60, 80),
		"an open that leaves a hole":     link.Open{Epoch: l.epoch, Offset: 80},
		"an open that goes back":         link.Open{Epoch: l.epoch, Offset: 60},
		"an open of an older epoch":      link.Open{Epoch: older.epoch},
		"an open of no epoch":            link.Open{},
		"a loss of what was had":         link.Lost{Epoch: l.epoch, From: 60, To: 90},
		"a loss that leaves a hole":      link.Lost{Epoch: l.epoch, From: 80, To: 90},
		"a loss of nothing":              link.Lost{Epoch: l.epoch, From: 70, To: 70},
		"a loss of an older epoch":       link.Lost{Epoch: older.epoch, From: 1, To: 2},
		"an end that leaves a hole":      link.End{Epoch: l.epoch, End: 80},
		"an end before what was had":     link.End{Epoch: l.epoch, End: 60},
		"an end of another epoch":        link.End{Epoch: older.epoch, End: 70},
		"a pause elsewhere":              link.Pause{Epoch: l.epoch, Offset: 60},
		"what only a recorder may say":   link.Hello{Recorder: "x"},
		"a batch of bytes that are none": link.Batch{First: 70, Count: 1, Records: make([]byte, 30)},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollected(record.Position{})
			c.mustTake(t, link.Open{Epoch: l.epoch}, l.batch(0, 0, 70))
			err := c.take(context.Background(), frame)
			require.ErrorIs(t, err, errViolation)
			require.ErrorContains(t, err, "") // it is text
			// It is as it was: another stream goes on.
			require.Equal(t, record.Position{Epoch: l.epoch, Offset: 70}, c.resume())
			c.mustTake(t, link.Open{Epoch: l.epoch, Offset: 70}, l.batch(0, 70, 200), link.End{Epoch: l.epoch, End: 200})
			require.Equal(t, [][2]uint64{{0, 50}, {50, 100}, {100, 150}, {150, 200}}, c.ranges())
			for _, i := range c.got {
				require.Zero(t, i.Flags)
			}
		})
	}
	c := newCollected(record.Position{})
	require.ErrorIs(t, c.take(context.Background(), l.batch(0, 0, 10)), errViolation, "a batch without an open")
}

func TestSlowDiskStopsTheReaderAndBoundsMemory(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 5, time.Hour)
	var held []*finished
	f := testFeed("gate", record.Position{}, func(fin *finished) { held = append(held, fin) })
	require.NoError(t, f.take(context.Background(), link.Open{Epoch: l.epoch}))
	ctx, cancel := context.WithCancelCause(context.Background())
	blocked := make(chan error, 1)
	go func() { blocked <- f.take(ctx, l.batch(0, 0, 250)) }()
	stop := context.Canceled
	cancel(stop)
	require.ErrorIs(t, <-blocked, stop)
	require.Len(t, held, 2, "two fragments wait for the disk, and nothing is read")
}

func TestFeedNeverPanicsAndNeverOverlapsWhateverItIsSent(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 4, time.Hour)
	next := newTestLog(t, "gate", testBase.Add(time.Minute), 4, time.Hour)
	rapid.Check(t, func(t *rapid.T) {
		c := newCollected(record.Position{})
		for range rapid.IntRange(1, 60).Draw(t, "frames") {
			lg := rapid.SampledFrom([]*testLog{l, next}).Draw(t, "epoch")
			near := c.next.Offset
			if rapid.IntRange(0, 3).Draw(t, "wild") == 0 {
				near = rapid.Uint64Range(0, 220).Draw(t, "offset")
			}
			to := near + rapid.Uint64Range(0, 90).Draw(t, "more")
			var frame link.Frame
			switch rapid.IntRange(0, 6).Draw(t, "kind") {
			case 0:
				frame = link.Open{Epoch: lg.epoch, Offset: near}
			case 1, 2, 3:
				frame = lg.batch(0, min(near, lg.end()), min(to, lg.end()))
			case 4:
				frame = link.Lost{Epoch: lg.epoch, From: near, To: to}
			case 5:
				frame = link.End{Epoch: lg.epoch, End: near}
			case 6:
				c.resume()
				continue
			}
			if err := c.take(context.Background(), frame); err != nil {
				require.ErrorIs(t, err, errViolation)
				c.resume()
			}
		}
		for i := 1; i < len(c.got); i++ {
			a, b := c.got[i-1], c.got[i]
			before := record.Position{Epoch: a.Epoch, Offset: a.End}
			require.LessOrEqual(t, before.Compare(record.Position{Epoch: b.Epoch, Offset: b.First}), 0, "in order, without overlap")
		}
	})
}

func TestRecordsAreTakenWithoutAnAllocationEach(t *testing.T) {
	const fragments = 200
	l := newTestLog(t, "gate", testBase, fragments, time.Hour)
	f := testFeed("gate", record.Position{}, func(fin *finished) { fin.done() })
	require.NoError(t, f.take(context.Background(), link.Open{Epoch: l.epoch}))
	var frames []link.Frame
	for from := uint64(0); from < l.end(); from += perFragment {
		frames = append(frames, l.batch(0, from, from+perFragment))
	}
	for _, frame := range frames[:10] { // buffers grow
		require.NoError(t, f.take(context.Background(), frame))
	}
	i := 10
	perBatch := testing.AllocsPerRun(fragments-20, func() {
		require.NoError(t, f.take(context.Background(), frames[i]))
		i++
	})
	require.Less(t, perBatch, 10.0, "allocations of a fragment of %d records", perFragment)
	t.Logf("%.1f allocations for a fragment of %d records", perBatch, perFragment)
}

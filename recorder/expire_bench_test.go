package recorder

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/node"
)

// backlog is a volume whose index holds footage of days, a fragment a minute, ten of them
// to a segment; all of it is over age.
type backlog struct {
	*volume
	clock   *dayClock
	cameras int
	minute  int64 // the next one of each camera
}

func newBacklog(t testing.TB, fsys vfs.FS, dir string, cameras int, minutes int64) *backlog {
	t.Helper()
	b := &backlog{clock: &dayClock{}, cameras: cameras}
	b.clock.ns.Store(day0 + minutes*min1)
	o := &Options{
		Name: "r1", FS: fsys, Clock: b.clock, Log: zerolog.Nop(), Registry: prometheus.NewRegistry(),
		Retention: Retention{Age: time.Minute},
	}
	held, err := possess(fsys, dir, "r1", b.clock.Now())
	require.NoError(t, err)
	m, err := newMeters(o.Registry)
	require.NoError(t, err)
	b.volume = newVolume(o, Volume{Dir: dir}, held, m, node.NewEvery(time.Second, b.clock.Now))
	require.NoError(t, b.recover(t.Context()))
	for b.minute < minutes {
		to := min(b.minute+40, minutes)
		require.NoError(t, b.index.store().Commit(b.refs(t, b.minute, to), nil))
		b.minute = to
	}
	return b
}

// refs returns fragments [from, to) of every camera.
func (b *backlog) refs(t testing.TB, from, to int64) []index.Ref {
	epoch := testEpoch(t, time.Unix(0, day0), 1)
	out := make([]index.Ref, 0, int(to-from)*b.cameras)
	for c := range b.cameras {
		name := fmt.Sprintf("cam%03d", c)
		for m := from; m < to; m++ {
			start := day0 + m*min1
			out = append(out, index.Ref{
				Info: media.Info{
					Camera: name, Epoch: epoch, First: uint64(m) * 100, End: uint64(m+1) * 100, StartNS: start, EndNS: start + min1,
					MinNS: start, MaxNS: start + min1, WindowNS: start - start%(10*min1), Size: 30_000_000, Hash: media.Hash{byte(c), byte(m)},
				},
				Segment: segmentPath(name, start-start%(10*min1), epoch, 0), At: m % 10 * 30_000_200,
			})
		}
	}
	return out
}

// commits commits a minute of every camera at each interval until stop is closed, and
// returns how long each took, sorted.
func (b *backlog) commits(t testing.TB, every time.Duration, stop <-chan struct{}) []time.Duration {
	var took []time.Duration
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		refs := b.refs(t, b.minute, b.minute+1)
		b.minute++
		began := time.Now()
		require.NoError(t, b.index.store().Commit(refs, nil))
		took = append(took, time.Since(began))
		select {
		case <-tick.C:
		case <-stop:
			slices.Sort(took)
			return took
		}
	}
}

// expireAll sweeps until ctx ends or nothing of before is left; paused like the sweeper,
// or without a rest.
func (b *backlog) expireAll(ctx context.Context, t testing.TB, paused bool) (segments int, took time.Duration) {
	began := time.Now()
	for ctx.Err() == nil {
		n, err := b.sweepOnce(ctx)
		if ctx.Err() != nil {
			break
		}
		require.NoError(t, err)
		segments += n
		if n < sweepLimit {
			break
		}
		if paused && !pause(ctx, 50*time.Millisecond) {
			break
		}
	}
	return segments, time.Since(began)
}

func at(took []time.Duration, share float64) time.Duration {
	return took[min(int(float64(len(took))*share), len(took)-1)].Round(10 * time.Microsecond)
}

// BenchmarkExpireWhileCommitting measures commits while an index of 30 days and 100
// cameras (4,320,000 fragments; DUET_BENCH_DAYS makes it smaller) expires.
func BenchmarkExpireWhileCommitting(b *testing.B) {
	days := int64(30)
	if s := os.Getenv("DUET_BENCH_DAYS"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		require.NoError(b, err)
		days = n
	}
	const cameras, every = 100, 100 * time.Millisecond
	began := time.Now()
	l := newBacklog(b, DiskFS(), b.TempDir(), cameras, days*1440)
	defer func() { require.NoError(b, l.close()) }()
	b.Logf("%d fragments of %d cameras were committed in %v", days*1440*cameras, cameras, time.Since(began).Round(time.Second))
	measure := func(name string, expire func(context.Context) (int, time.Duration)) {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		stop := make(chan struct{})
		var work sync.WaitGroup
		segments, took := 0, time.Duration(0)
		work.Go(func() {
			defer close(stop)
			segments, took = expire(ctx)
		})
		commits := l.commits(b, every, stop)
		work.Wait()
		b.Logf("%-22s %6d segments expired in %6v; %4d commits of %d fragments: p50 %v, p99 %v, max %v",
			name, segments, took.Round(100*time.Millisecond), len(commits), cameras, at(commits, 0.5), at(commits, 0.99), at(commits, 1))
	}
	const phase = 20 * time.Second
	for b.Loop() {
		measure("nothing expires", func(ctx context.Context) (int, time.Duration) {
			pause(ctx, phase)
			return 0, phase
		})
		measure("as the sweeper does", func(ctx context.Context) (int, time.Duration) {
			ctx, cancel := context.WithTimeout(ctx, phase)
			defer cancel()
			return l.expireAll(ctx, b, true)
		})
		measure("without a rest", func(ctx context.Context) (int, time.Duration) { return l.expireAll(ctx, b, false) })
	}
}

// The same, small: nothing is left that is over age, nothing newer is lost, and commits
// go on meanwhile.
func TestAnArchiveExpiresWhileItIsRecordedTo(t *testing.T) {
	const cameras, minutes = 10, 1200
	l := newBacklog(t, vfs.NewMem(), dayDir, cameras, minutes)
	defer func() { require.NoError(t, l.close()) }()
	stop := make(chan struct{})
	var work sync.WaitGroup
	segments := 0
	work.Go(func() {
		defer close(stop)
		segments, _ = l.expireAll(t.Context(), t, false)
	})
	commits := l.commits(t, time.Millisecond, stop)
	work.Wait()
	require.GreaterOrEqual(t, segments, cameras*(minutes/10-1))
	require.NotEmpty(t, commits)
	l.clock.ns.Store(day0 + l.minute*min1)
	segments, _ = l.expireAll(t.Context(), t, false)
	t.Logf("%d more", segments)
	for _, c := range l.index.store().Cameras() {
		require.EqualValues(t, day0+l.minute*min1, c.EndNS)
		require.GreaterOrEqual(t, c.StartNS, c.EndNS-12*min1, "no more than the segments that are not over age")
		require.Positive(t, c.Fragments)
	}
	require.Empty(t, l.index.store().Deleting())
}

// What a commit has to wait for while an archive expires is bounded by what one batch takes
// out of the index, whatever there is to expire: 1000 fragments, or one segment.
func TestExpiryTakesOutOfTheIndexALittleAtATime(t *testing.T) {
	for name, c := range map[string]struct {
		perSegment, segments, batches int
	}{
		"small segments go together": {100, 40, 4},
		"some fit":                   {400, 10, 5},
		"large ones one by one":      {1500, 4, 4},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := index.Open(index.Options{FS: vfs.NewMem(), Dir: "index", Log: zerolog.Nop()})
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			epoch := testEpoch(t, time.Unix(0, day0), 1)
			var list []doomed
			for n := range c.segments {
				d := doomed{camera: "gate", heldSegment: heldSegment{path: fmt.Sprintf("gate/%03d.mp4", n), fragments: int64(c.perSegment)}}
				var refs []index.Ref
				for i := range c.perSegment {
					first := uint64(n*c.perSegment + i)
					start := day0 + int64(first)*1e9
					refs = append(refs, index.Ref{Segment: d.path, At: int64(i) * 100, Info: media.Info{
						Camera: "gate", Epoch: epoch, First: first, End: first + 1, StartNS: start, EndNS: start + 1e9, MinNS: start, MaxNS: start + 1e9, Size: 50,
					}})
				}
				require.NoError(t, s.Commit(refs, nil))
				list = append(list, d)
			}
			// Somebody commits again and again: how much goes between two of its turns?
			batches, last := 0, s.Removals("gate")
			went, err := forgetBy(func(names []index.SegmentName) ([]index.Segment, error) {
				out, err := s.ExpireSegments(names)
				batches++
				gone := s.Removals("gate") - last
				last += gone
				require.LessOrEqual(t, gone, uint64(max(sweepFragments, c.perSegment)))
				require.Positive(t, gone)
				return out, err
			}, list)
			require.NoError(t, err)
			require.Len(t, went, c.segments)
			require.Equal(t, c.batches, batches)
			require.Zero(t, s.Cameras()[0].Fragments)
		})
	}
}

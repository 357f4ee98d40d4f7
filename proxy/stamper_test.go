package proxy

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// fakeCamera is a camera on the monotonic clock: every frame has a true instant.
type fakeCamera struct {
	fps    float64 // frames a second of real time
	drift  float64 // its clock runs by this much too fast
	ticks  float64 // ticks per frame; 0: as the real frame interval and the drift say
	base   uint32
	jitter time.Duration // delays are between 0 and this, most of them small
	random *rand.Rand
	// delay adds to the arrival of a frame at true instant t.
	delay func(t time.Duration) time.Duration
}

type frame struct {
	truth   int64
	ts      uint32
	arrival int64
}

func (c *fakeCamera) frames(d time.Duration) []frame {
	var out []frame
	last := int64(0)
	n := int(d.Seconds() * c.fps)
	for i := range n {
		truth := int64(float64(i) / c.fps * 1e9)
		ticks := c.ticks * float64(i)
		if c.ticks == 0 {
			ticks = float64(truth) / 1e9 * 90000 * (1 + c.drift)
		}
		late := int64(0)
		if c.jitter > 0 {
			u := c.random.Float64()
			late = int64(u * u * u * float64(c.jitter))
		}
		if c.delay != nil {
			late += int64(c.delay(time.Duration(truth)))
		}
		arrival := max(truth+late, last)
		last = arrival
		out = append(out, frame{truth, c.base + uint32(int64(ticks)), arrival})
	}
	return out
}

func newRandom(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

const ms = int64(time.Millisecond)

// worst stamps all frames and returns the greatest error before and after settle.
func worst(t *testing.T, s *stamper, frames []frame, settle time.Duration) (early, late int64) {
	t.Helper()
	last := int64(math.MinInt64)
	for _, f := range frames {
		y, jumped := s.stamp(f.ts, f.arrival, false)
		require.False(t, jumped, "at %v", time.Duration(f.truth))
		require.Greater(t, y, last)
		last = y
		e := y - f.truth
		if e < 0 {
			e = -e
		}
		if f.truth < int64(settle) {
			early = max(early, e)
		} else {
			late = max(late, e)
		}
	}
	return early, late
}

func TestCaptureTimeStaysWithRealTime(t *testing.T) {
	second := func(d time.Duration, from, to int) bool {
		return d >= time.Duration(from)*time.Second && d < time.Duration(to)*time.Second
	}
	for name, c := range map[string]struct {
		cam         fakeCamera
		early, late int64 // bounds in ms, within and after the first 15 s
	}{
		"steady":                  {fakeCamera{fps: 25}, 1, 1},
		"jitter":                  {fakeCamera{fps: 25, jitter: 80 * time.Millisecond}, 90, 12},
		"strong jitter":           {fakeCamera{fps: 25, jitter: 400 * time.Millisecond}, 450, 150},
		"20 ppm fast":             {fakeCamera{fps: 25, drift: 20e-6, jitter: 20 * time.Millisecond}, 25, 6},
		"1000 ppm fast":           {fakeCamera{fps: 25, drift: 1000e-6, jitter: 20 * time.Millisecond}, 30, 12},
		"10 % fast":               {fakeCamera{fps: 25, drift: 0.1, jitter: 20 * time.Millisecond}, 350, 25},
		"10 % slow":               {fakeCamera{fps: 25, drift: -0.1, jitter: 20 * time.Millisecond}, 350, 25},
		"5 fps, 10 % slow":        {fakeCamera{fps: 5, drift: -0.1, jitter: 20 * time.Millisecond}, 400, 60},
		"60 fps":                  {fakeCamera{fps: 60, jitter: 30 * time.Millisecond}, 40, 8},
		"25 declared, 21 deliver": {fakeCamera{fps: 21, ticks: 3600, jitter: 20 * time.Millisecond}, 600, 25},
		"25 declared, 13 deliver": {fakeCamera{fps: 13, ticks: 3600, jitter: 20 * time.Millisecond}, 1700, 60},
		"wraps": {
			fakeCamera{fps: 25, base: math.MaxUint32 - 90000*30, jitter: 20 * time.Millisecond},
			25, 6,
		},
		"congested from 60 to 90 s by 400 ms": {fakeCamera{
			fps: 25, jitter: 20 * time.Millisecond,
			delay: func(d time.Duration) time.Duration {
				if second(d, 60, 90) {
					return 400 * time.Millisecond
				}
				return 0
			},
		}, 25, 40},
		"stalls for 3 s at 60 s": {fakeCamera{
			fps: 25,
			delay: func(d time.Duration) time.Duration {
				if second(d, 60, 63) {
					return 63*time.Second - d
				}
				return 0
			},
		}, 1, 60},
		"sends a buffer of 2 s at start": {fakeCamera{
			fps:   25,
			delay: func(d time.Duration) time.Duration { return max(2*time.Second-d, 0) },
		}, 2001, 30},
	} {
		t.Run(name, func(t *testing.T) {
			c.cam.random = newRandom(t)
			s := newStamper(stamperOptions{ClockRate: 90000, Reorders: true})
			early, late := worst(t, s, c.cam.frames(5*time.Minute), 15*time.Second)
			t.Logf("error ≤ %.1f ms in the first 15 s, ≤ %.1f ms after", float64(early)/1e6, float64(late)/1e6)
			require.LessOrEqual(t, early, c.early*ms)
			require.LessOrEqual(t, late, c.late*ms)
		})
	}
}

func TestSlewIsAtMost500PPMBeyondTheEstimatedRate(t *testing.T) {
	for _, drift := range []float64{0, 0.1, -0.1} {
		c := fakeCamera{fps: 25, drift: drift, jitter: 50 * time.Millisecond, random: newRandom(t)}
		s := newStamper(stamperOptions{ClockRate: 90000, Reorders: true})
		for _, f := range c.frames(3 * time.Minute) {
			s.stamp(f.ts, f.arrival, false)
			if f.truth > int64(20*time.Second) {
				require.False(t, s.learning)
				require.InDelta(t, 1, s.knots.last().slope/s.arrival.rate, 510e-6)
				require.InDelta(t, 1/(1+drift), s.arrival.rate/s.nominal, 3e-3)
			}
		}
	}
}

func TestRateThatChangesIsLearnedAnew(t *testing.T) {
	s := newStamper(stamperOptions{ClockRate: 90000, Reorders: true})
	ts, now, last, worst := uint32(0), int64(0), int64(0), int64(0)
	for i := range 25 * 300 {
		fps := int64(25)
		if i > 25*100 {
			fps = 21 // longer exposure at night, same ticks
		}
		ts += 3600
		now += int64(time.Second) / fps
		y, jumped := s.stamp(ts, now, false)
		require.False(t, jumped)
		require.Greater(t, y, last)
		worst = max(worst, now-y, y-now)
		last = y
	}
	t.Logf("off by at most %.0f ms", float64(worst)/1e6)
	require.Less(t, worst, 1500*ms)
	require.InDelta(t, now, last, 30e6)
}

func TestTimestampJumpAnchorsForwardOnly(t *testing.T) {
	for name, by := range map[string]int64{
		"forward an hour": 3600 * 90000, "forward 4 s": 4 * 90000,
		"back an hour": -3600 * 90000, "back 4 s": -4 * 90000, "half the range": 1 << 31,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStamper(stamperOptions{ClockRate: 90000, Reorders: true})
			last, jumps := int64(-1), 0
			for i := range int64(1000) {
				ts := uint32(i * 3600)
				if i >= 500 {
					ts += uint32(by)
				}
				y, jumped := s.stamp(ts, i*40*ms, false)
				require.Greater(t, y, last)
				require.InDelta(t, i*40*ms, y, 50e6)
				last = y
				if jumped {
					require.EqualValues(t, 500, i)
					jumps++
				}
			}
			require.Equal(t, 1, jumps)
		})
	}
}

func TestSmallStepsOfTheCameraClockAreAbsorbed(t *testing.T) {
	for name, by := range map[string]int64{"forward 1 s": 90000, "back 1 s at an IDR": -90000} {
		t.Run(name, func(t *testing.T) {
			s := newStamper(stamperOptions{ClockRate: 90000, Reorders: true})
			last := int64(-1)
			for i := range int64(3000) {
				ts := uint32(i * 3600)
				if i >= 500 {
					ts += uint32(by)
				}
				y, _ := s.stamp(ts, i*40*ms, i%50 == 0)
				require.Greater(t, y, last)
				require.InDelta(t, i*40*ms, y, 1100e6)
				last = y
			}
			require.InDelta(t, 2999*40*ms, last, 30e6)
		})
	}
}

func TestTimestampThatStandsStillDoesNotStopTime(t *testing.T) {
	s := newStamper(stamperOptions{ClockRate: 90000})
	for i := range int64(1000) {
		y, _ := s.stamp(7, i*40*ms, false)
		require.InDelta(t, i*40*ms, y, 3100e6)
	}
}

func TestPacketsOfAnAccessUnitShareItsCaptureTime(t *testing.T) {
	s := newStamper(stamperOptions{ClockRate: 90000, Reorders: true, WallNS: 1 << 60})
	for i := range int64(100) {
		a, _ := s.stamp(uint32(i*3600), i*40*ms, false)
		b, _ := s.stamp(uint32(i*3600), i*40*ms+5*ms, false)
		require.Equal(t, a, b)
		require.InDelta(t, int64(1<<60)+i*40*ms, a, 1e6)
	}
}

// Random streams of every fault: f is a function, strictly increasing between jumps,
// never goes back, and never leaves real time.
func TestCaptureTimeIsAStrictlyIncreasingFunction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStamper(stamperOptions{ClockRate: 90000, Reorders: true})
		group := rapid.IntRange(1, 4).Draw(t, "references every")
		drift := rapid.Float64Range(-0.1, 0.1).Draw(t, "drift")
		base := rapid.Uint32().Draw(t, "base")
		jitter := rapid.SliceOfN(rapid.Int64Range(0, 60*ms), 50, 50).Draw(t, "jitter")
		jumpAt := rapid.IntRange(20, 700).Draw(t, "jump at")
		jump := rapid.Uint32().Draw(t, "jump")

		seen := map[uint32]int64{}
		front, arrived := int64(math.MinInt64), int64(0)
		put := func(i, sent int) {
			if sent == jumpAt {
				base += jump
				clear(seen)
			}
			truth := int64(i) * 40 * ms
			ts := base + uint32(int64(float64(i)*3600*(1+drift)))
			arrived = max(arrived, int64(sent)*40*ms+jitter[sent%len(jitter)])
			y, jumped := s.stamp(ts, arrived, false)
			if jumped {
				require.Greater(t, y, front)
				clear(seen)
			}
			// A jump of less than 3 s is absorbed: f is off by it and comes back.
			require.InDelta(t, truth, y, 3500e6)
			for ots, oy := range seen {
				d := int32(ts - ots)
				if (d > 0) != (y > oy) || (d == 0) != (y == oy) {
					t.Fatalf("f(%d) = %d, but f(%d) = %d", ots, oy, ts, y)
				}
				if d > 90000 {
					delete(seen, ots)
				}
			}
			seen[ts] = y
			front = max(front, y)
		}
		sent := 0
		for i := group; i < 800; i += group {
			if sent < jumpAt && sent+group >= jumpAt {
				jumpAt = sent + group // between groups: pictures do not reorder over a jump
			}
			for _, j := range append([]int{i}, rangeOf(i-group+1, i)...) {
				put(j, sent)
				sent++
			}
		}
	})
}

func rangeOf(from, to int) (out []int) {
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func TestAudioAndVideoStayTogether(t *testing.T) {
	for _, drift := range []float64{0, 0.1, -0.1} {
		r := newRandom(t)
		video := fakeCamera{fps: 25, drift: drift, jitter: 40 * time.Millisecond, random: r}
		audio := fakeCamera{fps: 50, drift: drift, jitter: 10 * time.Millisecond, random: r}
		sv := newStamper(stamperOptions{ClockRate: 90000, Reorders: true})
		sa := newStamper(stamperOptions{ClockRate: 90000})
		fv, fa := video.frames(2*time.Minute), audio.frames(2*time.Minute)
		late := int64(0)
		for i := range fv {
			yv, _ := sv.stamp(fv[i].ts, fv[i].arrival, false)
			sa.stamp(fa[2*i].ts, fa[2*i].arrival, false)
			ya := sa.wallNS + sa.frontY
			sa.stamp(fa[2*i+1].ts, fa[2*i+1].arrival, false)
			require.InDelta(t, ya, yv, 150e6)
			if fv[i].truth > int64(15*time.Second) {
				late = max(late, yv-ya, ya-yv)
			}
		}
		t.Logf("drift %+.0f %%: apart by at most %.1f ms", drift*100, float64(late)/1e6)
		require.LessOrEqual(t, late, 25*ms)
	}
}

func TestSenderReportsAreFollowedWhereSane(t *testing.T) {
	const wall = int64(1_700_000_000e9)
	// The network delays everything by 300 ms; sender reports know the truth.
	run := func(report func(s *stamper, truth int64, ts uint32, now int64)) int64 {
		c := fakeCamera{
			fps: 25, jitter: 20 * time.Millisecond, random: newRandom(t),
			delay: func(time.Duration) time.Duration { return 300 * time.Millisecond },
		}
		s := newStamper(stamperOptions{ClockRate: 90000, Reorders: true, SenderReports: true, WallNS: wall})
		last, e := int64(0), int64(0)
		for i, f := range c.frames(2 * time.Minute) {
			y, jumped := s.stamp(f.ts, f.arrival, false)
			require.False(t, jumped)
			require.Greater(t, y, last)
			last, e = y, y-wall-f.truth
			if i%125 == 10 {
				report(s, f.truth, f.ts, f.arrival)
			}
		}
		return e
	}
	require.InDelta(t, 0, run(func(s *stamper, truth int64, ts uint32, now int64) {
		s.report(wall+truth, ts, now)
	}), 2e6)
	require.InDelta(t, 300e6, run(func(*stamper, int64, uint32, int64) {}), 10e6, "without any report")
	require.InDelta(t, 300e6, run(func(s *stamper, truth int64, ts uint32, now int64) {
		s.report(truth, ts, now) // 1970
	}), 10e6, "the camera's clock was never set")
	n := int64(0)
	require.InDelta(t, 300e6, run(func(s *stamper, truth int64, ts uint32, now int64) {
		n++
		s.report(wall+truth+n%3*800*ms, ts, now)
	}), 1200e6, "they contradict each other")
}

func TestStampDoesNotAllocate(t *testing.T) {
	s := newStamper(stamperOptions{ClockRate: 90000, Reorders: true})
	i := int64(0)
	require.Zero(t, testing.AllocsPerRun(10000, func() {
		s.stamp(uint32(i*3600), i*40*ms, false)
		i++
	}))
}

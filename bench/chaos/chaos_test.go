package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// site has two primaries that one redundant recorder covers.
func site() map[string][]string {
	return map[string][]string{
		"gate": {"r1", "r3"}, "yard": {"r2", "r3"}, "door": {"r1", "r3"}, "hall": {"r2", "r3"},
	}
}

func TestScheduleIsAFunctionOfItsSeed(t *testing.T) {
	a, err := Schedule(Defaults(1, 90*time.Second, 20*time.Second, site()))
	require.NoError(t, err)
	b, err := Schedule(Defaults(1, 90*time.Second, 20*time.Second, site()))
	require.NoError(t, err)
	require.Equal(t, a, b)
	c, err := Schedule(Defaults(2, 90*time.Second, 20*time.Second, site()))
	require.NoError(t, err)
	require.NotEqual(t, a, c)
	require.Greater(t, len(a), 8, "%v", a)
}

// state replays a schedule in steps.
type state struct {
	down map[string]Action
	// has is up to when a recorder has everything, give or take its lag; upSince when it
	// began to work again.
	has, upSince map[string]time.Duration
}

func TestNoRecordLeavesTheLogBeforeACopyHasIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := time.Duration(rapid.IntRange(12, 40).Draw(t, "log")) * time.Second
		o := Defaults(rapid.Uint64().Draw(t, "seed"), 90*time.Second, log, site())
		o.MaxDown = time.Duration(rapid.IntRange(1, 40).Draw(t, "max down")) * time.Second
		events, err := Schedule(o)
		require.NoError(t, err)

		const step = 50 * time.Millisecond
		s := state{down: map[string]Action{}, has: map[string]time.Duration{}, upSince: map[string]time.Duration{}}
		bothDown := false
		covered := map[string]time.Duration{} // by camera: everything before is on a copy
		for now := time.Duration(0); now <= o.Duration; now += step {
			for len(events) > 0 && events[0].At <= now {
				e := events[0]
				events = events[1:]
				require.True(t, now >= o.Warmup && now <= o.Duration-o.Settle+step, "%v", e)
				switch e.Action {
				case Kill:
					require.NotEqual(t, Kill, s.down[e.Recorder], "%v", e)
					s.down[e.Recorder] = Kill
				case Stop:
					require.NotContains(t, s.down, e.Recorder, "%v", e)
					s.down[e.Recorder] = Stop
				case Cont:
					require.Equal(t, Stop, s.down[e.Recorder], "%v", e)
				case Restart:
					require.Equal(t, Kill, s.down[e.Recorder], "%v", e)
				}
				if e.Action == Cont || e.Action == Restart {
					delete(s.down, e.Recorder)
					s.upSince[e.Recorder] = now
				}
			}
			for camera, copies := range o.Copies {
				all := true
				for _, r := range copies {
					if _, down := s.down[r]; down {
						continue
					}
					all = false
					if now-s.upSince[r] >= o.Catchup || s.upSince[r] == 0 {
						covered[camera] = max(covered[camera], now-o.Lag)
					}
				}
				bothDown = bothDown || all
				require.LessOrEqual(t, now-covered[camera], log-o.Margin+2*step, "%s at %s", camera, now)
			}
		}
		require.Empty(t, events)
		require.Empty(t, s.down)
		require.True(t, bothDown)
	})
}

func TestDownsAreThoseOfTheEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Defaults(rapid.Uint64().Draw(t, "seed"), 90*time.Second, 20*time.Second, site())
		want, err := plan(o)
		require.NoError(t, err)
		events, err := Schedule(o)
		require.NoError(t, err)
		require.ElementsMatch(t, want, Downs(events))
		for _, d := range Downs(events) {
			require.GreaterOrEqual(t, d.To-d.From, o.MinDown)
		}
	})
}

func TestSchedulesThatCannotBeAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"no cameras":           func(o *Options) { o.Copies = nil },
		"has no recorder":      func(o *Options) { o.Copies["x"] = nil },
		"too short for a warm": func(o *Options) { o.Duration = 10 * time.Second },
		"leaves nothing":       func(o *Options) { o.Log = time.Second },
		"is too short for all": func(o *Options) { o.Log = 9 * time.Second },
		"want 0 < MinDown":     func(o *Options) { o.MinDown = 0 },
	} {
		o := Defaults(1, 90*time.Second, 20*time.Second, site())
		change(&o)
		_, err := Schedule(o)
		require.ErrorContains(t, err, want)
	}
}

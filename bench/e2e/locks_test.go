package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
)

type lockAnswer struct {
	ID      string    `json:"id"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	InForce []string  `json:"inForce"`
	Pending []string  `json:"pending"`
}

func (s *site) locks(t testing.TB) []lockAnswer {
	t.Helper()
	out, code := run(t, "locks", "-c", s.config, "--json")
	require.Zero(t, code, out)
	var a struct{ Locks []lockAnswer }
	require.NoError(t, json.Unmarshal([]byte(out), &a), out)
	return a.Locks
}

// held returns the recorders whose timeline has all of [from, to), each asked by what
// the merged timeline says of it.
func (s *site) held(camera string, from, to time.Time) (map[string]time.Duration, error) {
	tl, err := s.timeline(camera, from, to)
	if err != nil {
		return nil, err
	}
	out := map[string]time.Duration{}
	for _, sp := range tl.Spans {
		for _, r := range sp.Recorders {
			out[r] += sp.End.Sub(sp.Start)
		}
	}
	return out, nil
}

// A lock that was placed while a recorder was down is in force there when it returns, the
// locked range outlives a quota of seconds on both, and goes when it is released.
func TestALockOutlivesTheQuotaOnBothRecordersAndReachesTheOneThatWasDown(t *testing.T) {
	t.Parallel()
	sim, list := cameras(t, []camsim.CameraOptions{{Name: "gate", Video: "h264", BitrateBPS: 3_000_000}})
	const quota = "quota: 6MB"
	s := startSite(t, siteOptions{
		cameras: list, extra: "segment: {duration: 2s}\nfragment: {min: 1s, max: 2s}\n",
		recorders: []siteRecorder{{name: "r1", role: "primary", extra: quota}, {name: "r2", role: "redundant", extra: quota}},
	})
	cam := sim.Cameras()[0]
	from := time.Now().Add(1300 * time.Millisecond).Truncate(time.Millisecond)
	to := from.Add(3 * time.Second)
	s.waitDurable(t, to, 30*time.Second)

	// One recorder is down when the lock is placed.
	s.procs["r2"].kill()
	waitFor(t, 10*time.Second, "playback notices that r2 is down", func() error {
		var a struct {
			Recorders []struct{ Name, State string }
		}
		if err := s.get("/v1/recorders", &a); err != nil {
			return err
		}
		if !slices.ContainsFunc(a.Recorders, func(r struct{ Name, State string }) bool { return r.Name == "r2" && r.State == "down" }) {
			return fmt.Errorf("%v", a)
		}
		return nil
	})
	out, code := run(t, "lock", "gate", "-c", s.config, "--from", from.Format(time.RFC3339Nano), "--to", to.Format(time.RFC3339Nano), "--reason", "case 4711")
	require.Zero(t, code, out)
	require.Contains(t, out, "in force on r1; r2 will hear of it")
	id := regexp.MustCompile(`^[A-Z0-9]+`).FindString(out)
	locks := s.locks(t)
	require.Len(t, locks, 1)
	require.Equal(t, []string{"r2"}, locks[0].Pending)
	s.procs["r2"].start(t)
	waitFor(t, 30*time.Second, "the lock reaches r2", func() error {
		if l := s.locks(t); len(l[0].Pending) > 0 {
			return fmt.Errorf("pending: %v", l[0].Pending)
		}
		return nil
	})

	// Bad input, and what the quota has no room for.
	for says, args := range map[string][]string{
		"overlaps":        nil, // it names the other one
		"is not before":   {"--from", to.Format(time.RFC3339Nano), "--to", from.Format(time.RFC3339Nano)},
		"No recorder has": {"--from", from.Add(-time.Hour).Format(time.RFC3339Nano), "--to", from.Add(-time.Hour + time.Second).Format(time.RFC3339Nano)},
	} {
		if args == nil {
			says, args = id, []string{"--from", from.Format(time.RFC3339Nano), "--to", to.Format(time.RFC3339Nano)}
		}
		out, code := run(t, append([]string{"lock", "gate", "-c", s.config, "--reason", "x"}, args...)...)
		require.NotZero(t, code, out)
		require.Contains(t, out, says)
	}

	// What came after the lock makes room; the locked range does not.
	after := to.Add(4 * time.Second) // the segment that overlaps the lock stays whole: 2 s, and on to its next cut
	s.waitDurable(t, after.Add(3*time.Second), 30*time.Second)
	waitFor(t, 90*time.Second, "the quota deletes what came after the lock", func() error {
		have, err := s.held("gate", after, after.Add(3*time.Second))
		if err == nil && len(have) > 0 {
			err = fmt.Errorf("still there: %v", have)
		}
		return err
	})
	out, code = run(t, "lock", "gate", "-c", s.config, "--from", after.Format(time.RFC3339Nano), "--reason", "all of it")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "locks keep", "it would fill the quota")
	tl, err := s.timeline("gate", from.Add(-time.Second), to.Add(time.Second))
	require.NoError(t, err)
	require.Len(t, tl.Locked, 1)
	require.Equal(t, []any{id, from.UTC(), to.UTC()}, []any{tl.Locked[0].Lock, tl.Locked[0].Start, tl.Locked[0].End})
	for _, other := range []string{"r1", "r2"} { // each alone
		s.procs[other].kill()
		report := s.checkExport(t, cam, from, to)
		require.NoError(t, report.Err(), "without %s", other)
		s.procs[other].start(t)
		waitFor(t, 30*time.Second, other+" is back", func() error {
			if have, err := s.held("gate", from, to); err != nil || have[other] < to.Sub(from) {
				return fmt.Errorf("%v %w", have, err)
			}
			return nil
		})
	}

	out, code = run(t, "unlock", id, "-c", s.config)
	require.Zero(t, code, out)
	waitFor(t, 60*time.Second, "what was locked goes", func() error {
		have, err := s.held("gate", from, to)
		if err == nil && len(have) > 0 {
			err = fmt.Errorf("still there: %v", have)
		}
		return err
	})
	require.Empty(t, s.locks(t))
	s.noPanics(t)
}

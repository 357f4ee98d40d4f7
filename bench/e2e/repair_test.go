package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
)

// After ten outages at random, of either recorder and each longer than the log, both
// copies converge to the same fragments, within 60 s; merged playback never missed
// anything, and the timeline says what was copied.
func TestCopiesConverge(t *testing.T) {
	t.Parallel()         // it mostly waits
	const logSeconds = 2 // and the rest of a fragment, because they are kept whole
	rng := rand.New(rand.NewPCG(seed(t), 2))
	sim, list := cameras(t, []camsim.CameraOptions{
		{Name: "gate", Video: "h264"}, {Name: "yard", Video: "h264", Audio: "aac"}, {Name: "door", Video: "h265"},
	})
	s := startSite(t, siteOptions{cameras: list, logSeconds: logSeconds, extra: "fragment: {max: 1s}\nsync: {interval: 300ms}\n"})
	from := time.Now().Truncate(time.Millisecond)
	s.waitDurable(t, from.Add(2*time.Second), 20*time.Second)
	complete := func(to time.Time) {
		t.Helper()
		for _, cam := range sim.Cameras() {
			tl, err := s.timeline(cam.Name, from, to)
			require.NoError(t, err)
			require.Empty(t, tl.Gaps, cam.Name)
			if len(tl.Unknown) == 0 { // what a recorder that is away may have is checked when it is back
				report := s.checkExport(t, cam, from, to)
				require.NoError(t, report.Err(), "merged export of %s", cam.Name)
			}
		}
	}
	began := time.Now()
	for i := range 10 {
		name := []string{"r1", "r2"}[rng.IntN(2)]
		if i < 2 { // each of them once, at least
			name = []string{"r1", "r2"}[i]
		}
		outage := (logSeconds+1)*time.Second + 400*time.Millisecond + time.Duration(rng.IntN(800))*time.Millisecond
		stopped := rng.IntN(3) == 0
		t.Logf("%.1f s: %s is away for %v, stopped %v", time.Since(began).Seconds(), name, outage.Round(time.Millisecond), stopped)
		if stopped {
			s.procs[name].signal(syscall.SIGSTOP)
		} else {
			s.procs[name].kill()
		}
		time.Sleep(outage)
		if stopped {
			s.procs[name].signal(syscall.SIGCONT)
		} else {
			s.procs[name].start(t)
		}
		back := time.Now()
		// The other one goes away soon, too: only after this one records again, or
		// both would be away for longer than the log.
		s.waitDurable(t, back, 20*time.Second)
		if i%3 == 2 {
			complete(back.Truncate(time.Millisecond))
		}
	}
	quiet := time.Now()
	var a struct {
		Cameras []struct {
			Name     string     `json:"name"`
			Complete *time.Time `json:"completeUntil"`
		} `json:"cameras"`
	}
	waitFor(t, 60*time.Second, "both copies complete", func() error {
		if err := s.get("/v1/cameras", &a); err != nil {
			return err
		}
		for _, c := range a.Cameras {
			if c.Complete == nil || c.Complete.Before(quiet) {
				return fmt.Errorf("%s: both copies are complete until %v", c.Name, c.Complete)
			}
		}
		return nil
	})
	t.Logf("converged %v after the last outage", time.Since(quiet).Round(100*time.Millisecond))
	to := quiet.Truncate(time.Millisecond)
	for _, cam := range sim.Cameras() {
		for _, r := range []string{"r1", "r2"} {
			report := s.checkCopy(t, r, cam, from, to, nil)
			require.NoError(t, report.Err(), "%s on %s by itself", cam.Name, r)
		}
		var tl struct {
			Spans    []span `json:"spans"`
			Repaired []struct {
				Start, End time.Time
				Recorder   string
			} `json:"repaired"`
		}
		require.NoError(t, s.get("/v1/cameras/"+cam.Name+"/timeline"+rangeQuery(from, to), &tl))
		var who []string
		for _, x := range tl.Repaired {
			who = append(who, x.Recorder)
			require.True(t, x.End.After(x.Start))
		}
		slices.Sort(who)
		require.Equal(t, []string{"r1", "r2"}, slices.Compact(who), "the timeline of %s marks what was copied", cam.Name)
		for _, x := range tl.Spans {
			require.Len(t, x.Recorders, 2, "%s from %v", cam.Name, x.Start)
		}
	}
	complete(to)
	out, code := run(t, "verify", "--site", "-c", s.config, "--from", from.Format(time.RFC3339Nano), "--to", to.Format(time.RFC3339Nano))
	require.Zero(t, code, out)
	t.Log(out)
	out, code = run(t, "status", "-c", s.config)
	require.Zero(t, code, out)
	t.Log(out)
	s.noPanics(t)
}

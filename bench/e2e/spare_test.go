package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
)

// copyOf returns what /v1/cameras says of a recorder's copy of the only camera.
func (a *camerasAnswer) copyOf(recorder string) (healthy, standby bool, err error) {
	for _, c := range a.Cameras {
		for _, r := range c.Recorders {
			if r.Recorder == recorder {
				return r.Healthy, r.Standby, nil
			}
		}
	}
	return false, false, fmt.Errorf("%s is not among the copies", recorder)
}

// waitCopy waits until a recorder's copy of the only camera is as wanted.
func (s *site) waitCopy(t testing.TB, recorder string, healthy, standby bool, limit time.Duration) {
	t.Helper()
	waitFor(t, limit, fmt.Sprintf("%s healthy %v, standby %v", recorder, healthy, standby), func() error {
		var a camerasAnswer
		if err := s.get("/v1/cameras", &a); err != nil {
			return err
		}
		h, sb, err := a.copyOf(recorder)
		if err == nil && (h != healthy || sb != standby) {
			err = fmt.Errorf("healthy %v, standby %v", h, sb)
		}
		return err
	})
}

// TestSpareTakesOver: the redundant recorder of a camera with copies: spare writes nothing
// while the primary records; when that is killed it goes on from the primary's last
// durable position, so that the merged recording misses nothing; and it stops when the
// primary is back.
func TestSpareTakesOver(t *testing.T) {
	t.Parallel()
	sim, list := cameras(t, []camsim.CameraOptions{{Name: "gate", Video: "h264b", Audio: "aac"}})
	list[0].extra = "copies: spare, primary: r1, redundant: r2"
	s := newSite(t, siteOptions{cameras: list})
	for _, name := range s.order {
		s.procs[name].start(t)
	}
	s.waitCopy(t, "r1", true, false, 30*time.Second)
	s.waitCopy(t, "r2", false, true, 10*time.Second)
	out, code := run(t, "status", "-c", s.config)
	require.Zero(t, code, out)
	require.Contains(t, out, "standby")
	require.Contains(t, out, "1 and a spare")

	from := time.Now().Add(time.Second).Truncate(time.Millisecond)
	time.Sleep(time.Until(from.Add(4 * time.Second))) // of footage that the primary has alone
	require.Empty(t, s.segments(t, "r2"), "a spare that waits writes nothing")
	s.procs["r1"].kill()
	s.waitCopy(t, "r2", true, false, 20*time.Second)
	out, code = run(t, "status", "-c", s.config)
	require.Zero(t, code, out)
	require.NotContains(t, out, "standby")

	time.Sleep(3 * time.Second) // of footage that the spare has alone
	s.procs["r1"].start(t)
	s.waitCopy(t, "r1", true, false, 20*time.Second)
	s.waitCopy(t, "r2", false, true, 20*time.Second)
	to := time.Now().Truncate(time.Millisecond)
	waitFor(t, 20*time.Second, "the primary durable up to the end", func() error {
		var a camerasAnswer
		if err := s.get("/v1/cameras", &a); err != nil {
			return err
		}
		if p := a.Cameras[0].Protected; p == nil || p.Before(to) {
			return fmt.Errorf("durable up to %v", p)
		}
		return nil
	})

	cam := sim.Cameras()[0]
	report := s.checkExport(t, cam, from, to)
	require.NoError(t, report.Err())
	t.Log(report)
	tl, err := s.timeline("gate", from, to)
	require.NoError(t, err)
	require.Empty(t, tl.Gaps)
	require.Empty(t, tl.Unknown)
	// What the spare wrote is a part: it began with the outage and ended after it.
	first, last := s.heldBy(t, "r2", from, to)
	require.True(t, first.After(from.Add(2*time.Second)), "the spare has footage from %v on, the primary was killed 4 s after %v", first, from)
	require.True(t, last.Before(to), "the spare went on up to %v", last)
	s.noPanics(t)
}

// heldBy returns where the spans begin and end that a recorder has.
func (s *site) heldBy(t testing.TB, recorder string, from, to time.Time) (first, last time.Time) {
	t.Helper()
	tl, err := s.timeline("gate", from, to)
	require.NoError(t, err)
	for _, sp := range tl.Spans {
		for _, r := range sp.Recorders {
			if r == recorder {
				if first.IsZero() {
					first = sp.Start
				}
				last = sp.End
			}
		}
	}
	require.False(t, first.IsZero(), "%s has nothing: %+v", recorder, tl.Spans)
	return first, last
}

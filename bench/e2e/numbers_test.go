package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

// TestVisibleSoon: what a camera sends can be played back within one GOP + 1.5 s.
func TestVisibleSoon(t *testing.T) {
	sim, list := cameras(t, []camsim.CameraOptions{{Name: "gate", Video: "h264"}})
	s := startSite(t, siteOptions{cameras: list})
	cam := sim.Cameras()[0]
	var worst time.Duration
	for range 5 {
		l, err := ledger.ReadFile(cam.Ledger)
		require.NoError(t, err)
		e := l.Entries[0][len(l.Entries[0])-1]
		var visible time.Duration
		waitFor(t, 10*time.Second, "the access unit is in the timeline", func() error {
			tl, err := s.timeline(cam.Name, e.At().Add(-time.Second), time.Now())
			if err != nil {
				return err
			}
			if n := len(tl.Spans); n == 0 || tl.Spans[n-1].End.Before(e.At()) {
				return fmt.Errorf("timeline %+v", tl)
			}
			visible = time.Since(e.At())
			return nil
		})
		worst = max(worst, visible)
	}
	t.Logf("at most %v from the camera to playback", worst)
	require.LessOrEqual(t, worst, gop+1500*time.Millisecond)
}

// TestMemoryOfAHundredCameras: the proxy needs its log and not more than 64 MB beside it.
func TestMemoryOfAHundredCameras(t *testing.T) {
	const logSeconds = 10
	var options []camsim.CameraOptions
	for i := range 100 {
		options = append(options, camsim.CameraOptions{Name: fmt.Sprintf("c%d", i), Video: "h264"})
	}
	sim, list := cameras(t, options)
	began := time.Now()
	s := startSite(t, siteOptions{cameras: list, logSeconds: logSeconds, extra: "fragment: {max: 5s}\n"})
	t.Logf("100 cameras are recorded twice %v after the start", time.Since(began).Round(10*time.Millisecond))
	time.Sleep(2 * logSeconds * time.Second) // the window fills, and turns over once
	var rate int64
	now := time.Now()
	for _, cam := range sim.Cameras() {
		l, err := ledger.ReadFile(cam.Ledger)
		require.NoError(t, err)
		for _, e := range l.Entries[0] {
			if now.Sub(e.At()) < logSeconds*time.Second {
				rate += int64(e.Size)
			}
		}
	}
	rss := s.procs["p1"].rss(t)
	var proxies struct {
		Proxies []struct {
			LogBytes int64 `json:"logBytes"`
		} `json:"proxies"`
	}
	require.NoError(t, s.get("/v1/proxies", &proxies))
	window := proxies.Proxies[0].LogBytes
	t.Logf("resident memory of the proxy %d MB; its logs hold %d MB, the cameras sent %d MB in %d s", rss>>20, window>>20, rate>>20, logSeconds)
	require.Less(t, window, rate*13/10+(100*300<<10), "the logs hold more than their window, a GOP and a slab each")
	require.Less(t, rss, window+(64<<20))
	for _, name := range []string{"r1", "r2"} {
		t.Logf("resident memory of %s %d MB", name, s.procs[name].rss(t)>>20)
	}
	from := now.Add(-8 * time.Second).Truncate(time.Millisecond)
	to := now.Truncate(time.Millisecond)
	s.waitDurable(t, to, 20*time.Second)
	for _, cam := range sim.Cameras()[:10] {
		report := s.checkExport(t, cam, from, to)
		require.NoError(t, report.Err())
	}
}

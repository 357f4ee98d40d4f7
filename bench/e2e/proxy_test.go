package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

// TestProxyIsKilledAndComesBack: what the cameras sent while there was no proxy is a gap
// with that cause, exactly as long as it was; epochs ascend. A proxy that is asked to end
// loses nothing that it has received.
func TestProxyIsKilledAndComesBack(t *testing.T) {
	t.Parallel()
	sim, list := cameras(t, []camsim.CameraOptions{{Name: "gate", Video: "h264b", Audio: "aac"}})
	s := startSite(t, siteOptions{cameras: list})
	cam := sim.Cameras()[0]
	from := time.Now().Add(time.Second).Truncate(time.Millisecond)

	time.Sleep(5 * time.Second) // of footage
	killed := time.Now()
	s.procs["p1"].kill()
	time.Sleep(2 * time.Second) // of outage
	s.procs["p1"].start(t)
	s.waitRecording(t, 30*time.Second)

	time.Sleep(3 * time.Second) // of footage
	ended := time.Now()
	s.procs["p1"].terminate(t, 15*time.Second)
	time.Sleep(time.Second)
	s.procs["p1"].start(t)
	s.waitRecording(t, 30*time.Second)
	time.Sleep(3 * time.Second) // of footage
	to := time.Now().Truncate(time.Millisecond)
	s.waitDurable(t, to, 20*time.Second)

	report := s.checkExport(t, cam, from, to)
	require.NoError(t, report.Err(), "what is missing is in the gaps, and the gaps have nothing in them")
	t.Log(report)
	tl, err := s.timeline("gate", from, to)
	require.NoError(t, err)
	require.Len(t, tl.Gaps, 2)
	require.Len(t, tl.Spans, 3)
	for i, g := range tl.Gaps {
		require.Equal(t, "proxy_stopped", g.Cause)
		require.Less(t, tl.Spans[i].Epoch, tl.Spans[i+1].Epoch)
		require.Less(t, g.End.Sub(g.Start), 10*time.Second)
	}
	require.True(t, tl.Gaps[0].Start.After(killed.Add(-2500*time.Millisecond)), "the fragment that was being made when the proxy was killed is kept: %v, killed at %v", tl.Gaps[0].Start, killed)
	led, err := ledger.ReadFile(cam.Ledger)
	require.NoError(t, err)
	lastSent := int64(0)
	for _, e := range led.Entries[0] {
		if e.AtNS < ended.UnixNano() {
			lastSent = max(lastSent, e.AtNS)
		}
	}
	sent := time.Unix(0, lastSent)
	require.True(t, tl.Gaps[1].Start.After(sent.Add(-300*time.Millisecond)), "nothing that was received is lost at a graceful end: %v, sent at %v", tl.Gaps[1].Start, sent)
	s.noPanics(t)
}

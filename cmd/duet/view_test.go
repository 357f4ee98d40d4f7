package main

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/placement"
)

func TestViewTellsEachCopysState(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixNano() }
	cfg, err := config.Load(writeSite(t))
	require.NoError(t, err)
	m := &monitor{site: &site{Config: cfg, plan: &placement.Plan{Cameras: map[string]placement.Pair{
		"gate": {Primary: "r1", Redundant: "r2", Copies: placement.Dual},
	}}}}
	good := func() *answers {
		return &answers{
			proxies: map[string]*nodepb.ProxyStatus{"p1": {Cameras: []*nodepb.ProxyCamera{{
				Camera: "gate", State: "live", LastPacketNs: ago(0),
				Copies: []*nodepb.ProxyCopy{
					{Recorder: "r1", Connected: true, DurableEndNs: ago(2 * time.Second)},
					{Recorder: "r2", Connected: true, DurableEndNs: ago(3 * time.Second)},
				},
			}}}},
			recorders: map[string]*nodepb.RecorderStatus{"r1": {}, "r2": {}},
			err:       map[string]error{},
		}
	}
	for name, tc := range map[string]struct {
		change  func(*answers)
		states  [2]string
		healthy int
	}{
		"both record": {func(*answers) {}, [2]string{copyRecording, copyRecording}, 2},
		"one is dead": {func(a *answers) {
			delete(a.recorders, "r1")
			a.err["r1"] = errors.New("does not run")
		}, [2]string{copyDown, copyRecording}, 1},
		"one lost its link": {func(a *answers) {
			a.proxies["p1"].Cameras[0].Copies[1].Connected = false
		}, [2]string{copyRecording, copyUnlinked}, 1},
		"one catches up": {func(a *answers) {
			a.proxies["p1"].Cameras[0].Copies[0].DurableEndNs = ago(15 * time.Second)
		}, [2]string{copyBehind, copyRecording}, 1},
		"the proxy is dead, recorders tell": {func(a *answers) {
			delete(a.proxies, "p1")
			a.recorders["r1"].Cameras = []*nodepb.RecorderCamera{{Camera: "gate", Linked: true, DurableEndNs: ago(time.Second)}}
		}, [2]string{copyRecording, copyUnlinked}, 1},
		"the camera never came": {func(a *answers) {
			c := a.proxies["p1"].Cameras[0]
			c.State, c.LastPacketNs, c.Error = "failed", 0, "401 Unauthorized"
			c.Copies[0].DurableEndNs, c.Copies[1].DurableEndNs = 0, 0
		}, [2]string{copyWaiting, copyWaiting}, 0},
		"the camera is gone, all of it is safe": {func(a *answers) {
			c := a.proxies["p1"].Cameras[0]
			c.State, c.LastPacketNs = "failed", ago(time.Hour)
			c.Copies[0].DurableEndNs, c.Copies[1].DurableEndNs = ago(time.Hour), ago(time.Hour)
		}, [2]string{copyRecording, copyRecording}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			a := good()
			tc.change(a)
			v := m.view(a, now)
			require.Len(t, v.Cameras, 1)
			c := v.Cameras[0]
			require.Equal(t, tc.states, [2]string{c.Copies[0].State, c.Copies[1].State})
			require.Equal(t, tc.healthy, c.Healthy)
			for _, colours := range []painter{true, false} {
				require.Contains(t, v.tables(colours), "gate")
			}
		})
	}
}

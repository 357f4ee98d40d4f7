package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
)

// TestFaultsOfProcessesAndNetwork: a recorder is killed, is stopped, and has no network to
// the proxy, each for longer than the log; a camera goes. Live readers, recording,
// playback and exports go on, there is an alarm, and both copies hold the same soon after.
func TestFaultsOfProcessesAndNetwork(t *testing.T) {
	t.Parallel()
	const log = 4 // seconds
	sim, list := cameras(t, []camsim.CameraOptions{
		{Name: "gate", Video: "h264"}, {Name: "yard", Video: "h265", Audio: "aac"}, {Name: "door", Video: "h264b", OwnPort: true},
	})
	s := newSite(t, siteOptions{cameras: list, logSeconds: log, extra: "fragment: {max: 2s}\n"})
	way := newRelay(t, s.link)
	config, err := os.ReadFile(s.config)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(config), s.link))
	throughRelay := filepath.Join(s.dir, "r1.yaml")
	require.NoError(t, os.WriteFile(throughRelay, []byte(strings.Replace(string(config), s.link, way.address, 1)), 0o600))
	s.procs["r1"] = newProcess(s, "recorder", "r1", throughRelay)
	for _, name := range s.order {
		s.procs[name].start(t)
	}
	s.waitRecording(t, 30*time.Second)
	g := newStage(t, s, sim.Cameras())
	r1 := s.procs["r1"]

	for _, f := range []struct {
		id           string
		from, sign   string
		answers      bool
		happen, heal func()
	}{
		{"killed", "r1", "down", false, r1.kill, func() { r1.start(t) }},
		{"stopped", "r1", "down", false, func() { r1.signal(syscall.SIGSTOP) }, func() { r1.signal(syscall.SIGCONT) }},
		{"partition", "r1", "link_down", true, func() { way.set(true) }, func() { way.set(false) }},
	} {
		tr := g.start(f.id, "r1", f.answers, f.happen)
		tr.waitSign(f.from, f.sign)
		tr.outlast((log + 2) * time.Second)
		tr.plays()
		if f.id == "killed" {
			tr.waitSign("p1", "copy_missing")
		}
		tr.heal(f.heal)
		tr.twice()
		tr.complete()
		tr.gone(f.from, f.sign)
		tr.end()
	}
	require.Positive(t, s.lostOffsets(t, "r1"), "each was longer than the log")

	// The camera is away: there is nothing to record, and that is what the timeline says.
	const away = 8 * time.Second
	door := sim.Camera("door")
	tr := g.trial("camera", "r1", func() { door.Drop(away) })
	tr.waitSign("p1", "camera_not_live")
	tr.cams = []*camsim.Camera{sim.Camera("gate"), sim.Camera("yard")}
	tr.livePictures(tr.began, time.Now())
	tr.footage(tr.began.Truncate(time.Millisecond), s.bestOf(t, "gate", "yard"))
	others := tr.result
	tr.heal(func() { tr.outlast(away) })
	tr.twice()
	tr.gone("p1", "camera_not_live")
	tr.converged()
	// Who watched it sees it go on, on the same connection.
	tr.cams = []*camsim.Camera{door}
	back := time.Now()
	time.Sleep(time.Second) // of pictures
	tr.livePictures(back, time.Now())
	from, to := tr.began.Add(-3*time.Second).Truncate(time.Millisecond), tr.healed.Truncate(time.Millisecond)
	s.waitDurable(t, to, 20*time.Second)
	report := s.checkExport(t, door, from, to)
	require.NoError(t, report.Err())
	tl, err := s.timeline("door", from, to)
	require.NoError(t, err)
	require.NotEmpty(t, tl.Gaps)
	tr.result.Live = "other cameras: " + others.Live + "; this one goes on over the same connection when it is back"
	tr.result.Record = "other cameras: two copies; of this one there is nothing to record"
	tr.result.Playback = fmt.Sprintf("other cameras: %s; of this one a gap, `%s`", others.Playback, tl.Gaps[0].Cause)
	tr.result.Export = others.Export
	tr.end()
	s.noPanics(t)
}

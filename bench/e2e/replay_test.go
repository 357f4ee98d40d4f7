package e2e

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

// TestReplayThroughFailures: players and VMS clients replay over TCP and UDP, at real time
// and as fast as they read, while recorders are killed and stopped. Nobody misses an
// access unit, sees one twice or out of order, or another stream.
func TestReplayThroughFailures(t *testing.T) {
	t.Parallel()
	sim, list := cameras(t, []camsim.CameraOptions{
		{Name: "gate", Video: "h264b", Audio: "aac"},
		{Name: "yard", Video: "h265"},
	})
	s := startSite(t, siteOptions{cameras: list})
	from := time.Now().Add(-time.Second).Truncate(time.Millisecond)
	s.waitDurable(t, from.Add(5*time.Second), 30*time.Second)
	dir := t.TempDir()
	query := "?" + url.Values{"start": {from.UTC().Format(time.RFC3339Nano)}}.Encode()
	codec := map[string]ledger.Codec{"gate": ledger.H264, "yard": ledger.H265}

	var clients []rtspReader
	ffmpeg := func(camera, format, transport string) {
		c := rtspReader{name: "ffmpeg " + camera + " " + transport, camera: camera, codec: codec[camera], file: filepath.Join(dir, "ffmpeg-"+camera+"-"+transport)}
		c.run = startTool(t, "ffmpeg", "-nostdin", "-v", "warning", "-rtsp_transport", transport, "-i", s.replay+"/"+camera+query,
			"-t", "18", "-map", "0:v", "-c", "copy", "-f", format, c.file)
		clients = append(clients, c)
	}
	gst := func(name, camera, depay, caps, options, query string) {
		c := rtspReader{name: "gst " + name, camera: camera, codec: codec[camera], file: filepath.Join(dir, "gst-"+strings.ReplaceAll(name, " ", "-"))}
		pipeline := fmt.Sprintf("rtspsrc location=%s %s latency=200 ! %s ! %s ! filesink buffer-mode=unbuffered location=%s",
			s.replay+"/"+camera+query, options, depay, caps, c.file)
		c.run = startTool(t, "timeout", append([]string{"-k", "3", "-s", "INT", "18", "gst-launch-1.0", "-q"}, strings.Fields(pipeline)...)...)
		clients = append(clients, c)
	}
	const (
		depay264, caps264 = "rtph264depay ! h264parse", "video/x-h264,stream-format=byte-stream,alignment=au"
		depay265, caps265 = "rtph265depay ! h265parse", "video/x-h265,stream-format=byte-stream,alignment=au"
	)
	ffmpeg("gate", "h264", "tcp")
	ffmpeg("yard", "hevc", "udp")
	gst("tcp", "yard", depay265, caps265, "protocols=tcp", query)
	gst("udp", "gate", depay264, caps264, "protocols=udp", query)
	gst("onvif", "gate", depay264, caps264, "protocols=tcp onvif-mode=true", "")
	gst("onvif no rate control", "yard", depay265, caps265, "protocols=tcp onvif-mode=true onvif-rate-control=false", "")
	probe := startTool(t, "ffprobe", "-v", "fatal", "-rtsp_transport", "tcp", "-read_intervals", "%+12",
		"-show_entries", "packet=stream_index,pts_time,dts_time", "-of", "json", s.replay+"/gate"+query)

	// One reads at real time through everything, others again and again as fast as they can.
	var wg sync.WaitGroup
	stop := make(chan struct{})
	gate := sim.Camera("gate")
	led, err := ledger.ReadFile(gate.Ledger)
	require.NoError(t, err)
	header := led.Header
	var live *replayed
	var liveErr error
	wg.Go(func() {
		live, liveErr = replayRange(s.replay+"/gate", &header, 18*time.Second, "Range", clockRange(from, time.Time{}))
	})
	type whole struct {
		*replayed
		to time.Time
	}
	var wholes []whole
	var wholeErr error
	wg.Go(func() {
		for wholeErr == nil {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			to := time.Now().Add(-5 * time.Second)
			var r *replayed
			if r, wholeErr = replayRange(s.replay+"/gate", &header, 30*time.Second,
				"Range", clockRange(from, to), "Rate-Control", "no", "Require", "onvif-replay"); wholeErr == nil {
				wholes = append(wholes, whole{r, to})
			}
		}
	})
	busy := s.pulse()
	s.disturb(t)
	close(stop)
	wg.Wait()
	slack := busy.end(t)
	require.NoError(t, liveErr)
	require.NoError(t, wholeErr)

	l, err := ledger.ReadFile(gate.Ledger)
	require.NoError(t, err)
	slowest, setup := time.Duration(0), time.Duration(0)
	for _, w := range wholes {
		slowest, setup = max(slowest, w.longest), max(setup, w.setup)
		requireReplayed(t, l, w.units, from, w.to)
	}
	t.Logf("%d replays as fast as can be: longest until PLAY %v, longest pause %v; at real time: first packet after %v, longest pause %v, until %v; playback answers within %v",
		len(wholes), setup, slowest, live.first, live.longest, live.pausedAt, slack)
	require.GreaterOrEqual(t, len(wholes), 5)
	requireReplayed(t, l, live.units, from, from.Add(14*time.Second))
	require.Less(t, live.longest, time.Second+slack)

	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) { c.check(t, 12*25) })
	}
	out, err := probe.wait(30 * time.Second)
	require.NoError(t, err, out)
	requireProbed(t, out, 2, 9*25)
	s.noPanics(t)
}

// requireReplayed compares what was replayed of a range with the ledger: what is before
// its start, from the key frame on, has to be genuine.
func requireReplayed(t testing.TB, l *ledger.Ledger, units []ledger.AccessUnit, from, to time.Time) {
	t.Helper()
	r := ledger.Check(l, within(units, from, to), ledger.Options{FromNS: from.UnixNano(), ToNS: to.UnixNano(), Tolerance: tolerance})
	require.NoError(t, r.Err(), "%v", r)
}

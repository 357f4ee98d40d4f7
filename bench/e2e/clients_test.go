package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/chaos"
	"github.com/duet-video/duet/bench/ledger"
)

// annexB splits a byte stream (ISO/IEC 14496-10 annex B) into NAL units.
func annexB(b []byte) [][]byte {
	var nalus [][]byte
	startCode := []byte{0, 0, 1}
	i := bytes.Index(b, startCode)
	for i >= 0 {
		b = b[i+3:]
		i = bytes.Index(b, startCode)
		nalu := b
		if i >= 0 {
			nalu = b[:i]
		}
		nalus = append(nalus, bytes.TrimRight(nalu, "\x00"))
	}
	return nalus
}

// numbers returns the numbers of the access units in a byte stream, in order.
func numbers(t testing.TB, path string, codec ledger.Codec, camera string) []uint64 {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var n []uint64
	for _, nalu := range annexB(b) {
		if m, ok := ledger.MarkOfNALUs(codec, [][]byte{nalu}); ok {
			require.True(t, m.Matches(codec, camera), "an access unit of another camera")
			n = append(n, m.Number)
		}
	}
	return n
}

// requireConsecutive fails where an access unit is missing, repeated or out of order.
func requireConsecutive(t testing.TB, n []uint64, atLeast int) {
	t.Helper()
	require.GreaterOrEqual(t, len(n), atLeast)
	for i := 1; i < len(n); i++ {
		require.Equal(t, n[i-1]+1, n[i], "after %d access units", i)
	}
}

// backwards is ffmpeg's complaint of decode times: the one before, and the one that follows it.
var backwards = regexp.MustCompile(`non monotonically increasing dts to muxer in stream \d+: (-?\d+) >= (-?\d+)`)

// requireMonotonic fails where ffmpeg complains of decode times that go back. RTP has no
// decode times: ffmpeg guesses those of streams with B-frames, and complains of its own
// guesses at the start, and after a gap, for a few pictures. Equal ones do not go back: a
// byte stream's times are whole frames in ffmpeg, and capture times that are still being
// learned are closer to each other than that (docs/CLOCK.md).
func requireMonotonic(t testing.TB, out string, gaps int) {
	t.Helper()
	back := 0
	for _, m := range backwards.FindAllStringSubmatch(out, -1) {
		if m[1] != m[2] {
			back++
		}
	}
	require.LessOrEqual(t, back, 3+6*gaps, out)
}

// requireProbed looks at what ffprobe says of packets: of so many streams, and at least so
// many of the first one, whose times go on without a hole.
func requireProbed(t testing.TB, out string, streams, atLeast int) {
	t.Helper()
	var doc struct {
		Packets []struct {
			Stream int    `json:"stream_index"`
			DTS    string `json:"dts_time"`
		} `json:"packets"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &doc), out)
	last := map[int]float64{}
	count := map[int]int{}
	for _, p := range doc.Packets {
		if p.DTS == "" {
			continue // ffprobe knows none for the first packets of a stream with B-frames
		}
		d, err := strconv.ParseFloat(p.DTS, 64)
		require.NoError(t, err)
		if prev, ok := last[p.Stream]; ok {
			require.Greater(t, d, prev, "time of stream %d goes back", p.Stream)
			require.Less(t, d-prev, 0.3, "a hole in stream %d", p.Stream)
		}
		last[p.Stream] = d
		count[p.Stream]++
	}
	require.Len(t, count, streams, "video and audio")
	require.Greater(t, count[0], atLeast)
}

// disturb kills one recorder and stops the other while clients read for about 20 s.
func (s *site) disturb(t testing.TB) {
	t.Helper()
	s.play(t, []chaos.Event{
		{At: 4 * time.Second, Recorder: "r1", Action: chaos.Kill},
		{At: 9 * time.Second, Recorder: "r1", Action: chaos.Restart},
		{At: 11 * time.Second, Recorder: "r2", Action: chaos.Stop},
		{At: 15 * time.Second, Recorder: "r2", Action: chaos.Cont},
		{At: 17 * time.Second, Recorder: "r2", Action: chaos.Kill},
		{At: 19 * time.Second, Recorder: "r2", Action: chaos.Restart},
	})
}

// rtspReader is a program of somebody else that reads a camera's video into a file.
type rtspReader struct {
	name, camera string
	codec        ledger.Codec
	file         string
	run          *background
}

// check waits for its end, and fails where it complained, or does not have at least so
// many access units in a row.
func (r *rtspReader) check(t testing.TB, atLeast int) {
	t.Helper()
	out, err := r.run.wait(30 * time.Second)
	t.Log(out)
	if err != nil && !strings.Contains(err.Error(), "exit status 124") { // timeout's own code
		require.NoError(t, err)
	}
	requireMonotonic(t, out, 0)
	require.NotContains(t, out, "RTP: missed")
	requireConsecutive(t, numbers(t, r.file, r.codec, r.camera), atLeast)
}

// TestForeignClients: ffmpeg, ffprobe and GStreamer read the live endpoint over TCP and
// UDP and see one continuous stream while recorders are killed and stopped.
func TestForeignClients(t *testing.T) {
	t.Parallel()
	sim, list := cameras(t, []camsim.CameraOptions{
		{Name: "gate", Video: "h264b", Audio: "aac"},
		{Name: "yard", Video: "h265"},
	})
	s := startSite(t, siteOptions{cameras: list})
	dir := t.TempDir()
	format := map[string]string{"gate": "h264", "yard": "hevc"}
	depay := map[string]string{"gate": "rtph264depay ! h264parse", "yard": "rtph265depay ! h265parse"}
	caps := map[string]string{"gate": "video/x-h264,stream-format=byte-stream,alignment=au", "yard": "video/x-h265,stream-format=byte-stream,alignment=au"}

	codec := map[string]ledger.Codec{"gate": ledger.H264, "yard": ledger.H265}
	var clients []rtspReader
	for _, cam := range []string{"gate", "yard"} {
		for _, transport := range []string{"tcp", "udp"} {
			url := s.rtsp + "/" + cam
			file := filepath.Join(dir, "ffmpeg-"+cam+"-"+transport)
			clients = append(clients, rtspReader{
				name: "ffmpeg " + cam + " " + transport, camera: cam, codec: codec[cam], file: file,
				run: startTool(t, "ffmpeg", "-nostdin", "-v", "warning", "-rtsp_transport", transport, "-i", url, "-t", "22", "-map", "0:v", "-c", "copy", "-f", format[cam], file),
			})
			file = filepath.Join(dir, "gst-"+cam+"-"+transport)
			pipeline := fmt.Sprintf("rtspsrc location=%s protocols=%s latency=200 ! %s ! %s ! filesink buffer-mode=unbuffered location=%s", url, transport, depay[cam], caps[cam], file)
			clients = append(clients, rtspReader{
				name: "gst " + cam + " " + transport, camera: cam, codec: codec[cam], file: file,
				run: startTool(t, "timeout", append([]string{"-s", "INT", "22", "gst-launch-1.0", "-q", "-e"}, strings.Fields(pipeline)...)...),
			})
		}
	}
	probes := map[string]*background{}
	for _, transport := range []string{"tcp", "udp"} {
		probes[transport] = startTool(t, "ffprobe", "-v", "fatal", "-rtsp_transport", transport, "-read_intervals", "%+20",
			"-show_entries", "packet=stream_index,pts_time,dts_time", "-of", "json", s.rtsp+"/gate")
	}
	s.disturb(t)

	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) { c.check(t, 18*25) })
	}
	for transport, p := range probes {
		t.Run("ffprobe "+transport, func(t *testing.T) {
			out, err := p.wait(30 * time.Second)
			require.NoError(t, err, out)
			requireProbed(t, out, 2, 15*25)
		})
	}

	t.Run("every segment opens without duet", func(t *testing.T) {
		for _, name := range []string{"v1", "r1", "r2", "p1"} {
			s.procs[name].terminate(t, 15*time.Second)
		}
		for _, recorder := range []string{"r1", "r2"} {
			files := s.segments(t, recorder)
			require.NotEmpty(t, files)
			for _, f := range files {
				_, stderr, err := tool(t, time.Minute, "ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", f,
					"-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "null", "-")
				require.NoError(t, err, "%s: %s", f, stderr)
				require.Empty(t, stderr, f)
				stdout, _, err := tool(t, time.Minute, "ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", f)
				require.NoError(t, err)
				require.NotEmpty(t, stdout)
			}
		}
	})
	_ = sim
	s.noPanics(t)
}

// TestLiveThroughCameraReconnect: a reader's session survives the camera's: the same SSRC,
// sequence numbers and timestamps that go on, resumed at a key frame.
func TestLiveThroughCameraReconnect(t *testing.T) {
	t.Parallel()
	sim, list := cameras(t, []camsim.CameraOptions{{Name: "gate", Video: "h264b", Audio: "aac"}})
	s := startSite(t, siteOptions{cameras: list})
	file := filepath.Join(t.TempDir(), "out.h264")
	ff := startTool(t, "ffmpeg", "-nostdin", "-v", "warning", "-rtsp_transport", "tcp", "-i", s.rtsp+"/gate", "-t", "14", "-map", "0:v", "-c", "copy", "-f", "h264", file)
	time.Sleep(5 * time.Second)
	sim.Camera("gate").Drop(500 * time.Millisecond)
	out, err := ff.wait(25 * time.Second)
	require.NoError(t, err, out)
	requireMonotonic(t, out, 1)
	n := numbers(t, file, ledger.H264, "gate")
	require.Greater(t, len(n), 10*25)
	holes := 0
	led, err := ledger.ReadFile(sim.Camera("gate").Ledger)
	require.NoError(t, err)
	for i := 1; i < len(n); i++ {
		require.Greater(t, n[i], n[i-1])
		if n[i] == n[i-1]+1 {
			continue
		}
		holes++
		require.True(t, led.Find(0, n[i]).Key, "resumed at %d, which is no key frame", n[i])
		lost := time.Duration(n[i]-n[i-1]) * 40 * time.Millisecond
		require.Less(t, lost, 500*time.Millisecond+gop+800*time.Millisecond)
	}
	require.Equal(t, 1, holes)
	s.noPanics(t)
}

// TestSlowReaderIsDropped: a reader that stops reading is disconnected; another one next
// to it sees nothing of that.
func TestSlowReaderIsDropped(t *testing.T) {
	t.Parallel()
	_, list := cameras(t, []camsim.CameraOptions{{Name: "gate", Video: "h264", BitrateBPS: 8_000_000}})
	s := startSite(t, siteOptions{cameras: list})
	file := filepath.Join(t.TempDir(), "out.h264")
	slow := startTool(t, "ffmpeg", "-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i", s.rtsp+"/gate", "-f", "null", "-")
	good := startTool(t, "ffmpeg", "-nostdin", "-v", "warning", "-rtsp_transport", "tcp", "-i", s.rtsp+"/gate", "-t", "20", "-c", "copy", "-f", "h264", file)
	waitFor(t, 10*time.Second, "two readers", func() error { return s.readers("gate", 2) })
	require.NoError(t, slow.cmd.Process.Signal(syscall.SIGSTOP))
	waitFor(t, 15*time.Second, "the slow reader is dropped", func() error { return s.readers("gate", 1) })
	require.NoError(t, slow.cmd.Process.Signal(syscall.SIGCONT))
	out, err := good.wait(30 * time.Second)
	require.NoError(t, err, out)
	requireConsecutive(t, numbers(t, file, ledger.H264, "gate"), 18*25)
	s.noPanics(t)
}

// readers returns nil when the camera has n live readers.
func (s *site) readers(camera string, n int) error {
	var a struct {
		Cameras []struct {
			Name    string `json:"name"`
			Readers int    `json:"readers"`
		} `json:"cameras"`
	}
	if err := s.get("/v1/cameras", &a); err != nil {
		return err
	}
	for _, c := range a.Cameras {
		if c.Name == camera && c.Readers == n {
			return nil
		}
	}
	return fmt.Errorf("%+v", a.Cameras)
}

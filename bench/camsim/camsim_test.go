package camsim

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/duet-video/duet/bench/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs cameras for the time of the test.
func start(t *testing.T, cameras ...CameraOptions) *Sim {
	t.Helper()
	s, err := New(Options{LedgerDir: t.TempDir(), Cameras: cameras})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// reading collects what a client gets of a camera.
type reading struct {
	camera *Camera
	cancel context.CancelFunc
	ended  chan error

	mu      sync.Mutex
	units   []ledger.AccessUnit
	packets map[int][]rtp.Header
	biggest int
}

func header(t *testing.T, c *Camera) *ledger.Header {
	t.Helper()
	l, err := ledger.ReadFile(c.Ledger)
	require.NoError(t, err)
	return &l.Header
}

// read begins to read a camera; it is stopped at the latest when the test ends.
func read(t *testing.T, c *Camera, url string, transport gortsplib.Transport) *reading {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{camera: c, cancel: cancel, ended: make(chan error, 1), packets: make(map[int][]rtp.Header)}
	h := header(t, c)
	go func() {
		r.ended <- ledger.Capture(ctx, h, ledger.CaptureOptions{
			URL: url, Transport: transport,
			OnUnit: func(a ledger.AccessUnit, _ *rtp.Packet) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.units = append(r.units, a)
			},
			OnPacket: func(track int, p *rtp.Packet) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.packets[track] = append(r.packets[track], p.Header)
				r.biggest = max(r.biggest, len(p.Payload))
			},
		})
	}()
	t.Cleanup(cancel)
	return r
}

// count returns how many access units of the track came so far.
func (r *reading) count(track int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, a := range r.units {
		if a.Track == track {
			n++
		}
	}
	return n
}

// wait waits until n access units of the first track came.
func (r *reading) wait(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return r.count(0) >= n }, 20*time.Second, 10*time.Millisecond,
		"%d of %d access units of camera %s", r.count(0), n, r.camera.Name)
}

// stop ends the readings and the cameras.
func stop(t *testing.T, s *Sim, readings ...*reading) {
	t.Helper()
	for _, r := range readings {
		r.cancel()
		require.NoError(t, <-r.ended)
	}
	require.NoError(t, s.Close())
}

// check compares what was read with the ledger, which is complete: the cameras are stopped.
func (r *reading) check(t *testing.T, o ledger.Options) (*ledger.Ledger, *ledger.Report) {
	t.Helper()
	l, err := ledger.ReadFile(r.camera.Ledger)
	require.NoError(t, err)
	return l, ledger.Check(l, r.units, o)
}

func kinds() []CameraOptions {
	return []CameraOptions{
		{Name: "h264", Video: "h264"},
		{Name: "h264b-aac", Video: "h264b", Audio: "aac"},
		{Name: "h264alt-pcmu", Video: "h264alt", Audio: "pcmu"},
		{Name: "h264-pcma", Video: "h264", Audio: "pcma"},
		{Name: "h265", Video: "h265"},
		{Name: "h265open-aac", Video: "h265open", Audio: "aac"},
		{Name: "mjpeg", Video: "mjpeg"},
		{Name: "h264long", Video: "h264long"},
		{Name: "aac-only", Audio: "aac"},
	}
}

func TestReaderGetsExactlyTheLedger(t *testing.T) {
	for name, transport := range map[string]gortsplib.Transport{"tcp": gortsplib.TransportTCP, "udp": gortsplib.TransportUDP} {
		t.Run(name, func(t *testing.T) {
			s := start(t, kinds()...)
			var readings []*reading
			for _, c := range s.Cameras() {
				readings = append(readings, read(t, c, c.URL, transport))
			}
			for _, r := range readings {
				r.wait(t, 60) // over the end of the shortest clip
			}
			stop(t, s, readings...)
			for _, r := range readings {
				l, report := r.check(t, ledger.Options{})
				require.NoError(t, report.Err())
				for i := range l.Tracks {
					require.Greater(t, report.Tracks[i].Matched, 40, "track %d", i)
					require.Equal(t, report.Tracks[i].Got, report.Tracks[i].Matched, "track %d", i)
				}
			}
		})
	}
}

func TestFFmpegDecodesEveryKindWithoutError(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		require.Empty(t, os.Getenv("CI"), "ffmpeg is not installed: `make setup` installs it")
		t.Skip("ffmpeg is not installed: `make setup` installs it")
	}
	// The clip with one random access point in 32 s would take as long to begin.
	s := start(t, slices.DeleteFunc(kinds(), func(o CameraOptions) bool { return o.Video == "h264long" })...)
	dir := t.TempDir()
	var wg sync.WaitGroup
	outs := make([]string, len(s.Cameras()))
	for i, c := range s.Cameras() {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
			defer cancel()
			outs[i] = decode(ctx, c, filepath.Join(dir, c.Name))
		})
	}
	wg.Wait()
	for i, c := range s.Cameras() {
		require.Empty(t, outs[i], c.Name)
	}
}

// decode lets ffmpeg decode 3 s of the camera and returns what it complains of. It is
// stored first, because that begins at a random access point: a decoder that joins in
// the middle of a GOP complains, and rightly so.
func decode(ctx context.Context, c *Camera, file string) string {
	ffmpeg := func(args ...string) (string, error) {
		args = append([]string{"-hide_banner", "-nostdin", "-loglevel", "error"}, args...)
		out, err := exec.CommandContext(ctx, "ffmpeg", args...).CombinedOutput()
		return string(out), err
	}
	forms := map[ledger.Codec][]string{
		ledger.H264: {"h264"}, ledger.H265: {"hevc"}, ledger.MJPEG: {"mjpeg"},
		ledger.AAC: {"adts", "aac"}, ledger.PCMA: {"alaw"}, ledger.PCMU: {"mulaw"},
	}
	args := []string{"-rtsp_transport", "tcp", "-i", c.URL}
	for i, t := range c.tracks {
		args = append(args, "-map", fmt.Sprintf("0:%d", i), "-t", "3", "-c", "copy",
			"-f", forms[t.clip.codec][0], fmt.Sprint(file, i))
	}
	if out, err := ffmpeg(args...); err != nil {
		return fmt.Sprintf("store: %v: %s", err, out)
	}
	complaints := ""
	for i, t := range c.tracks {
		form := forms[t.clip.codec]
		out, err := ffmpeg("-f", form[len(form)-1], "-i", fmt.Sprint(file, i), "-f", "null", "-")
		if err != nil {
			out = fmt.Sprintf("decode: %v: %s", err, out)
		}
		complaints += out
	}
	return complaints
}

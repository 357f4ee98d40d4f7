package e2e

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

// latencies collects how long access units took from the camera to a live reader.
type latencies struct {
	mu   sync.Mutex
	all  map[string][]seen
	done sync.WaitGroup
}

type seen struct {
	number uint64
	at     time.Time
}

// watch reads the live stream of each camera until ctx ends.
func (l *latencies) watch(ctx context.Context, t testing.TB, s *site, cams []*camsim.Camera) {
	l.all = map[string][]seen{}
	tcp := gortsplib.TransportTCP
	for _, cam := range cams {
		led, err := ledger.ReadFile(cam.Ledger)
		require.NoError(t, err)
		ready := make(chan struct{})
		var once sync.Once
		l.done.Add(1)
		go func() {
			defer l.done.Done()
			err := ledger.Capture(ctx, &led.Header, ledger.CaptureOptions{
				URL: s.rtsp + "/" + url.PathEscape(cam.Name), Transport: tcp, Patience: 30 * time.Second, // of a reader while the camera is away
				OnReady: func(*gortsplib.Client) { once.Do(func() { close(ready) }) },
				OnUnit: func(a ledger.AccessUnit, _ *rtp.Packet) {
					if a.Track == 0 && a.Marked {
						l.mu.Lock()
						l.all[cam.Name] = append(l.all[cam.Name], seen{a.Mark.Number, time.Now()})
						l.mu.Unlock()
					}
				},
			})
			if err != nil {
				t.Errorf("live reader of %s: %v", cam.Name, err)
			}
			once.Do(func() { close(ready) })
		}()
		<-ready
	}
}

// between returns the latencies of the access units that were sent in [from, to), sorted,
// and fails where one of them was not seen.
func (l *latencies) between(t testing.TB, cams []*camsim.Camera, from, to time.Time) []time.Duration {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var d []time.Duration
	for _, cam := range cams {
		led, err := ledger.ReadFile(cam.Ledger)
		require.NoError(t, err)
		got := map[uint64]time.Time{}
		for _, s := range l.all[cam.Name] {
			got[s.number] = s.at
		}
		for _, e := range led.Entries[0] {
			if e.At().Before(from) || !e.At().Before(to) {
				continue
			}
			at, ok := got[e.Number]
			require.True(t, ok, "%s: access unit %d did not reach the live reader", cam.Name, e.Number)
			d = append(d, at.Sub(e.At()))
		}
	}
	require.NotEmpty(t, d)
	slices.Sort(d)
	return d
}

func quantile(d []time.Duration, q float64) time.Duration { return d[int(q*float64(len(d)-1))] }

// TestIsolation: one recorder hangs for 60 s. Live readers and the other recorder get
// everything as fast as before, and the proxy's memory stays within its window.
func TestIsolation(t *testing.T) {
	options := camsim.DefaultCameras(6)
	sim, list := cameras(t, options)
	s := startSite(t, siteOptions{cameras: list, logSeconds: 10, extra: "fragment: {max: 5s}\n"})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var live latencies
	live.watch(ctx, t, s, sim.Cameras())

	time.Sleep(12 * time.Second) // the log fills its window
	calm := time.Now()
	time.Sleep(10 * time.Second)
	before := s.procs["p1"].rss(t)
	hung := time.Now()
	s.procs["r2"].signal(syscall.SIGSTOP)
	var behind time.Duration
	for time.Since(hung) < 60*time.Second {
		time.Sleep(2 * time.Second)
		var a camerasAnswer
		require.NoError(t, s.get("/v1/cameras", &a))
		for _, c := range a.Cameras {
			require.NotNil(t, c.Protected, c.Name)
			behind = max(behind, time.Since(*c.Protected))
		}
	}
	after := s.procs["p1"].rss(t)
	end := time.Now()
	s.procs["r2"].signal(syscall.SIGCONT)
	cancel()
	live.done.Wait()

	quiet := live.between(t, sim.Cameras(), calm, hung)
	stopped := live.between(t, sim.Cameras(), hung, end.Add(-time.Second))
	t.Logf("added latency p50 %v p99 %v before; p50 %v p99 %v with a recorder hung", quantile(quiet, 0.5), quantile(quiet, 0.99), quantile(stopped, 0.5), quantile(stopped, 0.99))
	t.Logf("resident memory of the proxy: %d MB before, %d MB after 60 s; the other copy was at most %v behind", before>>20, after>>20, behind)
	require.Less(t, quantile(stopped, 0.99), quantile(quiet, 0.99)+50*time.Millisecond)
	require.Less(t, behind, 6*time.Second, "the other recorder fell behind")
	require.Less(t, after, before+(32<<20), "the proxy's memory grew")

	from := calm.Truncate(time.Millisecond)
	to := end.Add(-4 * time.Second).Truncate(time.Millisecond)
	waitFor(t, 20*time.Second, "the hung recorder is back", func() error {
		var a camerasAnswer
		if err := s.get("/v1/cameras", &a); err != nil {
			return err
		}
		for _, c := range a.Cameras {
			if c.Healthy < 2 {
				return fmt.Errorf("%s has %d healthy copies", c.Name, c.Healthy)
			}
		}
		return nil
	})
	for _, cam := range sim.Cameras() {
		report := s.checkExport(t, cam, from, to)
		require.NoError(t, report.Err())
	}
	s.noPanics(t)
}

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/source"
)

// TestOverload: a proxy that gets too little processor time for its cameras, so that they
// throw access units away, counts each packet that is missing, and both recorders have
// everything else, the same, and say where something is missing.
func TestOverload(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	src, err := source.New(source.Options{Listener: l, Cameras: 3, Video: "h264", Bitrate: 16e6})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
	}()
	var list []siteCamera
	for i := range 3 {
		list = append(list, siteCamera{name: source.Name(i), source: fmt.Sprintf("rtsp://%s/%s", l.Addr(), source.Name(i)), extra: "bitrate: 16Mbit/s"})
	}
	s := startSite(t, siteOptions{cameras: list})
	from := src.States()

	for range 3 {
		before := src.States()
		s.procs["p1"].signal(syscall.SIGSTOP)
		waitFor(t, 30*time.Second, "all cameras throw something away", func() error {
			for i, c := range src.States() {
				if c.Lost < before[i].Lost+5 {
					return fmt.Errorf("%s: %d", c.Name, c.Lost-before[i].Lost)
				}
			}
			return nil
		})
		s.procs["p1"].signal(syscall.SIGCONT)
		time.Sleep(2 * time.Second) // of work between
	}
	to := src.States()
	s.waitDurable(t, time.Now(), 30*time.Second)

	lost := s.metric(t, s.proxy, "duet_camera_packets_lost_total")
	for i, c := range src.States() {
		require.Equal(t, from[i].Sessions, c.Sessions, "the connection stays")
		missing := map[string][]int{}
		for _, r := range []string{"r1", "r2"} {
			missing[r] = s.missing(t, r, i, from[i].Number+1, to[i].Number)
		}
		require.Equal(t, missing["r1"], missing["r2"], "both copies are alike")
		require.Len(t, missing["r1"], int(c.Lost), "each that the camera threw away, and no other")
		require.EqualValues(t, c.LostPackets, lost[c.Name], "each is counted")
		t.Logf("%s: %d of %d access units thrown away, %v packets counted", c.Name, c.Lost, to[i].Number-from[i].Number, lost[c.Name])
	}
	s.verifySite(t)
	s.noPanics(t)
}

// missing returns which access units of a source's camera a recorder lacks, of from … to-1.
func (s *site) missing(t testing.TB, recorder string, camera, from, to int) (out []int) {
	t.Helper()
	have := map[int]bool{}
	for _, file := range s.segments(t, recorder) {
		if !strings.Contains(file, "/"+source.Name(camera)+"/") {
			continue
		}
		f, err := os.Open(file)
		require.NoError(t, err)
		require.NoError(t, source.Scan(f, func(m source.Mark) {
			require.False(t, have[m.Number], "%d twice", m.Number)
			have[m.Number] = true
		}))
		require.NoError(t, f.Close())
	}
	for n := from; n < to; n++ {
		if !have[n] {
			out = append(out, n)
		}
	}
	return out
}

// metric returns a metric of a node by camera.
func (s *site) metric(t testing.TB, node, name string) map[string]float64 {
	t.Helper()
	resp, err := http.Get(node + "/metrics")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	out := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name+`{camera="`)
		if !ok {
			continue
		}
		camera, value, _ := strings.Cut(rest, `"} `)
		v, err := strconv.ParseFloat(value, 64)
		require.NoError(t, err)
		out[camera] = v
	}
	return out
}

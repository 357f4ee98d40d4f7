package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	"github.com/duet-video/duet/internal/media"
)

// sourced starts a site of cameras of bench/source, which wait for nobody.
func sourced(t testing.TB, n, mbit int) (*source.Source, *site) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	src, err := source.New(source.Options{Listener: l, Cameras: n, Video: "h264", Bitrate: mbit * 1e6})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	var list []siteCamera
	for i := range n {
		list = append(list, siteCamera{
			name: source.Name(i), source: fmt.Sprintf("rtsp://%s/%s", l.Addr(), source.Name(i)), extra: fmt.Sprintf("bitrate: %dMbit/s", mbit),
		})
	}
	return src, startSite(t, siteOptions{cameras: list})
}

// TestStandstill: a proxy that stands still for longer than any client of RTSP has patience
// (its machine is moved, or suspended for a snapshot) keeps its sessions, and what the
// cameras sent meanwhile, and waits in their connections, is not lost.
func TestStandstill(t *testing.T) {
	t.Parallel()
	src, s := sourced(t, 2, 1)
	from := src.States()
	s.procs["p1"].signal(syscall.SIGSTOP)
	time.Sleep(12 * time.Second)
	s.procs["p1"].signal(syscall.SIGCONT)
	time.Sleep(time.Second)
	to := src.States()
	s.waitDurable(t, time.Now(), 30*time.Second)
	for i, c := range src.States() {
		require.Equal(t, from[i].Sessions, c.Sessions, "the connection stays")
		require.Zero(t, c.Lost)
		for _, r := range []string{"r1", "r2"} {
			require.Empty(t, s.missing(t, r, i, from[i].Number+1, to[i].Number))
		}
	}
	s.verifySite(t)
	s.noPanics(t)
}

// TestOverload: a proxy that gets too little processor time for its cameras, so that they
// throw access units away, counts each packet that is missing, and both recorders have
// everything else, the same, and say where something is missing.
func TestOverload(t *testing.T) {
	t.Parallel()
	src, s := sourced(t, 3, 16)
	from := src.States()

	for range 3 {
		before := src.States()
		s.procs["p1"].signal(syscall.SIGSTOP)
		waitFor(t, 30*time.Second, "a camera throws something away", func() error {
			for i, c := range src.States() {
				if c.Lost >= before[i].Lost+5 {
					return nil
				}
			}
			return errors.New("none did")
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

// missing returns which access units of a source's camera a recorder lacks, of from … to-1,
// and fails where one is missing from the middle of a fragment that does not say so.
func (s *site) missing(t testing.TB, recorder string, camera, from, to int) (out []int) {
	t.Helper()
	have := map[int]bool{}
	for _, file := range s.segments(t, recorder) {
		if !strings.Contains(file, "/"+source.Name(camera)+"/") {
			continue
		}
		for _, f := range fragmentsOf(t, file) {
			for i, n := range f.numbers {
				require.False(t, have[n], "%d twice", n)
				have[n] = true
				if i > 0 && n != f.numbers[i-1]+1 {
					require.NotZero(t, f.flags&media.PacketLoss, "between %d and %d, in one fragment", f.numbers[i-1], n)
				}
			}
		}
	}
	for n := from; n < to; n++ {
		if !have[n] {
			out = append(out, n)
		}
	}
	return out
}

type markedFragment struct {
	flags   media.InfoFlags
	numbers []int // of its access units
}

func fragmentsOf(t testing.TB, file string) (out []markedFragment) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	for items := media.NewScanner(bytes.NewReader(b), int64(len(b)), true); ; {
		item, err := items.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		if item.Kind != media.ItemFragment {
			continue
		}
		require.False(t, item.BadHash)
		f := markedFragment{flags: item.Info.Flags}
		require.NoError(t, source.Scan(bytes.NewReader(b[item.At:item.At+item.Len]), func(m source.Mark) {
			f.numbers = append(f.numbers, m.Number)
		}))
		out = append(out, f)
	}
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

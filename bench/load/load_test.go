package load

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/duet-video/duet/bench/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProcessorTimeIsReadWhateverTheProcessIsCalled(t *testing.T) {
	d, err := parseStat("42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 9 0 12345 1 2 3")
	require.NoError(t, err)
	require.Equal(t, 2810*time.Millisecond, d)
	for _, bad := range []string{"", "42 (a", "42 (a) S 1", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x 31 0 0"} {
		_, err := parseStat(bad)
		require.Error(t, err, bad)
	}
}

func TestUsageOfThisProcessGrows(t *testing.T) {
	before, err := usageOf(os.Getpid())
	require.NoError(t, err)
	x := 0.0
	for began := time.Now(); time.Since(began) < 60*time.Millisecond; {
		x += math.Sqrt(x + 1)
	}
	after, err := usageOf(os.Getpid())
	require.NoError(t, err)
	u := after.since(before)
	require.Positive(t, x+float64(u.CPU))
	require.GreaterOrEqual(t, u.CPU, time.Duration(0))
	require.Positive(t, u.Memory)
	require.Positive(t, u.Syscalls, "it has read its own files")
}

func TestSpreadIsTheMedianAndTheEnds(t *testing.T) {
	require.Equal(t, Spread{}, spread(nil))
	require.Equal(t, Spread{Median: 3, Min: 1, Max: 9}, spread([]float64{9, 1, 3}))
	require.Equal(t, Spread{Median: 2.5, Min: 1, Max: 9}, spread([]float64{9, 1, 3, 2}))
	type run struct {
		round int
		v     float64
	}
	figure := func(r *run) (int, float64) { return r.round, r.v }
	got := ratios([]run{{1, 2}, {2, 9}, {3, 5}}, []run{{2, 3}, {1, 4}}, figure)
	require.Equal(t, Spread{Median: 1.75, Min: 0.5, Max: 3}, got, "round by round, and only where both are")
}

func TestMetricsAreRead(t *testing.T) {
	m, err := parseMetrics(strings.NewReader(`# HELP duet_x y
# TYPE duet_x gauge
duet_x{camera="c0",recorder="r1"} 2
duet_x{recorder="r2",camera="c1"} 0.5
duet_y 1e+06
`))
	require.NoError(t, err)
	require.InDelta(t, 2.5, sum(m, "duet_x"), 1e-9)
	require.InDelta(t, 1e6, sum(m, "duet_y"), 1e-9)
	require.Equal(t, "r1", m[0].label("recorder"))
	require.Equal(t, "c1", m[1].label("camera"))
	require.Empty(t, m[2].label("camera"))
	_, err = parseMetrics(strings.NewReader("duet_x what"))
	require.Error(t, err)
}

func TestLatencyHasTheQuantiles(t *testing.T) {
	h := newHistogram()
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	h.add(-time.Second) // clocks may differ
	l := h.latency()
	require.EqualValues(t, 1001, l.Count)
	require.InEpsilon(t, 500, l.P50, 0.005)
	require.InEpsilon(t, 990, l.P99, 0.005)
	require.InEpsilon(t, 1000, l.Max, 0.005)
}

// write makes a recording with the access units of a camera.
func write(t *testing.T, dir string, camera int, numbers ...int) {
	t.Helper()
	s, err := source.NewClip("h264", 1e6)
	require.NoError(t, err)
	require.NotEmpty(t, s.Units)
	f, err := os.Create(filepath.Join(dir, source.Name(camera)+".bin"))
	require.NoError(t, err)
	for _, n := range numbers {
		_, err := f.WriteString("\x00\x06\x05," + string(source.Mark{Camera: camera, Number: n, Sent: time.UnixMicro(1)}.Bytes()) + "\x80 picture ")
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
}

func TestEveryLossIsCounted(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	write(t, a, 0, 8, 9, 10, 11, 12, 13, 14)
	write(t, b, 0, 8, 9, 10, 12, 12, 11, 14)
	w := window{from: []int{10}, to: []int{14}}
	l, err := w.count([]string{a, b})
	require.NoError(t, err)
	require.Equal(t, Losses{Sent: 4, Copies: 2, Missing: 1, Repeated: 1, Reordered: 1}, l, "13 is missing in b, 12 is there twice, 11 late")

	l, err = w.count([]string{a, t.TempDir()})
	require.NoError(t, err)
	require.Equal(t, Losses{Sent: 4, Copies: 2, Missing: 4}, l, "a copy that is not there lacks everything")

	w = window{from: []int{14}, to: []int{17}}
	l, err = w.count([]string{a, b})
	require.NoError(t, err)
	require.Equal(t, Losses{Sent: 3, Copies: 2, Missing: 4, Everywhere: 2}, l)
}

// wellFormed returns an error unless b is XML.
func wellFormed(b []byte) error {
	d := xml.NewDecoder(strings.NewReader(string(b)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// examples are reports of all works.
func examples() []Report {
	p, q := Point{Cameras: 10, Mbit: 4, Codec: "h264", Recorders: 2}, Point{Cameras: 20, Mbit: 4, Codec: "h264", Recorders: 2}
	rec := &RecordReport{Work: "record", Started: time.Unix(1e9, 0)}
	live := &LiveReport{Work: "live", Started: time.Unix(1e9, 0)}
	play := &PlaybackReport{Work: "playback", Started: time.Unix(1e9, 0), Streams: 8}
	fail := &FailoverReport{Work: "failover", Started: time.Unix(1e9, 0)}
	for round := 1; round <= 3; round++ {
		for i, system := range []string{"duet", "relay"} {
			for _, p := range []Point{p, q} {
				c := float64(round*(i+1)) * float64(p.Cameras) / 100
				rec.Runs = append(rec.Runs, Recording{System: system, Round: round, Point: p, Cores: 2 * c, Gbit: 1, Roles: []RoleUsage{{Role: "proxy", Cores: c}, {Role: "recorder 1", Cores: c}}})
			}
			live.Runs = append(live.Runs, Watching{System: system, Round: round, Point: p, Cores: float64(i + 1), Reading: Reading{Latency: Latency{Count: 1, P50: 1, P90: 2, P99: 3, P999: 40, Max: 500}}})
		}
		for _, what := range []string{"seek", "export", "cat, as much", "8 exports at once", "8 × cat at once"} {
			play.Runs = append(play.Runs, Answering{What: what, Round: round, Requests: 1, Bytes: int64(len(what)-4) << 20, MBs: float64(len(what)), First: Latency{P99: 1}})
		}
		fail.Runs = append(fail.Runs, Outage{Fault: "recorder killed", Round: round, Down: 5, Alarm: 1, Twice: 2, Sent: 100}, Outage{Fault: "camera silent", Round: round, Down: 8, Alarm: -1, Twice: 2, Sent: 100, Lost: 7, Gap: 8})
	}
	return []Report{rec, live, play, fail}
}

func TestReportsAreTablesJSONAndPlots(t *testing.T) {
	dir := t.TempDir()
	for _, r := range examples() {
		require.NoError(t, r.Lossless(), r.Name())
		require.NoError(t, Write(r, dir))
		plots, err := r.Plots()
		require.NoError(t, err)
		require.NotEmpty(t, plots)
		for name, b := range plots {
			require.NoError(t, wellFormed(b), name)
			require.Contains(t, string(b), "<svg", name)
			require.NotContains(t, string(b), "NaN", name)
		}
		text := Markdown(r)
		require.NotContains(t, text, "NaN")
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "|") {
				require.True(t, strings.HasSuffix(line, "|\n"), line)
			}
		}
	}
	rec, ok := examples()[0].(*RecordReport)
	require.True(t, ok)
	require.Equal(t, Spread{Median: 0.5, Min: 0.5, Max: 0.5}, rec.ratio(Point{Cameras: 10, Mbit: 4, Codec: "h264", Recorders: 2}, "relay"))
}

func TestALossIsAnError(t *testing.T) {
	rec := &RecordReport{Runs: []Recording{{System: "mediamtx", Losses: Losses{Missing: 5}}}}
	require.NoError(t, rec.Lossless(), "a peer's")
	rec.Runs = append(rec.Runs, Recording{System: "duet", LateUnits: 1})
	require.Error(t, rec.Lossless())
	rec.Runs[1].Beyond = true
	require.NoError(t, rec.Lossless(), "it was looked for")

	require.Error(t, (&LiveReport{Runs: []Watching{{System: "duet", Reading: Reading{Stamps: 1}}}}).Lossless())
	require.Error(t, (&PlaybackReport{Runs: []Answering{{Different: 1}}}).Lossless())
	require.NoError(t, (&FailoverReport{Runs: []Outage{{Fault: "camera silent", Lost: 1}}}).Lossless())
	require.Error(t, (&FailoverReport{Runs: []Outage{{Fault: "camera silent", Hidden: 1}}}).Lossless())
	require.Error(t, (&FailoverReport{Runs: []Outage{{Fault: "recorder killed", Lost: 1}}}).Lossless())
}

func TestAReportGoesIntoItsPlaceInADocument(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.md")
	require.NoError(t, os.WriteFile(file, []byte("# A\n\n<!-- bench: failover -->\nold\n<!-- bench end -->\n\nrest\n"), 0o600))
	fail := examples()[3]
	for range 2 { // again and again
		require.NoError(t, Insert(fail, file))
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(b), "# A\n\n<!-- bench: failover -->\n"))
		require.True(t, strings.HasSuffix(string(b), "\n<!-- bench end -->\n\nrest\n"))
		require.Equal(t, 1, strings.Count(string(b), "failover, 2001-09-09"))
		require.NotContains(t, string(b), "old")
	}
	require.Error(t, Insert(examples()[0], file), "it has no place there")
}

func TestAPathThatIsBlockedLosesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f, err := newForward("127.0.0.1:0", server.Addr().String())
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- f.run(ctx) }()
	out, err := net.Dial("tcp", f.listener.Addr().String())
	require.NoError(t, err)
	in, err := server.Accept()
	require.NoError(t, err)
	b := make([]byte, 5)
	_, err = out.Write([]byte("hello"))
	require.NoError(t, err)
	_, err = io.ReadFull(in, b)
	require.NoError(t, err)

	f.block()
	_, err = out.Write([]byte("again"))
	require.NoError(t, err)
	require.NoError(t, in.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = in.Read(b)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	f.unblock()
	require.NoError(t, in.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = io.ReadFull(in, b)
	require.NoError(t, err)
	require.Equal(t, "again", string(b))

	cancel()
	require.NoError(t, <-done)
	for _, c := range []io.Closer{in, out, server} {
		_ = c.Close()
	}
}

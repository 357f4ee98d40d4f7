package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
)

// TestBadConfigurationIsRefusedWithItsLine: each mistake is one clear message with the
// line and the name, an exit code, and never a stack trace or a password.
func TestBadConfigurationIsRefusedWithItsLine(t *testing.T) {
	const good = `cameras:
  - {name: gate, source: "rtsp://viewer:hunter2@127.0.0.1:1/stream1"}
proxies:
  - {name: p1, link: "127.0.0.1:7400", rtsp: "127.0.0.1:8554", http: "127.0.0.1:9101"}
recorders:
  - {name: r1, role: primary,   http: "127.0.0.1:9102", data: r1, capacity: 100Mbit/s}
  - {name: r2, role: redundant, http: "127.0.0.1:9103", data: r2}
playback:
  - {name: v1, http: "127.0.0.1:8080"}
`
	for name, c := range map[string]struct {
		from, to string
		want     []string
	}{
		"unknown key":              {"data: r2", "data: r2, qota: 4TB", []string{"duet.yaml:7:", `"qota"`, `did you mean "quota"`}},
		"unknown section":          {"playback:", "playbak:", []string{"duet.yaml:8:", `"playbak"`, `did you mean "playback"`}},
		"wrong type":               {"data: r2", "data: r2, quota: [1]", []string{"duet.yaml:7:", "quota"}},
		"duplicate name":           {"name: r2", "name: r1", []string{"duet.yaml:7:", `"r1"`}},
		"both copies on one":       {`stream1"`, `stream1", primary: r1, redundant: r1`, []string{"duet.yaml:2:", "gate", "r1"}},
		"unknown recorder":         {`stream1"`, `stream1", primary: r9`, []string{"duet.yaml:2:", "gate", "r9"}},
		"no redundant recorder":    {"role: redundant", "role: primary", []string{"redundant"}},
		"two nodes on one port":    {"127.0.0.1:9103", "127.0.0.1:9102", []string{"duet.yaml:7:", "9102"}},
		"overload":                 {`stream1"`, `stream1", bitrate: 200Mbit/s`, []string{"r1", "gate"}},
		"not YAML":                 {"playback:", "playback: [", []string{"duet.yaml:"}},
		"a source that is no RTSP": {"rtsp://viewer", "http://viewer", []string{"duet.yaml:2:", "rtsp://"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, good, c.from)
			file := filepath.Join(t.TempDir(), "duet.yaml")
			require.NoError(t, os.WriteFile(file, []byte(strings.Replace(good, c.from, c.to, 1)), 0o600))
			out, code := run(t, "check", "-c", file)
			require.NotZero(t, code, out)
			for _, w := range c.want {
				require.Contains(t, out, w)
			}
			require.NotContains(t, out, "hunter2")
			require.NotContains(t, out, "goroutine ")
		})
	}
	t.Run("the file without a mistake", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "duet.yaml")
		require.NoError(t, os.WriteFile(file, []byte(good), 0o600))
		out, code := run(t, "check", "-c", file)
		require.Zero(t, code, out)
		require.NotContains(t, out, "hunter2")
	})
}

// TestBadStartsSayWhatToDo: nodes that cannot start say why in one line.
func TestBadStartsSayWhatToDo(t *testing.T) {
	t.Parallel()
	list := []siteCamera{{name: "gate", source: "rtsp://127.0.0.1:1/gate"}}
	start := func(t *testing.T, s *site, name string) string {
		t.Helper()
		p := s.procs[name]
		p.start(t)
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s goes on; its log ends:\n%s", name, tail(p.log, 10))
		}
		require.NotZero(t, p.cmd.ProcessState.ExitCode())
		b, err := os.ReadFile(p.log)
		require.NoError(t, err)
		require.NotContains(t, string(b), "goroutine ")
		return string(b)
	}
	t.Run("port in use", func(t *testing.T) {
		for _, node := range []string{"p1", "r1", "v1"} {
			s := newSite(t, siteOptions{cameras: list})
			b, err := os.ReadFile(s.config)
			require.NoError(t, err)
			for _, line := range strings.Split(string(b), "\n") {
				if !strings.Contains(line, "name: "+node) {
					continue
				}
				address := line[strings.Index(line, "127.0.0.1:"):]
				address = address[:strings.IndexByte(address, '"')]
				l, err := net.Listen("tcp", address)
				require.NoError(t, err)
				out := start(t, s, node)
				require.Contains(t, out, address[strings.IndexByte(address, ':')+1:])
				require.Contains(t, out, "in use")
				_ = l.Close()
			}
		}
	})
	t.Run("another recorder's directory", func(t *testing.T) {
		s := newSite(t, siteOptions{cameras: list})
		s.procs["r1"].start(t)
		waitFor(t, 20*time.Second, "r1 has its directory", func() error {
			_, err := os.Stat(filepath.Join(s.dir, "r1", ".duet", "identity.json"))
			return err
		})
		s.procs["r1"].terminate(t, 10*time.Second)
		require.NoError(t, os.Rename(filepath.Join(s.dir, "r1"), filepath.Join(s.dir, "r2")))
		out := start(t, s, "r2")
		require.Contains(t, out, filepath.Join(s.dir, "r2"))
		require.Contains(t, out, "r1")
	})
	t.Run("a directory with other things in it", func(t *testing.T) {
		s := newSite(t, siteOptions{cameras: list})
		require.NoError(t, os.MkdirAll(filepath.Join(s.dir, "r1", "photos"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "r1", "photos", "a.jpg"), []byte("x"), 0o600))
		require.Contains(t, start(t, s, "r1"), filepath.Join(s.dir, "r1"))
		require.FileExists(t, filepath.Join(s.dir, "r1", "photos", "a.jpg"))
	})
	t.Run("two recorders on one directory", func(t *testing.T) {
		s := newSite(t, siteOptions{cameras: list})
		s.procs["r1"].start(t)
		waitFor(t, 20*time.Second, "r1 runs", func() error {
			_, err := os.Stat(filepath.Join(s.dir, "r1", ".duet", "identity.json"))
			return err
		})
		b, err := os.ReadFile(s.config)
		require.NoError(t, err)
		other := filepath.Join(s.dir, "other.yaml")
		changed := string(b)
		ports := freePorts(t, 1)
		i := strings.Index(changed, "name: r1")
		i += strings.Index(changed[i:], "127.0.0.1:")
		j := i + strings.IndexByte(changed[i:], '"')
		changed = changed[:i] + fmt.Sprintf("127.0.0.1:%d", ports[0]) + changed[j:]
		require.NoError(t, os.WriteFile(other, []byte(changed), 0o600))
		second := *newProcess(s, "recorder", "r1", other)
		s.procs["second"] = &second
		require.Contains(t, start(t, s, "second"), filepath.Join(s.dir, "r1"))
		require.True(t, s.procs["r1"].running(), "the first one goes on")
	})
	t.Run("a directory that cannot be made", func(t *testing.T) {
		s := newSite(t, siteOptions{cameras: list})
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "r1"), []byte("a file"), 0o600))
		require.Contains(t, start(t, s, "r1"), filepath.Join(s.dir, "r1"))
	})
	t.Run("no certificate", func(t *testing.T) {
		s := newSite(t, siteOptions{cameras: list})
		require.NoError(t, os.Remove(filepath.Join(s.dir, "tls", "r1.crt")))
		require.Contains(t, start(t, s, "r1"), "duet certs")
	})
	t.Run("a name that is not in the file", func(t *testing.T) {
		s := newSite(t, siteOptions{cameras: list})
		s.procs["zz"] = newProcess(s, "recorder", "zz", s.config)
		require.Contains(t, start(t, s, "zz"), "zz")
	})
}

// TestBadInputStopsNothing: unreachable cameras, wrong passwords, garbage on every port
// and impossible requests are answered clearly, and what records goes on.
func TestBadInputStopsNothing(t *testing.T) {
	t.Parallel()
	sim, list := cameras(t, []camsim.CameraOptions{
		{Name: "gate", Video: "h264", Audio: "aac"},
		{Name: "door", Video: "h264", User: "viewer", Pass: "right"},
	})
	good := list[:1]
	wrong := list[1]
	wrong.source = strings.Replace(wrong.source, ":right@", ":hunter2@", 1)
	dead := siteCamera{name: "dead", source: fmt.Sprintf("rtsp://viewer:hunter2@127.0.0.1:%d/x", freePorts(t, 1)[0])}
	absent := siteCamera{name: "absent", source: strings.Replace(good[0].source, "/gate", "/nothing", 1)}
	s := newSite(t, siteOptions{cameras: append([]siteCamera{wrong, dead, absent}, good...)})
	for _, name := range s.order {
		s.procs[name].start(t)
	}
	gate := sim.Camera("gate")
	waitFor(t, 30*time.Second, "the good camera is recorded twice", func() error {
		var a camerasAnswer
		if err := s.get("/v1/cameras", &a); err != nil {
			return err
		}
		for _, c := range a.Cameras {
			if c.Name == "gate" && c.Healthy == 2 {
				return nil
			}
		}
		return fmt.Errorf("%+v", a.Cameras)
	})
	from := time.Now().Add(time.Second).Truncate(time.Millisecond)

	t.Run("cameras say why they are not live", func(t *testing.T) {
		want := map[string]string{"door": "401", "dead": "refused", "absent": "404"}
		waitFor(t, 20*time.Second, "each camera's error", func() error {
			var a camerasAnswer
			if err := s.get("/v1/cameras", &a); err != nil {
				return err
			}
			for _, c := range a.Cameras {
				require.NotContains(t, c.Error, "hunter2")
				if w, ok := want[c.Name]; ok && !strings.Contains(c.Error, w) {
					return fmt.Errorf("%s: state %s, error %q, want %q in it", c.Name, c.State, c.Error, w)
				}
			}
			return nil
		})
	})

	t.Run("garbage on every port", func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed(t), 2))
		b, err := os.ReadFile(s.config)
		require.NoError(t, err)
		var addresses []string
		for _, f := range strings.Split(string(b), `"`) {
			if strings.HasPrefix(f, "127.0.0.1:") {
				addresses = append(addresses, f)
			}
		}
		require.Len(t, addresses, 7)
		heads := []string{
			"", "\x16\x03\x01", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 1\r\n\r\n",
			"DESCRIBE rtsp://x/gate RTSP/1.0\r\nCSeq: " + strings.Repeat("9", 5000) + "\r\n\r\n", "$\x00\xff\xff", "SETUP * RTSP/1.0\r\n\r\n",
		}
		for _, a := range addresses {
			for _, head := range heads {
				for range 3 {
					c, err := net.Dial("tcp", a)
					require.NoError(t, err, a)
					noise := make([]byte, r.IntN(4096))
					for i := range noise {
						noise[i] = byte(r.Uint32())
					}
					_ = c.SetDeadline(time.Now().Add(2 * time.Second))
					_, _ = c.Write(append([]byte(head), noise...))
					if r.IntN(2) == 0 {
						_ = c.(*net.TCPConn).CloseWrite()
						_, _ = io.CopyN(io.Discard, c, 4096)
					}
					_ = c.Close()
				}
			}
		}
		for _, name := range s.order {
			require.True(t, s.procs[name].running(), "%s has ended", name)
		}
	})

	t.Run("impossible requests", func(t *testing.T) {
		now := time.Now()
		at := func(d time.Duration) string { return url.QueryEscape(now.Add(d).UTC().Format(time.RFC3339Nano)) }
		for path, want := range map[string]int{
			"/v1/cameras/nobody/timeline?start=" + at(-time.Minute) + "&end=" + at(0):               404,
			"/v1/cameras/nobody/recording.mp4?start=" + at(-time.Minute) + "&end=" + at(0):          404,
			"/v1/cameras/gate/recording.mp4?start=" + at(0) + "&end=" + at(-time.Minute):            400,
			"/v1/cameras/gate/recording.mp4?start=" + at(time.Hour) + "&end=" + at(2*time.Hour):     400,
			"/v1/cameras/gate/recording.mp4?start=yesterday&end=" + at(0):                           400,
			"/v1/cameras/gate/recording.mp4":                                                        400,
			"/v1/cameras/gate/recording.mp4?start=" + at(-3*time.Hour) + "&end=" + at(-2*time.Hour): 404,
			"/v1/cameras/gate/timeline?start=" + at(0) + "&end=" + at(-time.Minute):                 400,
			"/v1/cameras/dead/recording.mp4?start=" + at(-time.Minute) + "&end=" + at(0):            404,
			"/v1/cameras/..%2f..%2fetc/timeline?start=" + at(-time.Minute) + "&end=" + at(0):        404,
			"/nothing": 404,
		} {
			resp, err := http.Get(s.http + path) //nolint:noctx // a node of this test
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			_ = resp.Body.Close()
			require.Equal(t, want, resp.StatusCode, "%s: %s", path, body)
			if strings.HasPrefix(path, "/v1/") {
				require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"), path)
				require.Contains(t, string(body), `"detail"`, path)
			}
			require.NotContains(t, string(body), "goroutine ")
		}
	})

	time.Sleep(time.Until(from.Add(4 * time.Second))) // something to compare
	to := time.Now().Truncate(time.Millisecond)
	waitFor(t, 20*time.Second, "durable to the end", func() error {
		tl, err := s.timeline("gate", from, to)
		if err != nil {
			return err
		}
		if n := len(tl.Spans); n == 0 || tl.Spans[n-1].End.Before(to) {
			return fmt.Errorf("%+v", tl)
		}
		return nil
	})
	report := s.checkExport(t, gate, from, to)
	require.NoError(t, report.Err())
	for _, name := range s.order {
		b, err := os.ReadFile(s.procs[name].log)
		require.NoError(t, err)
		require.NotContains(t, string(b), "hunter2", "log of %s", name)
	}
	s.noPanics(t)
}

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// siteOptions say what a site under test is made of. The zero value of a field gives a
// sensible one.
type siteOptions struct {
	cameras    []siteCamera
	recorders  []siteRecorder
	logSeconds int
	extra      string // further YAML at the top level
}

type siteCamera struct {
	name, source string
	extra        string // further keys, "primary: r1, redundant: r3"
}

type siteRecorder struct {
	name, role string
	extra      string
	data       string // YAML; empty: a directory of the site's
}

var (
	twoRecorders   = []siteRecorder{{name: "r1", role: "primary"}, {name: "r2", role: "redundant"}}
	threeRecorders = []siteRecorder{{name: "r1", role: "primary"}, {name: "r2", role: "primary"}, {name: "r3", role: "redundant"}}
)

// site is a whole duet, every role a process of its own, on free ports of this machine.
type site struct {
	dir    string
	config string
	http   string // playback, http://host:port
	rtsp   string // proxy, rtsp://host:port
	replay string // playback, rtsp://host:port
	proxy  string // http://host:port
	// recorderHTTP has http://host:port of each recorder, link the address of the proxy's link.
	recorderHTTP map[string]string
	link         string
	procs        map[string]*process
	order        []string
	opts         siteOptions
}

// givenPorts are those that freePorts has given to any test.
var givenPorts sync.Map

// freePorts returns n ports of the loopback address that nobody listens on, and that no
// connection is given by chance while a node that is to listen there is away: they are
// below the range of the kernel's own choice.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	const first, last = 12000, 32000
	var ports []int
	for range 10 * n {
		port := first + rand.IntN(last-first)
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = l.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatalf("no %d free ports", n)
	return nil
}

// newSite writes the configuration of a site and its certificates, and starts nothing.
func newSite(t testing.TB, o siteOptions) *site {
	t.Helper()
	if o.recorders == nil {
		o.recorders = twoRecorders
	}
	if o.logSeconds == 0 {
		o.logSeconds = 20
	}
	dir, err := os.MkdirTemp("", "duet-e2e-")
	require.NoError(t, err)
	s := &site{dir: dir, config: filepath.Join(dir, "duet.yaml"), procs: map[string]*process{}, opts: o, recorderHTTP: map[string]string{}}
	ports := freePorts(t, 5+len(o.recorders))
	s.http = fmt.Sprintf("http://127.0.0.1:%d", ports[3])
	s.rtsp = fmt.Sprintf("rtsp://127.0.0.1:%d", ports[1])
	s.replay = fmt.Sprintf("rtsp://127.0.0.1:%d", ports[4])
	s.proxy = fmt.Sprintf("http://127.0.0.1:%d", ports[2])
	s.link = fmt.Sprintf("127.0.0.1:%d", ports[0])

	var y strings.Builder
	y.WriteString("cameras:\n")
	for _, c := range o.cameras {
		extra := ""
		if c.extra != "" {
			extra = ", " + c.extra
		}
		fmt.Fprintf(&y, "  - {name: %s, source: %q%s}\n", c.name, c.source, extra)
	}
	fmt.Fprintf(&y, "proxies:\n  - {name: p1, link: \"127.0.0.1:%d\", rtsp: \"127.0.0.1:%d\", http: \"127.0.0.1:%d\"}\n", ports[0], ports[1], ports[2])
	y.WriteString("recorders:\n")
	for i, r := range o.recorders {
		s.recorderHTTP[r.name] = fmt.Sprintf("http://127.0.0.1:%d", ports[5+i])
		extra := ""
		if r.extra != "" {
			extra = ", " + r.extra
		}
		data := r.data
		if data == "" {
			data = strconv.Quote(filepath.Join(dir, r.name))
		}
		fmt.Fprintf(&y, "  - {name: %s, role: %s, http: \"127.0.0.1:%d\", data: %s%s}\n", r.name, r.role, ports[5+i], data, extra)
	}
	fmt.Fprintf(&y, "playback:\n  - {name: v1, http: \"127.0.0.1:%d\", rtsp: \"127.0.0.1:%d\"}\n", ports[3], ports[4])
	fmt.Fprintf(&y, "log: {seconds: %d}\n", o.logSeconds)
	fmt.Fprintf(&y, "tls: {dir: %q}\n", filepath.Join(dir, "tls"))
	y.WriteString(o.extra)
	require.NoError(t, os.WriteFile(s.config, []byte(y.String()), 0o600))

	add := func(role, name string) {
		s.procs[name] = newProcess(s, role, name, s.config)
		s.order = append(s.order, name)
	}
	add("proxy", "p1")
	for _, r := range o.recorders {
		add("recorder", r.name)
	}
	add("playback", "v1")

	out, code := run(t, "certs", "-c", s.config)
	require.Zero(t, code, out)

	t.Cleanup(func() {
		for _, p := range s.procs {
			p.kill()
		}
		if t.Failed() && os.Getenv("DUET_E2E_KEEP") != "" {
			t.Logf("kept: %s", dir)
			return
		}
		if t.Failed() {
			for _, name := range s.order {
				t.Logf("the log of %s ends:\n%s", name, tail(s.procs[name].log, 25))
			}
		}
		_ = os.RemoveAll(dir)
	})
	return s
}

// newProcess describes a node of the site; it is not started.
func newProcess(s *site, role, name, config string) *process {
	return &process{
		name: name, args: []string{role, "-c", config, "--name", name},
		log: filepath.Join(s.dir, name+".log"),
	}
}

// startSite starts a site and waits until both copies of every camera are being recorded.
func startSite(t testing.TB, o siteOptions) *site {
	t.Helper()
	s := newSite(t, o)
	for _, name := range s.order {
		s.procs[name].start(t)
	}
	s.waitRecording(t, 30*time.Second)
	return s
}

// get asks playback and decodes the JSON answer.
func (s *site) get(path string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.http+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, resp.Status, b)
	}
	return json.Unmarshal(b, into)
}

type span struct {
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`
	Epoch     string    `json:"epoch"`
	Recorders []string  `json:"recorders"`
}

type gap struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Cause string    `json:"cause"`
}

type timeline struct {
	Spans   []span `json:"spans"`
	Gaps    []gap  `json:"gaps"`
	Unknown []struct {
		Start time.Time `json:"start"`
		End   time.Time `json:"end"`
	} `json:"unknown"`
	Locked []struct {
		Start time.Time `json:"start"`
		End   time.Time `json:"end"`
		Lock  string    `json:"lock"`
	} `json:"locked"`
}

func rangeQuery(from, to time.Time) string {
	q := url.Values{"start": {from.UTC().Format(time.RFC3339Nano)}, "end": {to.UTC().Format(time.RFC3339Nano)}}
	return "?" + q.Encode()
}

func (s *site) timeline(camera string, from, to time.Time) (timeline, error) {
	var tl timeline
	err := s.get("/v1/cameras/"+camera+"/timeline"+rangeQuery(from, to), &tl)
	return tl, err
}

// export fetches recording.mp4 of [from, to) and returns the file's path.
func (s *site) export(t testing.TB, camera string, from, to time.Time) string {
	t.Helper()
	path, err := s.tryExport(camera, from, to)
	require.NoError(t, err)
	return path
}

func (s *site) tryExport(camera string, from, to time.Time) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.http+"/v1/cameras/"+camera+"/recording.mp4"+rangeQuery(from, to), nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		return "", fmt.Errorf("export of %s: %s: %s", camera, resp.Status, b)
	}
	f, err := os.CreateTemp(s.dir, camera+"-*.mp4")
	if err != nil {
		return "", err
	}
	n, err := io.Copy(f, resp.Body)
	if err == nil {
		err = f.Close()
	}
	if err == nil && n != resp.ContentLength {
		err = fmt.Errorf("export of %s: %d bytes, Content-Length %d", camera, n, resp.ContentLength)
	}
	return f.Name(), err
}

package playback

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/duet-video/duet/internal/nodepb"
)

func TestBadInputIsAnsweredWithAProblemThatNamesTheField(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	const a, b = "2026-03-01T12:00:00Z", "2026-03-01T12:00:10Z"
	for name, c := range map[string]struct {
		path, start, end string
		status           int
		typ, field       string
		says             string
	}{
		"inverted":              {"recording.mp4", b, a, 400, problemRange, "end", "end must be after start"},
		"empty":                 {"recording.mp4", a, a, 400, problemRange, "end", "end must be after start"},
		"no start":              {"recording.mp4", "", b, 400, problemTime, "start", "missing"},
		"no end":                {"recording.mp4", a, "", 400, problemTime, "end", "missing"},
		"not a time":            {"recording.mp4", "yesterday", b, 400, problemTime, "start", "yesterday"},
		"no zone":               {"recording.mp4", "2026-03-01T12:00:00", b, 400, problemTime, "start", "RFC 3339"},
		"a plus that got lost":  {"recording.mp4", "2026-03-01T13:00:00 01:00", b, 400, problemTime, "start", "%2B"},
		"year 9999":             {"recording.mp4", a, "9999-03-01T12:00:00Z", 400, problemTime, "end", "9999"},
		"year 1":                {"timeline", "0001-01-01T00:00:00Z", b, 400, problemTime, "start", "year 1"},
		"in the future":         {"recording.mp4", tomorrow, tomorrow, 400, problemFuture, "start", "it is now"},
		"end in the future":     {"recording.mp4", a, tomorrow, 400, problemFuture, "end", "it is now"},
		"too long":              {"recording.mp4", "2026-01-01T12:00:00Z", b, 400, problemLong, "end", "24h"},
		"timeline, inverted":    {"timeline", b, a, 400, problemRange, "end", "end must be after start"},
		"timeline, future":      {"timeline", tomorrow, "", 400, problemFuture, "start", "it is now"},
		"timeline, too long":    {"timeline", "2020-01-01T12:00:00Z", b, 400, problemLong, "end", "8784h"},
		"no footage there":      {"recording.mp4", "2026-02-28T12:00:00Z", "2026-02-28T12:00:10Z", 404, problemEmpty, "", "footage starts at 2026-03-01T12:00:00.123"},
		"unknown camera":        {"../door/recording.mp4", a, b, 404, problemCamera, "camera", `"door"`},
		"camera of odd letters": {"../ga%0ate/timeline", a, b, 404, problemCamera, "camera", "No camera"},
	} {
		t.Run(name, func(t *testing.T) {
			q := url.Values{}
			if c.start != "" {
				q.Set("start", c.start)
			}
			if c.end != "" {
				q.Set("end", c.end)
			}
			u := s.base + "/v1/cameras/gate/" + c.path + "?" + q.Encode()
			u = strings.Replace(u, "gate/../", "", 1)
			resp, body, err := s.get(u)
			require.NoError(t, err)
			require.Equal(t, c.status, resp.StatusCode, "%s", body)
			p := requireProblem(t, resp, body, c.typ)
			require.Equal(t, c.field, p.Field)
			require.Contains(t, p.Detail, c.says)
			if c.typ == problemEmpty {
				require.NotNil(t, p.Nearest)
				require.Nil(t, p.Nearest.Before)
				require.Equal(t, clipStart, p.Nearest.After.UnixNano())
			}
		})
	}
	for path, want := range map[string]int{"/nothing": 404, "/v1/cameras/gate/timeline?strat=x": 422} {
		resp, body, err := s.get(s.base + path)
		require.NoError(t, err)
		require.Equal(t, want, resp.StatusCode)
		require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"), "%s", body)
	}
	resp, body, err := s.do(http.MethodDelete, s.base+"/v1/cameras")
	require.NoError(t, err)
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	requireProblem(t, resp, body, problemMethod)
}

func TestNoFootageIsNotClaimedWhileARecorderIsSilent(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r2)
	s := newSite(t, func(o *Options) { o.Deadlines.Answer = 200 * time.Millisecond }, r1, r2)
	require.Eventually(t, func() bool { return s.pool.recorders[1].view().State == StateUp }, 5*time.Second, 5*time.Millisecond)
	r2.freeze(true)
	resp, body, err := s.get(s.url(frameNS(100), frameNS(200)))
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	p := requireProblem(t, resp, body, problemSilent)
	require.Equal(t, []string{"r2"}, p.Recorders)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
}

func (s *site) json(path string, into any) {
	s.t.Helper()
	resp, body, err := s.get(s.base + path)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, resp.StatusCode, "%s", body)
	require.Equal(s.t, "application/json", resp.Header.Get("Content-Type"))
	require.NoError(s.t, json.Unmarshal(body, into), "%s", body)
}

func TestTimelineSaysWhatIsThereWhatIsMissingAndWhatIsUnknown(t *testing.T) {
	f := makeFootage(t, footageOptions{breaks: map[int]bool{500: true}})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	for i, x := range f.frags {
		if i >= 10 && i < 12 || i == 18 { // nobody has it
			continue
		}
		if i < 30 {
			r1.add("gate", f.inits, x)
		}
		r2.add("gate", f.inits, x)
	}
	s := newSite(t, nil, r1, r2)
	type span struct {
		Start, End time.Time
		Epoch      string
		Recorders  []string
		Cause      string
	}
	var tl struct {
		Spans, Gaps, Unknown []span
		Future               *time.Time
	}
	path := "/v1/cameras/gate/timeline?" + url.Values{"start": {at(clipStart - 1e9).String()}, "end": {at(frameNS(clipFrames)).String()}}.Encode()
	s.json(path, &tl)
	require.NotEmpty(t, tl.Spans)
	require.Equal(t, clipStart, tl.Spans[0].Start.UnixNano())
	require.Equal(t, []string{"r1", "r2"}, tl.Spans[0].Recorders)
	tl.Gaps = slices.DeleteFunc(tl.Gaps, func(g span) bool { return g.End.Sub(g.Start) < time.Millisecond }) // an epoch ends on a tick
	require.Len(t, tl.Gaps, 3, "before it, and two holes")
	require.Equal(t, frameNS(250), tl.Gaps[1].Start.UnixNano())
	require.Equal(t, frameNS(300), tl.Gaps[1].End.UnixNano())
	require.Empty(t, tl.Unknown)
	require.Nil(t, tl.Future)

	r2.kill()
	tl.Spans, tl.Gaps, tl.Unknown = nil, nil, nil
	s.json(path, &tl)
	require.Empty(t, tl.Gaps, "r2 may have what r1 lacks")
	require.NotEmpty(t, tl.Unknown)
	require.Equal(t, []string{"r2"}, tl.Unknown[0].Recorders)
}

// fakeProxy says what it is told to.
type fakeProxy struct {
	nodepb.UnimplementedProxyServer
	status *nodepb.ProxyStatus
}

func (p *fakeProxy) Status(context.Context, *nodepb.StatusRequest) (*nodepb.ProxyStatus, error) {
	return p.status, nil
}

func TestCamerasRecordersAndProxiesAreShown(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixNano() }
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	for i, r := range []*fakeRecorder{r1, r2} {
		r.status = &nodepb.RecorderStatus{
			Name: r.name, Version: "test", StartedNs: ago(time.Hour),
			Cameras: []*nodepb.RecorderCamera{
				{Camera: "gate", DurableEndNs: ago(time.Duration(2+60*i) * time.Second), FirstStartNs: ago(time.Hour), BytesStored: 5, Linked: true},
				{Camera: "old", DurableEndNs: ago(30 * time.Hour), FirstStartNs: ago(40 * time.Hour)},
			},
			Disks:  []*nodepb.Disk{{Path: "/data", State: "good", CapacityBytes: 100, FreeBytes: 40}},
			Alarms: []*nodepb.Alarm{{Code: "disk_slow", Message: "fsync takes 2 s", SinceNs: ago(time.Minute)}},
		}
	}
	proxy := &fakeProxy{status: &nodepb.ProxyStatus{Name: "p1", Cameras: []*nodepb.ProxyCamera{{
		Camera: "gate", State: "live", Epoch: append([]byte{1}, make([]byte, 15)...), LastPacketNs: ago(time.Second), Tracks: []string{"h264"},
		Copies: []*nodepb.ProxyCopy{{Recorder: "r2", BehindRecords: 900}},
	}}}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := grpc.NewServer()
	nodepb.RegisterProxyServer(srv, proxy)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-served })
	s := newSite(t, func(o *Options) { o.Proxies = []Node{{Name: "p1", Address: l.Addr().String()}} }, r1, r2)
	require.Eventually(t, func() bool {
		return s.pool.proxies[0].view().State == StateUp && s.pool.recorders[1].view().State == StateUp && s.pool.recorders[0].view().State == StateUp
	}, 5*time.Second, 5*time.Millisecond)

	var cams struct{ Cameras []map[string]any }
	s.json("/v1/cameras", &cams)
	require.Len(t, cams.Cameras, 2)
	gate := cams.Cameras[0]
	require.Equal(t, "live", gate["state"])
	require.Equal(t, "p1", gate["proxy"])
	require.EqualValues(t, 1, gate["healthyCopies"], "r2 is a minute behind")
	require.Equal(t, stamp{time.Unix(0, ago(2*time.Second))}.String(), gate["protectedUntil"])
	copies := gate["recorders"].([]any)
	require.Len(t, copies, 2)
	second := copies[1].(map[string]any)
	require.Equal(t, "redundant", second["role"])
	require.InDelta(t, 61, second["behindSeconds"], 0.1)
	require.EqualValues(t, 900, second["behindRecords"])
	require.Equal(t, "old", cams.Cameras[1]["name"], "footage of a camera that is not configured any more")

	var recs struct{ Recorders []map[string]any }
	s.json("/v1/recorders", &recs)
	require.Len(t, recs.Recorders, 2)
	require.Equal(t, "up", recs.Recorders[0]["state"])
	require.InDelta(t, 61, recs.Recorders[1]["lagSeconds"], 0.1)
	require.Equal(t, "disk_slow", recs.Recorders[0]["alarms"].([]any)[0].(map[string]any)["code"])
	require.EqualValues(t, 40, recs.Recorders[0]["disks"].([]any)[0].(map[string]any)["freeBytes"])

	var prox struct{ Proxies []map[string]any }
	s.json("/v1/proxies", &prox)
	require.EqualValues(t, 1, prox.Proxies[0]["live"])
}

func TestOpenAPIDocumentDescribesTheAPI(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Version = "1.2.3" }, newFake(t, "r1"))
	resp, body, err := s.get(s.base + "/openapi.json")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var doc struct {
		OpenAPI    string
		Info       struct{ Title, Version string }
		Paths      map[string]map[string]struct{ Responses map[string]any }
		Components struct{ Schemas map[string]any }
	}
	require.NoError(t, json.Unmarshal(body, &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.Equal(t, "1.2.3", doc.Info.Version)
	for _, p := range []string{"/v1/cameras", "/v1/recorders", "/v1/proxies", "/v1/cameras/{camera}/timeline", "/v1/cameras/{camera}/recording.mp4"} {
		require.Contains(t, doc.Paths, p)
		require.Contains(t, doc.Paths[p], "get")
		require.Contains(t, doc.Paths[p]["get"].Responses, "200")
	}
	for _, name := range []string{"Problem", "CameraView", "Timeline", "RecorderView"} {
		require.Contains(t, doc.Components.Schemas, name)
	}
	for _, m := range regexp.MustCompile(`"\$ref":"([^"]*)"`).FindAllStringSubmatch(string(body), -1) {
		name, ok := strings.CutPrefix(m[1], "#/components/schemas/")
		require.True(t, ok, m[1])
		require.NotNil(t, doc.Components.Schemas[name], name)
	}
}

func TestHealthAndMetricsAreServed(t *testing.T) {
	r1 := newFake(t, "r1")
	s := newSite(t, nil, r1)
	for path, says := range map[string]string{"/healthz": "ok", "/readyz": "ok", "/metrics": "duet_playback_"} {
		resp, body, err := s.get(s.base + path)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Contains(t, string(body), says)
	}
	r1.kill()
	require.Eventually(t, func() bool {
		resp, _, _ := s.get(s.base + "/readyz")
		return resp.StatusCode == http.StatusServiceUnavailable
	}, 5*time.Second, 20*time.Millisecond)
}

func TestRunLetsAResponseEnd(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1 := newFake(t, "r1")
	f.on(r1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s, err := New(Options{
		Name: "v1", Listener: l, Recorders: []Node{{Name: "r1", Address: r1.addr}},
		Cameras: []Camera{{Name: "gate", Primary: "r1"}},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	q := url.Values{"start": {at(clipStart).String()}, "end": {at(frameNS(clipFrames)).String()}}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Get("http://" + l.Addr().String() + "/v1/cameras/gate/recording.mp4?" + q.Encode())
	require.NoError(t, err)
	defer resp.Body.Close()
	first := make([]byte, 1000)
	_, err = io.ReadFull(resp.Body, first)
	require.NoError(t, err)
	cancel()
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.EqualValues(t, resp.ContentLength, 1000+len(rest))
	require.NoError(t, <-done)
}

func TestNewRefusesOptionsThatCannotWork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	good := func() Options {
		return Options{Name: "v1", Listener: l, Recorders: []Node{{Name: "r1", Address: "127.0.0.1:1"}}, Cameras: []Camera{{Name: "gate", Primary: "r1"}}}
	}
	for says, change := range map[string]func(*Options){
		"name":                    func(o *Options) { o.Name = "a b" },
		"listener":                func(o *Options) { o.Listener = nil },
		"at least one recorder":   func(o *Options) { o.Recorders = nil },
		"named twice":             func(o *Options) { o.Recorders = append(o.Recorders, o.Recorders[0]) },
		"no address":              func(o *Options) { o.Recorders[0].Address = "" },
		"not a recorder":          func(o *Options) { o.Cameras[0].Redundant = "r9" },
		"camera gate is named":    func(o *Options) { o.Cameras = append(o.Cameras, o.Cameras[0]) },
		`proxy name "-"`:          func(o *Options) { o.Proxies = []Node{{Name: "-", Address: "x"}} },
		"the most are 64":         func(o *Options) { o.Recorders = make([]Node, 65) },
		`camera name "" does not`: func(o *Options) { o.Cameras[0].Name = "" },
	} {
		o := good()
		change(&o)
		_, err := New(o)
		require.ErrorContains(t, err, says)
		require.False(t, errors.Is(err, io.EOF))
	}
}

package playback

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/duet-video/duet/internal/node"
)

// rangeInput are the parameters of what is asked for a stretch of time. They are text
// here, so that every mistake is answered with a Problem that names the field.
type rangeInput struct {
	Camera string `path:"camera" doc:"Name of the camera." example:"gate"`
	Start  string `query:"start" doc:"RFC 3339, any zone, fractions allowed. Inclusive." example:"2026-03-01T12:00:00Z"`
	End    string `query:"end" doc:"RFC 3339. Exclusive." example:"2026-03-01T12:01:00.5Z"`
}

// recordingInput are those of a recording. (An embedded rangeInput would not be seen.)
type recordingInput struct {
	Camera  string `path:"camera" doc:"Name of the camera." example:"gate"`
	Start   string `query:"start" doc:"RFC 3339, any zone, fractions allowed. Inclusive." example:"2026-03-01T12:00:00Z"`
	End     string `query:"end" doc:"RFC 3339. Exclusive." example:"2026-03-01T12:01:00.5Z"`
	Layout  string `query:"layout" enum:"fragmented,progressive" doc:"fragmented (default), or progressive: not fragmented, for players and editors that need that; at most 2 h, and without a manifest."`
	IfRange string `header:"If-Range" doc:"The ETag of the file of which a part is there already: it is gone on with as it was begun."`
}

type bodyOf[T any] struct {
	CacheControl string `header:"Cache-Control"`
	Body         T
}

func fresh[T any](v T) *bodyOf[T] { return &bodyOf[T]{CacheControl: "no-store", Body: v} }

// handler returns the whole HTTP service.
func (s *Service) handler() http.Handler {
	mux := http.NewServeMux()
	ops := node.HTTPHandler(s.registry, nil, s.ready)
	for _, path := range []string{"GET /healthz", "GET /readyz", "GET /metrics"} {
		mux.Handle(path, ops)
	}
	mux.HandleFunc("/", s.elsewhere)
	s.register(humago.New(mux, s.humaConfig()))
	return mux
}

func (s *Service) humaConfig() huma.Config {
	c := huma.DefaultConfig("duet playback", s.o.Version)
	c.Info.Description = "The merged recordings of a site: what is there, what is missing and why, and the footage itself, " +
		"whichever recorder is up. Errors are application/problem+json (RFC 9457). Times are RFC 3339: any zone in, UTC with nanoseconds out."
	c.DocsPath, c.SchemasPath = "", "" // the page would load scripts from elsewhere
	c.CreateHooks = nil
	c.RejectUnknownQueryParameters = true
	return c
}

func (s *Service) register(api huma.API) {
	problem := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	errs := func(codes ...int) map[string]*huma.Response {
		m := make(map[string]*huma.Response)
		for _, c := range codes {
			m[strconv.Itoa(c)] = &huma.Response{
				Description: http.StatusText(c),
				Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
			}
		}
		return m
	}
	huma.Register(api, huma.Operation{
		OperationID: "list-cameras", Method: http.MethodGet, Path: "/v1/cameras",
		Summary: "Cameras, their copies, and how those do",
	}, func(context.Context, *struct{}) (*bodyOf[Cameras], error) { return fresh(s.cameras()), nil })
	huma.Register(api, huma.Operation{
		OperationID: "list-recorders", Method: http.MethodGet, Path: "/v1/recorders",
		Summary: "Recorders: state, disks, lag, alarms",
	}, func(context.Context, *struct{}) (*bodyOf[Recorders], error) { return fresh(s.recorders()), nil })
	huma.Register(api, huma.Operation{
		OperationID: "list-proxies", Method: http.MethodGet, Path: "/v1/proxies",
		Summary: "Proxies: state, camera sessions, alarms",
	}, func(context.Context, *struct{}) (*bodyOf[Proxies], error) { return fresh(s.proxies()), nil })
	huma.Register(api, huma.Operation{
		OperationID: "get-timeline", Method: http.MethodGet, Path: "/v1/cameras/{camera}/timeline",
		Summary: "What there is of a stretch of time, and what is missing and why",
		Description: "end may be left out: it is now. Every instant of the range is in a span, or in exactly one gap or unknown stretch, " +
			"or at or after future, which is still to come.",
		Responses: errs(400, 404),
	}, func(ctx context.Context, in *rangeInput) (*bodyOf[Timeline], error) {
		t, err := s.timeline(ctx, in)
		if err != nil {
			return nil, err
		}
		return fresh(t), nil
	})
	s.registerLocks(api, errs)
	s.registerHLS(api, errs)
	s.registerArchives(api, errs)
	s.registerSnapshots(api, errs)
	responses := errs(400, 404, 416, 500, 503)
	responses["200"] = &huma.Response{
		Description: "The recording. Duet-Start is the capture time at presentation time 0. Duet-Gaps counts the stretches that are missing, " +
			"which are jumps of time in the file; the timeline (Link) says which and why. Duet-Unknown names recorders that did not answer and may have more.",
		Content: map[string]*huma.MediaType{"video/mp4": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		Headers: recordingHeaders(),
	}
	responses["206"] = &huma.Response{Description: "A byte range of it.", Content: responses["200"].Content, Headers: responses["200"].Headers}
	huma.Register(api, huma.Operation{
		OperationID: "get-recording", Method: http.MethodGet, Path: "/v1/cameras/{camera}/recording.mp4",
		Summary: "One MP4 over a stretch of time, exact to the access unit",
		Description: "Length, byte ranges, HEAD, ETag and If-Range work as for a file, so a download can be resumed. " +
			"A response whose footage cannot be read from any recorder is broken off, never shortened.",
		Responses: responses,
	}, func(ctx context.Context, in *recordingInput) (*huma.StreamResponse, error) {
		began := s.clock.Mono()
		v, err := s.recording(ctx, &rangeInput{Camera: in.Camera, Start: in.Start, End: in.End}, in.Layout, in.IfRange)
		s.m.observe("recording", err, time.Duration(s.clock.Mono()-began))
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			s.send(w, r, v)
		}}, nil
	})
}

func recordingHeaders() map[string]*huma.Param {
	m := make(map[string]*huma.Param)
	for name, doc := range map[string]string{
		headerStart:   "Capture time of what is shown first, at presentation time 0.",
		headerEnd:     "Capture time at which what is shown ends.",
		headerGaps:    "How many stretches of the range no recorder has.",
		headerUnknown: "Recorders that did not answer and may have what the others lack.",
		"Link":        "The timeline of the range, rel=describedby.",
	} {
		m[name] = &huma.Param{Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	return m
}

// elsewhere answers what no other pattern takes: the page, and paths that do not exist.
func (s *Service) elsewhere(w http.ResponseWriter, r *http.Request) {
	if s.page.Has(r) {
		s.page.ServeHTTP(w, r)
		return
	}
	allow := "GET, HEAD"
	switch path := r.URL.Path; {
	case path == "/v1/locks":
		allow = "GET, HEAD, POST"
	case strings.HasPrefix(path, "/v1/locks/"):
		allow = "DELETE"
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || allow == "DELETE" {
		(&Problem{
			Type: problemMethod, Status: http.StatusMethodNotAllowed, Title: "The method is not allowed",
			Detail: r.Method + " is not allowed here; " + allow + " is.",
			header: http.Header{"Allow": {allow}},
		}).write(w)
		return
	}
	(&Problem{
		Type: problemPath, Status: http.StatusNotFound, Title: "There is no such path",
		Detail: "The paths are listed in /openapi.json.",
	}).write(w)
}

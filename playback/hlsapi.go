package playback

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type hlsInput struct {
	Camera string `path:"camera" doc:"Name of the camera." example:"gate"`
	Start  string `query:"start" doc:"RFC 3339, any zone, fractions allowed. Inclusive." example:"2026-03-01T12:00:00Z"`
	End    string `query:"end" doc:"RFC 3339. Exclusive. Absent: the playlist grows up to now." example:"2026-03-01T12:01:00.5Z"`
	Gaps   string `query:"gaps" enum:"mark,skip" doc:"mark (default): what nobody has is EXT-X-GAP segments, and takes its time in the presentation. skip: it is jumped over, with a discontinuity."`
	Msn    string `query:"_HLS_msn" doc:"Wait until there is a segment of this number."`
	Part   string `query:"_HLS_part" doc:"Ignored: there are no parts."`
}

type hlsLiveInput struct {
	Camera string `path:"camera" doc:"Name of the camera." example:"gate"`
	Gaps   string `query:"gaps" enum:"mark,skip" doc:"As in index.m3u8."`
	Msn    string `query:"_HLS_msn" doc:"Wait until there is a segment of this number."`
	Part   string `query:"_HLS_part" doc:"Ignored: there are no parts."`
}

type hlsHeaderInput struct {
	Camera string `path:"camera" doc:"Name of the camera." example:"gate"`
	Init   string `path:"init" doc:"From a playlist."`
}

type hlsSegmentInput struct {
	Camera  string `path:"camera" doc:"Name of the camera." example:"gate"`
	Init    string `path:"init" doc:"From a playlist."`
	Epoch   string `path:"epoch" doc:"The camera session."`
	Segment string `path:"segment" doc:"From a playlist."`
	IfNone  string `header:"If-None-Match"`
}

// streamed is an answer that is written by send.
func streamed(send func(http.ResponseWriter, *http.Request)) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		send(w, r)
	}}
}

// binary is a response with a body of that type.
func binary200(kind, doc string, headers ...string) *huma.Response {
	h := make(map[string]*huma.Param)
	all := recordingHeaders()
	all[headerLeftOut] = &huma.Param{Description: "Tracks that browsers do not play.", Schema: &huma.Schema{Type: huma.TypeString}}
	for _, name := range headers {
		h[name] = all[name]
	}
	return &huma.Response{
		Description: doc, Headers: h,
		Content: map[string]*huma.MediaType{kind: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}
}

func (s *Service) registerHLS(api huma.API, errs func(...int) map[string]*huma.Response) {
	with := func(ok *huma.Response, codes ...int) map[string]*huma.Response {
		m := errs(codes...)
		m["200"] = ok
		return m
	}
	listed := []string{headerStart, headerEnd, headerGaps, headerUnknown, headerLeftOut, "Link"}
	huma.Register(api, huma.Operation{
		OperationID: "get-hls", Method: http.MethodGet, Path: "/v1/cameras/{camera}/index.m3u8",
		Summary: "HLS of a stretch of time: complete, or growing up to now",
		Description: "A media playlist of CMAF segments, which are the stored fragments. EXT-X-PROGRAM-DATE-TIME is the capture time of each. " +
			"EXT-X-DISCONTINUITY stands where the camera's session or format changes. What nobody has is EXT-X-GAP; what recorders that did not answer may have is no gap: see Duet-Unknown.",
		Responses: with(binary200(playlistType, "The playlist.", listed...), 400, 404, 406, 503),
	}, func(ctx context.Context, in *hlsInput) (*huma.StreamResponse, error) {
		began := s.clock.Mono()
		p, err := s.hlsVOD(ctx, in)
		s.hlsObserve("hls", began, err)
		if err != nil {
			return nil, err
		}
		return streamed(func(w http.ResponseWriter, r *http.Request) { s.sendPlaylist(w, r, p) }), nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-hls-live", Method: http.MethodGet, Path: "/v1/cameras/{camera}/live/index.m3u8",
		Summary:     "HLS of what is recorded now",
		Description: "The newest half a minute. A request with _HLS_msn is held back until that segment is there (RFC 8216bis 6.2.5.2).",
		Responses:   with(binary200(playlistType, "The playlist.", listed...), 400, 404, 406, 503),
	}, func(ctx context.Context, in *hlsLiveInput) (*huma.StreamResponse, error) {
		began := s.clock.Mono()
		p, err := s.hlsLive(ctx, in)
		if in.Msn == "" {
			s.hlsObserve("hls-live", began, err)
		}
		if err != nil {
			return nil, err
		}
		return streamed(func(w http.ResponseWriter, r *http.Request) { s.sendPlaylist(w, r, p) }), nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-hls-init", Method: http.MethodGet, Path: "/v1/cameras/{camera}/media/{init}/init.mp4",
		Summary: "An init segment of HLS", Description: "It never changes.",
		Responses: with(binary200("video/mp4", "ftyp and moov.", headerLeftOut), 404, 406, 503),
	}, func(ctx context.Context, in *hlsHeaderInput) (*huma.StreamResponse, error) {
		b, err := s.header(ctx, in.Camera, in.Init)
		if err != nil {
			return nil, err
		}
		return streamed(func(w http.ResponseWriter, r *http.Request) { s.sendBlob(w, r, b) }), nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-hls-segment", Method: http.MethodGet, Path: "/v1/cameras/{camera}/media/{init}/{epoch}/{segment}",
		Summary: "A media segment of HLS", Description: "A stored fragment. It never changes; its ETag is the SHA-256 of what is stored.",
		Responses: with(binary200("video/mp4", "moof and mdat."), 404, 406, 416, 503),
	}, func(ctx context.Context, in *hlsSegmentInput) (*huma.StreamResponse, error) {
		began := s.clock.Mono()
		b, err := s.segment(ctx, in.Camera, in.Init, in.Epoch, in.Segment, in.IfNone)
		s.hlsObserve("hls-segment", began, err)
		if err != nil {
			return nil, err
		}
		return streamed(func(w http.ResponseWriter, r *http.Request) { s.sendBlob(w, r, b) }), nil
	})
}

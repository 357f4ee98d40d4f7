package playback

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

type snapshotInput struct {
	Camera string `path:"camera" doc:"Name of the camera." example:"gate"`
	At     string `query:"at" doc:"RFC 3339; absent: now. The picture is the key frame at or before it, at most 10 minutes." example:"2026-03-01T12:00:00Z"`
	Width  string `query:"width" doc:"In pixels, at most; absent: as it was recorded." example:"320"`
}

type stripInput struct {
	Camera string `path:"camera" doc:"Name of the camera." example:"gate"`
	Start  string `query:"start" doc:"RFC 3339. Inclusive." example:"2026-03-01T12:00:00Z"`
	End    string `query:"end" doc:"RFC 3339; absent: now." example:"2026-03-01T13:00:00Z"`
	N      string `query:"n" doc:"How many pictures: 1 to 60; 10 by default." example:"20"`
	Width  string `query:"width" doc:"Of each, in pixels, at most 640; 160 by default." example:"160"`
}

func (s *Service) registerSnapshots(api huma.API, errs func(...int) map[string]*huma.Response) {
	text := &huma.Schema{Type: huma.TypeString}
	responses := errs(400, 404, 501, 503)
	responses["200"] = binary200("image/jpeg", "The picture.")
	responses["200"].Headers = map[string]*huma.Param{headerStart: {Description: "When it was captured.", Schema: text}}
	huma.Register(api, huma.Operation{
		OperationID: "get-snapshot", Method: http.MethodGet, Path: "/v1/cameras/{camera}/snapshot.jpg",
		Summary: "The key frame at or before a time, as JPEG",
		Description: "Made by ffmpeg, which is looked for when the node starts; without it, only cameras that send JPEG have pictures, " +
			"and the answer is 501 for others.",
		Responses: responses,
	}, func(ctx context.Context, in *snapshotInput) (*huma.StreamResponse, error) {
		began := s.clock.Mono()
		p, err := s.snapshot(ctx, in)
		s.hlsObserve("snapshot", began, err)
		if err != nil {
			return nil, err
		}
		of := s.clock.Now()
		if t, err := parseTime("at", in.At); err == nil {
			of = t
		}
		return streamed(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(headerStart, at(p.captureNS).String())
			s.sendPicture(w, r, p.data, p.tag, of)
		}), nil
	})
	responses = errs(400, 404, 501, 503)
	responses["200"] = binary200("image/jpeg", "The pictures, side by side.")
	responses["200"].Headers = map[string]*huma.Param{
		headerTimes: {Description: "When each was captured, comma-separated; empty: there is none, and its place is dark.", Schema: text},
		headerTile:  {Description: "Width and height of a place, in pixels: 160x90.", Schema: text},
	}
	huma.Register(api, huma.Operation{
		OperationID: "get-strip", Method: http.MethodGet, Path: "/v1/cameras/{camera}/strip.jpg",
		Summary:     "Pictures of a stretch of time side by side, for scrubbing",
		Description: "The range is cut into n parts; each place has the key frame at or before the middle of its part.",
		Responses:   responses,
	}, func(ctx context.Context, in *stripInput) (*huma.StreamResponse, error) {
		began := s.clock.Mono()
		t, span, err := s.strip(ctx, in)
		s.hlsObserve("strip", began, err)
		if err != nil {
			return nil, err
		}
		return streamed(func(w http.ResponseWriter, r *http.Request) {
			t.headers(w.Header())
			s.sendPicture(w, r, t.data, t.tag, time.Unix(0, span.endNS))
		}), nil
	})
}

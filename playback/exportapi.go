package playback

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

type archiveInput struct {
	Camera []string `query:"camera,explode" doc:"Name of a camera; once for each." example:"gate"`
	Start  string   `query:"start" doc:"RFC 3339, any zone, fractions allowed. Inclusive." example:"2026-03-01T12:00:00Z"`
	End    string   `query:"end" doc:"RFC 3339. Exclusive." example:"2026-03-01T12:01:00.5Z"`
	Layout string   `query:"layout" enum:"fragmented,progressive" doc:"Of the files, as in recording.mp4."`
}

func (s *Service) registerArchives(api huma.API, errs func(...int) map[string]*huma.Response) {
	for form, kind := range map[string]string{"zip": "application/zip", "tar": "application/x-tar"} {
		responses := errs(400, 404, 503)
		responses["200"] = binary200(kind, "The archive.", headerGaps, headerUnknown)
		huma.Register(api, huma.Operation{
			OperationID: "get-export-" + form, Method: http.MethodGet, Path: "/v1/export." + form,
			Summary: "Recordings of several cameras over the same stretch of time, as one archive",
			Description: "Each camera is a file as recording.mp4 gives it, with its signed manifest; manifest.json, the last file, has their SHA-256, " +
				"what is missing and why. The length is known; byte ranges are not offered. A camera without footage has no file.",
			Responses: responses,
		}, func(ctx context.Context, in *archiveInput) (*huma.StreamResponse, error) {
			began := s.clock.Mono()
			b, err := s.bundle(ctx, in, form)
			s.hlsObserve("export-"+form, began, err)
			if err != nil {
				return nil, err
			}
			return streamed(func(w http.ResponseWriter, r *http.Request) { s.sendBundle(w, r, b) }), nil
		})
	}
}

package playback

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// The types of problem. They are stable; what they mean is in docs/API.md.
const (
	problemTime   = "urn:duet:problem:time-unreadable"
	problemRange  = "urn:duet:problem:range-inverted"
	problemFuture = "urn:duet:problem:range-in-future"
	problemLong   = "urn:duet:problem:range-too-long"
	problemCamera = "urn:duet:problem:camera-unknown"
	problemEmpty  = "urn:duet:problem:no-footage"
	problemSilent = "urn:duet:problem:recorders-silent"
	problemRead   = "urn:duet:problem:footage-unreadable"
	problemBytes  = "urn:duet:problem:bytes-not-satisfiable"
	problemPath   = "urn:duet:problem:path-unknown"
	problemMethod = "urn:duet:problem:method-not-allowed"
	problemGone   = "urn:duet:problem:footage-gone"
	problemOption = "urn:duet:problem:option-unknown"
	problemBusy   = "urn:duet:problem:busy"
	problemFFmpeg = "urn:duet:problem:ffmpeg-missing"
	problemCodec  = "urn:duet:problem:codec-not-playable"

	problemLock      = "urn:duet:problem:lock-unknown"
	problemLocked    = "urn:duet:problem:lock-overlaps"
	problemLocksFull = "urn:duet:problem:locks-full"
	problemLockText  = "urn:duet:problem:lock-text"
)

// Problem is an error of the API: RFC 9457, with members of duet's own.
type Problem struct {
	Type   string `json:"type" doc:"What kind of problem; stable." example:"urn:duet:problem:no-footage"`
	Title  string `json:"title" doc:"The kind, for people."`
	Status int    `json:"status" doc:"The HTTP status."`
	Detail string `json:"detail" doc:"This occurrence, for people."`
	Field  string `json:"field,omitempty" doc:"The parameter that is wrong."`
	// Nearest is footage around a range that has none.
	Nearest *Nearest `json:"nearest,omitempty" doc:"The footage nearest to a range that has none."`
	// Recorders did not answer.
	Recorders []string `json:"recorders,omitempty" doc:"Recorders that did not answer, and may have what was asked for."`

	// Lock is the one that stands in the way.
	Lock string `json:"lock,omitempty" doc:"The lock that overlaps."`

	header http.Header
}

// Nearest is where footage is, before and after a range that has none.
type Nearest struct {
	Before *stamp `json:"before,omitempty" doc:"The end of the newest footage before the range."`
	After  *stamp `json:"after,omitempty" doc:"The start of the oldest footage after the range."`
}

// noOption says that a parameter has a value that it cannot have.
func noOption(field, format string, args ...any) error {
	return &Problem{
		Type: problemOption, Status: http.StatusBadRequest, Title: "There is no such option", Field: field,
		Detail: fmt.Sprintf(format, args...),
	}
}

// tooLong says that there is more between start and end than can be asked for at once.
func tooLong(format string, args ...any) error {
	return &Problem{
		Type: problemLong, Status: http.StatusBadRequest, Title: "The time range is too long", Field: "end",
		Detail: fmt.Sprintf(format, args...),
	}
}

// Error implements error.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// write answers with the problem outside of huma.
func (p *Problem) write(w http.ResponseWriter) {
	b, err := json.Marshal(p)
	if err != nil {
		b = []byte("{}")
	}
	for k, v := range p.header {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n')) // the client may be gone
}

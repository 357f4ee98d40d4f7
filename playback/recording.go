package playback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The headers of a recording, beside those of HTTP.
const (
	headerStart     = "Duet-Start"
	headerEnd       = "Duet-End"
	headerGaps      = "Duet-Gaps"
	headerUnknown   = "Duet-Unknown"
	headerConflicts = "Duet-Conflicts"
)

// recording makes the virtual file that is asked for, or a Problem. ifRange is the tag of
// the file of which the client has a part; may be empty.
func (s *Service) recording(ctx context.Context, in *rangeInput, layout, ifRange string) (*virtual, error) {
	if err := s.checkCamera(in.Camera); err != nil {
		return nil, err
	}
	now := s.clock.Now()
	span, err := parseRange(in.Start, in.End, now, false, s.o.Limits.Export)
	if err != nil {
		return nil, err
	}
	progressive, err := parseLayout(layout)
	if err == nil && progressive {
		err = s.checkProgressive(span)
	}
	if err != nil {
		return nil, err
	}
	live, _ := s.liveness(in.Camera, now)
	from, to := ticks(span)
	p, err := s.plan(ctx, in.Camera, from, to, live)
	if err != nil {
		return nil, err
	}
	s.m.conflicts.Add(float64(p.conflicts))
	if len(p.refs) == 0 {
		return nil, s.noFootage(ctx, p, span)
	}
	var v *virtual
	if progressive {
		v, err = s.makeProgressive(ctx, p)
	} else if v, err = s.makeVirtual(ctx, p); err == nil {
		err = s.addManifest(ctx, v, ifRange)
	}
	var problem *Problem
	switch {
	case errors.As(err, &problem):
		return nil, err
	case errors.Is(err, errEmpty):
		return nil, s.noFootage(ctx, p, span)
	case err != nil:
		return nil, unreadable(err)
	}
	return v, nil
}

// plan says what a range is made of, or a Problem.
func (s *Service) plan(ctx context.Context, camera string, from, to, live int64) (*plan, error) {
	p, err := s.pool.makePlan(ctx, camera, from, to, live, s.o.Limits.Fragments)
	switch {
	case errors.Is(err, errTooMany):
		return nil, tooLong("it has more than %d fragments; ask for it in parts.", s.o.Limits.Fragments)
	case err != nil:
		return nil, unreadable(err)
	}
	return p, nil
}

func unreadable(err error) error {
	return &Problem{
		Type: problemRead, Status: http.StatusServiceUnavailable, Title: "The footage cannot be read now",
		Detail: err.Error(), header: http.Header{"Retry-After": {"2"}},
	}
}

// noFootage says why there is nothing to send.
func (s *Service) noFootage(ctx context.Context, p *plan, span stretch) error {
	if len(p.unknown) > 0 {
		return &Problem{
			Type: problemSilent, Status: http.StatusServiceUnavailable, Title: "It is not known whether there is footage",
			Detail:    fmt.Sprintf("No recorder that answered has footage of %s in this range, and these did not answer: %s.", p.camera, p.silentReasons()),
			Recorders: p.silentNames(), header: http.Header{"Retry-After": {"2"}},
		}
	}
	n := s.nearest(ctx, p.camera, span)
	detail := fmt.Sprintf("No recorder has footage of %s from %s to %s.", p.camera, at(span.startNS), at(span.endNS))
	if n != nil && n.Before != nil {
		detail += " Before it, footage ends at " + n.Before.String() + "."
	}
	if n != nil && n.After != nil {
		detail += " After it, footage starts at " + n.After.String() + "."
	}
	return &Problem{
		Type: problemEmpty, Status: http.StatusNotFound, Title: "There is no footage in this range",
		Detail: detail, Nearest: n,
	}
}

// send answers with the file, or the parts of it that are asked for (RFC 9110 14).
func (s *Service) send(w http.ResponseWriter, r *http.Request, v *virtual) {
	h := w.Header()
	h.Set("Content-Type", "video/mp4")
	h.Set("ETag", v.etag)
	h.Set("Cache-Control", "no-cache") // to be validated: footage may still be added to the range
	h.Set("Content-Disposition", fmt.Sprintf(`inline; filename="%s"`, v.fileName()))
	h.Set(headerStart, at(v.startNS).String())
	h.Set(headerEnd, at(v.endNS).String())
	h.Set(headerGaps, strconv.Itoa(len(v.plan.gaps)))
	if names := v.plan.silentNames(); len(names) > 0 {
		h.Set(headerUnknown, strings.Join(names, ", "))
	}
	if v.plan.conflicts > 0 {
		h.Set(headerConflicts, strconv.Itoa(v.plan.conflicts))
	}
	q := url.Values{"start": {at(v.plan.fromNS).String()}, "end": {at(v.plan.toNS).String()}}
	h.Set("Link", fmt.Sprintf(`</v1/cameras/%s/timeline?%s>; rel="describedby"`, v.plan.camera, q.Encode()))

	body := s.open(r.Context(), v)
	defer body.Close()
	counted := s.counted(w)
	http.ServeContent(counted, r, "", v.modified, body)
	s.m.sent.Add(float64(counted.bytes))
	if err := body.brokenBy(); err != nil {
		s.m.broken.Inc()
		s.warn("broken "+v.plan.camera, func(n int) {
			s.o.Log.Error().Str("camera", v.plan.camera).Int("suppressed", n).Err(err).Msg("broke off a recording: a fragment cannot be read from any recorder")
		})
		// The length was promised: the client must see that this is not all.
		panic(http.ErrAbortHandler)
	}
}

// How much of a recording is written at once. A client has Deadlines.Client for a piece, so
// one that is slow is given small ones.
const (
	pieceMin  = 32 << 10
	pieceMost = 256 << 10
	pieceSlow = 100 * time.Millisecond
)

// counter counts the bytes of a response, and answers a range that cannot be had with a
// Problem in place of the text of net/http. It gives a client that reads more time.
type counter struct {
	http.ResponseWriter
	rc      *http.ResponseController
	within  time.Duration
	renewed time.Time
	bytes   int64
	refused bool
	failed  error // why nothing more could be sent
}

func (s *Service) counted(w http.ResponseWriter) *counter {
	return &counter{ResponseWriter: w, rc: http.NewResponseController(w), within: s.o.Deadlines.Client, renewed: time.Now()}
}

// WriteHeader implements http.ResponseWriter.
func (c *counter) WriteHeader(status int) {
	if status == http.StatusRequestedRangeNotSatisfiable {
		c.refused = true
		return
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	if c.refused {
		if len(bytes.TrimSpace(b)) > 0 {
			c.Header().Del("Content-Length")
			c.Header().Del("Content-Disposition")
			(&Problem{
				Type: problemBytes, Status: http.StatusRequestedRangeNotSatisfiable, Title: "The byte range cannot be had",
				Detail: string(bytes.TrimSpace(b)) + "; the length is in Content-Range.",
			}).write(c.ResponseWriter)
		}
		return len(b), nil
	}
	if now := time.Now(); now.Sub(c.renewed) > c.within/16 {
		c.renewed = now
		_ = c.rc.SetWriteDeadline(now.Add(c.within)) // there is one on any connection
	}
	n, err := c.ResponseWriter.Write(b)
	c.bytes += int64(n)
	if err != nil {
		c.failed = err
	}
	return n, err
}

// ReadFrom implements io.ReaderFrom: what a stream has goes out without another copy.
func (c *counter) ReadFrom(src io.Reader) (int64, error) {
	if l, ok := src.(*io.LimitedReader); ok {
		if body, ok := l.R.(*stream); ok {
			n, err := body.copyTo(c, l.N, c.pieces())
			l.N -= n
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return n, err
		}
	}
	return io.Copy(struct{ io.Writer }{c}, src)
}

// pieces returns how much is to be written next, each time that it is called: the more the
// faster the client takes it.
func (c *counter) pieces() func() int64 {
	began := time.Now()
	size := int64(pieceMin / 2)
	return func() int64 {
		now := time.Now()
		if size = min(2*size, pieceMost); now.Sub(began) > pieceSlow {
			size = pieceMin
		}
		began = now
		return size
	}
}

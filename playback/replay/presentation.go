package replay

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// target is what a URL names.
type target struct {
	camera, query string
	track         string // what follows trackID=; of SETUP
	tracked       bool
}

const control = "trackID="

// parseTarget reads a URL. Clients put what SDP has after control: behind the path
// (GStreamer, live555) or behind the query (ffmpeg).
func parseTarget(u *base.URL) target {
	path, query := strings.Trim(u.Path, "/"), u.RawQuery
	var t target
	if before, track, ok := cutLast(query, "/"+control); ok {
		query, t.track, t.tracked = before, track, true
	} else if before, track, ok := cutLast(path, "/"+control); ok {
		path, t.track, t.tracked = before, track, true
	}
	t.camera, t.query = strings.Trim(path, "/"), strings.TrimSuffix(query, "/")
	return t
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// presentation is what a DESCRIBE describes. It does not change.
type presentation struct {
	target
	// fromNS and toNS are start and end of the URL; 0: not given.
	fromNS, toNS int64
	zeroNS       int64 // what normal play time counts from
	tracks       []track
	sdp          []byte
}

const (
	lookNS  = int64(10e9) // around an instant
	aheadOf = 5 * time.Second
)

// present finds out what a URL presents. The error is a *refusal.
func (s *Server) present(ctx context.Context, t target) (*presentation, error) {
	p := &presentation{target: t}
	if err := p.bounds(s.clock.Now()); err != nil {
		return nil, err
	}
	if !s.footage.Knows(t.camera) {
		return nil, refuse(base.StatusNotFound, "No Such Camera")
	}
	f, err := s.sample(ctx, p)
	if err != nil {
		return nil, s.refusalOf(p.camera, err)
	}
	header, err := s.footage.Header(ctx, t.camera, f)
	if err != nil {
		return nil, s.refusalOf(p.camera, err)
	}
	if p.tracks, _, err = tracksOf(header); err != nil {
		return nil, s.refusalOf(p.camera, err)
	}
	span := "npt=0-"
	switch {
	case p.fromNS == 0:
		span = "clock=" + formatClock(p.zeroNS) + "-"
	case p.toNS != 0:
		span += formatNPT(time.Duration(p.toNS - p.fromNS))
	}
	p.sdp = describeSDP(t.camera, span, p.tracks)
	return p, nil
}

// bounds reads start and end of the URL.
func (p *presentation) bounds(now time.Time) (err error) {
	q, err := url.ParseQuery(p.query)
	if err != nil {
		return refuse(base.StatusBadRequest, "The Query Cannot Be Read")
	}
	read := func(name string) int64 {
		v := q.Get(name)
		if v == "" || err != nil {
			return 0
		}
		var ns int64
		if ns, err = parseRFC3339(v); err != nil {
			err = refuse(base.StatusBadRequest, "%s Cannot Be Read: %s", name, oneLine(err.Error()))
		}
		return ns
	}
	p.fromNS, p.toNS = read("start"), read("end")
	switch {
	case err != nil:
		return err
	case p.toNS != 0 && p.fromNS == 0:
		return refuse(base.StatusBadRequest, "There Is An end But No start")
	case p.toNS != 0 && p.toNS <= p.fromNS:
		return refuse(base.StatusInvalidRange, "end Is Not After start")
	case p.fromNS > now.Add(aheadOf).UnixNano():
		return refuse(base.StatusInvalidRange, "start Is In The Future")
	}
	p.zeroNS = p.fromNS
	return nil
}

// sample returns a fragment with the tracks of the presentation: the first one of what is
// asked for; where there is no start, or nothing after it yet, the newest one.
func (s *Server) sample(ctx context.Context, p *presentation) (*Fragment, error) {
	if p.fromNS != 0 {
		f, err := s.firstOf(ctx, p.camera, p.fromNS, p.toNS)
		if err == nil || p.toNS != 0 || !errors.Is(err, ErrNone) {
			return f, err
		}
	} else {
		oldest, err := s.footage.Next(ctx, p.camera, 0)
		if err != nil {
			return nil, err
		}
		p.zeroNS = oldest
	}
	newest, err := s.footage.Previous(ctx, p.camera, s.clock.Now().Add(time.Hour).UnixNano())
	if err != nil {
		return nil, err
	}
	l, err := s.footage.List(ctx, p.camera, newest-lookNS, newest+1, nil)
	if err != nil {
		return nil, err
	}
	if len(l.Fragments) == 0 {
		return nil, ErrNone
	}
	return &l.Fragments[len(l.Fragments)-1], nil
}

// firstOf returns the first fragment of a range; toNS 0: open.
func (s *Server) firstOf(ctx context.Context, camera string, fromNS, toNS int64) (*Fragment, error) {
	for look := 0; ; look++ {
		end := fromNS + lookNS
		if toNS != 0 {
			end = min(end, toNS)
		}
		l, err := s.footage.List(ctx, camera, fromNS, end, nil)
		if err != nil {
			return nil, err
		}
		if len(l.Fragments) > 0 {
			return &l.Fragments[0], nil
		}
		if look > 0 {
			return nil, ErrNone
		}
		next, err := s.footage.Next(ctx, camera, fromNS)
		if err != nil {
			return nil, err
		}
		if toNS != 0 && next >= toNS {
			if len(l.Unknown) > 0 {
				return nil, ErrUnknown
			}
			return nil, ErrNone
		}
		fromNS = max(next, fromNS)
	}
}

// refusalOf says to a client why there is nothing to describe or to play.
func (s *Server) refusalOf(camera string, err error) *refusal {
	switch {
	case errors.Is(err, ErrNone):
		return refuse(base.StatusNotFound, "There Is No Footage In This Range")
	case errors.Is(err, errNoTrack):
		return refuse(base.StatusNotFound, "None Of Its Tracks Can Be Sent Over RTP")
	}
	s.warn("present "+camera, func(n int) {
		s.log.Warn().Int("suppressed", n).Str("camera", camera).Err(err).Msg("a replay cannot be described")
	})
	r := refuse(base.StatusServiceUnavailable, "Recorders Do Not Answer")
	if !errors.Is(err, ErrUnknown) {
		r.message = "The Footage Cannot Be Read Now"
	}
	r.header = base.Header{"Retry-After": {"2"}}
	return r
}

package replay

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
)

const (
	// allScale is the fastest at which all frames are sent, unless the client says so.
	allScale = 4
	// fastEveryNS: beyond it, key frames are sent so far apart in play-out time.
	fastEveryNS = int64(100 * time.Millisecond)
	queueLimit  = 16
	// openLimit is how long the answer to PLAY waits for the first access unit.
	openLimit = 5 * time.Second
)

// onPlay is PLAY (RFC 2326 10.5; ONVIF Streaming Specification, "Playback").
func (s *session) onPlay(req *base.Request, res *base.Response) (func(), error) {
	began := s.mono()
	a, err := parseAsk(req.Header, s.zeroNS)
	if err != nil {
		return nil, err
	}
	if a.fromNS > s.srv.clock.Now().Add(aheadOf).UnixNano() && a.scale > 0 {
		return nil, refuse(base.StatusInvalidRange, "The Range Is In The Future")
	}
	p := s.player
	playing := p != nil && !s.paused && !p.finished.Load()
	switch {
	case p != nil && !a.ranged && !p.finished.Load() && s.alike(&a):
		return s.goOn(&a, res), nil
	case playing && a.ranged && !a.immediate && s.last.ranged && s.last.toNS != 0:
		return nil, s.enqueue(&a, res)
	}
	s.complete(&a)
	if p != nil { // a seek
		p.stop()
		s.clearQueue()
	}
	p = s.newPlayer(a)
	s.player, s.last, s.paused = p, a, false
	open, err := s.opening(p)
	s.srv.m.first.Observe(time.Duration(s.mono() - began).Seconds())
	if err != nil {
		p.stop()
		s.player = nil
		return nil, err
	}
	s.answerPlay(&a, p, open, req, res)
	s.begins(&a)
	return func() { p.gate.set(true) }, nil
}

// complete fills in what the request leaves to the session.
func (s *session) complete(a *ask) {
	switch {
	case a.now:
		a.fromNS = s.srv.clock.Now().UnixNano()
	case a.fromNS != 0:
	case s.player != nil && !a.ranged: // from where it is
		a.fromNS = s.player.at.Load()
		if a.toNS == 0 && (a.scale > 0) == (s.last.scale > 0) {
			a.toNS = s.last.toNS
		}
	case a.scale < 0 && s.toNS != 0:
		a.fromNS = s.toNS
	case a.scale < 0:
		a.fromNS = s.srv.clock.Now().UnixNano()
	default:
		a.fromNS = s.zeroNS
	}
	if a.toNS == 0 && a.scale > 0 && s.toNS > a.fromNS {
		a.toNS = s.toNS
	}
	if a.toNS == 0 && a.scale < 0 && s.fromNS != 0 && s.fromNS < a.fromNS {
		a.toNS = s.fromNS
	}
	a.onvif = a.onvif || s.last.onvif
	if a.framed {
		return
	}
	if m := math.Abs(a.scale); m > allScale {
		a.frames, a.everyNS = framesIntra, int64(m*float64(fastEveryNS))
	} else if a.scale < 0 && a.paced && !a.onvif {
		a.frames = framesIntra // a plain player cannot show GOPs in reverse
	}
}

// alike reports whether a asks for what is being played already, at most at another pace.
func (s *session) alike(a *ask) bool {
	was := &s.last
	if !a.scaled && !a.framed {
		a.scale = was.scale
	}
	if !a.framed && was.framed {
		a.frames, a.everyNS, a.framed = was.frames, was.everyNS, true
	}
	same := *a
	s.complete(&same)
	return (same.scale > 0) == (was.scale > 0) && same.frames == was.frames && same.everyNS == was.everyNS &&
		(same.paced == was.paced || !a.onvif)
}

// goOn resumes after a PAUSE, or goes on at another pace.
func (s *session) goOn(a *ask, res *base.Response) func() {
	a.fromNS, a.toNS, a.ranged = s.last.fromNS, s.last.toNS, s.last.ranged
	a.frames, a.everyNS, a.framed = s.last.frames, s.last.everyNS, s.last.framed
	if !a.onvif {
		a.paced, a.onvif = s.last.paced, s.last.onvif
	}
	s.last, s.paused = *a, false
	p := s.player
	select { // the newest one counts
	case <-p.tune:
	default:
	}
	p.tune <- *a
	at := *a
	at.fromNS = p.at.Load()
	s.describePlay(&at, res)
	return func() { p.gate.set(true) }
}

// enqueue makes the range wait for the end of those before it (RFC 2326 10.5).
func (s *session) enqueue(a *ask, res *base.Response) error {
	s.complete(a)
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	if len(s.queue) >= queueLimit {
		return refuse(base.StatusNotEnoughBandwidth, "Too Many Ranges Are Queued")
	}
	s.queue = append(s.queue, *a)
	s.describePlay(a, res)
	return nil
}

func (s *session) clearQueue() {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	s.queue = nil
}

// opening waits until it is known what is sent first.
func (s *session) opening(p *player) (*piece, error) {
	limit := time.NewTimer(openLimit)
	defer limit.Stop()
	select {
	case o := <-p.opened:
		if o.err == nil {
			return o.piece, nil
		}
		r := s.srv.refusalOf(s.camera, o.err)
		if r.code == base.StatusNotFound {
			r.code = base.StatusInvalidRange
		}
		return nil, r
	case <-limit.C:
		return nil, nil //nolint:nilnil // it comes later
	case <-s.ctx.Done():
		return nil, refuse(base.StatusSessionNotFound, "Session Not Found")
	}
}

// answerPlay says what is going to be sent: from when, and which numbers it has (RFC 2326
// 12.29, 12.33).
func (s *session) answerPlay(a *ask, p *player, open *piece, req *base.Request, res *base.Response) {
	at := *a
	if open != nil {
		p.begin(open)
		at.fromNS = open.units[0].captureNS
		if a.scale > 0 { // decoding order is not that of showing
			for i := range open.units {
				if u := &open.units[i]; u.track == open.units[0].track {
					at.fromNS = min(at.fromNS, u.captureNS)
				}
			}
		}
	}
	s.describePlay(&at, res)
	u := *req.URL
	u.User = nil
	where := parseTarget(&u)
	u.Path, u.RawQuery = "/"+where.camera, ""
	var info headers.RTPInfo
	for i := range s.tracks {
		l := &s.tracks[i]
		if !l.set {
			continue
		}
		seq := l.seq
		e := &headers.RTPInfoEntry{URL: s.controlURL(&u, where.query, i), SequenceNumber: &seq}
		if open != nil {
			ns := at.fromNS
			for k := range open.units {
				if open.units[k].track == i {
					ns = open.units[k].captureNS
					break
				}
			}
			ts := l.offset + s.playout.timestamp(ns, l.rate)
			e.Timestamp = &ts
		}
		info = append(info, e)
	}
	if len(info) > 0 {
		res.Header["RTP-Info"] = info.Marshal()
	}
}

// controlURL is the URL of a track as clients make it of the base and SDP.
func (s *session) controlURL(u *base.URL, query string, track int) string {
	if query == "" {
		return fmt.Sprintf("%s/%s%d", u, control, track)
	}
	return fmt.Sprintf("%s?%s/%s%d", u, query, control, track)
}

// describePlay says which range is played, and at which pace.
func (s *session) describePlay(a *ask, res *base.Response) {
	if a.npt {
		npt := func(ns int64) string { return formatNPT(max(time.Duration(ns-s.zeroNS), 0)) }
		span := "npt=" + npt(a.fromNS) + "-"
		if a.toNS != 0 {
			span += npt(a.toNS)
		}
		res.Header["Range"] = base.HeaderValue{span}
	} else {
		span := "clock=" + formatClock(a.fromNS) + "-"
		if a.toNS != 0 {
			span += formatClock(a.toNS)
		}
		res.Header["Range"] = base.HeaderValue{span}
	}
	if a.scaled {
		res.Header["Scale"] = base.HeaderValue{strconv.FormatFloat(a.scale, 'f', -1, 64)}
	}
	if a.speed != 1 {
		res.Header["Speed"] = base.HeaderValue{strconv.FormatFloat(a.speed, 'f', -1, 64)}
	}
	if a.onvif {
		rate := "yes"
		if !a.paced {
			rate = "no"
		}
		res.Header["Rate-Control"] = base.HeaderValue{rate}
	}
}

// onPause is PAUSE (RFC 2326 10.6). Nothing is sent after its answer, and what was queued
// is forgotten.
func (s *session) onPause(req *base.Request, _ *base.Response) (func(), error) {
	if s.player == nil {
		return nil, refuse(base.StatusMethodNotValidInThisState, "Method Not Valid In This State")
	}
	if v := first(req.Header, "Range"); v != "" && !strings.Contains(v, "now") {
		return nil, refuse(base.StatusNotImplemented, "PAUSE Is At Once, And Not At A Time")
	}
	s.clearQueue()
	s.player.gate.set(false)
	s.paused = true
	return nil, nil
}

func portOf(c *net.UDPConn) int {
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
		return a.Port
	}
	return 0
}

package replay

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
)

// handler answers a request; see conn.answer. An error that is no *refusal ends the connection.
type handler func(c *conn, req *base.Request, res *base.Response) (after func(), err error)

var handlers = map[base.Method]handler{
	base.Options:      (*conn).onOptions,
	base.Describe:     (*conn).onDescribe,
	base.Setup:        (*conn).onSetup,
	base.Play:         inSession((*session).onPlay),
	base.Pause:        inSession((*session).onPause),
	base.Teardown:     (*conn).onTeardown,
	base.GetParameter: (*conn).onParameter,
	base.SetParameter: (*conn).onParameter,
}

const public = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"

func (c *conn) handle(req *base.Request, res *base.Response) (func(), error) {
	h, ok := handlers[req.Method]
	if !ok {
		r := refuse(base.StatusMethodNotAllowed, "Method Not Allowed")
		r.header = base.Header{"Allow": {public}}
		return nil, r
	}
	if req.URL == nil && req.Method != base.Options {
		return nil, refuse(base.StatusBadRequest, "There Is No URL")
	}
	if req.Method != base.Options {
		if err := c.authorize(req); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"Require", "Proxy-Require"} {
		for _, tag := range list(req.Header, name) {
			if tag != tagReplay { // RFC 2326 12.32
				r := refuse(base.StatusOptionNotSupported, "Option Not Supported")
				r.header = base.Header{"Unsupported": {oneLine(tag)}}
				return nil, r
			}
		}
	}
	return h(c, req, res)
}

// inSession is for requests that need a session.
func inSession(f func(s *session, req *base.Request, res *base.Response) (func(), error)) handler {
	return func(c *conn, req *base.Request, res *base.Response) (func(), error) {
		s, err := c.find(req)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		res.Header["Session"] = s.header()
		return f(s, req, res)
	}
}

// find returns the session that a request names (RFC 2326 12.37).
func (c *conn) find(req *base.Request) (*session, error) {
	id, _, _ := strings.Cut(first(req.Header, "Session"), ";")
	s := c.srv.session(strings.TrimSpace(id))
	if s == nil || s.conn != nil && s.conn != c {
		return nil, refuse(base.StatusSessionNotFound, "Session Not Found")
	}
	s.heard()
	return s, nil
}

func (s *session) header() base.HeaderValue {
	return base.HeaderValue{fmt.Sprintf("%s;timeout=%d", s.id, int(s.srv.o.Timeout.Seconds()))}
}

func (c *conn) onOptions(req *base.Request, res *base.Response) (func(), error) {
	res.Header["Public"] = base.HeaderValue{public}
	if first(req.Header, "Session") != "" {
		if s, err := c.find(req); err == nil {
			res.Header["Session"] = s.header()
		}
	}
	return nil, nil
}

// onParameter is there to keep sessions alive (RFC 2326 10.8).
func (c *conn) onParameter(req *base.Request, res *base.Response) (func(), error) {
	if first(req.Header, "Session") != "" {
		s, err := c.find(req)
		if err != nil {
			return nil, err
		}
		res.Header["Session"] = s.header()
	}
	if len(strings.TrimSpace(string(req.Body))) > 0 {
		return nil, refuse(base.StatusParameterNotUnderstood, "There Are No Parameters")
	}
	return nil, nil
}

func (c *conn) present(req *base.Request) (*presentation, error) {
	t := parseTarget(req.URL)
	if p := c.presented; p != nil && p.camera == t.camera && p.query == t.query {
		return p, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, presentLimit)
	defer cancel()
	p, err := c.srv.present(ctx, t)
	if err != nil {
		return nil, err
	}
	c.presented = p
	return p, nil
}

func (c *conn) onDescribe(req *base.Request, res *base.Response) (func(), error) {
	c.presented = nil // there may be more by now
	p, err := c.present(req)
	if err != nil {
		return nil, err
	}
	u := *req.URL
	u.User = nil
	res.Header["Content-Base"] = base.HeaderValue{strings.TrimSuffix(u.String(), "/") + "/"}
	res.Header["Content-Type"] = base.HeaderValue{"application/sdp"}
	res.Body = p.sdp
	return nil, nil
}

func (c *conn) onSetup(req *base.Request, res *base.Response) (func(), error) {
	p, err := c.present(req)
	if err != nil {
		return nil, err
	}
	t := parseTarget(req.URL)
	n, ok := 0, !t.tracked && len(p.tracks) == 1
	if t.tracked {
		n, ok = trackNumber(t.track, len(p.tracks))
	}
	switch {
	case !ok && !t.tracked: // VLC without live555 asks like SAT>IP
		return nil, refuse(base.StatusAggregateOperationNotAllowed, "SETUP Is For A Track; DESCRIBE Lists Them")
	case !ok:
		return nil, refuse(base.StatusNotFound, "No Such Track")
	}
	var s *session
	created := first(req.Header, "Session") == ""
	if created {
		s = c.newSession(p)
	} else if s, err = c.find(req); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.camera != p.camera || s.query != p.query || n >= len(s.tracks):
		return nil, refuse(base.StatusAggregateOperationNotAllowed, "A Session Has One Presentation")
	case s.player != nil:
		return nil, refuse(base.StatusMethodNotValidInThisState, "Method Not Valid In This State")
	}
	th, err := s.transportOf(c, &s.tracks[n], req)
	if err == nil && created && !c.srv.add(s) {
		err = refuse(base.StatusNotEnoughBandwidth, "There Are Too Many Sessions")
	}
	if err != nil {
		if created {
			s.cancel()
		}
		return nil, err
	}
	c.sessions[s.id] = s
	if s.tcp {
		s.conn = c
	} else {
		c.srv.hears(s, s.tracks[n].rtp, s.tracks[n].rtcp)
	}
	if s.lanes[n].video {
		s.only = false
	}
	res.Header["Transport"] = th
	res.Header["Session"] = s.header()
	return nil, nil
}

// transportOf takes the first transport that can be had (RFC 2326 12.39).
func (s *session) transportOf(c *conn, l *lane, req *base.Request) (base.HeaderValue, error) {
	var offers headers.Transports
	if err := offers.Unmarshal(req.Header["Transport"]); err != nil {
		return nil, refuse(base.StatusBadRequest, "Transport Cannot Be Read")
	}
	some := false
	for i := range s.tracks {
		some = some || s.tracks[i].set
	}
	for i := range offers {
		o := &offers[i]
		tcp := o.Protocol == headers.TransportProtocolTCP
		multicast := o.Delivery != nil && *o.Delivery == headers.TransportDeliveryMulticast
		record := o.Mode != nil && *o.Mode != headers.TransportModePlay
		if o.Secure || multicast || record || some && tcp != s.tcp || !tcp && (c.srv.o.RTP == nil || o.ClientPorts == nil) {
			continue
		}
		pack, err := l.newPacketizer()
		if err != nil {
			return nil, err
		}
		unicast := headers.TransportDeliveryUnicast
		out := headers.Transport{Protocol: o.Protocol, Delivery: &unicast, SSRC: &l.ssrc}
		if tcp {
			channel, ok := s.channel(l, o.InterleavedIDs)
			if !ok {
				return nil, refuse(base.StatusBadRequest, "The Channels Cannot Be Used")
			}
			l.channel = channel
			out.InterleavedIDs = &[2]int{int(channel), int(channel) + 1}
		} else {
			ports := o.ClientPorts
			for _, p := range ports {
				if p <= 0 || p > 65535 {
					return nil, refuse(base.StatusBadRequest, "The Ports Cannot Be Used")
				}
			}
			l.rtp = netip.AddrPortFrom(c.remote.Addr(), uint16(ports[0]))
			l.rtcp = netip.AddrPortFrom(c.remote.Addr(), uint16(ports[1]))
			out.ClientPorts = ports
			out.ServerPorts = &[2]int{portOf(c.srv.o.RTP), portOf(c.srv.o.RTCP)}
		}
		s.tcp, s.out.tcp = tcp, tcp
		l.pack, l.set = pack, true
		return out.Marshal(), nil
	}
	return nil, refuse(base.StatusUnsupportedTransport, "Unsupported Transport")
}

// channel returns the channel for RTP: that which the client wants, or a free one.
func (s *session) channel(l *lane, want *[2]int) (byte, bool) {
	free := func(n int) bool {
		for i := range s.tracks {
			if x := &s.tracks[i]; x.set && x != l && (int(x.channel) == n || int(x.channel)+1 == n || int(x.channel) == n+1) {
				return false
			}
		}
		return true
	}
	if want != nil {
		return byte(want[0]), want[0] >= 0 && want[0] < 255 && want[1] == want[0]+1 && free(want[0])
	}
	for n := 0; n < 255; n += 2 {
		if free(n) {
			return byte(n), true
		}
	}
	return 0, false
}

func (c *conn) onTeardown(req *base.Request, _ *base.Response) (func(), error) {
	s, err := c.find(req)
	if err != nil {
		return nil, err
	}
	s.close("the client ended it")
	delete(c.sessions, s.id)
	return nil, nil
}

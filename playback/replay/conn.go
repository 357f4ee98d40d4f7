package replay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	rtspconn "github.com/bluenviron/gortsplib/v4/pkg/conn"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
)

const (
	tagReplay = "onvif-replay"
	realm     = "duet"
	// authPause delays the answer to a wrong password, and authTries is how many there may be.
	authPause = time.Second
	authTries = 3
	// idle is how long a connection without a session may say nothing.
	idle = 2 * time.Minute
	// writePart is how much a client has to take within the time that it has for it.
	writePart = 32 << 10
	// answerLimit is how long a client may take to read an answer.
	answerLimit = 10 * time.Second
	// presentLimit is how long it may take to find out what a URL presents.
	presentLimit = 10 * time.Second
)

// conn is a connection of a client. Requests are answered one after another.
type conn struct {
	srv    *Server
	nc     net.Conn
	rtsp   *rtspconn.Conn
	remote netip.AddrPort
	ctx    context.Context

	wmu    sync.Mutex // of writing; also says what may be sent
	broken error      // under wmu

	nonce     string
	failures  int
	presented *presentation       // of the last DESCRIBE or SETUP
	sessions  map[string]*session // those that were set up over this connection
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, rtsp: rtspconn.NewConn(nc), sessions: make(map[string]*session)}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.remote = a.AddrPort()
		c.remote = netip.AddrPortFrom(c.remote.Addr().Unmap(), c.remote.Port())
	}
	return c
}

// run serves until the connection or ctx ends, and ends the sessions over it.
func (c *conn) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.ctx = ctx
	err := c.serve()
	why := "the client went away"
	switch {
	case c.srv.ctx.Err() != nil:
		why = "playback ends"
	case !isEnd(err):
		why = err.Error()
	}
	c.abort()
	for _, s := range c.sessions {
		if s.tcp {
			s.close(why)
		} else {
			s.orphan()
		}
	}
}

func isEnd(err error) bool {
	var ne net.Error
	return errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "reset by peer") ||
		errors.As(err, &ne)
}

// serve answers requests until something fails, which it returns.
func (c *conn) serve() error {
	for {
		limit := time.Time{}
		if len(c.sessions) == 0 {
			limit = time.Now().Add(idle)
		}
		_ = c.nc.SetReadDeadline(limit)
		what, err := c.rtsp.Read()
		if err != nil {
			return err
		}
		for _, s := range c.sessions {
			s.heard()
		}
		req, ok := what.(*base.Request)
		if !ok {
			continue // RTCP, and what else clients send
		}
		after, err := c.answer(req)
		if err != nil {
			return err
		}
		if after != nil {
			after()
		}
	}
}

// answer answers a request. What it returns is to be done when the answer was sent.
func (c *conn) answer(req *base.Request) (after func(), err error) {
	res := &base.Response{StatusCode: base.StatusOK, Header: base.Header{}}
	cseq := req.Header["CSeq"]
	switch {
	case len(cseq) != 1:
		res.StatusCode = base.StatusBadRequest
		res.StatusMessage = "There Is No CSeq"
	default:
		res.Header["CSeq"] = cseq
		after, err = c.handle(req, res)
	}
	res.Header["Server"] = base.HeaderValue{"duet"}
	var r *refusal
	over := false
	switch {
	case errors.As(err, &r):
		res.StatusCode, res.StatusMessage, res.Body = r.code, r.message, nil
		for k, v := range r.header {
			res.Header[k] = v
		}
		over = r.code == base.StatusUnauthorized && c.failures >= authTries
	case err != nil:
		return nil, err
	}
	method := string(req.Method)
	if _, ok := handlers[req.Method]; !ok {
		method = "other"
	}
	c.srv.m.requests.WithLabelValues(method, fmt.Sprint(int(res.StatusCode))).Inc()
	b, err := res.Marshal()
	if err != nil {
		return nil, fmt.Errorf("answer %s: %w", req.Method, err)
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := c.write(b, answerLimit); err != nil {
		return nil, err
	}
	if over {
		return nil, errors.New("too many wrong passwords")
	}
	return after, nil
}

// write writes all of b; each part of it may take the limit. wmu is held.
func (c *conn) write(b []byte, limit time.Duration) error {
	if c.broken != nil {
		return c.broken
	}
	for len(b) > 0 {
		part := b[:min(len(b), writePart)]
		_ = c.nc.SetWriteDeadline(time.Now().Add(limit))
		n, err := c.nc.Write(part)
		if errors.Is(err, os.ErrDeadlineExceeded) && n > 0 {
			err = nil // it reads, slowly
		}
		if err != nil {
			c.broken = fmt.Errorf("write to the client: %w", err)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.broken = fmt.Errorf("%w: nothing for %v", errStalled, limit)
			}
			return c.broken
		}
		b = b[n:]
	}
	return nil
}

// abort closes the connection: what reads or writes on it ends.
func (c *conn) abort() { _ = c.nc.Close() }

// authorize checks the password of a request (RFC 2617).
func (c *conn) authorize(req *base.Request) error {
	if len(c.srv.o.Users) == 0 {
		return nil
	}
	methods := []auth.VerifyMethod{auth.VerifyMethodDigestMD5} // SHA-256 beside it keeps ffmpeg out
	if c.nonce == "" {
		n, err := auth.GenerateNonce()
		if err != nil {
			return fmt.Errorf("make a nonce: %w", err)
		}
		c.nonce = n
	}
	for _, u := range c.srv.o.Users {
		if auth.Verify(req, u.Name, u.Password, methods, realm, c.nonce) == nil {
			c.failures = 0
			return nil
		}
	}
	r := refuse(base.StatusUnauthorized, "Unauthorized")
	r.header = base.Header{"WWW-Authenticate": auth.GenerateWWWAuthenticate(methods, realm, c.nonce)}
	var given headers.Authorization
	if given.Unmarshal(req.Header["Authorization"]) == nil && given.Nonce == c.nonce {
		c.failures++
		c.srv.warn("password "+c.remote.Addr().String(), func(n int) {
			c.srv.log.Warn().Int("suppressed", n).Str("remote", c.remote.String()).Msg("replay client with a wrong user name or password")
		})
		pause(c.ctx, authPause)
	}
	return r
}

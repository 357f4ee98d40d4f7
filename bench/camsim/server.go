package camsim

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
	"github.com/rs/zerolog"
)

// server is one RTSP port with the cameras behind it.
type server struct {
	rtsp     gortsplib.Server
	addr     string
	listener *listener
	log      zerolog.Logger
	cameras  map[string]*Camera // by name; fixed before start
	ready    chan struct{}      // closed when they have their streams

	mu      sync.Mutex
	unlocks map[*gortsplib.ServerConn]func() // gates that an answer to PLAY opens
}

func newServer(log zerolog.Logger) *server {
	return &server{
		log: log, cameras: make(map[string]*Camera), ready: make(chan struct{}),
		unlocks: make(map[*gortsplib.ServerConn]func()),
	}
}

// start listens on addr (port 0: a free one) for TCP, and on free ports for UDP.
func (s *server) start(addr string, maxPacket int, methods []auth.VerifyMethod) error {
	rtp, rtcp, err := udpPair(addr)
	if err != nil {
		return err
	}
	s.rtsp = gortsplib.Server{
		Handler:        s,
		RTSPAddress:    addr,
		UDPRTPAddress:  rtp.LocalAddr().String(),
		UDPRTCPAddress: rtcp.LocalAddr().String(),
		WriteQueueSize: 4096,
		AuthMethods:    methods,
		// Cameras make their own reports, for some are wrong.
		DisableRTCPSenderReports: true,
		ListenPacket: func(_, a string) (net.PacketConn, error) {
			if a == rtcp.LocalAddr().String() {
				return rtcp, nil
			}
			return rtp, nil
		},
	}
	s.rtsp.Listen = func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		if err != nil {
			return nil, err
		}
		s.addr = l.Addr().String()
		s.listener = newListener(l.(*net.TCPListener))
		// Start refuses what does not fit into a UDP datagram and has looked by now.
		s.rtsp.MaxPacketSize = max(s.rtsp.MaxPacketSize, maxPacket)
		return s.listener, nil
	}
	if err := s.rtsp.Start(); err != nil {
		_ = rtp.Close()
		_ = rtcp.Close()
		return fmt.Errorf("serve RTSP at %s: %w", addr, err)
	}
	return nil
}

// udpPair returns sockets on an even port and the one after it (RFC 3550 11).
func udpPair(addr string) (rtp, rtcp *net.UDPConn, err error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("address %q: %w", addr, err)
	}
	ip := net.ParseIP(host)
	for range 200 {
		a, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
		if err != nil {
			return nil, nil, fmt.Errorf("find a pair of UDP ports at %q: %w", host, err)
		}
		port := a.LocalAddr().(*net.UDPAddr).Port
		b, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip, Port: port ^ 1})
		switch {
		case err != nil:
			_ = a.Close()
		case port%2 == 0:
			return a, b, nil
		default:
			return b, a, nil
		}
	}
	return nil, nil, fmt.Errorf("find a pair of UDP ports at %q: none is free", host)
}

func answer(code base.StatusCode) *base.Response { return &base.Response{StatusCode: code} }

// camera finds the camera of a request and checks what comes before everything else. The
// answer is nil when all is well.
func (s *server) camera(conn *gortsplib.ServerConn, req *base.Request, path string) (*Camera, *base.Response, error) {
	<-s.ready
	name := path
	if len(name) > 0 && name[0] == '/' {
		name = name[1:]
	}
	c := s.cameras[name]
	if c == nil {
		return nil, answer(base.StatusNotFound), fmt.Errorf("no camera %q", name)
	}
	if c.refuses() {
		conn.Close()
		return nil, answer(base.StatusServiceUnavailable), fmt.Errorf("camera %s is dropped", name)
	}
	if c.opts.User != "" && !conn.VerifyCredentials(req, c.opts.User, c.opts.Pass) {
		return nil, answer(base.StatusUnauthorized), liberrors.ErrServerAuth{}
	}
	return c, nil, nil
}

func (c *Camera) refuses() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.refuseUntil)
}

// OnDescribe implements gortsplib.ServerHandlerOnDescribe.
func (s *server) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	c, res, err := s.camera(ctx.Conn, ctx.Request, ctx.Path)
	if res != nil {
		return res, nil, err
	}
	return answer(base.StatusOK), c.stream, nil
}

// OnSetup implements gortsplib.ServerHandlerOnSetup.
func (s *server) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	c, res, err := s.camera(ctx.Conn, ctx.Request, ctx.Path)
	if res != nil {
		return res, nil, err
	}
	if ctx.Transport != gortsplib.TransportTCP && (c.opts.TCPOnly || c.opts.MaxPacket > maxUDPPayload) {
		return answer(base.StatusUnsupportedTransport), nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[ctx.Session] == nil {
		if c.opts.OneSession && len(c.sessions) > 0 {
			return answer(base.StatusNotEnoughBandwidth), nil, nil
		}
		c.counter++
		w, _ := ctx.Conn.NetConn().(*conn)
		c.sessions[ctx.Session] = &session{id: fmt.Sprintf("s%d", c.counter), ss: ctx.Session, conn: w}
		ctx.Session.SetUserData(c)
	}
	return answer(base.StatusOK), c.stream, nil
}

// OnPlay implements gortsplib.ServerHandlerOnPlay. The camera waits until the answer is
// made, when gortsplib has switched the session on.
func (s *server) OnPlay(ctx *gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	c, ok := ctx.Session.UserData().(*Camera)
	if !ok {
		return answer(base.StatusBadRequest), nil
	}
	c.gate.Lock()
	s.mu.Lock()
	s.unlocks[ctx.Conn] = c.gate.Unlock
	s.mu.Unlock()

	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.sessions[ctx.Session]
	if p == nil {
		return answer(base.StatusBadRequest), nil
	}
	p.medias = make(map[*description.Media]bool)
	for _, m := range ctx.Session.SetuppedMedias() {
		p.medias[m] = true
	}
	p.playing = true
	c.nextReport = time.Now().Add(100 * time.Millisecond)
	c.event("play", p.id)
	return answer(base.StatusOK), nil
}

// OnResponse implements gortsplib.ServerHandlerOnResponse.
func (s *server) OnResponse(conn *gortsplib.ServerConn, _ *base.Response) {
	s.mu.Lock()
	unlock := s.unlocks[conn]
	delete(s.unlocks, conn)
	s.mu.Unlock()
	if unlock != nil {
		unlock()
	}
}

// OnPause implements gortsplib.ServerHandlerOnPause.
func (s *server) OnPause(ctx *gortsplib.ServerHandlerOnPauseCtx) (*base.Response, error) {
	if c, ok := ctx.Session.UserData().(*Camera); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		if p := c.sessions[ctx.Session]; p != nil {
			p.playing = false
			c.event("pause", p.id)
		}
	}
	return answer(base.StatusOK), nil
}

// OnSessionClose implements gortsplib.ServerHandlerOnSessionClose.
func (s *server) OnSessionClose(ctx *gortsplib.ServerHandlerOnSessionCloseCtx) {
	c, ok := ctx.Session.UserData().(*Camera)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.sessions[ctx.Session]; p != nil {
		delete(c.sessions, ctx.Session)
		c.event("close", p.id)
	}
}

// OnStreamWriteError implements gortsplib.ServerHandlerOnStreamWriteError: the queue of a
// session is full. It is called by the writes of Camera.emit, which holds the gate.
func (s *server) OnStreamWriteError(ctx *gortsplib.ServerHandlerOnStreamWriteErrorCtx) {
	if c, ok := ctx.Session.UserData().(*Camera); ok {
		c.failed[ctx.Session] = true
	}
}

// OnDecodeError implements gortsplib.ServerHandlerOnDecodeError: what a client sends that
// is no RTCP is nothing to a camera, and must not reach the standard logger.
func (s *server) OnDecodeError(ctx *gortsplib.ServerHandlerOnDecodeErrorCtx) {
	s.log.Debug().Err(ctx.Error).Msg("camsim: from a client")
}

const maxUDPPayload = 1472 - rtpHeader

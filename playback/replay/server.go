package replay

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/node"
)

// Server is the RTSP endpoint of a playback node.
type Server struct {
	o       Options
	clock   clock.Clock
	footage Footage
	m       *metrics
	every   *node.Every
	log     zerolog.Logger

	mu       sync.Mutex
	sessions map[string]*session
	peers    map[netip.AddrPort]*session // over UDP
	conns    map[*conn]struct{}
	closed   bool
	ctx      context.Context // of Run
}

// New checks the options.
func New(o Options) (*Server, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registry)
	if err != nil {
		return nil, err
	}
	return &Server{
		o: o, clock: o.Clock, footage: o.Footage, m: m, log: o.Log, every: node.NewEvery(time.Second, o.Clock.Now),
		sessions: make(map[string]*session), peers: make(map[netip.AddrPort]*session), conns: make(map[*conn]struct{}),
	}, nil
}

// Run serves until ctx ends, and closes all sessions then. It returns nil after an end
// that ctx asked for. Call it once.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	var wg sync.WaitGroup
	defer func() {
		wg.Wait()
		for _, x := range s.all() { // over UDP they outlive their connections
			x.close("playback ends")
		}
	}()
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	defer s.close()
	if s.o.RTP != nil {
		wg.Go(func() { s.receive(s.o.RTP) })
		wg.Go(func() { s.receive(s.o.RTCP) })
	}
	wg.Go(func() { s.expire(ctx) })
	for {
		nc, err := s.o.Listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() || isTemporary(err) {
				s.warn("accept", func(n int) {
					s.log.Warn().Int("suppressed", n).Err(err).Msg("an RTSP connection could not be taken")
				})
				pause(ctx, 50*time.Millisecond)
				continue
			}
			cancel()
			return fmt.Errorf("take RTSP connections on %s: %w", s.o.Listener.Addr(), err)
		}
		c := newConn(s, nc)
		if !s.keep(c) {
			_ = nc.Close()
			continue
		}
		wg.Go(func() {
			defer s.forget(c)
			c.run(ctx)
		})
	}
}

func (s *Server) keep(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.conns[c] = struct{}{}
	}
	return !s.closed
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// close ends all connections and sessions; Run waits for them.
func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.o.Listener.Close()
	for c := range s.conns {
		c.abort()
	}
	if s.o.RTP != nil {
		_ = s.o.RTP.Close()
		_ = s.o.RTCP.Close()
	}
}

func (s *Server) session(id string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

// add takes a session, unless there are too many.
func (s *Server) add(x *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.sessions) >= s.o.Sessions {
		return false
	}
	s.sessions[x.id] = x
	return true
}

func (s *Server) drop(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, x.id)
	for a, y := range s.peers {
		if x == y {
			delete(s.peers, a)
		}
	}
}

// hears says where the client of a session sends from, over UDP.
func (s *Server) hears(x *session, from ...netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range from {
		s.peers[a] = x
	}
}

func (s *Server) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.sessions))
}

// expire closes the sessions of clients that say nothing any more.
func (s *Server) expire(ctx context.Context) {
	tick := time.NewTicker(s.o.Timeout / 12)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.clock.Mono()
		for _, x := range s.all() {
			if now-x.heardNS.Load() > int64(2*s.o.Timeout) {
				x.close("it timed out")
			}
		}
	}
}

// warn lets one line through per second and cause.
func (s *Server) warn(cause string, line func(suppressed int)) {
	if n, ok := s.every.Allow(cause); ok {
		line(n)
	}
}

func isTemporary(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !errors.Is(err, net.ErrClosed)
}

func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func randomNumber() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:])
}

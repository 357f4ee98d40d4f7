package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/node"
)

// helloTimeout is how long a stream may wait with its Hello.
const helloTimeout = 5 * time.Second

// linkServer serves recorders. Each stream has one goroutine that sends and one that
// receives; neither ever makes a log or another stream wait.
type linkServer struct {
	cameras map[string]*camera
	linger  time.Duration
	grace   time.Duration // Options.SpareAfter
	clock   clock.Clock
	started int64 // Clock.Mono
	log     zerolog.Logger
	every   *node.Every
	acked   *Waker // woken when an acknowledgement came or a stream ended

	mu      sync.Mutex
	streams map[string]*recorderStream // by recorder
	stopped bool
	readers sync.WaitGroup
}

// Subscribe implements link.Handler.
func (s *linkServer) Subscribe(ls *link.ServerStream) error {
	always := make(chan struct{})
	close(always)
	r := &recorderStream{
		srv: s, stream: ls, waker: NewWaker(), always: always,
		requests: make(chan link.Frame, 64), failed: make(chan error, 1), ended: make(chan error, 1),
		byID: map[uint32]*channel{},
	}
	// It ends when this function has returned, which ends the stream under it.
	s.readers.Go(r.receive)
	err := r.hello()
	if err != nil {
		return err
	}
	if err := s.enter(r); err != nil {
		return err
	}
	defer s.leave(r)
	s.say("connected "+r.recorder, func(e *zerolog.Event) {
		e.Str("recorder", r.recorder).Msg("recorder connected")
	})
	err = r.run(ls.Context())
	s.say("disconnected "+r.recorder, func(e *zerolog.Event) {
		e.Str("recorder", r.recorder).Str("reason", status.Convert(err).Message()).Msg("recorder disconnected")
	})
	return err
}

// say logs a line, at most one a second for each cause.
func (s *linkServer) say(cause string, line func(*zerolog.Event)) {
	if n, ok := s.every.Allow(cause); ok {
		e := s.log.Info()
		if n > 0 {
			e.Int("suppressed", n)
		}
		line(e)
	}
}

// hello waits for the recorder to say who it is, and checks that it may be.
func (r *recorderStream) hello() error {
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case f := <-r.requests:
		h, ok := f.(link.Hello)
		if !ok {
			return status.Errorf(codes.InvalidArgument, "the first frame is %T, want a hello", f)
		}
		if !nameForm.MatchString(h.Recorder) {
			return status.Errorf(codes.InvalidArgument, "%q is no name of a recorder", h.Recorder)
		}
		r.recorder = h.Recorder
		return checkPeer(r.stream.Context(), h.Recorder)
	case err := <-r.failed:
		return err
	case <-timeout.C:
		return status.Errorf(codes.DeadlineExceeded, "no hello came within %v", helloTimeout)
	case <-r.stream.Context().Done():
		return r.stream.Context().Err()
	}
}

// checkPeer compares a recorder's name with its certificate, where TLS is on.
func checkPeer(ctx context.Context, name string) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "the peer is unknown")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	if len(info.State.PeerCertificates) == 0 {
		return status.Error(codes.Unauthenticated, "the peer has no certificate")
	}
	if cn := info.State.PeerCertificates[0].Subject.CommonName; cn != name {
		return status.Errorf(codes.PermissionDenied, "recorder %q has the certificate of %q", name, cn)
	}
	return nil
}

// enter makes r the stream of its recorder. One that is there already is what the
// recorder has left behind: its end is just not known yet.
func (s *linkServer) enter(r *recorderStream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errStopping
	}
	if old := s.streams[r.recorder]; old != nil {
		old.end(status.Error(codes.Aborted, "the recorder has opened a newer stream"))
	}
	s.streams[r.recorder] = r
	return nil
}

func (s *linkServer) leave(r *recorderStream) {
	r.closeAll()
	s.mu.Lock()
	if s.streams[r.recorder] == r {
		delete(s.streams, r.recorder)
	}
	s.mu.Unlock()
	s.acked.wake()
}

var errStopping = status.Error(codes.Unavailable, "the proxy is stopping")

// stop ends all streams and accepts no more.
func (s *linkServer) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, r := range s.streams {
		r.end(errStopping)
	}
}

// connected returns how many recorders have a stream.
func (s *linkServer) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// drain waits until every recorder that is subscribed has acknowledged everything, or
// ctx is done.
func (s *linkServer) drain(ctx context.Context) error {
	for {
		if s.drained() {
			return nil
		}
		select {
		case <-s.acked.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *linkServer) drained() bool {
	for _, c := range s.cameras {
		tail := c.log.Tail()
		for _, k := range c.copies {
			if i := k.info(); i.Linked && !i.Held && !c.log.Reached(i.Durable, tail) {
				return false
			}
		}
	}
	return true
}

package recorder

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/wire"
)

const (
	reconnectFirst = 100 * time.Millisecond
	reconnectMost  = 2 * time.Second
	connectTimeout = 5 * time.Second
	// steadyAfter is how long a stream has to live for the next reconnect to be quick.
	steadyAfter = 10 * time.Second
	// abandonAfter is how long a link is down before what is unfinished goes to disk.
	abandonAfter = 10 * time.Second
	// rejectedFor is how long a rejected camera waits, punishFirst … punishMost one
	// whose proxy broke the protocol: the cameras beside it are not to suffer from it.
	rejectedFor = 30 * time.Second
	punishFirst = time.Second
	punishMost  = time.Minute
)

// stream keeps a link stream to one proxy, over which all its cameras come.
type stream struct {
	proxy    Proxy
	recorder string
	dial     func(ctx context.Context, address string) (net.Conn, error)
	creds    credentials.TransportCredentials
	clock    clock.Clock
	log      zerolog.Logger
	every    *node.Every
	tick     time.Duration
	feeds    []*feed

	// wake tells the sender that there is something to acknowledge.
	wake chan struct{}

	mu sync.Mutex
	// cancel ends the session that is under way.
	cancel context.CancelCauseFunc
	// channels are those of the session that are not over.
	channels map[uint32]*feed
	// issued is the highest number of a channel of the session, ended are channels that
	// are to be unsubscribed.
	issued uint32
	ended  []uint32
	waits  map[*feed]*wait
	downAt time.Time // zero while the link is up
	why    string
}

// wait is why a camera is not subscribed, and until when.
type wait struct {
	until   time.Time
	last    time.Duration
	channel uint32 // 0: not subscribed
	reason  string
}

func newStream(p Proxy, o *Options, every *node.Every) *stream {
	s := &stream{
		proxy: p, recorder: o.Name, dial: o.Dial, clock: o.Clock, every: every, tick: time.Second,
		log:   o.Log.With().Str("proxy", p.Name).Logger(),
		creds: insecure.NewCredentials(), wake: make(chan struct{}, 1),
		waits: map[*feed]*wait{}, downAt: o.Clock.Now(), why: "not connected yet",
	}
	if o.ClientTLS != nil {
		c := o.ClientTLS.Clone()
		if c.ServerName == "" {
			c.ServerName = p.Name // nodes prove their names, not their addresses
		}
		s.creds = wire.NewTLS(c)
	}
	return s
}

var errRestart = errors.New("what was not durable has to be fetched again")

// restart ends the session, so that feeds which were rewound subscribe anew.
func (s *stream) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel(errRestart)
	}
}

// committed tells the sender that there may be something to acknowledge.
func (s *stream) committed() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// down returns since when the link is down, and why; zero: it is up.
func (s *stream) down() (since time.Time, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.downAt, s.why
}

// run keeps the stream until ctx ends.
func (s *stream) run(ctx context.Context) {
	delay := reconnectFirst
	for {
		began := s.clock.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if s.clock.Now().Sub(began) > steadyAfter || errors.Is(err, errRestart) {
			delay = reconnectFirst
		}
		s.lost(err)
		if since, _ := s.down(); s.clock.Now().Sub(since) > abandonAfter {
			for _, f := range s.feeds {
				f.abandon()
			}
		}
		if !pause(ctx, delay/2+rand.N(delay)) { //nolint:gosec // jitter is no secret
			return
		}
		delay = min(2*delay, reconnectMost)
	}
}

// up books that the link works.
func (s *stream) up() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.downAt.IsZero() || s.cancel == nil {
		return
	}
	s.log.Info().Dur("after", s.clock.Now().Sub(s.downAt)).Msg("link up")
	s.downAt, s.why = time.Time{}, ""
}

// lost books that the session ended.
func (s *stream) lost(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel, s.channels = nil, nil
	s.why = err.Error()
	if s.downAt.IsZero() {
		s.downAt = s.clock.Now()
	}
	for _, f := range s.feeds {
		f.counts.linked.Store(false)
	}
	if n, ok := s.every.Allow("link " + s.proxy.Name); ok {
		s.log.Warn().Err(err).Int("suppressed", n).Msg("link lost; connecting again")
	}
}

// session is one stream, from connecting to its end.
func (s *stream) session(ctx context.Context) error {
	conn, err := grpc.NewClient("passthrough:///"+s.proxy.Address, append(link.DialOptions(),
		grpc.WithTransportCredentials(s.creds),
		grpc.WithContextDialer(s.dial),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
	)...)
	if err != nil {
		return fmt.Errorf("link to %s: %w", s.proxy.Address, err)
	}
	defer func() { _ = conn.Close() }() // it fails only where it was closed before
	sctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cs, err := link.NewClient(conn).Subscribe(sctx, s.recorder)
	if err != nil {
		return fmt.Errorf("link to %s: %w", s.proxy.Address, err)
	}
	s.mu.Lock()
	s.cancel = cancel
	s.channels, s.issued, s.ended = map[uint32]*feed{}, 0, nil
	for _, f := range s.feeds {
		s.wait(f).channel = 0
	}
	s.mu.Unlock()

	var sender sync.WaitGroup
	sender.Go(func() {
		if err := s.send(sctx, cs); err != nil {
			cancel(err)
		}
	})
	err = s.receive(ctx, cs)
	cancel(err)
	cs.Close()
	sender.Wait()
	if cause := context.Cause(sctx); errors.Is(cause, errRestart) {
		return cause
	}
	return err
}

// receive reads the stream and feeds the cameras. ctx is the recorder's.
func (s *stream) receive(ctx context.Context, cs *link.ClientStream) error {
	for first := true; ; first = false {
		frame, err := cs.Recv()
		if err != nil {
			return fmt.Errorf("link to %s: %w", s.proxy.Address, err)
		}
		if first {
			s.up()
		}
		channel, ok := channelOf(frame)
		f, known := s.feedOf(channel)
		switch {
		case !ok || !known:
			return fmt.Errorf("link to %s: %w: %T on channel %d", s.proxy.Address, errViolation, frame, channel)
		case f == nil: // it was under way when the channel ended
			continue
		}
		if m, ok := frame.(link.Reject); ok {
			s.rejected(f, channel, m.Reason)
			continue
		}
		if err := f.take(ctx, frame); err != nil {
			if errors.Is(err, errParked) {
				s.park(f, channel)
				continue
			}
			if errors.Is(err, errViolation) {
				s.punish(f, err)
			}
			return fmt.Errorf("link to %s: %w", s.proxy.Address, err)
		}
	}
}

func channelOf(frame link.Frame) (uint32, bool) {
	switch m := frame.(type) {
	case link.Open:
		return m.Channel, true
	case link.Batch:
		return m.Channel, true
	case link.Lost:
		return m.Channel, true
	case link.Pause:
		return m.Channel, true
	case link.End:
		return m.Channel, true
	case link.Reject:
		return m.Channel, true
	}
	return 0, false
}

func (s *stream) feedOf(channel uint32) (*feed, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.channels[channel]
	return f, ok || channel != 0 && channel <= s.issued
}

// wait returns the feed's wait. With mu held.
func (s *stream) wait(f *feed) *wait {
	w := s.waits[f]
	if w == nil {
		w = &wait{}
		s.waits[f] = w
	}
	return w
}

func (s *stream) rejected(f *feed, channel uint32, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.wait(f)
	w.until, w.channel, w.reason = s.clock.Now().Add(rejectedFor), 0, reason
	delete(s.channels, channel)
	f.counts.linked.Store(false)
	if n, ok := s.every.Allow("reject " + s.proxy.Name + " " + f.camera); ok {
		s.log.Error().Str("camera", f.camera).Str("reason", reason).Int("suppressed", n).Msg("the proxy rejects a camera")
	}
}

// park ends the subscription of a camera whose volume takes nothing now, so that the
// cameras beside it need not wait. It is subscribed again when there is room.
func (s *stream) park(f *feed, channel uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait(f).channel = 0
	delete(s.channels, channel)
	s.ended = append(s.ended, channel)
	f.counts.linked.Store(false)
	s.committed()
}

func (s *stream) punish(f *feed, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.wait(f)
	if s.clock.Now().Sub(w.until) > punishMost {
		w.last = 0
	}
	w.last = min(max(2*w.last, punishFirst), punishMost)
	w.until, w.reason = s.clock.Now().Add(w.last), err.Error()
}

// rejection returns why the proxy does not send a camera; empty: it does.
func (s *stream) rejection(f *feed) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.waits[f]; w != nil && w.channel == 0 {
		return w.reason
	}
	return ""
}

// send subscribes the cameras and acknowledges what is durable, until ctx ends.
func (s *stream) send(ctx context.Context, cs *link.ClientStream) error {
	t := time.NewTicker(s.tick)
	defer t.Stop()
	for {
		var m link.Message
		s.subscribe(&m)
		s.acknowledge(&m)
		if m.Len() > 0 {
			if err := cs.Send(&m); err != nil {
				return fmt.Errorf("link to %s: %w", s.proxy.Address, err)
			}
		}
		select {
		case <-s.wake:
		case <-t.C:
			s.up() // a proxy that refuses the stream does so at once
		case <-ctx.Done():
			return nil
		}
	}
}

// subscribe adds the subscriptions of the cameras that have none and need not wait.
func (s *stream) subscribe(m *link.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	for _, channel := range s.ended {
		m.Add(link.Unsubscribe{Channel: channel})
	}
	s.ended = nil
	for _, f := range s.feeds {
		w := s.wait(f)
		if w.channel != 0 || now.Before(w.until) || s.channels == nil || !f.takes() {
			continue
		}
		s.issued++
		from := f.resume() // its goroutine has no channel for it, so it does not touch it
		s.channels[s.issued] = f
		w.channel, w.reason = s.issued, ""
		f.counts.linked.Store(true)
		m.Add(link.Subscribe{Channel: s.issued, Camera: f.camera, From: from})
		s.log.Debug().Str("camera", f.camera).Stringer("from", from).Msg("subscribe")
	}
}

func (s *stream) acknowledge(m *link.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.feeds {
		w := s.wait(f)
		if w.channel == 0 {
			continue
		}
		if at, endNS, ok := f.ack(); ok {
			m.Add(link.Ack{Channel: w.channel, Durable: at, EndNS: endNS})
		}
	}
}

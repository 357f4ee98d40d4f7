package playback

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/wire"
)

// State is what playback believes of a node.
type State string

// The states of a node.
const (
	StateUnknown State = "unknown" // not probed yet
	StateUp      State = "up"
	StateDown    State = "down"
)

// How a connection behaves. A node that comes back is found within reconnectMax; one
// that takes connections and then says nothing is given up after connectTimeout.
const (
	reconnectMin     = 50 * time.Millisecond
	reconnectMax     = 400 * time.Millisecond
	connectTimeout   = 2 * time.Second
	keepaliveEvery   = 10 * time.Second // the shortest that gRPC allows
	keepaliveTimeout = 2 * time.Second
	streamWindow     = 4 << 20
	connWindow       = 16 << 20
	maxMessage       = 32 << 20
)

// peer is the client of one node and what is believed of it. Safe for concurrent use.
type peer struct {
	Node
	index    int // in the pool's list, and the bit in a holder set; recorders only
	clock    clock.Clock
	conn     *grpc.ClientConn
	recorder nodepb.RecorderClient // nil for a proxy
	proxy    nodepb.ProxyClient    // nil for a recorder

	mu         sync.Mutex
	state      State
	since      time.Time // of state
	answeredAt int64     // clock.Mono when it last answered anything
	lastErr    error     // why it is down
	recStatus  *nodepb.RecorderStatus
	prxStatus  *nodepb.ProxyStatus
	statusAt   time.Time

	load readLoad
}

func dial(n Node, o *Options) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if o.TLS != nil {
		creds = credentials.NewTLS(o.TLS(n.Name))
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay:  reconnectMin,
				Multiplier: 1.6,
				Jitter:     0.2,
				MaxDelay:   reconnectMax,
			},
			MinConnectTimeout: connectTimeout,
		}),
		// No pings without calls: the probe is one. A hung node is noticed by its
		// deadlines; this closes the connection of one that is gone without a word.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: keepaliveTimeout}),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithReadBufferSize(0), // TLS has a buffer
		experimental.WithBufferPool(wire.NewFramePool()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	}
	if o.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(o.Dial))
	}
	conn, err := grpc.NewClient("passthrough:///"+n.Address, opts...)
	if err != nil {
		return nil, fmt.Errorf("make the client of %s at %s: %w", n.Name, n.Address, err)
	}
	return conn, nil
}

// noAnswer reports whether err says that the node is gone or hung, rather than that it
// refused what it was asked.
func noAnswer(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	case codes.Unknown:
		return errors.Is(err, context.DeadlineExceeded)
	}
	return false
}

// call runs one attempt, and a second one where the connection broke under the first: a
// node that restarts, or a connection that a firewall dropped, must not cost an answer.
// Attempts use grpc.WaitForReady; ctx has the deadline of both together.
func (p *peer) call(ctx context.Context, attempt func(context.Context) error) error {
	began := p.clock.Mono()
	err := attempt(ctx)
	if status.Code(err) == codes.Unavailable && ctx.Err() == nil {
		err = attempt(ctx)
	}
	switch {
	case err == nil:
		p.answered()
	case errors.Is(ctx.Err(), context.Canceled): // the one who asked went away
	case noAnswer(err):
		p.silent(began, err)
	default:
		p.answered() // with a refusal
	}
	return err
}

// answered notes that the node is alive.
func (p *peer) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answeredAt = p.clock.Mono()
	p.lastErr = nil
	p.set(StateUp)
}

// silent notes that the node did not answer what was asked at began (clock.Mono). It
// does not count where the node answered something else that was asked since.
func (p *peer) silent(began int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == StateUp && p.answeredAt > began {
		return
	}
	p.lastErr = err
	p.set(StateDown)
}

func (p *peer) set(s State) {
	if p.state != s {
		p.state = s
		p.since = p.clock.Now()
	}
}

func (p *peer) isDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state == StateDown
}

// peerView is what is known of a node at one moment. The statuses must not be modified.
type peerView struct {
	State     State
	Since     time.Time
	Err       error
	StatusAt  time.Time
	RecStatus *nodepb.RecorderStatus // the last one, also of a node that is down; may be nil
	PrxStatus *nodepb.ProxyStatus
}

func (p *peer) view() peerView {
	p.mu.Lock()
	defer p.mu.Unlock()
	return peerView{p.state, p.since, p.lastErr, p.statusAt, p.recStatus, p.prxStatus}
}

// probe asks for the status. ctx has the deadline.
func (p *peer) probe(ctx context.Context) error {
	return p.call(ctx, func(ctx context.Context) error {
		if p.proxy != nil {
			st, err := p.proxy.Status(ctx, &nodepb.StatusRequest{}, grpc.WaitForReady(true))
			if err == nil {
				p.keep(nil, st)
			}
			return err
		}
		st, err := p.recorder.Status(ctx, &nodepb.StatusRequest{}, grpc.WaitForReady(true))
		if err == nil {
			p.keep(st, nil)
		}
		return err
	})
}

func (p *peer) keep(r *nodepb.RecorderStatus, x *nodepb.ProxyStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recStatus, p.prxStatus, p.statusAt = r, x, p.clock.Now()
}

// watch probes until ctx ends. A node that is down is probed again at once when the last
// attempt took its whole deadline: the attempt waits for the connection, so that one that
// comes back is seen as soon as it is connected.
func (p *peer) watch(ctx context.Context, every, deadline time.Duration, changed func(*peer, peerView)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	was := StateUnknown
	for {
		attempt, cancel := context.WithTimeout(ctx, deadline)
		_ = p.probe(attempt) // kept in the peer
		cancel()
		if ctx.Err() != nil {
			return
		}
		if v := p.view(); v.State != was {
			was = v.State
			changed(p, v)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

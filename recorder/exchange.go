package recorder

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/nodepb"
)

const (
	// exchangeEvery is how often recorders tell each other what they know; one that is
	// away is asked as soon as it is connected, since each attempt waits for that.
	exchangeEvery    = 5 * time.Second
	exchangeDeadline = 5 * time.Second
	// peerGrace is how long after the start nothing is deleted before every other
	// recorder has told its locks; unless the disk is full.
	peerGrace = 30 * time.Second
	// exchangeBytes bounds a request, which the server bounds too (maxRequest).
	exchangeBytes = maxRequest / 2
)

// exchange keeps recorders' locks the same, and knows what footage the others hold.
type exchange struct {
	r     *Recorder
	every time.Duration

	// heard is closed when every peer has told its locks once.
	heard  chan struct{}
	missed atomic.Int32 // peers that have not

	mu      sync.Mutex
	answers map[string]*peerFootage // by peer
}

func newExchange(r *Recorder) *exchange {
	x := &exchange{r: r, every: exchangeEvery, heard: make(chan struct{}), answers: map[string]*peerFootage{}}
	x.missed.Store(int32(len(r.peers)))
	if len(r.peers) == 0 {
		close(x.heard)
	}
	return x
}

// run talks with every peer until ctx ends.
func (x *exchange) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range x.r.peers {
		wg.Go(func() { x.runPeer(ctx, p) })
	}
	wg.Wait()
}

func (x *exchange) runPeer(ctx context.Context, p *peer) {
	tick := time.NewTicker(x.every)
	defer tick.Stop()
	first := true
	var asked time.Duration
	for {
		err := x.locks(ctx, p)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if n, ok := x.r.every.Allow("locks " + p.Name); ok && status.Code(err) != codes.Unavailable {
				x.r.opts.Log.Warn().Err(err).Str("peer", p.Name).Int("suppressed", n).Msg("exchange evidence locks")
			}
		default:
			x.r.locks.trusted()
			if first {
				first = false
				if x.missed.Add(-1) == 0 {
					close(x.heard)
				}
			}
			if now := time.Duration(x.r.opts.Clock.Mono()); asked == 0 || now-asked >= footageEvery {
				asked = now
				x.askFootage(ctx, p)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// hold says why retention deletes nothing now: a lock may have been placed that this
// recorder has not heard of.
func (x *exchange) hold(v *volume) string {
	if why := x.r.locks.doubts(); why != "" {
		return why
	}
	select {
	case <-x.heard:
		return ""
	default:
	}
	if time.Duration(x.r.opts.Clock.Mono()-x.r.startedMono) >= peerGrace || v.disk.hasRoom() != nil {
		return "" // they may be gone for good, and recording must go on
	}
	return "waiting for the locks of other recorders"
}

// locks makes both recorders know what either knows.
func (x *exchange) locks(ctx context.Context, p *peer) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeDeadline)
	defer cancel()
	mine := x.r.locks.current()
	digest, err := lock.Digest(mine)
	if err != nil {
		return err
	}
	reply, err := p.client.ExchangeLocks(ctx, &nodepb.ExchangeLocksRequest{Digest: digest[:]}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("ask recorder %s for its locks: %w", p.Name, err)
	}
	if string(reply.GetDigest()) == string(digest[:]) {
		return x.r.locks.add(ctx) // what a data directory lacks
	}
	theirs, err := lock.FromProto(reply.GetLocks())
	if err != nil {
		return fmt.Errorf("locks of recorder %s: %w", p.Name, err)
	}
	before := x.r.locks.current().Len()
	if err := x.r.locks.add(ctx, theirs...); err != nil {
		return err
	}
	mine = x.r.locks.current()
	if n := mine.Len() - before; n > 0 {
		x.r.opts.Log.Info().Str("peer", p.Name).Int("locks", n).Msg("learned evidence locks")
	}
	known, _ := lock.Set{}.With(theirs...)
	return x.tell(ctx, p, known, mine)
}

// tell sends what the peer lacks, in parts.
func (x *exchange) tell(ctx context.Context, p *peer, known, mine lock.Set) error {
	var part []*nodepb.Lock
	size := 0
	send := func() error {
		if len(part) == 0 {
			return nil
		}
		d, err := lock.Digest(mine)
		if err == nil {
			_, err = p.client.ExchangeLocks(ctx, &nodepb.ExchangeLocksRequest{Locks: part, Digest: d[:]}, grpc.WaitForReady(true))
		}
		if err != nil {
			return fmt.Errorf("tell recorder %s of %d locks: %w", p.Name, len(part), err)
		}
		part, size = nil, 0
		return nil
	}
	for _, l := range mine.All() {
		if _, news := known.With(l); !news {
			continue
		}
		m := l.ToProto()
		n := len(l.Reason) + len(l.By) + len(l.ReleasedBy) + len(l.Camera) + 128
		if size+n > exchangeBytes {
			if err := send(); err != nil {
				return err
			}
		}
		part, size = append(part, m), size+n
	}
	return send()
}

// ExchangeLocks implements nodepb.RecorderServer.
func (s *server) ExchangeLocks(ctx context.Context, q *nodepb.ExchangeLocksRequest) (*nodepb.ExchangeLocksReply, error) {
	locks, err := lock.FromProto(q.GetLocks())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := s.r.locks.add(ctx, locks...); err != nil {
		return nil, status.Errorf(codes.Internal, "recorder %s: %v", s.r.opts.Name, err)
	}
	set := s.r.locks.current()
	digest, err := lock.Digest(set)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "recorder %s: %v", s.r.opts.Name, err)
	}
	out := &nodepb.ExchangeLocksReply{Digest: digest[:]}
	if string(q.GetDigest()) == string(digest[:]) {
		return out, nil
	}
	for _, l := range set.All() {
		out.Locks = append(out.Locks, l.ToProto())
	}
	return out, nil
}

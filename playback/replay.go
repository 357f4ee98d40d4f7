package playback

import (
	"context"
	"fmt"
	"math"
	"net"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/playback/replay"
)

// RTSP says where recordings are served over RTSP.
type RTSP struct {
	// Listener takes RTSP connections, RTP and RTCP are the sockets for media over UDP, nil
	// for none; see replay.Options. The Service closes them.
	Listener  net.Listener
	RTP, RTCP *net.UDPConn
	// Users may read; without any, everybody may.
	Users []replay.User
}

// newReplay makes the RTSP server of the service, nil where it has none.
func (s *Service) newReplay() (*replay.Server, error) {
	r := s.o.RTSP
	if r == nil {
		return nil, nil //nolint:nilnil // none is a valid answer
	}
	return replay.New(replay.Options{
		Listener: r.Listener, RTP: r.RTP, RTCP: r.RTCP, Users: r.Users, Footage: replayFootage{s},
		Clock: s.clock, Log: s.o.Log.With().Str("component", "replay").Logger(), Registry: s.registry,
	})
}

// replayFootage is the merged footage of the recorders, for package replay.
type replayFootage struct{ s *Service }

// Knows implements replay.Footage.
func (f replayFootage) Knows(camera string) bool {
	return nameForm.MatchString(camera) && f.s.pool.knows(camera)
}

// List implements replay.Footage.
func (f replayFootage) List(ctx context.Context, camera string, fromNS, toNS int64, after *replay.After) (replay.Listing, error) {
	live := f.s.clock.Now().Add(-liveWithin).UnixNano()
	var p *plan
	var err error
	if after == nil {
		p, err = f.s.pool.makePlan(ctx, camera, fromNS, toNS, live, f.s.o.Limits.Fragments)
	} else {
		p, err = f.s.pool.planOnce(ctx, planning{
			camera: camera, fromNS: fromNS, toNS: toNS, liveNS: live, backNS: lookBackNS, limit: f.s.o.Limits.Fragments, after: after,
		})
	}
	if err != nil {
		return replay.Listing{}, err
	}
	l := replay.Listing{Fragments: make([]replay.Fragment, 0, len(p.refs)-p.preRoll)}
	for i := p.preRoll; i < len(p.refs); i++ {
		r := &p.refs[i]
		l.Fragments = append(l.Fragments, replay.Fragment{
			Epoch: p.epochs[r.epoch], First: r.first, End: r.end, StartNS: r.startNS, EndNS: r.endNS,
			MinNS: r.minNS, MaxNS: r.maxNS, WindowNS: r.windowNS, FromNS: r.fromNS, Size: r.size,
			Hash: r.hash, Init: p.inits[r.init], RandomAccess: r.randomAccess, Holders: r.holders, InitHolders: p.initHolders[r.init],
		})
	}
	for _, u := range p.unknown {
		l.Unknown = append(l.Unknown, replay.Stretch{StartNS: u.startNS, EndNS: u.endNS})
	}
	return l, nil
}

// Next implements replay.Footage.
func (f replayFootage) Next(ctx context.Context, camera string, ns int64) (int64, error) {
	best := int64(math.MaxInt64)
	err := f.spans(ctx, camera, stretch{ns, math.MaxInt64}, func(x *index.Span) {
		if x.EndNS > ns {
			best = min(best, x.StartNS)
		}
	})
	if best == math.MaxInt64 {
		return 0, err
	}
	return best, nil
}

// Previous implements replay.Footage.
func (f replayFootage) Previous(ctx context.Context, camera string, ns int64) (int64, error) {
	best := int64(0)
	err := f.spans(ctx, camera, stretch{0, ns}, func(x *index.Span) {
		if x.StartNS < ns {
			best = max(best, min(x.EndNS, ns))
		}
	})
	if best == 0 {
		return 0, err
	}
	return best, nil
}

// spans calls visit with what the recorders hold. The error is for when that is nothing.
func (f replayFootage) spans(ctx context.Context, camera string, span stretch, visit func(*index.Span)) error {
	sources, _, _ := f.s.spans(ctx, camera, span)
	err := replay.ErrNone
	for i := range sources {
		if sources[i].Unknown {
			err = replay.ErrUnknown
		}
		for j := range sources[i].Spans {
			visit(&sources[i].Spans[j])
		}
	}
	if e := ctx.Err(); e != nil {
		return e
	}
	return err
}

// Read implements replay.Footage.
func (f replayFootage) Read(ctx context.Context, camera string, x *replay.Fragment) ([]byte, error) {
	data, err := f.s.reader.read(ctx, &want{
		camera: camera, epoch: x.Epoch, first: x.First, startNS: x.StartNS, size: x.Size, hash: x.Hash, holders: x.Holders,
	})
	if err != nil && ctx.Err() == nil && allGone(err) {
		return nil, fmt.Errorf("%w: %w", replay.ErrNone, err)
	}
	return data, err
}

// Header implements replay.Footage.
func (f replayFootage) Header(ctx context.Context, camera string, x *replay.Fragment) ([]byte, error) {
	b, err := f.s.reader.init(ctx, camera, x.Init, x.InitHolders)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	return b, nil
}

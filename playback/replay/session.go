package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/media"
)

// session is what lies between SETUP and TEARDOWN (RFC 2326 A.2). Its requests come one
// at a time; the player is a goroutine of its own.
type session struct {
	srv    *Server
	conn   *conn // over TCP, the one that media goes over
	id     string
	camera string
	log    zerolog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.Once

	*presentation
	presented []track
	tracks    []lane
	lanes     []laneKind
	only      bool // there is no video
	tcp       bool
	out       output
	playout   playout

	mu     sync.Mutex // of requests
	player *player    // nil: never played
	paused bool
	last   ask // of the player

	queueMu sync.Mutex
	queue   []ask

	heardNS atomic.Int64 // mono time of the last sign of life
	units   atomic.Uint64
	beganNS atomic.Int64 // mono; 0: never played
}

func (c *conn) newSession(p *presentation) *session {
	id := randomID()
	ctx, cancel := context.WithCancel(c.srv.ctx) // over UDP it outlives the connection
	s := &session{
		srv: c.srv, id: id, camera: p.camera, presentation: p, presented: p.tracks,
		ctx: ctx, cancel: cancel, only: true,
		log: c.srv.log.With().Str("camera", p.camera).Str("remote", c.remote.String()).Str("session", id[:8]).Logger(),
	}
	s.tracks = make([]lane, len(p.tracks))
	s.lanes = make([]laneKind, len(p.tracks))
	for i := range p.tracks {
		t := &p.tracks[i]
		s.tracks[i] = lane{track: t, ssrc: randomNumber(), seq: uint16(randomNumber()), offset: randomNumber(), known: t.params}
		s.lanes[i] = laneKind{video: t.kind == media.KindVideo, reference: t.isReference}
	}
	s.heard()
	return s
}

func (s *session) mono() int64 { return s.srv.clock.Mono() }

func (s *session) heard() { s.heardNS.Store(s.mono()) }

// nextQueued takes the next PLAY that waits.
func (s *session) nextQueued() (ask, bool) {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	if len(s.queue) == 0 {
		return ask{}, false
	}
	a := s.queue[0]
	s.queue = s.queue[1:]
	return a, true
}

// reportTime is what a sender report says the time of an access unit is: to plain players
// when it was captured; to ONVIF clients, and where time does not pass at its pace, when
// it is played out.
func (s *session) reportTime(a *ask, o *playout, u *unit) uint64 {
	if !a.onvif && o.scale == 1 {
		return ntpOf(u.captureNS)
	}
	return ntpOf(s.srv.clock.Now().UnixNano() + o.due(u.captureNS) - s.mono())
}

// errStalled: the client does not read.
var errStalled = errors.New("the client does not read")

// flush sends what is collected, when the player may send.
func (s *session) flush(ctx context.Context, p *player) error {
	if s.out.empty() {
		return nil
	}
	for {
		if err := p.gate.wait(ctx); err != nil {
			return err
		}
		sent, err := s.write(ctx, p)
		if sent || err != nil {
			s.srv.m.bytes.Add(float64(len(s.out.buf)))
			return err
		}
	}
}

// write sends what is collected, unless the gate was closed meanwhile: nothing is sent
// after the answer to a PAUSE.
func (s *session) write(ctx context.Context, p *player) (bool, error) {
	if !s.tcp {
		if open, _ := p.gate.state(); !open {
			return false, nil
		}
		s.sendUDP(ctx)
		return true, nil
	}
	limit := s.srv.o.Stall
	if !p.ask.paced {
		limit = 2 * s.srv.o.Timeout
	}
	s.conn.wmu.Lock()
	defer s.conn.wmu.Unlock()
	if open, _ := p.gate.state(); !open || ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err := s.conn.write(s.out.buf, limit); err != nil {
		return false, err
	}
	s.heard()
	return true, nil
}

// broken ends the session from within its player.
func (s *session) broken(err error) {
	if errors.Is(err, errStalled) {
		s.srv.m.dropped.Inc()
	}
	if s.conn != nil {
		s.conn.abort()
	}
	s.cancel()
	s.end(err.Error())
}

// close ends the session and waits for its player.
func (s *session) close(why string) {
	s.cancel()
	s.mu.Lock()
	p := s.player
	s.mu.Unlock()
	if p != nil {
		p.cancel()
		unblock := time.AfterFunc(unblockAfter, func() {
			if s.conn != nil {
				s.conn.abort() // it waits for a client that does not read
			}
		})
		p.stop()
		unblock.Stop()
	}
	s.end(why)
}

// unblockAfter is how long the end of a session waits for a write to the client.
const unblockAfter = time.Second

// orphan lets the session end soon, unless the client makes itself heard: its connection
// is gone, over which it would end it.
func (s *session) orphan() {
	const soon = 15 * time.Second
	s.heardNS.Store(s.mono() - int64(2*s.srv.o.Timeout) + int64(soon))
}

// end forgets the session, once.
func (s *session) end(why string) {
	s.ended.Do(func() {
		s.srv.drop(s)
		if s.beganNS.Load() == 0 {
			return
		}
		s.srv.m.sessions.WithLabelValues(s.transport()).Dec()
		s.log.Info().Str("reason", why).Uint64("accessUnits", s.units.Load()).
			Stringer("lasted", time.Duration(s.mono()-s.beganNS.Load()).Round(time.Millisecond)).Msg("replay ended")
	})
}

func (s *session) transport() string {
	if s.tcp {
		return "tcp"
	}
	return "udp"
}

// begins notes that the session plays, the first time.
func (s *session) begins(a *ask) {
	if !s.beganNS.CompareAndSwap(0, max(s.mono(), 1)) {
		return
	}
	s.srv.m.sessions.WithLabelValues(s.transport()).Inc()
	s.srv.m.total.WithLabelValues(s.transport()).Inc()
	e := s.log.Info().Str("transport", s.transport()).Str("start", formatClock(a.fromNS)).Bool("onvif", a.onvif)
	if a.toNS != 0 {
		e = e.Str("end", formatClock(a.toNS))
	}
	if a.scale != 1 || !a.paced {
		e = e.Str("pace", fmt.Sprintf("%g, controlled: %t", a.scale, a.paced))
	}
	e.Msg("replay plays")
}

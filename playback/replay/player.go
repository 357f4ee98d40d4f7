package replay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/media"
)

const (
	// aheadNS is how long before the end of a fragment the next one is read: longer than it
	// takes to list and read it when a recorder hangs.
	aheadNS = int64(time.Second)
	// togetherNS: what is due within it is sent at once.
	togetherNS = int64(8 * time.Millisecond)
	// lateByNS is how late sending may be before it goes on at its pace from there.
	lateByNS = int64(150 * time.Millisecond)
	// batchBytes is about how much is sent at once.
	batchBytes = 64 << 10
)

// player carries out a PLAY, and those that are queued behind it. It ends when everything
// was sent, or is stopped.
type player struct {
	s      *session
	ask    ask
	log    zerolog.Logger
	cancel context.CancelFunc
	done   chan struct{}

	opened chan opening // once
	gate   gate
	tune   chan ask // another pace

	at       atomic.Int64 // capture time of the video that was sent last
	finished atomic.Bool  // there is nothing more to send
	started  bool         // playout.begin was called for the first piece
}

// newPlayer starts to read what a asks for. Nothing is sent before the gate is opened.
func (s *session) newPlayer(a ask) *player {
	ctx, cancel := context.WithCancel(s.ctx)
	p := &player{
		s: s, ask: a, log: s.log, cancel: cancel, done: make(chan struct{}),
		opened: make(chan opening, 1), tune: make(chan ask, 1),
		gate: gate{change: make(chan struct{})},
	}
	p.at.Store(a.fromNS)
	go func() {
		defer close(p.done)
		defer cancel()
		p.run(ctx)
	}()
	return p
}

// stop ends the player and waits for it.
func (p *player) stop() {
	p.cancel()
	<-p.done
}

func (p *player) run(ctx context.Context) {
	for {
		f := &fetcher{
			p: p, ask: p.ask, walker: newWalker(&p.ask), roll: newRoll(&p.ask, p.s.lanes),
			pieces: make(chan *piece), permit: make(chan struct{}, 1),
		}
		f.permit <- struct{}{}
		fetching, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() {
			defer close(f.pieces)
			f.run(fetching)
		})
		err := p.send(ctx, f)
		cancel()
		wg.Wait()
		if err != nil {
			if ctx.Err() == nil {
				p.s.broken(err)
			}
			return
		}
		next, ok := p.s.nextQueued()
		if !ok {
			p.finished.Store(true)
			p.bye(ctx)
			return
		}
		p.ask, p.started = next, false
	}
}

// bye tells a plain player that nothing follows. An ONVIF client has the mark T.
func (p *player) bye(ctx context.Context) {
	if p.ask.onvif {
		return
	}
	p.s.out.reset()
	for i := range p.s.tracks {
		if l := &p.s.tracks[i]; l.set {
			p.s.out.bye(i, l)
		}
	}
	_ = p.s.flush(ctx, p) // the client may be gone by now
}

// send sends what the fetcher brings, until there is nothing more.
func (p *player) send(ctx context.Context, f *fetcher) error {
	if err := p.gate.wait(ctx); err != nil {
		return err
	}
	for {
		select {
		case x, ok := <-f.pieces:
			if !ok {
				return ctx.Err()
			}
			if err := p.sendPiece(ctx, f, x); err != nil {
				return err
			}
		case a := <-p.tune:
			p.retune(&a)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *player) sendPiece(ctx context.Context, f *fetcher, x *piece) error {
	o := &p.s.playout
	if !p.started {
		p.begin(x)
	}
	o.enter(&x.step)
	permitted := false
	permit := func() {
		if !permitted {
			permitted = true
			f.permit <- struct{}{}
		}
	}
	defer permit()
	endNS := x.units[len(x.units)-1].decodeNS
	for i := 0; i < len(x.units); {
		for {
			if !o.paced || o.due(endNS)-p.s.mono() < aheadNS {
				permit()
			}
			wait := o.due(x.units[i].decodeNS) - p.s.mono()
			if !o.paced || wait <= 0 {
				if o.paced && -wait > lateByNS {
					o.late(-wait)
				}
				break
			}
			if !permitted { // the next fragment is to be asked for in time
				wait = min(wait, max(o.due(endNS)-aheadNS-p.s.mono(), int64(time.Millisecond)))
			}
			if err := p.sleep(ctx, time.Duration(wait)); err != nil {
				return err
			}
		}
		n, err := p.batch(ctx, x, i)
		if err != nil {
			return err
		}
		i += n
	}
	return nil
}

// begin is where a range begins in play-out time.
func (p *player) begin(x *piece) {
	p.started = true
	from := x.units[0].captureNS
	for i := range x.units {
		u := &x.units[i]
		if p.ask.scale > 0 {
			from = min(from, u.captureNS)
		} else {
			from = max(from, u.captureNS)
		}
	}
	p.s.playout.begin(&p.ask, from, p.s.mono())
}

// sleep waits, and takes another pace meanwhile.
func (p *player) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	_, change := p.gate.state()
	select {
	case <-t.C:
		return nil
	case <-change:
		if err := p.gate.wait(ctx); err != nil {
			return err
		}
		select {
		case a := <-p.tune:
			p.retune(&a)
		default:
		}
		return nil
	case a := <-p.tune:
		p.retune(&a)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retune goes on at another pace, or after a pause.
func (p *player) retune(a *ask) {
	p.ask = *a
	if p.started {
		p.s.playout.rescale(a, p.at.Load(), p.s.mono())
	}
}

// batch sends units from i on: those that are due about now. It returns how many.
func (p *player) batch(ctx context.Context, x *piece, i int) (int, error) {
	s, o := p.s, &p.s.playout
	s.out.reset()
	saved := make([]lane, len(s.tracks))
	copy(saved, s.tracks)
	now := s.mono()
	n := 0
	for i+n < len(x.units) && len(s.out.buf) < batchBytes {
		u := &x.units[i+n]
		if n > 0 && o.paced && o.due(u.decodeNS) > now+togetherNS {
			break
		}
		p.put(x, u, now)
		n++
	}
	if err := s.flush(ctx, p); err != nil {
		if ctx.Err() != nil { // what was not sent leaves no hole in the numbers
			copy(s.tracks, saved)
		}
		return 0, err
	}
	for k := range n {
		u := &x.units[i+k]
		o.sent(u.captureNS)
		if s.tracks[u.track].kind == media.KindVideo || s.only {
			p.at.Store(u.captureNS)
		}
	}
	s.units.Add(uint64(n))
	s.srv.m.units.Add(float64(n))
	return n, nil
}

// put appends an access unit to the output.
func (p *player) put(x *piece, u *unit, now int64) {
	s, o := p.s, &p.s.playout
	l := &s.tracks[u.track]
	if !l.set {
		return
	}
	ts := l.offset + o.timestamp(u.captureNS, l.rate)
	if o.paced && (l.reports == 0 || now-l.reports > int64(reportEvery) || u.marks&markDiscontinuity != 0) {
		l.reports = now
		s.out.report(u.track, l, s.reportTime(&p.ask, o, u), ts)
	}
	sample := x.data[u.at : u.at+int64(u.size)]
	if u.marks&markClean != 0 && x.sets[u.track] != nil {
		sample = l.withSets(sample, x.sets[u.track])
	}
	if err := s.out.unit(u.track, l, sample, u, ts, p.ask.cseq); err != nil {
		s.srv.m.unsent.Inc()
		s.srv.warn("packetize "+s.camera, func(n int) {
			p.log.Warn().Int("suppressed", n).Str("codec", string(l.codec)).Err(err).Msg("an access unit cannot be sent over RTP")
		})
	}
	l.lastTS, l.lastNS = ts, u.captureNS
}

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

	edgePause  = 250 * time.Millisecond // between two looks for new footage
	doubtPause = 300 * time.Millisecond // while recorders do not answer
	readTries  = 3
)

// piece is what is to be sent of a fragment.
type piece struct {
	step  step
	data  []byte
	units []unit
	sets  [][][]byte // parameter sets of each lane; nil: none
}

// opening is what is known when the first access unit of a PLAY can be sent, or cannot.
type opening struct {
	piece *piece // nil: there is nothing yet
	err   error  // ErrNone, ErrUnknown: there is nothing
}

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

// gate lets a player send, or holds it back.
type gate struct {
	mu     sync.Mutex
	open   bool
	change chan struct{}
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = open
	close(g.change)
	g.change = make(chan struct{})
}

func (g *gate) state() (open bool, change <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.change
}

// wait blocks until the gate is open.
func (g *gate) wait(ctx context.Context) error {
	for {
		open, change := g.state()
		if open {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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

// fetcher lists and reads what is to be sent next.
type fetcher struct {
	p      *player
	ask    ask
	walker *walker
	roll   *roll
	pieces chan *piece
	permit chan struct{} // to read one more fragment
	opened bool
	failed int64 // since when nothing can be listed; 0: it can

	header struct { // of the last fragment
		hash  media.Hash
		init  *media.Init
		lanes map[uint32]int
		sets  [][][]byte
	}
}

func (f *fetcher) open(o opening) {
	if !f.opened {
		f.opened = true
		select {
		case f.p.opened <- o:
		default: // of a PLAY that was queued
		}
	}
}

func (f *fetcher) run(ctx context.Context) {
	s := f.p.s
	for ctx.Err() == nil {
		now := s.srv.clock.Now().UnixNano()
		m := f.walker.next(now)
		switch m.kind {
		case moveEnd:
			f.open(opening{err: ErrNone})
			return
		case moveWait:
			f.open(opening{})
			pause(ctx, edgePause)
		case moveList:
			l, err := s.srv.footage.List(ctx, s.camera, m.fromNS, m.toNS, m.after)
			switch {
			case err != nil:
				f.unlisted(ctx, err, now)
			case f.walker.listed(&m, &l, now):
				pause(ctx, doubtPause)
			default:
				f.failed = 0
			}
		case moveFind:
			f.find(ctx, &m, now)
		case moveStep:
			if !f.step(ctx, &m.step) {
				return
			}
		}
	}
}

func (f *fetcher) unlisted(ctx context.Context, err error, now int64) {
	if ctx.Err() != nil {
		return
	}
	if f.failed == 0 {
		f.failed = now
	}
	if now-f.failed > int64(2*time.Second) {
		f.open(opening{err: ErrUnknown})
	}
	s := f.p.s
	s.srv.warn("list "+s.camera, func(n int) {
		f.p.log.Warn().Int("suppressed", n).Err(err).Msg("footage cannot be listed for a replay, trying again")
	})
	pause(ctx, doubtPause)
}

func (f *fetcher) find(ctx context.Context, m *move, now int64) {
	s := f.p.s
	look := s.srv.footage.Next
	if f.walker.reverse {
		look = s.srv.footage.Previous
	}
	ns, err := look(ctx, s.camera, m.fromNS)
	switch {
	case err == nil:
		f.failed = 0
		f.walker.found(ns, true)
	case errors.Is(err, ErrNone) || !f.walker.reverse:
		f.walker.found(0, false)
	case f.failed != 0 && now-f.failed > patienceNS:
		f.walker.found(0, false)
	default:
		f.unlisted(ctx, err, now)
	}
}

// step reads a fragment and gives it to the sender. It reports whether to go on.
func (f *fetcher) step(ctx context.Context, st *step) bool {
	if f.roll.skips(st) {
		return true
	}
	select {
	case <-f.permit:
	case <-ctx.Done():
		return false
	}
	x, err := f.read(ctx, st)
	if ctx.Err() != nil {
		return false
	}
	s := f.p.s
	if err != nil {
		f.walker.lost()
		f.permit <- struct{}{}
		s.srv.m.unread.Inc()
		s.srv.warn("read "+s.camera, func(n int) {
			f.p.log.Error().Int("suppressed", n).Err(err).Time("start", time.Unix(0, st.StartNS).UTC()).
				Msg("a fragment cannot be read from any recorder: the replay goes on behind it")
		})
		return true
	}
	if len(x.units) == 0 {
		f.permit <- struct{}{}
		return true
	}
	f.open(opening{piece: x})
	select {
	case f.pieces <- x:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *fetcher) read(ctx context.Context, st *step) (*piece, error) {
	s := f.p.s
	if err := f.head(ctx, st); err != nil {
		return nil, err
	}
	var data []byte
	var err error
	for try := range readTries {
		if data, err = s.srv.footage.Read(ctx, s.camera, &st.Fragment); err == nil || ctx.Err() != nil || errors.Is(err, ErrNone) {
			break
		}
		if try == 0 {
			s.srv.m.stalled.Inc()
		}
	}
	if err != nil {
		return nil, err
	}
	parsed, err := media.ParseFragment(data, st.Size, f.header.init, st.WindowNS)
	if err != nil {
		return nil, fmt.Errorf("fragment %s+%d: %w", st.Epoch, st.First, err)
	}
	laneOf := func(id uint32) int {
		n, ok := f.header.lanes[id]
		if !ok || !s.tracks[n].set {
			return -1
		}
		return n
	}
	units := f.roll.unroll(st, parsed, data, laneOf)
	return &piece{step: *st, data: data, units: units, sets: f.header.sets}, nil
}

// head reads the init header of the fragment, unless it is that of the last one.
func (f *fetcher) head(ctx context.Context, st *step) error {
	if f.header.init != nil && f.header.hash == st.Init {
		return nil
	}
	s := f.p.s
	b, err := s.srv.footage.Header(ctx, s.camera, &st.Fragment)
	if err != nil {
		return err
	}
	of, init, err := tracksOf(b)
	if err != nil {
		return fmt.Errorf("init header %x…: %w", st.Init[:6], err)
	}
	f.header.hash, f.header.init = st.Init, init
	f.header.lanes = match(s.presented, of)
	f.header.sets = make([][][]byte, len(s.presented))
	for i := range of {
		if n, ok := f.header.lanes[of[i].id]; ok {
			f.header.sets[n] = of[i].params
		}
	}
	return nil
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

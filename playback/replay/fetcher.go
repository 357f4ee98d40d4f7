package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/duet-video/duet/internal/media"
)

const (
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

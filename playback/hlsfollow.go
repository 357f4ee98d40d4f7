package playback

import (
	"context"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// liveFor and liveItems are how much a live playlist has.
	liveFor   = 30 * time.Second
	liveItems = 6
	// liveBack is how old the newest footage may be at the first request.
	liveBack = 2 * time.Minute
	// refreshEvery is how often recorders are asked for what is new, for all clients together.
	refreshEvery = 200 * time.Millisecond
	// settleFor is how long a hole at the end is taken for one of which a recorder has not
	// said yet that it fills it. What was said cannot be taken back.
	settleFor = 2 * time.Second
	// longGap: a longer one is jumped over by live playlists.
	longGap = time.Minute
	// followBytes bounds what is remembered of playlists that grow.
	followBytes = 96 << 20
	// openEnd is after all footage, far from overflow.
	openEnd = int64(math.MaxInt64) / 2
)

// followKey names a playlist that grows.
type followKey struct {
	camera   string
	fromNS   int64 // 0: live
	skipGaps bool
}

// follow is a playlist that grows. What was said in it stays: later, only what comes after
// it is added, whatever recorders that were away turn out to have. It is only a memory: a
// node that has lost it, or another one, makes it anew, with the same or higher numbers.
type follow struct {
	key followKey

	mu               sync.Mutex
	list             hlsList
	target           int
	base, baseBreaks int64 // numbers of the first item and the first discontinuity that there ever were
	refreshed        int64 // clock.Mono; 0: never
	hole             stretch
	holeSeen         int64 // clock.Mono
	silent           []string
}

func (s *Service) followed(key followKey) *follow {
	s.followMu.Lock()
	defer s.followMu.Unlock()
	f, ok := s.follows.get(key)
	if !ok {
		f = &follow{key: key, list: hlsList{skipGaps: key.skipGaps, live: key.fromNS == 0}}
		s.follows.put(key, f, 4096)
	}
	return f
}

// refresh asks the recorders for what is new, and calls use with the list. It returns a
// Problem where there is nothing.
func (f *follow) refresh(ctx context.Context, s *Service, use func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	mono := s.clock.Mono()
	if f.refreshed == 0 || mono-f.refreshed >= int64(refreshEvery) {
		if err := f.extend(ctx, s, mono); err != nil {
			return err
		}
		f.refreshed = max(s.clock.Mono(), 1)
	}
	use()
	return nil
}

func (f *follow) extend(ctx context.Context, s *Service, mono int64) error {
	now := s.clock.Now()
	live := f.key.fromNS == 0
	from := f.key.fromNS
	if live {
		from = now.Add(-liveBack).UnixNano()
	}
	if f.list.last != nil {
		from = max(from, f.list.last.endNS-1)
	}
	newest, _ := s.liveness(f.key.camera, now)
	p, err := s.plan(ctx, f.key.camera, from, max(now.Add(aheadOfNow).UnixNano(), from+tickNS), newest)
	if err != nil {
		return err
	}
	f.silent = p.silentNames()
	before := len(f.list.items)
	target := max(longestOf(p), time.Duration(f.target)*time.Second)
	f.list.add(p, target, func(hole stretch, unknown bool) bool { return f.settled(hole, unknown, p, mono, now.UnixNano()) })
	if f.list.last == nil {
		if live {
			span := stretch{from, now.UnixNano()}
			return s.noFootage(ctx, p, span)
		}
		return nil
	}
	if live {
		f.list.trim(liveItems, liveFor)
		if before == 0 {
			// No count of what came before is kept, so that numbers begin at the time: there
			// is no more than one segment a second, and they never go back. Numbers of
			// discontinuities are small: hls.js has arrays of that length, and seconds since
			// 1970 make it hang.
			f.base = f.list.items[0].startNS/int64(time.Second) - f.list.dropped
			f.baseBreaks = f.list.epochs[f.list.items[0].epoch].Time().Unix()/breaksEvery - f.list.droppedBreaks
		}
	}
	f.target = max(f.target, f.list.seconds())
	if before != len(f.list.items) {
		s.follows.replace(f.key, f, int64(cap(f.list.items))*96+4096)
	}
	return nil
}

// breaksEvery is how many seconds have one number of a discontinuity, see above.
const breaksEvery = 6 * 3600

// settled decides whether the list may go on behind a hole. At its end, a hole may be one
// for a moment only: one recorder is a little later than the other, or is about to answer
// again.
func (f *follow) settled(hole stretch, unknown bool, p *plan, mono, now int64) bool {
	if len(p.refs) == 0 || hole.endNS > p.refs[len(p.refs)-1].startNS {
		return false // nothing comes after it: it is told when its end is known
	}
	if f.list.last == nil || now-hole.endNS > int64(30*time.Second) {
		return true
	}
	if f.hole.startNS != hole.startNS {
		f.hole, f.holeSeen = hole, mono
	}
	if mono-f.holeSeen < int64(settleFor) {
		return false
	}
	if f.key.fromNS == 0 && !unknown && hole.endNS-hole.startNS > int64(longGap) {
		f.list.skipNext = true
	}
	return true
}

// playlist makes a copy that can be written without the lock.
func (f *follow) playlist(media string) *playlist {
	l := f.list // items are only added behind, or in a new slice
	l.holders = slices.Clone(l.holders)
	p := &playlist{list: &l, form: hlsForm{
		target: f.target, sequence: f.base + l.dropped, breaks: f.baseBreaks + l.droppedBreaks, media: media, block: true,
	}}
	if f.key.fromNS != 0 {
		p.form.kind, p.form.startNS = "EVENT", f.key.fromNS
	}
	span := stretch{f.key.fromNS, openEnd}
	if n := len(l.items); n > 0 {
		span = stretch{l.items[0].startNS, l.items[n-1].endNS}
	}
	p.headers = listHeaders(f.key.camera, &l, span, f.silent)
	return p
}

// next is the number of the segment that comes next.
func (f *follow) next() int64 { return f.base + f.list.dropped + int64(len(f.list.items)) }

// hlsLive makes the live playlist.
func (s *Service) hlsLive(ctx context.Context, in *hlsLiveInput) (*playlist, error) {
	if err := s.checkCamera(in.Camera); err != nil {
		return nil, err
	}
	skip, err := skipGaps(in.Gaps)
	if err != nil {
		return nil, err
	}
	return s.hlsFollow(ctx, followKey{in.Camera, 0, skip}, in.Msn, "../media/")
}

// hlsGrowing makes the playlist from a time up to now.
func (s *Service) hlsGrowing(ctx context.Context, in *hlsInput, span stretch, skip bool) (*playlist, error) {
	from, _ := ticks(span)
	p, err := s.hlsFollow(ctx, followKey{in.Camera, from, skip}, in.Msn, "media/")
	if err != nil {
		return nil, err
	}
	if len(p.list.items) == 0 {
		live, _ := s.liveness(in.Camera, s.clock.Now())
		pl, err := s.plan(ctx, in.Camera, from, span.endNS, live)
		if err != nil {
			return nil, err
		}
		return nil, s.noFootage(ctx, pl, span)
	}
	return p, nil
}

func (s *Service) hlsFollow(ctx context.Context, key followKey, msn, media string) (*playlist, error) {
	want := int64(-1)
	if msn != "" {
		n, err := strconv.ParseInt(msn, 10, 64)
		if err != nil || n < 0 {
			return nil, noOption("_HLS_msn", "_HLS_msn is %q, which is not the number of a segment.", msn)
		}
		want = n
	}
	f := s.followed(key)
	began := s.clock.Mono()
	var p *playlist
	for {
		var next int64
		err := f.refresh(ctx, s, func() {
			next = f.next()
			if wait := time.Duration(3*f.target) * time.Second; next > want || want > next+2 || time.Duration(s.clock.Mono()-began) >= wait {
				p = f.playlist(media)
			}
		})
		if err != nil {
			return nil, err
		}
		if p != nil {
			break
		}
		pause := time.NewTimer(refreshEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, ctx.Err()
		}
	}
	return p, s.describe(ctx, key.camera, p)
}

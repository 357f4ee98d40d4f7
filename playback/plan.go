package playback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
	"github.com/duet-video/duet/playback/replay"
)

// How far around a range fragments are looked for: audio runs a little before or after
// the video that it is cut with, and what is shown first may need an earlier key frame.
const (
	lookBackNS  = int64(15e9)
	lookAheadNS = int64(3e9)
	// preRollNS is how far back a key frame is looked for where fragments start without one.
	preRollNS = int64(10 * 60e9)
	// overlapNS is by how much the last fragment of an epoch and the first of the next may
	// overlap without being taken for two sessions of the camera at once: the duration of
	// an epoch's last access unit is a guess.
	overlapNS = int64(500e6)
)

// planRef is a fragment of a plan, kept small: a day has 86 400 of them.
type planRef struct {
	hash         media.Hash
	holders      uint64 // bit i: recorder i of the pool
	first, end   uint64
	startNS      int64
	endNS        int64
	minNS, maxNS int64
	windowNS     int64
	fromNS       int64 // samples before it are shown from elsewhere; 0: none are
	size         int64
	epoch, init  uint32 // index in the plan's lists
	randomAccess bool
}

// stretch is a span of capture time, Unix ns, end exclusive.
type stretch struct{ startNS, endNS int64 }

// plan is what a range of a camera is made of. It does not change once it is made.
type plan struct {
	camera       string
	fromNS, toNS int64
	// refs are in presentation order. refs[video] is the first one with video of the
	// range; those before it are there for their audio (they overlap the range), or as
	// pre-roll (refs[preRoll:video], which is empty where refs[video] starts with a key frame).
	refs           []planRef
	preRoll, video int
	epochs         []record.Epoch
	inits          []media.Hash
	initHolders    []uint64
	// gaps are what nobody has and everybody was asked for; unknown is what those who
	// answered do not have, while others, doubts[i] of unknown[i], did not answer.
	gaps    []stretch
	unknown []stretch
	doubts  [][]string
	// silent names the recorders behind unknown, and why they said nothing.
	silent map[string]error
	// dropped and conflicts count fragments that are not shown: of a second session at
	// the same time, and of copies that disagree.
	dropped, conflicts int
	lastEndNS          int64 // the end of the newest footage shown
}

var errTooMany = errors.New("too many fragments")

// planner collects a plan from a merged listing. Pure.
type planner struct {
	plan
	limit  int
	epoch  map[record.Epoch]uint32
	init   map[media.Hash]uint32
	peerOf []*peer // of a source of the merge

	current record.Epoch // the session that is being followed
	coverNS int64        // up to where
	waiting []index.Merged
	some    bool

	endOffset uint64 // of current: what comes next begins there or later

	coveredNS int64 // of the range, for gaps
	missing   []stretch
}

func newPlanner(camera string, fromNS, toNS int64, limit int, peerOf []*peer) *planner {
	return &planner{
		plan:  plan{camera: camera, fromNS: fromNS, toNS: toNS, silent: make(map[string]error)},
		limit: limit, peerOf: peerOf,
		epoch: make(map[record.Epoch]uint32), init: make(map[media.Hash]uint32),
		coveredNS: fromNS,
	}
}

// goOn makes it follow what was played already.
func (p *planner) goOn(a *replay.After) {
	p.some, p.current, p.endOffset, p.coverNS = true, a.Epoch, a.End, a.CoverNS
}

// add takes the next fragment of the merged listing. Where two sessions of the camera
// ran at once, the one that came first is followed to its end: the same pictures are not
// shown twice.
func (p *planner) add(m index.Merged) error {
	if !p.some {
		p.some = true
		p.current = m.Epoch
		return p.take(m, 0)
	}
	for {
		switch {
		case m.Epoch == p.current && m.First < p.endOffset:
			// Copies that disagree; the one that most recorders have came first.
			p.conflicts++
			if m.End <= p.endOffset {
				return nil
			}
			return p.take(m, tick(p.coverNS))
		case m.Epoch == p.current:
			p.forget()
			return p.take(m, 0)
		case m.StartNS <= p.coverNS:
			p.waiting = append(p.waiting, m)
			return nil
		case len(p.waiting) == 0:
			p.current = m.Epoch
			return p.take(m, 0)
		}
		if err := p.turn(); err != nil {
			return err
		}
	}
}

// forget drops what waits and is covered by the session that is followed.
func (p *planner) forget() {
	before := len(p.waiting)
	p.waiting = slices.DeleteFunc(p.waiting, func(m index.Merged) bool { return m.EndNS <= p.coverNS })
	p.dropped += before - len(p.waiting)
}

// turn goes over to the session of the first fragment that waits: the one that was
// followed is over.
func (p *planner) turn() error {
	p.forget()
	if len(p.waiting) == 0 {
		return nil
	}
	m := p.waiting[0]
	p.waiting = p.waiting[1:]
	from := int64(0)
	if p.coverNS-m.StartNS > overlapNS {
		from = tick(p.coverNS)
	}
	p.current = m.Epoch
	if err := p.take(m, from); err != nil {
		return err
	}
	// Those of the same session that wait behind it follow it.
	rest := p.waiting
	p.waiting = nil
	for _, w := range rest {
		if w.Epoch == p.current {
			if err := p.take(w, 0); err != nil {
				return err
			}
			continue
		}
		p.waiting = append(p.waiting, w)
	}
	return nil
}

func (p *planner) take(m index.Merged, fromNS int64) error {
	p.coverNS = max(p.coverNS, m.EndNS)
	p.endOffset = m.End
	if m.MinNS >= p.toNS && m.StartNS >= p.toNS {
		return nil
	}
	if len(p.refs) >= p.limit {
		return errTooMany
	}
	holders := uint64(0)
	for _, h := range m.Holders {
		holders |= 1 << p.peerOf[h].index
	}
	ref := planRef{
		hash: m.Hash, holders: holders, first: m.First, end: m.End,
		startNS: m.StartNS, endNS: m.EndNS, minNS: m.MinNS, maxNS: m.MaxNS, windowNS: m.WindowNS, fromNS: fromNS,
		size: m.Size, randomAccess: m.Flags&media.NoRandomAccess == 0,
	}
	var known bool
	if ref.epoch, known = p.epoch[m.Epoch]; !known {
		ref.epoch = uint32(len(p.epochs))
		p.epoch[m.Epoch] = ref.epoch
		p.epochs = append(p.epochs, m.Epoch)
	}
	if ref.init, known = p.init[m.InitHash]; !known {
		ref.init = uint32(len(p.inits))
		p.init[m.InitHash] = ref.init
		p.inits = append(p.inits, m.InitHash)
		p.initHolders = append(p.initHolders, 0)
	}
	p.initHolders[ref.init] |= holders
	p.refs = append(p.refs, ref)
	if m.EndNS > p.fromNS && m.StartNS < p.toNS {
		if m.StartNS > p.coveredNS+tickNS {
			p.missing = append(p.missing, stretch{p.coveredNS, m.StartNS})
		}
		p.coveredNS = max(p.coveredNS, min(m.EndNS, p.toNS))
		p.lastEndNS = max(p.lastEndNS, min(m.EndNS, p.toNS))
	}
	return nil
}

// finish ends the plan. silent are those who were not heard at all, failed those whose
// listing broke off, with the time up to which it came. What is missing at the end is
// not a gap where the newest footage is no older than liveNS: it is still to come.
func (p *planner) finish(silent []silence, failed map[*peer]*index.SourceError, liveNS int64) (*plan, error) {
	for len(p.waiting) > 0 {
		if err := p.turn(); err != nil {
			return nil, err
		}
	}
	if p.coveredNS+tickNS < p.toNS && (p.coveredNS < liveNS || p.lastEndNS == 0) {
		p.missing = append(p.missing, stretch{p.coveredNS, p.toNS})
	}
	for _, m := range p.missing {
		p.judge(m, silent, failed)
	}
	p.cutLead()
	return &p.plan, nil
}

// judge says whether what is missing is a gap, or unknown.
func (p *planner) judge(m stretch, silent []silence, failed map[*peer]*index.SourceError) {
	var names []string
	var until []int64
	why := map[string]error{}
	doubt := func(name string, untilNS int64, err error) {
		names, until, why[name] = append(names, name), append(until, untilNS), err
	}
	for _, s := range silent {
		doubt(s.peer.Name, cmp.Or(s.untilNS, math.MaxInt64), s.err)
	}
	for r, err := range failed {
		if err.AfterNS < m.endNS {
			doubt(r.Name, math.MaxInt64, err.Err)
		}
	}
	for _, u := range index.Doubt(m.startNS, m.endNS, names, until) {
		slices.Sort(u.Recorders)
		for _, name := range u.Recorders {
			p.silent[name] = why[name]
		}
		p.unknown, p.doubts = append(p.unknown, stretch{u.StartNS, u.EndNS}), append(p.doubts, u.Recorders)
		m.startNS = u.EndNS
	}
	if m.startNS < m.endNS {
		p.gaps = append(p.gaps, m)
	}
}

// cutLead drops the fragments before the range that have nothing to do with it.
func (p *planner) cutLead() {
	after := func(ns func(*planRef) int64) int {
		for i := range p.refs {
			if ns(&p.refs[i]) > p.fromNS {
				return i
			}
		}
		return len(p.refs)
	}
	first := after(func(r *planRef) int64 { return r.maxNS })
	p.video = max(first, after(func(r *planRef) int64 { return r.endNS }))
	p.preRoll = p.video
	if p.video < len(p.refs) {
		for p.preRoll > 0 && !p.refs[p.preRoll].randomAccess && p.refs[p.preRoll-1].epoch == p.refs[p.preRoll].epoch {
			p.preRoll--
		}
	}
	cut := min(first, p.preRoll)
	p.refs = slices.Clip(slices.Delete(p.refs, 0, cut))
	p.preRoll -= cut
	p.video -= cut
	p.used()
}

// used drops the init headers that only dropped fragments need.
func (p *planner) used() {
	var inits []media.Hash
	var holders []uint64
	to := make(map[uint32]uint32)
	for i := range p.refs {
		r := &p.refs[i]
		n, known := to[r.init]
		if !known {
			n = uint32(len(inits))
			to[r.init] = n
			inits = append(inits, p.inits[r.init])
			holders = append(holders, p.initHolders[r.init])
		}
		r.init = n
	}
	p.inits, p.initHolders = inits, holders
}

// needsMore reports whether the first video of the range may need an earlier key frame
// than those that were listed.
func (p *plan) needsMore() bool {
	return p.video < len(p.refs) && !p.refs[p.preRoll].randomAccess && p.refs[p.preRoll].first > 0
}

// silentNames returns the recorders that leave something unknown, sorted.
func (p *plan) silentNames() []string {
	names := make([]string, 0, len(p.silent))
	for n := range p.silent {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (p *plan) silentText() string { return strings.Join(p.silentNames(), " ") }

func (p *plan) silentReasons() string {
	var b strings.Builder
	for i, n := range p.silentNames() {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %v", n, p.silent[n])
	}
	return b.String()
}

// planning says what a plan is made of.
type planning struct {
	camera       string
	fromNS, toNS int64
	liveNS       int64 // see planner.finish
	backNS       int64 // how far before the range fragments are looked for
	limit        int
	after        *replay.After // go on behind that; may be nil
}

// makePlan asks the recorders what they have of [fromNS, toNS).
func (p *pool) makePlan(ctx context.Context, camera string, fromNS, toNS, liveNS int64, limit int) (*plan, error) {
	o := planning{camera: camera, fromNS: fromNS, toNS: toNS, liveNS: liveNS, backNS: lookBackNS, limit: limit}
	for ; ; o.backNS = min(o.backNS*6, preRollNS) {
		pl, err := p.planOnce(ctx, o)
		if err != nil || !pl.needsMore() || o.backNS == preRollNS {
			return pl, err
		}
	}
}

func (p *pool) planOnce(ctx context.Context, o planning) (*plan, error) {
	l := p.list(ctx, o.camera, o.fromNS-o.backNS, min(o.toNS, math.MaxInt64-lookAheadNS)+lookAheadNS)
	defer l.close()
	failed := make(map[*peer]*index.SourceError)
	sources, peers := l.sources()
	merge := index.MergeOptions{Continue: true, OnError: func(e *index.SourceError) { failed[peers[e.Source]] = e }}
	b := newPlanner(o.camera, o.fromNS, o.toNS, o.limit, peers)
	if o.after != nil {
		b.goOn(o.after)
	}
	for m, err := range index.MergeWith(merge, sources...) {
		if err == nil {
			err = b.add(m)
		}
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", o.camera, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return b.finish(l.silent, failed, o.liveNS)
}

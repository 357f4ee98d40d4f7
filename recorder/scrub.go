package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/node"
)

// Scrub says how a recorder re-reads what it holds.
type Scrub struct {
	// Off: it does not. What turns out to be damaged when it is read is still found.
	Off bool
	// Rate is how many bytes a second are read at most, of each disk. 0: 8 MB.
	Rate int64
	// Every is the time from one round to the next. 0: 30 days.
	Every time.Duration
}

const (
	defaultScrubRate  = 8_000_000
	defaultScrubEvery = 30 * 24 * time.Hour
	scrubFile         = "scrub.json"
	// scrubSave is how often the place is kept, scrubIdle how long nothing is done when
	// there is nothing to do.
	scrubSave = 10 * time.Second
	scrubIdle = 10 * time.Second
	// scrubYield is how long reading waits while what records needs the disk, and
	// scrubPatience how often in a row before it goes on all the same: a disk that is
	// always busy has to be checked, too.
	scrubYield    = 100 * time.Millisecond
	scrubPatience = 20
	// unreadLimit is how many fragments in a row may be unreadable before it is taken
	// for a matter of the whole disk, which ends the round for a while.
	unreadLimit = 8
	suspectsMax = 256
)

func (s *Scrub) complete() error {
	if s.Rate < 0 || s.Every < 0 {
		return fmt.Errorf("scrub rate %d and interval %s must not be negative", s.Rate, s.Every)
	}
	if s.Rate == 0 {
		s.Rate = defaultScrubRate
	}
	if s.Every == 0 {
		s.Every = defaultScrubEvery
	}
	return nil
}

// scrubState is how far a round came. It is kept in a file, so that a restart goes on.
type scrubState struct {
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	// Camera and Segment were checked last, up to At.
	Camera  string `json:"camera,omitempty"`
	Segment string `json:"segment,omitempty"`
	At      int64  `json:"at,omitempty"`
	// Done are the bytes that were checked, Total what there was when the round began.
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
	// What was found in this round.
	Fragments int64 `json:"fragments"`
	Damaged   int64 `json:"damaged"`
	Mended    int64 `json:"mended"`
	Unlisted  int64 `json:"unlisted"`
}

// scrubber checks the media of one data directory against its index: a bit at a time,
// all of it, and at once what was found suspect.
type scrubber struct {
	archive
	opts  Scrub
	index *indexHandle
	clock clock.Clock
	log   zerolog.Logger
	every *node.Every
	// isLive reports whether a file is being written, busy whether what records needs
	// the disk now, and mounted whether the directory is the one that it should be.
	isLive  func(path string) bool
	busy    func() bool
	mounted func() error
	// found is called for each fragment that was found damaged, after it was marked.
	found func(*index.Damage)

	suspects chan index.Ref
	read     atomic.Int64 // bytes, ever

	mu    sync.Mutex
	state scrubState
	saved time.Time
	allow time.Time // when the next bytes may be read
}

func newScrubber(a archive, o Scrub, h *indexHandle, c clock.Clock, log zerolog.Logger) *scrubber {
	return &scrubber{
		archive: a, opts: o, index: h, clock: c, log: log, every: node.NewEvery(time.Second, c.Now),
		isLive: func(string) bool { return false }, busy: func() bool { return false },
		mounted: func() error { return nil }, found: func(*index.Damage) {},
		suspects: make(chan index.Ref, suspectsMax),
	}
}

// suspect asks for a check of a fragment, soon. It never waits.
func (s *scrubber) suspect(ref *index.Ref) {
	select {
	case s.suspects <- *ref:
	default: // there are many: the rounds find it, or the next one who reads it
	}
}

// progress returns how far the round is.
func (s *scrubber) progress() scrubState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// run checks until ctx ends.
func (s *scrubber) run(ctx context.Context) {
	s.load()
	s.finishQuarantine()
	for ctx.Err() == nil {
		if err := s.step(ctx); err != nil && ctx.Err() == nil {
			if n, ok := s.every.Allow("scrub"); ok {
				s.log.Warn().Err(err).Int("suppressed", n).Msg("cannot check what is stored; trying again")
			}
		}
		if !s.idle(ctx, scrubIdle) {
			break
		}
	}
	s.save()
}

// step makes a round, or the rest of one, when it is due.
func (s *scrubber) step(ctx context.Context) error {
	if s.opts.Off {
		return nil
	}
	now := s.clock.Now()
	st := s.progress()
	if !st.Finished.IsZero() {
		if now.Before(st.Started.Add(s.opts.Every)) && !now.Before(st.Started) {
			return nil
		}
		st = scrubState{}
	}
	if st.Started.IsZero() {
		st = scrubState{Started: now.UTC()}
	}
	if err := s.index.err(); err != nil {
		return err
	}
	st.Total = 0
	for _, c := range s.index.store().Cameras() {
		st.Total += c.Bytes
	}
	s.set(st)
	return s.round(ctx)
}

func (s *scrubber) set(st scrubState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = st
}

// update changes the state, and keeps it now and then.
func (s *scrubber) update(f func(*scrubState)) {
	s.mu.Lock()
	f(&s.state)
	now := s.clock.Now()
	due := now.Sub(s.saved) >= scrubSave || now.Before(s.saved)
	if due {
		s.saved = now
	}
	s.mu.Unlock()
	if due {
		s.save()
	}
}

// round checks all cameras from where the state says.
func (s *scrubber) round(ctx context.Context) error {
	from := s.progress()
	for _, c := range s.index.store().Cameras() {
		if c.Name < from.Camera {
			continue
		}
		after := scrubState{}
		if c.Name == from.Camera {
			after = from
		}
		if err := s.camera(ctx, c.Name, after); err != nil {
			return err
		}
	}
	s.update(func(st *scrubState) {
		st.Finished = s.clock.Now().UTC()
		st.Camera, st.Segment, st.At = "", "", 0
	})
	s.save()
	st := s.progress()
	s.log.Info().Int64("fragments", st.Fragments).Int64("bytes", st.Done).Int64("damaged", st.Damaged).
		Int64("mended", st.Mended).Int64("unlisted", st.Unlisted).Msg("checked all that is stored")
	return nil
}

// camera checks the segments of a camera that come after a place.
func (s *scrubber) camera(ctx context.Context, name string, after scrubState) error {
	known := map[string]bool{}
	var segments []index.Segment
	for seg, err := range s.index.store().Segments(name) {
		if err != nil {
			return err
		}
		known[seg.Path] = true
		segments = append(segments, seg)
	}
	for i := range segments {
		seg := &segments[i]
		if seg.Path < after.Segment {
			continue
		}
		at := int64(-1)
		if seg.Path == after.Segment {
			at = after.At
		}
		if err := s.segment(ctx, seg, at); err != nil {
			return err
		}
	}
	return s.unlisted(ctx, name, known)
}

// segment checks a file behind an offset.
func (s *scrubber) segment(ctx context.Context, seg *index.Segment, after int64) error {
	if seg.Fragments == 0 {
		return nil
	}
	store := s.index.store()
	var refs []index.Ref
	for ref, err := range store.Fragments(seg.Camera, seg.StartNS, satInc(seg.EndNS)) {
		if err != nil {
			return err
		}
		if ref.Segment == seg.Path && ref.At > after {
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, func(a, b index.Ref) int { return int(min(max(a.At-b.At, -1), 1)) })
	if len(refs) == 0 {
		return nil
	}
	var unread []index.Ref
	for i := range refs {
		if err := s.serveSuspects(ctx); err != nil {
			return err
		}
		v, err := s.check(ctx, &refs[i], s.pace(ctx))
		if err != nil {
			return err
		}
		if v.unread {
			if unread = append(unread, refs[i]); len(unread) >= unreadLimit {
				return fmt.Errorf("%d fragments in a row cannot be read: %s", len(unread), v.why)
			}
			continue
		}
		// The disk can be read, so it is those alone that cannot.
		for j := range unread {
			if err := s.condemn(&unread[j], verdict{why: "it cannot be read", unread: true}); err != nil {
				return err
			}
		}
		unread = nil
		s.update(func(st *scrubState) {
			st.Camera, st.Segment, st.At = seg.Camera, seg.Path, refs[i].At
			st.Done += refs[i].Size
			st.Fragments++
		})
	}
	if s.isLive(seg.Path) {
		return nil
	}
	init, err := store.Init(seg.Camera, refs[0].InitHash)
	if err != nil {
		return nil //nolint:nilerr // deleted meanwhile, or it needs none
	}
	mended, err := s.mendInit(seg.Path, init)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if mended && err == nil {
		s.update(func(st *scrubState) { st.Mended++ })
		s.log.Warn().Str("camera", seg.Camera).Str("segment", seg.Path).Msg("the header of a segment was damaged; it is written anew")
	}
	return err
}

func satInc(n int64) int64 { return min(n, math.MaxInt64-1) + 1 }

// check checks one fragment; what is damaged is quarantined.
func (s *scrubber) check(ctx context.Context, ref *index.Ref, take func(int64) error) (verdict, error) {
	v, err := s.inspect(ref, take)
	if err != nil || !v.damaged() && !v.box {
		return v, err
	}
	// Once more: it may have been the memory, or a bus, or deleted meanwhile.
	if v, err = s.inspect(ref, func(n int64) error { s.read.Add(n); return ctx.Err() }); err != nil {
		return v, err
	}
	if err := s.mounted(); err != nil {
		return verdict{}, fmt.Errorf("a fragment cannot be checked: %w", err)
	}
	now, err := s.index.store().Lookup(ref.Camera, ref.StartNS, ref.Key())
	if errors.Is(err, index.ErrNotFound) || err == nil && (now.Segment != ref.Segment || now.At != ref.At) {
		return verdict{}, nil
	}
	switch {
	case err != nil:
		return v, err
	case v.unread: // whether it is the disk as a whole shows with the next one
		return v, nil
	case v.damaged():
		return v, s.condemn(ref, v)
	case v.box:
		if err := s.mendBox(ref); err != nil {
			return v, err
		}
		s.update(func(st *scrubState) { st.Mended++ })
		s.log.Warn().Str("camera", ref.Camera).Str("segment", ref.Segment).Int64("at", ref.At).
			Msg("the box of a fragment was damaged, its media is not; it is written anew")
	}
	return v, nil
}

// condemn takes a damaged fragment out. The index comes first: from then on it is not
// served. Then its bytes: from then on an index that is made anew does not adopt it.
// Then the mark says so. A crash in between leaves the second step for the next start.
func (s *scrubber) condemn(ref *index.Ref, v verdict) error {
	d := index.Damage{Ref: *ref, FoundNS: s.clock.Now().UnixNano(), Why: v.why}
	store := s.index.store()
	if err := store.MarkDamaged([]index.Damage{d}); err != nil {
		return err
	}
	s.update(func(st *scrubState) { st.Damaged++ })
	s.found(&d)
	s.log.Error().Str("camera", ref.Camera).Time("start", time.Unix(0, ref.StartNS).UTC()).Stringer("epoch", ref.Epoch).
		Uint64("offset", ref.First).Str("segment", ref.Segment).Int64("at", ref.At).Str("why", v.why).
		Msg("a fragment is damaged; it is not served any more")
	if v.unread {
		return nil // nothing is written to a disk that cannot be read
	}
	if err := s.quarantine(ref); err != nil {
		return err
	}
	d.Quarantined = true
	return store.MarkDamaged([]index.Damage{d})
}

// finishQuarantine does what a crash or an error has kept from being done.
func (s *scrubber) finishQuarantine() {
	if s.index.err() != nil {
		return
	}
	store := s.index.store()
	for _, d := range store.Damaged("", math.MinInt64, math.MaxInt64) {
		if d.Quarantined {
			continue
		}
		v, err := s.inspect(&d.Ref, func(int64) error { return nil })
		if err == nil && v.damaged() && !v.unread {
			if err = s.quarantine(&d.Ref); err == nil {
				d.Quarantined = true
				err = store.MarkDamaged([]index.Damage{d})
			}
		}
		if err != nil {
			s.log.Warn().Err(err).Str("segment", d.Segment).Msg("quarantine a damaged fragment")
		}
	}
}

// unlisted looks for files of a camera that the index does not know.
func (s *scrubber) unlisted(ctx context.Context, camera string, known map[string]bool) error {
	dates, err := s.dates(camera)
	if err != nil {
		return err
	}
	var strange []string
	for _, date := range dates {
		paths, _, err := s.segments(camera, date)
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		for _, p := range paths {
			if !known[p] && !s.isLive(p) {
				strange = append(strange, p)
			}
		}
	}
	if len(strange) == 0 {
		return nil
	}
	for seg, err := range s.index.store().Segments(camera) { // those that came meanwhile
		if err != nil {
			return err
		}
		known[seg.Path] = true
	}
	for _, d := range s.index.store().Deleting() {
		known[d.Path] = true
	}
	for _, p := range strange {
		info, err := s.fs.Stat(s.fs.PathJoin(s.dir, p))
		if err != nil || known[p] || s.isLive(p) || s.clock.Now().Sub(info.ModTime()) < time.Minute {
			continue
		}
		s.update(func(st *scrubState) { st.Unlisted++ })
		s.log.Warn().Str("camera", camera).Str("segment", p).Msg("the index does not know a segment; the next start adopts it, or see duet verify")
	}
	return nil
}

// serveSuspects checks what was asked for meanwhile, without regard to the pace.
func (s *scrubber) serveSuspects(ctx context.Context) error {
	for {
		select {
		case ref := <-s.suspects:
			if err := s.one(ctx, &ref); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func (s *scrubber) one(ctx context.Context, ref *index.Ref) error {
	if err := s.index.err(); err != nil {
		return err
	}
	_, err := s.check(ctx, ref, func(n int64) error { s.read.Add(n); return ctx.Err() })
	return err
}

// idle waits, checks what is suspect meanwhile, and reports whether to go on.
func (s *scrubber) idle(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case ref := <-s.suspects:
			if err := s.one(ctx, &ref); err != nil && ctx.Err() == nil {
				if n, ok := s.every.Allow("suspect"); ok {
					s.log.Warn().Err(err).Int("suppressed", n).Str("segment", ref.Segment).Msg("cannot check a fragment")
				}
			}
		case <-t.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// pace returns what keeps the reading to the rate, and back while recording needs the disk.
func (s *scrubber) pace(ctx context.Context) func(n int64) error {
	return func(n int64) error {
		for range scrubPatience {
			if !s.busy() {
				break
			}
			if !pause(ctx, scrubYield) {
				return ctx.Err()
			}
		}
		s.read.Add(n)
		s.mu.Lock()
		now := s.clock.Now()
		if s.allow.Before(now) || s.allow.After(now.Add(time.Minute)) {
			s.allow = now
		}
		wait := s.allow.Sub(now)
		s.allow = s.allow.Add(time.Duration(float64(n) / float64(s.opts.Rate) * float64(time.Second)))
		s.mu.Unlock()
		if wait > 0 && !pause(ctx, wait) {
			return ctx.Err()
		}
		return ctx.Err()
	}
}

// load takes up what an earlier process kept. Without it a round begins.
func (s *scrubber) load() {
	var st scrubState
	b, err := readFile(s.fs, s.fs.PathJoin(s.dir, metaDir, scrubFile), 64<<10)
	if err == nil && json.Unmarshal(b, &st) == nil {
		s.set(st)
	}
}

// save keeps the place. It need not survive a power cut: then a little is read twice.
func (s *scrubber) save() {
	b, err := json.Marshal(s.progress())
	if err != nil {
		return
	}
	name := s.fs.PathJoin(s.dir, metaDir, scrubFile)
	f, err := s.fs.Create(name+tempExt, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(append(b, '\n'))
		if err = errors.Join(err, f.Close()); err == nil {
			err = s.fs.Rename(name+tempExt, name)
		}
	}
	if err != nil {
		if n, ok := s.every.Allow("save"); ok {
			s.log.Debug().Err(err).Int("suppressed", n).Msg("cannot keep how far the check came")
		}
	}
}

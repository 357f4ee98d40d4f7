package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/duet-video/duet/index"
)

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
		s.log.Warn().Str("camera", camera).Str("segment", p).Msg("the index does not know a segment; it is adopted")
		if err := s.adopt.one(ctx, p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

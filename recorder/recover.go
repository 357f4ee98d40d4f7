package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

const (
	// tailNS is how far back from a camera's newest footage recovery compares index
	// and files: a crash damages what was written in the last seconds before it.
	tailNS = int64(5 * time.Minute)
	// holeNS is how far back a hole may be for the proxy's log to still have it.
	holeNS = int64(10 * time.Minute)
)

// recovery makes index and media agree after whatever has happened.
type recovery struct {
	archive
	clock clock.Clock
	log   zerolog.Logger
	// say is told, for people, what is being done.
	say func(string)

	report recoveryReport
	// hole is the first record that was dropped of the camera at hand; zero: none.
	hole record.Position
}

// recoveryReport says what a recovery did.
type recoveryReport struct {
	adopted, dropped int   // fragments
	cut              int64 // bytes
	removed          int   // files
	rebuilt          bool
}

// openIndex opens the index. One that is missing although there is media, or that is
// corrupt (suspect: it is said to be), is moved aside and made anew from the media.
func (r *recovery) openIndex(ctx context.Context, suspect error) (*index.Store, error) {
	files, err := r.hasMedia()
	if err != nil {
		return nil, err
	}
	o := index.Options{FS: r.fs, Dir: r.fs.PathJoin(r.dir, metaDir, indexDir), Log: r.log, MustExist: files}
	err = suspect
	if err == nil {
		var s *index.Store
		if s, err = index.Open(o); err == nil || !errors.Is(err, index.ErrCorrupt) {
			return s, err
		}
	}
	r.log.Warn().Err(err).Msg("the index cannot be used; making it anew from the media")
	r.report.rebuilt = true
	return r.rebuild(ctx, o)
}

// hasMedia reports whether there is any segment.
func (r *recovery) hasMedia() (bool, error) {
	cameras, err := r.cameras()
	if err != nil {
		return false, err
	}
	for _, c := range cameras {
		dates, err := r.dates(c)
		if err != nil {
			return false, err
		}
		for _, d := range dates {
			if segments, _, err := r.segments(c, d); err != nil || len(segments) > 0 {
				return len(segments) > 0, err
			}
		}
	}
	return false, nil
}

func (r *recovery) rebuild(ctx context.Context, o index.Options) (*index.Store, error) {
	aside := o.Dir + ".bad"
	if err := r.fs.RemoveAll(aside); err != nil {
		return nil, fmt.Errorf("remove %s: %w", aside, err)
	}
	if err := r.fs.Rename(o.Dir, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("move the index aside: %w", err)
	}
	files, err := r.all()
	if err != nil {
		return nil, err
	}
	total := 0
	for _, f := range files {
		total += len(f)
	}
	said := r.clock.Now()
	progress := func(done int) {
		r.say(fmt.Sprintf("rebuilding the index: %d of %d segments", done, total))
		if now := r.clock.Now(); now.Sub(said) >= time.Second || done == total {
			said = now
			r.log.Info().Int("segments", done).Int("of", total).Msg("rebuilding the index")
		}
	}
	o.MustExist = false
	s, err := index.Rebuild(ctx, o, r.contents(ctx, files, progress))
	if err != nil {
		return nil, fmt.Errorf("rebuild the index from %d segments: %w", total, err)
	}
	return s, nil
}

// run makes media and index agree and returns, for each camera, where recording goes
// on. It reads the newest files only.
func (r *recovery) run(ctx context.Context, s *index.Store) (map[string]record.Position, error) {
	r.say("finishing deletions")
	for _, m := range s.Deleting() {
		if err := unlink(r.archive, s, m.Camera, m.Path); err != nil {
			return nil, err
		}
		r.report.removed++
	}
	cameras, err := r.cameras()
	if err != nil {
		return nil, err
	}
	for _, c := range s.Cameras() {
		if !slices.Contains(cameras, c.Name) {
			cameras = append(cameras, c.Name)
		}
	}
	resume := make(map[string]record.Position, len(cameras))
	for i, c := range cameras {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.say(fmt.Sprintf("comparing index and newest files: camera %d of %d", i+1, len(cameras)))
		before := r.report
		r.hole = record.Position{}
		if err := r.camera(s, c); err != nil {
			return nil, fmt.Errorf("recover camera %s: %w", c, err)
		}
		at, err := resumeAt(s, c, before.adopted != r.report.adopted || before.dropped != r.report.dropped || r.report.rebuilt, r.hole)
		if err != nil {
			return nil, fmt.Errorf("recover camera %s: %w", c, err)
		}
		resume[c] = at
	}
	if r.report != (recoveryReport{}) {
		r.log.Info().Int("adopted", r.report.adopted).Int("dropped", r.report.dropped).Int64("cutBytes", r.report.cut).
			Int("removedFiles", r.report.removed).Bool("rebuilt", r.report.rebuilt).Msg("recovered")
	}
	return resume, nil
}

// camera makes the newest files of a camera and the index agree.
func (r *recovery) camera(s *index.Store, name string) error {
	held, _ := s.Camera(name)
	dates, err := r.dates(name)
	if err != nil {
		return err
	}
	if held.EndNS > 0 { // a day back: a segment is a day long at most
		from := time.Unix(0, held.EndNS).UTC().Add(-24 * time.Hour).Format(dateForm)
		dates = slices.DeleteFunc(dates, func(d string) bool { return d < from })
	}
	known := map[string]bool{} // the value: with fragments
	for seg, err := range s.Segments(name) {
		if err != nil {
			return err
		}
		known[seg.Path] = seg.Fragments > 0
	}
	recent := map[string]map[int64]index.Ref{} // by path, then offset in the file
	for ref, err := range s.Fragments(name, held.EndNS-tailNS, math.MaxInt64) {
		if err != nil {
			return err
		}
		if recent[ref.Segment] == nil {
			recent[ref.Segment] = map[int64]index.Ref{}
		}
		recent[ref.Segment][ref.At] = ref
	}
	present := map[string]bool{}
	for _, date := range dates {
		segments, temps, err := r.segments(name, date)
		if err != nil {
			return err
		}
		for _, p := range temps {
			if err := r.remove(p); err != nil {
				return err
			}
		}
		for _, p := range segments {
			present[p] = true
			if refs := recent[p]; refs != nil || !known[p] {
				if err := r.file(s, p, refs); err != nil {
					return err
				}
			}
		}
	}
	var gone []string
	for p := range known {
		if !present[p] && (len(dates) == 0 || path.Base(path.Dir(p)) >= dates[0]) {
			gone = append(gone, p)
		}
	}
	return r.missing(s, name, gone, recent)
}

// drop notes what is dropped, so that it is asked for again.
func (r *recovery) drop(ref *index.Ref) {
	at := record.Position{Epoch: ref.Epoch, Offset: ref.First}
	if r.hole.IsZero() || at.Compare(r.hole) < 0 {
		r.hole = at
	}
}

// missing drops what the index says of files that are not there.
func (r *recovery) missing(s *index.Store, camera string, gone []string, recent map[string]map[int64]index.Ref) error {
	for _, p := range gone {
		if _, err := r.fs.Stat(r.fs.PathJoin(r.dir, p)); !errors.Is(err, fs.ErrNotExist) {
			continue // it is there, or nobody can tell
		}
		for _, ref := range recent[p] {
			r.drop(&ref)
		}
		seg, err := s.DeleteSegment(camera, p)
		if err != nil {
			return err
		}
		if err := s.DropSegment(camera, p); err != nil {
			return err
		}
		r.report.dropped += int(seg.Fragments)
		r.log.Error().Str("camera", camera).Str("segment", p).Int64("fragments", seg.Fragments).
			Msg("a segment is gone that the index knew; its fragments are dropped from the index")
	}
	return nil
}

// file compares a segment with what the index knows of its tail.
func (r *recovery) file(s *index.Store, p string, indexed map[int64]index.Ref) error {
	var oldest int64 = math.MaxInt64
	for at := range indexed {
		oldest = min(oldest, at)
	}
	if len(indexed) == 0 {
		oldest = 0
	}
	// What the index names was read back by no one, but it was synced: it is trusted.
	isNew := func(ref *index.Ref) bool {
		_, ok := indexed[ref.At]
		return !ok && ref.At >= oldest
	}
	f, err := r.scan(p, isNew)
	if err != nil {
		return err
	}
	var adopt []index.Ref
	found := map[int64]bool{}
	for _, ref := range f.refs {
		found[ref.At] = true
		if isNew(&ref) {
			adopt = append(adopt, ref)
		}
	}
	var gone []index.Ref
	for at, ref := range indexed {
		if !found[at] {
			gone = append(gone, ref)
			r.drop(&ref)
		}
	}
	if f.foreign > 0 || f.damaged > 0 {
		r.log.Warn().Str("segment", p).Int64("damagedBytes", f.damaged).Int("foreignFragments", f.foreign).
			Msg("a segment holds bytes that are no whole fragment of its camera")
	}
	if len(gone) > 0 {
		if err := s.DeleteFragments(gone); err != nil {
			return err
		}
		r.report.dropped += len(gone)
		r.log.Error().Str("segment", p).Int("fragments", len(gone)).
			Msg("fragments are gone that the index knew; they are dropped from it")
	}
	switch end := f.end(); {
	case f.foreign > 0: // somebody else's footage is not ours to cut
	case end == 0 && len(indexed) > 0: // damage, not a torn first write: kept for people to look at
	case end == 0:
		if err := r.remove(p); err != nil {
			return err
		}
	case end < f.size:
		if err := truncate(r.fs, r.fs.PathJoin(r.dir, p), end); err != nil {
			return err
		}
		r.report.cut += f.size - end
	}
	return r.adopt(s, f, adopt)
}

// adopt names whole fragments in the index that a crash kept out of it.
func (r *recovery) adopt(s *index.Store, f *scanned, refs []index.Ref) error {
	if len(refs) == 0 {
		return nil
	}
	for d := r.fs.PathDir(r.fs.PathJoin(r.dir, f.path)); ; d = r.fs.PathDir(d) {
		if err := syncDir(r.fs, d); err != nil {
			return err
		}
		if d == r.dir || d == r.fs.PathDir(d) {
			break
		}
	}
	init := index.Init{Camera: refs[0].Camera, Hash: hashOf(f.init), Data: f.init}
	err := s.Commit(refs, []index.Init{init})
	if errors.Is(err, index.ErrInvalid) { // one at a time: the good ones count
		for i := range refs {
			if err = s.Commit(refs[i:i+1], []index.Init{init}); errors.Is(err, index.ErrInvalid) {
				r.log.Error().Err(err).Str("segment", f.path).Uint64("offset", refs[i].First).Msg("the index refuses a fragment; it is not adopted")
				continue
			}
			if err != nil {
				return err
			}
			r.report.adopted++
		}
		return nil
	}
	if err == nil {
		r.report.adopted += len(refs)
	}
	return err
}

func (r *recovery) remove(p string) error {
	name := r.fs.PathJoin(r.dir, p)
	if err := r.fs.Remove(name); err != nil {
		return fmt.Errorf("remove %s: %w", p, err)
	}
	r.report.removed++
	return syncDir(r.fs, r.fs.PathDir(name))
}

// unlink is the second and the third step of a deletion.
func unlink(a archive, s *index.Store, camera, p string) error {
	name := a.fs.PathJoin(a.dir, p)
	err := a.fs.Remove(name)
	if err == nil {
		err = syncDir(a.fs, a.fs.PathDir(name))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete segment %s: %w", p, err)
	}
	return s.DropSegment(camera, p)
}

// resumeAt returns the position that recording of a camera goes on from: its durable
// one. If recovery changed something, there may be a hole before it that the proxy's
// log can still fill; then that is where it goes on, and what follows is not written
// twice. hole is such a place that is known, or zero. A fragment whose end was never
// seen is asked for again, whole.
func resumeAt(s *index.Store, camera string, changed bool, hole record.Position) (record.Position, error) {
	held, ok := s.Camera(camera)
	if !ok {
		return record.Position{}, nil
	}
	at := held.Position
	if changed && held.EndNS > 0 {
		spans, err := s.Spans(camera, held.EndNS-holeNS, math.MaxInt64)
		if err != nil {
			return at, err
		}
		for _, sp := range spans {
			if end := (record.Position{Epoch: sp.Epoch, Offset: sp.End}); end.Compare(at) < 0 {
				at = end
			}
		}
	}
	if !hole.IsZero() && hole.Compare(at) < 0 {
		at = hole
	}
	if held.EndNS == 0 {
		return at, nil
	}
	for ref, err := range s.Fragments(camera, held.EndNS-tailNS, math.MaxInt64) {
		if err != nil {
			return at, err
		}
		if ref.Epoch == at.Epoch && ref.End == at.Offset && ref.Flags&media.Truncated != 0 {
			return record.Position{Epoch: ref.Epoch, Offset: ref.First}, nil
		}
	}
	return at, nil
}

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
	"github.com/duet-video/duet/internal/record"
)

const (
	// tailNS is how far back from a camera's newest footage recovery compares index
	// and files: a crash damages what was written in the last seconds before it.
	tailNS = int64(5 * time.Minute)
	// lateNS is how far back it looks for files that the index does not know while that names
	// not all that there is; the adopter sees to the others.
	lateNS = int64(15 * time.Second)
	// holeNS is how far back a hole may be for the proxy's log to still have it.
	holeNS = int64(10 * time.Minute)
)

// recovery makes index and media agree after whatever has happened.
type recovery struct {
	archive
	log zerolog.Logger
	// adopt makes an index complete that names not all that there is.
	adopt *adopter
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
// corrupt (suspect: it is said to be), is moved aside, and another one begun: it names the
// ends of the newest files, and adopt goes on with all the others.
func (r *recovery) openIndex(ctx context.Context, suspect error) (*index.Store, error) {
	files, err := r.hasMedia()
	if err != nil {
		return nil, err
	}
	o := index.Options{FS: r.fs, Dir: r.fs.PathJoin(r.dir, metaDir, indexDir), Log: r.log, MustExist: files}
	var s *index.Store
	var marked bool
	var mark adoptMark
	if err = suspect; err == nil {
		mark, marked, err = readMark(r.archive)
	}
	if err == nil {
		s, err = index.Open(o)
	}
	switch {
	case err == nil && marked: // a process ended in the middle of it
		r.say("rebuilding the index: reading the newest segments")
		if err = r.beginAdoption(ctx, s, mark); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		return s, nil
	case err == nil, !errors.Is(err, index.ErrCorrupt):
		return s, err
	}
	r.log.Warn().Err(err).Msg("the index cannot be used; making it anew from the media")
	r.report.rebuilt = true
	return r.anew(ctx, o)
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

// anew begins an index in the place of one that cannot be used. The mark comes first: an
// index without it names all that there is.
func (r *recovery) anew(ctx context.Context, o index.Options) (*index.Store, error) {
	r.say("rebuilding the index: reading the newest segments")
	if err := writeMark(r.archive, adoptMark{}); err != nil {
		return nil, err
	}
	aside := o.Dir + ".bad"
	for _, left := range []string{aside, o.Dir + ".rebuilding", o.Dir + ".rebuilt"} { // the last two are of earlier versions
		if err := r.fs.RemoveAll(left); err != nil {
			return nil, fmt.Errorf("remove %s: %w", left, err)
		}
	}
	if err := r.fs.Rename(o.Dir, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("move the index aside: %w", err)
	}
	if err := syncDir(r.fs, r.fs.PathDir(o.Dir)); err != nil {
		return nil, err
	}
	o.MustExist = false
	s, err := index.Open(o)
	if err != nil {
		return nil, fmt.Errorf("begin another index: %w", err)
	}
	if err := r.beginAdoption(ctx, s, adoptMark{}); err != nil {
		return nil, errors.Join(err, s.Close())
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
	// While there is more to adopt, only what this copy wrote last is looked at here.
	later := func(p string) bool {
		at, ok := parseSegmentPath(p)
		return ok && r.adopt.adopting() && (held.EndNS == 0 || at.startMS*1e6 < held.EndNS-lateNS)
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
			r.report.removed++
		}
		for _, p := range segments {
			present[p] = true
			if refs := recent[p]; refs != nil || !known[p] && !later(p) {
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
	f, err := r.scan(p, oldest, isNew)
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
	cut, removed, err := r.trim(f, len(indexed))
	if err != nil {
		return err
	}
	r.report.cut += cut
	if removed {
		r.report.removed++
	}
	known := len(f.quarantined)
	// Before they are named: until then, the next start looks at all of the file again.
	if err := r.fill(f, initOf(s)); err != nil {
		return err
	}
	if err := r.name(s, f, adopt); err != nil || len(f.quarantined) == known {
		return err
	}
	return s.MarkDamaged(f.quarantined[known:])
}

// name names whole fragments in the index that a crash kept out of it.
func (r *recovery) name(s *index.Store, f *scanned, refs []index.Ref) error {
	if len(refs) == 0 {
		return nil
	}
	if err := r.syncNames(f.path); err != nil {
		return err
	}
	r.report.adopted += len(refs)
	init := index.Init{Camera: refs[0].Camera, Hash: hashOf(f.init), Data: f.init}
	return commitEach(s.Commit, refs, init, func(ref *index.Ref, err error) {
		r.report.adopted--
		r.log.Error().Err(err).Str("segment", f.path).Uint64("offset", ref.First).Msg("the index refuses a fragment; it is not adopted")
	})
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

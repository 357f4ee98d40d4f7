package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

// DataReport is what VerifyData found in a data directory.
type DataReport struct {
	Recorder string `json:"recorder"`
	Level    string `json:"level"`
	// Segments are the files that were read, Bytes their length.
	Segments int64 `json:"files"`
	Bytes    int64 `json:"bytes"`
	// Fragments is how many the files hold and the index names, together: Equal +
	// Mismatch + NotIndexed + Missing.
	Fragments int64 `json:"fragments"`
	// Equal: the bytes hash to what the index says.
	Equal int64 `json:"equal"`
	// Mismatch: they hash to something else than the index, or the box before them, says.
	Mismatch int64 `json:"mismatch"`
	// NotIndexed: whole, and unknown to the index. A recorder adopts those at the end of
	// open segments when it starts.
	NotIndexed int64 `json:"not_indexed"`
	// Missing: the index names it, and the file does not hold it.
	Missing int64 `json:"missing"`
	// Torn are bytes at the ends of files that are no whole fragment: writes that were
	// cut off. A recorder removes them when it starts.
	Torn int64 `json:"torn_bytes"`
	// Damaged are fragments that a recorder found damaged before, that are not served,
	// and that no whole copy has replaced yet. They are not among Fragments.
	Damaged int64 `json:"damaged"`
	// Total is the media that the index names, in bytes.
	Total int64 `json:"total_bytes"`
	// Bad names the first fragments and files that are not as they should be, at most
	// maxBad.
	Bad []BadFragment `json:"bad"`
}

// BadFragment is a place in a file that is not as it should be. Camera and what follows
// are empty where it is not known what was there.
type BadFragment struct {
	What   string    `json:"what"`
	File   string    `json:"file"`
	Offset int64     `json:"offset"`
	Camera string    `json:"camera,omitempty"`
	Time   time.Time `json:"time,omitzero"`
	Epoch  string    `json:"epoch,omitempty"`
	First  uint64    `json:"first_offset,omitempty"`
}

func (b *BadFragment) String() string {
	s := fmt.Sprintf("%s at byte %d", b.File, b.Offset)
	if b.Camera != "" {
		s += fmt.Sprintf(", camera %s, %s", b.Camera, b.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return s + ": " + b.What
}

// maxBad bounds DataReport.Bad.
const maxBad = 1000

// The levels of a verification.
const (
	// LevelPresent: the file of each fragment that the index names is there.
	LevelPresent = "present"
	// LevelSize: it is long enough, and the box of the fragment is where it should be.
	LevelSize = "size"
	// LevelHash: all bytes are what they were.
	LevelHash = "hash"
)

// OK reports that nothing is damaged or lost.
func (r *DataReport) OK() bool { return r.Mismatch == 0 && r.Missing == 0 && r.Damaged == 0 }

func (r *DataReport) problem(file string, at int64, ref *index.Ref, format string, args ...any) {
	if len(r.Bad) == maxBad {
		return
	}
	b := BadFragment{What: fmt.Sprintf(format, args...), File: file, Offset: at}
	if ref != nil {
		b.Camera, b.Time = ref.Camera, time.Unix(0, ref.StartNS).UTC()
		b.Epoch, b.First = ref.Epoch.String(), ref.First
	}
	r.Bad = append(r.Bad, b)
}

// VerifyData compares what is in the data directory of a recorder that does not run with
// its index, to one of the levels. It changes nothing but what opening the index does.
// progress, which may be nil, is called after each file. The error is for a directory
// that cannot be verified; what is wrong inside is in the report.
func VerifyData(ctx context.Context, fsys vfs.FS, dir, level string, progress func(*DataReport)) (report *DataReport, err error) {
	if level != LevelPresent && level != LevelSize && level != LevelHash {
		return nil, fmt.Errorf("level %q is not one of %s, %s, %s", level, LevelPresent, LevelSize, LevelHash)
	}
	id, err := readIdentity(fsys, fsys.PathJoin(dir, metaDir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not the data directory of a recorder: it has no %s/%s", dir, metaDir, identityFile)
	}
	if err != nil {
		return nil, err
	}
	lock, err := fsys.Lock(fsys.PathJoin(dir, metaDir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("%s is in use: stop recorder %s, or verify the running site instead: %w", dir, id.Recorder, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	store, err := index.Open(index.Options{FS: fsys, Dir: fsys.PathJoin(dir, metaDir, indexDir), MustExist: true, Log: zerolog.Nop()})
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	v := &verifier{archive: archive{fs: fsys, dir: dir}, store: store, found: map[int64]bool{}}
	v.report.Recorder, v.report.Level, v.report.Bad = id.Recorder, level, []BadFragment{}
	for _, c := range store.Cameras() {
		v.report.Total += c.Bytes
	}
	for _, d := range store.Damaged("", math.MinInt64, math.MaxInt64) {
		v.report.Damaged++
		v.report.problem(d.Segment, d.At, &d.Ref, "found damaged at %s and not served since: %s", time.Unix(0, d.FoundNS).UTC().Format(time.RFC3339), d.Why)
	}
	if level != LevelHash {
		return &v.report, v.quick(ctx, level, progress)
	}
	files, err := v.all()
	if err != nil {
		return nil, err
	}
	for _, c := range store.Cameras() {
		if _, ok := files[c.Name]; !ok {
			files[c.Name] = nil
		}
	}
	for _, camera := range slices.Sorted(maps.Keys(files)) {
		if err := v.camera(ctx, camera, files[camera], progress); err != nil {
			return nil, err
		}
	}
	return &v.report, nil
}

// camera hashes the files of a camera, and looks for those that are not there.
func (v *verifier) camera(ctx context.Context, name string, paths []string, progress func(*DataReport)) error {
	named := map[string]index.Segment{}
	for seg, err := range v.store.Segments(name) {
		if err != nil {
			return err
		}
		named[seg.Path] = seg
	}
	for _, p := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		clear(v.found)
		if err := v.segment(p); err != nil {
			return err
		}
		if seg, ok := named[p]; ok {
			if err := v.missing(ctx, &seg); err != nil {
				return err
			}
			delete(named, p)
		}
		if progress != nil {
			progress(&v.report)
		}
	}
	clear(v.found)
	for _, p := range slices.Sorted(maps.Keys(named)) {
		seg := named[p]
		if err := v.missing(ctx, &seg); err != nil {
			return err
		}
	}
	return nil
}

type verifier struct {
	archive
	store  *index.Store
	found  map[int64]bool // in the segment at hand: where fragments of the index are
	report DataReport
}

// segment hashes what a file holds.
func (v *verifier) segment(p string) (err error) {
	f, err := v.fs.Open(v.fs.PathJoin(v.dir, p), vfs.SequentialReadsOption)
	if err != nil {
		return fmt.Errorf("verify segment %s: %w", p, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("verify segment %s: %w", p, err)
	}
	if c, ok := f.(cacheFile); ok {
		c.DropCache()
	}
	v.report.Segments++
	v.report.Bytes += info.Size()
	for s := media.NewScanner(f, info.Size(), true); ; {
		item, err := s.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("verify segment %s: %w", p, err)
		}
		switch item.Kind {
		case media.ItemInit, media.ItemQuarantined:
		case media.ItemTail:
			v.report.Torn += item.Len
		case media.ItemDamage:
			v.report.problem(p, item.At, nil, "%d bytes are no fragment", item.Len)
		case media.ItemFragment:
			if err := v.fragment(p, &item); err != nil {
				return err
			}
		}
	}
}

func (v *verifier) fragment(p string, item *media.Item) error {
	found := index.Ref{Info: item.Info, Segment: p, At: item.At}
	v.report.Fragments++
	ref, err := v.store.Lookup(found.Camera, found.StartNS, found.Key())
	indexed := err == nil && ref.Segment == p
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return err
	}
	if indexed {
		v.found[found.At] = true
	}
	switch {
	case item.BadHash:
		v.report.Mismatch++
		v.report.problem(p, found.At, &found, "its media does not hash to %x…", found.Hash[:8])
	case !indexed:
		v.report.NotIndexed++
	case ref.Hash != found.Hash || ref.At != found.At || ref.Size != found.Size:
		v.report.Mismatch++
		v.report.problem(p, found.At, &found, "it is not what the index says")
	default:
		v.report.Equal++
	}
	return nil
}

// missing counts what the index names of a segment and its file did not show.
func (v *verifier) missing(ctx context.Context, seg *index.Segment) error {
	for ref, err := range v.store.Fragments(seg.Camera, seg.StartNS, satInc(seg.EndNS)) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if ref.Segment != seg.Path || v.found[ref.At] {
			continue
		}
		v.report.Fragments++
		v.report.Missing++
		v.report.problem(ref.Segment, ref.At, &ref, "the index names it, and the file does not hold it")
	}
	return nil
}

// quick compares without reading media.
func (v *verifier) quick(ctx context.Context, level string, progress func(*DataReport)) error {
	for _, c := range v.store.Cameras() {
		var file vfs.File
		var path, why string
		var size int64
		done := func() error {
			if file == nil {
				return nil
			}
			err := file.Close()
			file = nil
			return err
		}
		for ref, err := range v.store.Fragments(c.Name, math.MinInt64, math.MaxInt64) {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return errors.Join(err, done())
			}
			if ref.Segment != path {
				if err := done(); err != nil {
					return err
				}
				path, why, size = ref.Segment, "", 0
				v.report.Segments++
				if file, err = v.fs.Open(v.fs.PathJoin(v.dir, path)); err != nil {
					file, why = nil, "its file cannot be opened: "+err.Error()
				} else if info, err := file.Stat(); err == nil {
					size = info.Size()
				}
				if progress != nil {
					progress(&v.report)
				}
			}
			v.report.Fragments++
			v.report.Bytes += ref.Size
			bad := why
			if bad == "" && level == LevelSize {
				bad = misplaced(file, size, &ref)
			}
			if bad != "" {
				v.report.Missing++
				v.report.problem(path, ref.At, &ref, "%s", bad)
				continue
			}
			v.report.Equal++
		}
		if err := done(); err != nil {
			return err
		}
	}
	return nil
}

// misplaced says what is wrong with where a fragment is, without reading its media.
func misplaced(f io.ReaderAt, size int64, ref *index.Ref) string {
	want := media.AppendBox(nil, &ref.Info)
	if end := ref.At + int64(len(want)) + ref.Size; end > size {
		return fmt.Sprintf("its file ends at %d, it should go to %d", size, end)
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, ref.At); err != nil {
		return "its box cannot be read: " + err.Error()
	}
	if string(got) != string(want) {
		return "its box is not what the index says"
	}
	return ""
}

// looksWhole says what is wrong with a fragment, as far as shows without reading media.
func (a archive) looksWhole(ref *index.Ref, level string) string {
	f, err := a.fs.Open(a.fs.PathJoin(a.dir, ref.Segment))
	if err != nil {
		return "its file cannot be opened: " + err.Error()
	}
	defer f.Close()
	if level == LevelPresent {
		return ""
	}
	info, err := f.Stat()
	if err != nil {
		return "its file cannot be read: " + err.Error()
	}
	return misplaced(f, info.Size(), ref)
}

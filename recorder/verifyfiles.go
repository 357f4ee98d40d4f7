package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

type verifier struct {
	archive
	store  *index.Store
	found  map[int64]bool // in the segment at hand: where fragments of the index are
	report DataReport
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
		strange := v.report.NotIndexed
		size, err := v.segment(p)
		if err != nil {
			return err
		}
		seg, ok := named[p]
		if n := v.report.NotIndexed - strange; n > 0 && ok {
			v.report.problem(p, 0, nil, doAdopt, "the index does not know %d of its fragments", n)
		} else if !ok {
			v.unlisted(name, p, size)
		}
		if ok {
			if err := v.missing(ctx, &seg, "the file does not hold it"); err != nil {
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
		if err := v.missing(ctx, &seg, "the file is gone"); err != nil {
			return err
		}
	}
	return nil
}

// unlisted tells of a file that the index does not know.
func (v *verifier) unlisted(camera, p string, size int64) {
	do := doAdopt
	if slices.ContainsFunc(v.store.Deleting(), func(s index.Segment) bool { return s.Camera == camera && s.Path == p }) {
		do = "the recorder deletes it when it starts: retention has decided so"
	}
	v.report.problem(p, 0, nil, do, "the index does not know this file of %d bytes", size)
}

// segment hashes what a file holds.
func (v *verifier) segment(p string) (size int64, err error) {
	f, err := v.fs.Open(v.fs.PathJoin(v.dir, p), vfs.SequentialReadsOption)
	if err != nil {
		return 0, fmt.Errorf("verify segment %s: %w", p, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("verify segment %s: %w", p, err)
	}
	if c, ok := f.(cacheFile); ok {
		c.DropCache()
	}
	v.report.Segments++
	v.report.Bytes += info.Size()
	for s := media.NewScanner(f, info.Size(), true); ; {
		item, err := s.Next()
		if errors.Is(err, io.EOF) {
			return info.Size(), nil
		}
		if err != nil {
			return 0, fmt.Errorf("verify segment %s: %w", p, err)
		}
		switch item.Kind {
		case media.ItemInit, media.ItemQuarantined:
		case media.ItemTail:
			v.report.Torn += item.Len
			v.report.problem(p, item.At, nil, doCut, "%d bytes at the end are no whole fragment", item.Len)
		case media.ItemDamage:
			v.report.problem(p, item.At, nil, doSkip, "%d bytes are no fragment", item.Len)
		case media.ItemFragment:
			if err := v.fragment(p, &item); err != nil {
				return 0, err
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
		v.report.problem(p, found.At, &found, doMend, "its media does not hash to %x…", found.Hash[:8])
	case !indexed:
		v.report.NotIndexed++
	case ref.Hash != found.Hash || ref.At != found.At || ref.Size != found.Size:
		v.report.Mismatch++
		v.report.problem(p, found.At, &found, doMend, "it is not what the index says")
	default:
		v.report.Equal++
	}
	return nil
}

// missing counts what the index names of a segment and its file did not show.
func (v *verifier) missing(ctx context.Context, seg *index.Segment, why string) error {
	for ref, err := range v.store.Fragments(seg.Camera, seg.StartNS, satInc(seg.EndNS)) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if ref.Segment != seg.Path || v.found[ref.At] {
			continue
		}
		v.report.Fragments++
		v.report.Missing++
		v.report.problem(ref.Segment, ref.At, &ref, doMend, "the index names it, and %s", why)
	}
	return nil
}

// quick compares without reading media.
func (v *verifier) quick(ctx context.Context, level string, files map[string][]string, progress func(*DataReport)) error {
	for _, camera := range slices.Sorted(maps.Keys(files)) {
		known := map[string]bool{}
		for seg, err := range v.store.Segments(camera) {
			if err != nil {
				return err
			}
			known[seg.Path] = true
		}
		for _, p := range files[camera] {
			if info, err := v.fs.Stat(v.fs.PathJoin(v.dir, p)); err == nil && !known[p] {
				v.unlisted(camera, p, info.Size())
			}
		}
	}
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
				v.report.problem(path, ref.At, &ref, doMend, "%s", bad)
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

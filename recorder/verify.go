package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

// DataReport is what VerifyData found in a data directory.
type DataReport struct {
	Recorder string
	// Segments are the files that were read, Bytes their length.
	Segments, Bytes int64
	// Fragments is how many the files hold and the index names, together: Equal +
	// Mismatch + NotIndexed + Missing.
	Fragments int64
	// Equal: the bytes hash to what the index says.
	Equal int64
	// Mismatch: they hash to something else than the index, or the box before them, says.
	Mismatch int64
	// NotIndexed: whole, and unknown to the index. A recorder adopts those at the end of
	// open segments when it starts.
	NotIndexed int64
	// Missing: the index names it, and the file does not hold it.
	Missing int64
	// Torn are bytes at the ends of files that are no whole fragment: writes that were
	// cut off. A recorder removes them when it starts.
	Torn int64
	// Problems names the first fragments and files that are not as they should be.
	Problems []string
}

// maxProblems bounds DataReport.Problems.
const maxProblems = 20

// OK reports that nothing is damaged or lost.
func (r *DataReport) OK() bool { return r.Mismatch == 0 && r.Missing == 0 }

func (r *DataReport) problem(format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// VerifyData hashes every fragment in the data directory of a recorder that does not
// run, and compares with its index. It changes nothing but what opening the index does.
// progress, which may be nil, is called after each file. The error is for a directory
// that cannot be verified; what is wrong inside is in the report.
func VerifyData(ctx context.Context, fsys vfs.FS, dir string, progress func(*DataReport)) (report *DataReport, err error) {
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

	v := &verifier{archive: archive{fs: fsys, dir: dir}, store: store, known: map[string]int64{}}
	v.report.Recorder = id.Recorder
	files, err := v.all()
	if err != nil {
		return nil, err
	}
	for _, paths := range files {
		for _, p := range paths {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := v.segment(p); err != nil {
				return nil, err
			}
			if progress != nil {
				progress(&v.report)
			}
		}
	}
	if err := v.missing(ctx); err != nil {
		return nil, err
	}
	return &v.report, nil
}

type verifier struct {
	archive
	store  *index.Store
	known  map[string]int64 // by segment: how many of the index's fragments were found
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
		case media.ItemInit:
		case media.ItemTail:
			v.report.Torn += item.Len
		case media.ItemDamage:
			v.report.problem("%s: %d bytes at %d are no fragment", p, item.Len, item.At)
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
		v.known[p]++
	}
	switch {
	case item.BadHash:
		v.report.Mismatch++
		v.report.problem("%s: fragment %d of epoch %s does not hash to %x", p, found.First, found.Epoch, found.Hash[:8])
	case !indexed:
		v.report.NotIndexed++
	case ref.Hash != found.Hash || ref.At != found.At || ref.Size != found.Size:
		v.report.Mismatch++
		v.report.problem("%s: fragment %d of epoch %s is not what the index says", p, found.First, found.Epoch)
	default:
		v.report.Equal++
	}
	return nil
}

// missing counts what the index names and the files did not show.
func (v *verifier) missing(ctx context.Context) error {
	named := map[string]int64{}
	for _, c := range v.store.Cameras() {
		for ref, err := range v.store.Fragments(c.Name, math.MinInt64, math.MaxInt64) {
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			named[ref.Segment]++
		}
	}
	for p, n := range named {
		if lost := n - v.known[p]; lost > 0 {
			v.report.Fragments += lost
			v.report.Missing += lost
			v.report.problem("%s lacks %d of the %d fragments that the index names", p, lost, n)
		}
	}
	return nil
}

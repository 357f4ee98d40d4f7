package recorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/index"
)

const (
	// tailBytes is how much of the end of a file is read for where recording goes on; more
	// where there is no whole fragment in it.
	tailBytes = 8 << 20
	tailMore  = 8
	// tailFiles is how many of the newest files of a camera may be those that were written
	// last, and tailWrites within which time that was.
	tailFiles  = 3
	tailWrites = time.Minute
	// tailsAtOnce is how many cameras are looked at side by side.
	tailsAtOnce = 8
	// tailNames is of how many files it is asked when they were written.
	tailNames = 64
)

// beginAdoption tells the adopter that the index does not name all that there is, after it
// was made to name the ends of the files that were written last of cameras that it has not
// heard of: that is where recording goes on, and what the proxy's log still has.
func (r *recovery) beginAdoption(ctx context.Context, s *index.Store, mark adoptMark) error {
	cameras, err := r.cameras()
	if err != nil {
		return err
	}
	cameras = slices.DeleteFunc(cameras, func(c string) bool {
		held, _ := s.Camera(c)
		return held.EndNS > 0
	})
	newest := make([][]string, len(cameras))
	for i, c := range cameras {
		if newest[i], err = r.newest(c); err != nil {
			return err
		}
		mark.Partial = append(mark.Partial, newest[i]...)
	}
	if len(cameras) > 0 {
		if err := writeMark(r.archive, mark); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tailsAtOnce)
	for i, c := range cameras {
		g.Go(func() error {
			for _, p := range newest[i] {
				if err := r.nameTail(ctx, s, p); err != nil {
					return fmt.Errorf("recover camera %s: %w", c, err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.adopt.begin(mark)
	return nil
}

// nameTail names the last fragments of a file. One that cannot be read is left to the
// adopter, and the proxy's log to what is missing.
func (r *recovery) nameTail(ctx context.Context, s *index.Store, p string) error {
	f, err := r.tail(p)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err != nil {
		r.log.Error().Err(err).Str("segment", p).Msg("rebuilding the index: the end of a segment cannot be read")
		return nil
	}
	if len(f.refs) == 0 {
		return nil
	}
	if err := r.syncNames(p); err != nil {
		return err
	}
	init := index.Init{Camera: f.refs[0].Camera, Hash: hashOf(f.init), Data: f.init}
	return commitEach(s.Commit, f.refs, init, func(*index.Ref, error) {})
}

// tail reads the last whole fragments of a file, back from the disk.
func (a archive) tail(p string) (*scanned, error) {
	info, err := a.fs.Stat(a.fs.PathJoin(a.dir, p))
	if err != nil {
		return nil, err
	}
	for n := int64(tailBytes); ; n *= tailMore {
		from := max(0, info.Size()-n)
		s, err := a.scanAhead(p, from, func(*index.Ref) bool { return true })
		if err != nil || len(s.refs) > 0 || from == 0 {
			return s, err
		}
	}
}

// newest returns the files of a camera that may be those that were written last: the one
// that begins last, and those with the last writes. What was copied from other recorders
// may begin later than what is being recorded.
func (a archive) newest(camera string) ([]string, error) {
	dates, err := a.dates(camera)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range slices.Backward(dates) {
		segments, _, err := a.segments(camera, d)
		if err != nil {
			return nil, err
		}
		names = append(segments, names...)
		if len(names) >= tailFiles {
			break
		}
	}
	names = names[max(0, len(names)-tailNames):]
	if len(names) == 0 {
		return nil, nil
	}
	type written struct {
		path string
		at   int64
	}
	all := make([]written, 0, len(names))
	last := int64(math.MinInt64)
	for _, p := range names {
		info, err := a.fs.Stat(a.fs.PathJoin(a.dir, p))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("look at segment %s", path.Base(p)), err)
		}
		all = append(all, written{p, info.ModTime().UnixNano()})
		last = max(last, info.ModTime().UnixNano())
	}
	slices.SortStableFunc(all, func(a, b written) int { return cmp.Compare(b.at, a.at) })
	out := []string{names[len(names)-1]}
	for _, w := range all {
		if len(out) < tailFiles && w.at >= last-int64(tailWrites) && w.path != out[0] {
			out = append(out, w.path)
		}
	}
	return out, nil
}

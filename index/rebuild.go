package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Content is what one media file holds.
type Content struct {
	Refs  []Ref
	Inits []Init
	// Damaged are fragments that were found damaged before, and are in quarantine.
	Damaged []Damage
}

// A rebuild works in a directory beside that of the index. Its name says how far it
// came, so that a process that ends in between leaves no doubt.
const (
	rebuildingSuffix = ".rebuilding" // not complete: the index is corrupt
	rebuiltSuffix    = ".rebuilt"    // complete: it takes the place of the index
)

// Rebuild makes the index anew from what the media files hold and opens it in the
// place of the old one, which it removes. The files may come in any order; references
// that are ErrInvalid are left out and counted in the log. What media does not say is
// lost: positions of cameras without media, and marks of deletion.
//
// When it fails or the process ends, Open answers ErrCorrupt and Rebuild can be tried
// again.
func Rebuild(ctx context.Context, o Options, files iter.Seq2[Content, error]) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if err := lockedRebuild(ctx, o, files); err != nil {
		return nil, fmt.Errorf("rebuild index %s: %w", o.Dir, err)
	}
	o.MustExist = true
	return Open(o)
}

// lockedRebuild rebuilds, unless a process has the old index open.
func lockedRebuild(ctx context.Context, o Options, files iter.Seq2[Content, error]) error {
	if err := o.FS.MkdirAll(o.Dir, dirMode); err != nil {
		return err
	}
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if err != nil {
		return fmt.Errorf("lock it: %w", err)
	}
	return errors.Join(rebuild(ctx, o, files), lock.Close())
}

func rebuild(ctx context.Context, o Options, files iter.Seq2[Content, error]) error {
	dir := o.Dir
	o.Dir += rebuildingSuffix
	for _, d := range []string{dir + rebuiltSuffix, o.Dir} {
		if err := o.FS.RemoveAll(d); err != nil {
			return err
		}
	}
	o.MustExist = false
	s, err := open(o)
	if err != nil {
		return err
	}
	s.write = pebble.NoSync // closing syncs
	if err := s.fill(ctx, files); err != nil {
		_ = s.Close() // err says more
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if err := s.Err(); err != nil {
		return err
	}
	if err := o.FS.Rename(o.Dir, dir+rebuiltSuffix); err != nil {
		return err
	}
	return syncParent(o.FS, dir)
}

func (s *Store) fill(ctx context.Context, files iter.Seq2[Content, error]) error {
	skipped := 0
	var damaged []Damage
	for file, err := range files {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		damaged = append(damaged, file.Damaged...)
		err := s.Commit(file.Refs, file.Inits)
		if !errors.Is(err, ErrInvalid) {
			if err != nil {
				return err
			}
			continue
		}
		for i := range file.Refs {
			switch err := s.Commit(file.Refs[i:i+1], file.Inits); {
			case errors.Is(err, ErrInvalid):
				skipped++
			case err != nil:
				return err
			}
		}
	}
	if skipped > 0 {
		s.opts.Log.Warn().Int("fragments", skipped).Msg("left fragments out of the rebuilt index: they contradict themselves")
	}
	// Last: what another file has whole is not damaged.
	return s.MarkDamaged(damaged)
}

// settle finishes a rebuild that was complete, and reports one that was not.
func settle(o Options) error {
	built, err := exists(o.FS, o.Dir+rebuiltSuffix)
	if err != nil {
		return fmt.Errorf("open index %s: %w", o.Dir, err)
	}
	if built {
		if err := replace(o.FS, o.Dir, o.Dir+rebuiltSuffix); err != nil {
			return fmt.Errorf("put the rebuilt index in place of %s: %w", o.Dir, err)
		}
	}
	building, err := exists(o.FS, o.Dir+rebuildingSuffix)
	if err != nil {
		return fmt.Errorf("open index %s: %w", o.Dir, err)
	}
	if building {
		return fmt.Errorf("open index %s: %w: a rebuild was not finished", o.Dir, ErrCorrupt)
	}
	return nil
}

// replace puts the directory new in the place of old.
func replace(f vfs.FS, old, new string) error {
	if err := f.RemoveAll(old); err != nil {
		return err
	}
	if err := syncParent(f, old); err != nil {
		return err
	}
	if err := f.Rename(new, old); err != nil {
		return err
	}
	return syncParent(f, old)
}

func exists(f vfs.FS, name string) (bool, error) {
	_, err := f.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func syncParent(f vfs.FS, name string) error {
	d, err := f.OpenDir(f.PathDir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

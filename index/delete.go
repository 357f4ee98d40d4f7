package index

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Segment sums up what the index holds of a media file.
type Segment struct {
	Camera, Path string
	// StartNS and EndNS bound the times of all fragments that were ever committed for
	// it, Unix ns.
	StartNS, EndNS int64
	// Bytes are those of the fragments that it is held for, moof and mdat, without
	// what stands between. Fragments may be 0: others hold what it has.
	Bytes     int64
	Fragments int64
}

// Segments yields the media files of a camera, sorted by path: oldest first, since
// paths begin with date and time. Those marked for deletion are not among them. Like
// Fragments it holds nothing while the caller works.
func (s *Store) Segments(camera string) iter.Seq2[Segment, error] { return s.SegmentsFrom(camera, "") }

// SegmentsFrom is Segments without those whose path sorts before from.
func (s *Store) SegmentsFrom(camera, from string) iter.Seq2[Segment, error] {
	return func(yield func(Segment, error) bool) {
		if !validName(camera) {
			return
		}
		lower := appendPrefix(nil, kindSegment, camera)
		upper := after(appendPrefix(nil, kindSegment, camera))
		if from != "" {
			lower = appendPath(nil, kindSegment, camera, from)
		}
		for size := firstPage; ; size = fullPage {
			page, err := s.segmentPage(lower, upper, size)
			if err != nil {
				yield(Segment{}, fmt.Errorf("list segments of %s: %w", camera, err))
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			if len(page) < size {
				return
			}
			lower = append(appendPath(lower[:0], kindSegment, camera, page[size-1].Path), 0)
		}
	}
}

func (s *Store) segmentPage(lower, upper []byte, size int) (page []Segment, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, s.readErr(err)
	}
	defer func() { err = s.readErr(errors.Join(err, it.Close())) }()
	for ok := it.First(); ok && len(page) < size; ok = it.Next() {
		seg, err := decodeSegment(it.Key(), it.Value())
		if err != nil {
			return nil, err
		}
		page = append(page, seg)
	}
	return page, it.Error()
}

// SegmentName names a media file of a camera.
type SegmentName struct{ Camera, Path string }

// DeleteSegment is the first of three steps: it takes a media file with all its
// fragments out of the index and marks it for deletion, durably. Then the caller
// unlinks the file, then DropSegments forgets the mark. ErrNotFound when the index does
// not know the file; when it is marked already that is answered again.
func (s *Store) DeleteSegment(camera, path string) (Segment, error) {
	segs, err := s.DeleteSegments([]SegmentName{{camera, path}})
	if err != nil {
		return Segment{}, err
	}
	return segs[0], nil
}

// DeleteSegments is DeleteSegment of several files, in one batch: all are marked, or
// none. Commits wait meanwhile, for one sync and for the deletion of all their
// fragments, so a caller takes some hundreds of fragments at a time.
func (s *Store) DeleteSegments(names []SegmentName) ([]Segment, error) {
	return s.takeOut(names, false)
}

// ExpireSegments is DeleteSegments for retention: Camera.HorizonNS then says, durably,
// that what starts before the end of these files is not missing here but was deleted.
func (s *Store) ExpireSegments(names []SegmentName) ([]Segment, error) {
	return s.takeOut(names, true)
}

func (s *Store) takeOut(names []SegmentName, expire bool) (segs []Segment, err error) {
	err = s.change(func() error {
		segs, err = s.deleteSegments(names, expire)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("delete %s: %w", describe(names), err)
	}
	return segs, nil
}

func describe(names []SegmentName) string {
	if len(names) == 1 {
		return fmt.Sprintf("segment %q of %s", names[0].Path, names[0].Camera)
	}
	return fmt.Sprintf("%d segments", len(names))
}

func (s *Store) deleteSegments(names []SegmentName, expire bool) ([]Segment, error) {
	t := s.begin()
	defer t.close()
	segs := make([]Segment, 0, len(names))
	for _, n := range names {
		mem, ok := s.cameras[n.Camera]
		if !ok {
			return nil, fmt.Errorf("segment %q of %s: %w", n.Path, n.Camera, ErrNotFound)
		}
		if seg, ok := mem.deleting[n.Path]; ok {
			segs = append(segs, seg)
			continue
		}
		c := t.camera(n.Camera)
		if seg, ok := c.marked[n.Path]; ok { // it was named twice
			segs = append(segs, seg)
			continue
		}
		seg, err := t.deleteSegment(c, n.Path)
		if err != nil {
			return nil, err
		}
		if expire && seg.EndNS > c.mem.horizonNS {
			c.horizonNS = max(c.horizonNS, seg.EndNS)
		}
		segs = append(segs, seg)
	}
	if len(t.cameras) == 0 {
		return segs, nil
	}
	return segs, t.commit()
}

// deleteSegment removes the fragments of a media file and marks it.
func (t *txn) deleteSegment(c *change, path string) (Segment, error) {
	row, err := t.segment(c, path)
	switch {
	case err != nil:
		return Segment{}, err
	case !row.known:
		return Segment{}, fmt.Errorf("segment %q of %s: %w", path, c.name, ErrNotFound)
	}
	marked := row.Segment
	if c.marked == nil {
		c.marked = map[string]Segment{}
	}
	c.marked[path] = marked
	p := pager{
		s: t.s, camera: c.name, prefixLen: len(c.name) + 2,
		lower: timeKey(kindFragment, c.name, marked.StartNS),
		upper: timeKey(kindFragment, c.name, satAdd(marked.EndNS, 1)),
		keep:  func(r *Ref) bool { return r.Segment == path },
	}
	for !p.done {
		if err := p.read(fullPage); err != nil {
			return Segment{}, err
		}
		for i := range p.page {
			if err := t.remove(c, &p.page[i]); err != nil {
				return Segment{}, err
			}
		}
	}
	for _, d := range c.mem.damaged {
		if d.Segment == path {
			t.undamage(c, d)
		}
	}
	return marked, nil
}

// Deleting returns the media files that are marked for deletion, by camera and path:
// at start, unlink each and call DropSegment. Such a file must not be adopted: Commit
// refuses its fragments.
func (s *Store) Deleting() []Segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []Segment
	for _, c := range s.cameras {
		for _, seg := range c.deleting {
			all = append(all, seg)
		}
	}
	slices.SortFunc(all, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(a.Camera, b.Camera), cmp.Compare(a.Path, b.Path))
	})
	return all
}

// DropSegment forgets the mark of a media file that is gone from the directory,
// durably. Without a mark it does nothing.
func (s *Store) DropSegment(camera, path string) error {
	return s.DropSegments([]SegmentName{{camera, path}})
}

// DropSegments is DropSegment of several files, in one batch.
func (s *Store) DropSegments(names []SegmentName) error {
	err := s.change(func() error {
		b := s.db.NewBatch()
		defer func() { _ = b.Close() }() // applied or given up
		var gone []SegmentName
		for _, n := range names {
			c, ok := s.cameras[n.Camera]
			if !ok {
				continue
			}
			if _, ok := c.deleting[n.Path]; !ok {
				continue
			}
			if err := b.Delete(appendPath(nil, kindDeleting, n.Camera, n.Path), nil); err != nil {
				return err
			}
			gone = append(gone, n)
		}
		if len(gone) == 0 {
			return nil
		}
		if err := s.apply(b); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, n := range gone {
			delete(s.cameras[n.Camera].deleting, n.Path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget %s: %w", describe(names), err)
	}
	return nil
}

// DeleteFragments takes fragments out of the index, durably, in one batch, and leaves
// their files alone. Those that it does not hold at that place are skipped.
func (s *Store) DeleteFragments(refs []Ref) error {
	err := s.change(func() error {
		t := s.begin()
		defer t.close()
		seen := map[string]map[place]bool{}
		for i := range refs {
			r := &refs[i]
			if s.cameras[r.Camera] == nil {
				continue
			}
			at := place{startNS: r.StartNS, epoch: r.Epoch, first: r.First}
			if seen[r.Camera] == nil {
				seen[r.Camera] = map[place]bool{}
			}
			if seen[r.Camera][at] {
				continue
			}
			c := t.camera(r.Camera)
			old, err := t.existing(c, r)
			if err != nil {
				return err
			}
			if old == nil || !samePlace(old, r) {
				continue
			}
			seen[r.Camera][at] = true
			if err := t.remove(c, old); err != nil {
				return err
			}
		}
		return t.commit()
	})
	if err != nil {
		return fmt.Errorf("delete %d fragments: %w", len(refs), err)
	}
	return nil
}

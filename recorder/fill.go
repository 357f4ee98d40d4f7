package recorder

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

// hole are bytes of a file that are in no box, before some that are.
type hole struct{ at, len int64 }

// initOf looks init headers up in an index.
func initOf(s *index.Store) func(*index.Ref) ([]byte, error) {
	return func(ref *index.Ref) ([]byte, error) { return s.Init(ref.Camera, ref.InitHash) }
}

// fill makes boxes that everybody skips of the holes which a power cut has left in a file,
// of writes that were under way, so that players get at what follows them. The header, where
// it is in one, is written anew if init knows it. Only what the disk never got, zeros, is
// written over, and the first eight bytes of a box, as in quarantine; where that says what
// it was, it is among what is quarantined from then on.
func (a archive) fill(s *scanned, init func(*index.Ref) ([]byte, error)) (err error) {
	end := s.end() // what lay behind it is cut off, or the file is removed
	s.holes = slices.DeleteFunc(s.holes, func(h hole) bool { return h.at >= end })
	if len(s.holes) == 0 || s.foreign > 0 { // somebody else's footage is not ours to change
		return nil
	}
	f, err := a.fs.OpenReadWrite(a.fs.PathJoin(a.dir, s.path), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("fill holes in segment %s: %w", s.path, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("fill holes in segment %s: %w", s.path, err)
		}
	}()
	var boxes []hole
	for _, h := range s.holes {
		box, err := s.fill(f, h, init)
		if err != nil {
			return err
		}
		if box.len > 0 {
			boxes = append(boxes, box)
		}
	}
	return s.keep(f, boxes)
}

// fill returns the box that it made of a hole, or of the part of it behind the header.
func (s *scanned) fill(f vfs.File, h hole, init func(*index.Ref) ([]byte, error)) (void hole, err error) {
	var head []byte
	if h.at == 0 {
		if len(s.refs) == 0 {
			return hole{}, nil
		}
		if head, err = init(&s.refs[0]); errors.Is(err, index.ErrNotFound) {
			return hole{}, nil // what follows cannot be named either
		}
		if err != nil {
			return hole{}, err
		}
		if ok, err := lost(f, 0, h.len, head, 0); err != nil || !ok {
			return hole{}, err
		}
	}
	at, size := h.at+int64(len(head)), h.len-int64(len(head))
	if size > 0 {
		box, err := media.VoidHeader(size)
		if err != nil {
			return hole{}, nil //nolint:nilerr // it has no room for a box: it stays as it is
		}
		if ok, err := lost(f, at, size, box[:], 8); err != nil || !ok {
			return hole{}, err
		}
		if _, err := f.WriteAt(box[:], at); err != nil {
			return hole{}, err
		}
		// The header comes after it: with that alone, the rest would not be looked at again.
		if err := f.SyncData(); err != nil {
			return hole{}, err
		}
	}
	if len(head) > 0 {
		if _, err := f.WriteAt(head, 0); err != nil {
			return hole{}, err
		}
		if err := f.SyncData(); err != nil {
			return hole{}, err
		}
		s.init = head
	}
	s.damaged -= h.len
	return hole{at, size}, nil
}

// lost reports whether want takes, behind skip bytes, the place of nothing but zeros and of
// what equals it, within size bytes.
func lost(f io.ReaderAt, at, size int64, want []byte, skip int) (bool, error) {
	if int64(len(want)) > size {
		return false, nil
	}
	b := make([]byte, len(want))
	if _, err := f.ReadAt(b, at); err != nil {
		return false, err
	}
	for i := skip; i < len(b); i++ {
		if b[i] != 0 && b[i] != want[i] {
			return false, nil
		}
	}
	return true, nil
}

// keep notes which fragments of its camera the filled holes were, where their boxes say so.
func (s *scanned) keep(f vfs.File, filled []hole) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	camera, _ := parseSegmentPath(s.path)
	for _, h := range filled {
		b := make([]byte, min(h.len, 1<<10)) // more than a box has
		if _, err := f.ReadAt(b, h.at); err != nil {
			return err
		}
		if was, ok := media.ParseQuarantined(b); ok && was.Camera == camera.camera {
			s.quarantined = append(s.quarantined, index.Damage{
				Ref: index.Ref{Info: was, Segment: s.path, At: h.at}, FoundNS: info.ModTime().UnixNano(),
				Why: "found in quarantine", Quarantined: true,
			})
		}
	}
	return nil
}

package recorder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

// verdict is what a check of a fragment came to.
type verdict struct {
	// why is what is wrong with its bytes; empty: nothing is.
	why string
	// unread: they could not be read. What is wrong may be the disk as a whole.
	unread bool
	// box: its bytes are right and the box before them is not.
	box bool
}

func (v verdict) damaged() bool { return v.why != "" }

// inspect reads a fragment back from the disk and compares it with the index. take is
// told of the bytes that were read, before each piece; it may wait, and end the check.
func (a archive) inspect(ref *index.Ref, take func(n int64) error) (verdict, error) {
	f, err := a.fs.Open(a.fs.PathJoin(a.dir, ref.Segment), vfs.SequentialReadsOption)
	if errors.Is(err, fs.ErrNotExist) {
		return verdict{why: "the file is gone"}, nil
	}
	if err != nil {
		return verdict{why: err.Error(), unread: true}, nil
	}
	defer f.Close()
	if c, ok := f.(cacheFile); ok {
		c.DropCache()
		defer c.DropCache()
	}
	want := media.AppendBox(nil, &ref.Info)
	box := make([]byte, len(want))
	if n, err := f.ReadAt(box, ref.At); n < len(box) {
		if err == nil || errors.Is(err, io.EOF) {
			return verdict{why: "the file is cut off before it"}, nil
		}
		return verdict{why: err.Error(), unread: true}, nil
	}
	h := newHash()
	buf := make([]byte, min(readChunk, ref.Size))
	for done := int64(0); done < ref.Size; {
		b := buf[:min(readChunk, ref.Size-done)]
		if err := take(int64(len(b))); err != nil {
			return verdict{}, err
		}
		if n, err := f.ReadAt(b, ref.At+int64(len(want))+done); n < len(b) {
			if err == nil || errors.Is(err, io.EOF) {
				return verdict{why: "the file is cut off within it"}, nil
			}
			return verdict{why: err.Error(), unread: true}, nil
		}
		_, _ = h.Write(b) // never fails
		done += int64(len(b))
	}
	if sum := media.Hash(h.Sum(nil)); sum != ref.Hash {
		return verdict{why: fmt.Sprintf("SHA-256 %x… instead of %x…", sum[:6], ref.Hash[:6])}, nil
	}
	return verdict{box: string(box) != string(want)}, nil
}

// quarantine turns the bytes of a damaged fragment into a box that everybody skips, and
// makes that durable. A file that is gone or ends before it is left alone.
func (a archive) quarantine(ref *index.Ref) (err error) {
	name := a.fs.PathJoin(a.dir, ref.Segment)
	if _, err := a.fs.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f, err := a.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("quarantine a fragment in segment %s: %w", ref.Segment, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("quarantine a fragment in segment %s: %w", ref.Segment, err)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := min(boxLen(&ref.Info)+ref.Size, info.Size()-ref.At)
	if size < 8 { // the file ends before it
		return nil
	}
	h, err := media.QuarantineHeader(size)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(h[:], ref.At); err != nil {
		return err
	}
	return f.SyncData()
}

// mendBox writes the box of a fragment whose bytes are right anew: the index has all
// that it says.
func (a archive) mendBox(ref *index.Ref) (err error) {
	f, err := a.fs.OpenReadWrite(a.fs.PathJoin(a.dir, ref.Segment), vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.WriteAt(media.AppendBox(nil, &ref.Info), ref.At)
		if err == nil {
			err = f.SyncData()
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("mend a box in segment %s: %w", ref.Segment, err)
	}
	return nil
}

// mendInit compares the header of a segment with the one in the index and writes it anew
// where it differs. It reports whether it did.
func (a archive) mendInit(path string, init []byte) (mended bool, err error) {
	f, err := a.fs.OpenReadWrite(a.fs.PathJoin(a.dir, path), vfs.WriteCategoryUnspecified)
	if err != nil {
		return false, fmt.Errorf("check the header of segment %s: %w", path, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("mend the header of segment %s: %w", path, err)
		}
	}()
	b := make([]byte, len(init))
	if n, err := f.ReadAt(b, 0); n < len(b) {
		if errors.Is(err, io.EOF) {
			err = nil // cut off: its fragments will be found damaged
		}
		return false, err
	}
	if string(b) == string(init) {
		return false, nil
	}
	if _, err := f.WriteAt(init, 0); err != nil {
		return false, err
	}
	return true, f.SyncData()
}

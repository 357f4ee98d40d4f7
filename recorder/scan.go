package recorder

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

// archive walks the media below a data directory.
type archive struct {
	fs  vfs.FS
	dir string
}

// list returns the names in a directory below the data directory that keep allows,
// sorted; none where there is no such directory.
func (a archive) list(dir string, keep func(string) bool) ([]string, error) {
	names, err := a.fs.List(a.fs.PathJoin(a.dir, dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list directory %s: %w", dir, err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !keep(n) })
	slices.Sort(names)
	return names, nil
}

// cameras returns the names of the cameras that have a directory.
func (a archive) cameras() ([]string, error) {
	names, err := a.list("", nameForm.MatchString)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(n string) bool {
		info, err := a.fs.Stat(a.fs.PathJoin(a.dir, n))
		return err != nil || !info.IsDir() || n == "lost+found"
	}), nil
}

// dates returns the dates of which a camera has a directory, oldest first.
func (a archive) dates(camera string) ([]string, error) { return a.list(camera, isDate) }

// segments returns the paths of a camera's segments of one date, oldest first, and of
// what an interrupted recovery left there.
func (a archive) segments(camera, date string) (segments, temps []string, err error) {
	names, err := a.list(path.Join(camera, date), func(string) bool { return true })
	if err != nil {
		return nil, nil, err
	}
	for _, n := range names {
		p := path.Join(camera, date, n)
		if _, ok := parseSegmentPath(p); ok {
			segments = append(segments, p)
		} else if strings.HasSuffix(n, segmentExt+tempExt) {
			temps = append(temps, p)
		}
	}
	return segments, temps, nil
}

// all returns the paths of all segments, by camera, oldest first.
func (a archive) all() (map[string][]string, error) {
	cameras, err := a.cameras()
	if err != nil {
		return nil, err
	}
	out := make(map[string][]string, len(cameras))
	for _, c := range cameras {
		dates, err := a.dates(c)
		if err != nil {
			return nil, err
		}
		for _, d := range dates {
			segments, _, err := a.segments(c, d)
			if err != nil {
				return nil, err
			}
			out[c] = append(out[c], segments...)
		}
	}
	return out, nil
}

// scanned is what is in a segment file.
type scanned struct {
	path string
	size int64 // of the file
	// init is the header, refs the whole fragments in the order of the file.
	init []byte
	refs []index.Ref
	// damaged are the bytes before the last whole fragment that are none, and
	// foreign counts whole ones of other cameras.
	damaged int64
	foreign int
	// holes are those of the damaged bytes that are in no box.
	holes []hole
	// quarantined are the fragments that were found damaged before.
	quarantined []index.Damage
	// last is where the last whole or quarantined fragment ends.
	last int64
}

// end returns the end of the last fragment that is whole or in quarantine; what follows
// is torn. 0: there is none.
func (s *scanned) end() int64 { return s.last }

// scan reads the boxes of a segment. Fragments for which verify says so are read whole
// and count only with the right hash; they are read from the disk, after what is in the
// page cache was forced there. Behind the header it begins at from.
func (a archive) scan(p string, from int64, verify func(*index.Ref) bool) (*scanned, error) {
	return a.scanBy(p, from, verify, func(f io.ReaderAt) io.ReaderAt { return f })
}

// scanAhead is scan of a file of which everything is going to be read.
func (a archive) scanAhead(p string, from int64, verify func(*index.Ref) bool) (*scanned, error) {
	return a.scanBy(p, from, verify, func(f io.ReaderAt) io.ReaderAt { return &ahead{r: f} })
}

// ahead reads large pieces, for who reads small ones one after the other. Not for
// concurrent use.
type ahead struct {
	r   io.ReaderAt
	buf []byte
	at  int64 // of buf
}

const aheadBytes = 1 << 20

// ReadAt implements io.ReaderAt.
func (a *ahead) ReadAt(b []byte, at int64) (n int, err error) {
	for n < len(b) {
		off := at + int64(n) - a.at
		if a.buf == nil || off < 0 || off >= int64(len(a.buf)) {
			a.buf = slices.Grow(a.buf[:0], aheadBytes)[:aheadBytes]
			got, err := a.r.ReadAt(a.buf, at+int64(n))
			a.buf, a.at = a.buf[:got], at+int64(n)
			if got == 0 {
				return n, cmp.Or(err, io.ErrNoProgress)
			}
			continue
		}
		n += copy(b[n:], a.buf[off:])
	}
	return n, nil
}

func (a archive) scanBy(p string, from int64, verify func(*index.Ref) bool, through func(io.ReaderAt) io.ReaderAt) (_ *scanned, err error) {
	name := a.fs.PathJoin(a.dir, p)
	f, err := a.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("scan segment %s: %w", p, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err == nil {
		err = f.SyncData()
	}
	if err != nil {
		return nil, fmt.Errorf("scan segment %s: %w", p, err)
	}
	if c, ok := f.(cacheFile); ok {
		c.DropCache()
	}
	parsed, ok := parseSegmentPath(p)
	if !ok {
		return nil, fmt.Errorf("scan segment %s: the name is no segment's", p)
	}
	out := &scanned{path: p, size: info.Size()}
	r := through(f)
	s := media.NewScanner(r, out.size, false)
	for first := true; ; first = false {
		if !first {
			s.Skip(from)
		}
		item, err := s.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("scan segment %s: %w", p, err)
		}
		switch item.Kind {
		case media.ItemInit:
			out.init = item.Init
		case media.ItemDamage:
			out.damaged += item.Len
			out.holes = append(out.holes, hole{item.At, item.Len})
		case media.ItemQuarantined:
			out.last = item.At + item.Len
			if item.Known && item.Info.Camera == parsed.camera {
				out.quarantined = append(out.quarantined, index.Damage{
					Ref: index.Ref{Info: item.Info, Segment: p, At: item.At}, FoundNS: info.ModTime().UnixNano(),
					Why: "found in quarantine", Quarantined: true,
				})
			}
		case media.ItemFragment:
			ref := index.Ref{Info: item.Info, Segment: p, At: item.At}
			if ref.Camera != parsed.camera {
				out.foreign++
				continue
			}
			if verify(&ref) {
				good, err := hashIs(r, item.At+item.Len-item.Info.Size, &item.Info)
				if err != nil {
					return nil, fmt.Errorf("read fragment %d of segment %s: %w", item.Info.First, p, err)
				}
				if !good {
					out.damaged += item.Len
					continue
				}
			}
			out.refs = append(out.refs, ref)
			out.last = item.At + item.Len
		}
	}
}

// boxLen returns the length of the box that stands before moof and mdat.
func boxLen(info *media.Info) int64 { return int64(len(media.AppendBox(nil, info))) }

func newHash() hash.Hash { return sha256.New() }

func hashOf(b []byte) media.Hash { return sha256.Sum256(b) }

// hashIs reports whether the media at an offset has the hash that info names.
func hashIs(f io.ReaderAt, at int64, info *media.Info) (bool, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f, at, info.Size))
	if err != nil {
		return false, err
	}
	return n == info.Size && media.Hash(h.Sum(nil)) == info.Hash, nil
}

// trim takes away what a crash has left at the end of a file: what is torn, or all of it
// where there is no whole fragment. indexed is how many fragments of it the index names.
func (a archive) trim(s *scanned, indexed int) (cut int64, removed bool, err error) {
	switch end := s.end(); {
	case s.foreign > 0: // somebody else's footage is not ours to cut
	case end == 0 && indexed > 0: // damage, not a torn first write: kept for people to look at
	case end == 0:
		return 0, true, a.remove(s.path)
	case end < s.size:
		return s.size - end, false, truncate(a.fs, a.fs.PathJoin(a.dir, s.path), end)
	}
	return 0, false, nil
}

// remove removes a file, durably.
func (a archive) remove(p string) error {
	name := a.fs.PathJoin(a.dir, p)
	if err := a.fs.Remove(name); err != nil {
		return fmt.Errorf("remove %s: %w", p, err)
	}
	return syncDir(a.fs, a.fs.PathDir(name))
}

// syncNames makes the directory entries that lead to a file durable.
func (a archive) syncNames(p string) error {
	for d := a.fs.PathDir(a.fs.PathJoin(a.dir, p)); ; d = a.fs.PathDir(d) {
		if err := syncDir(a.fs, d); err != nil {
			return err
		}
		if d == a.dir || d == a.fs.PathDir(d) {
			return nil
		}
	}
}

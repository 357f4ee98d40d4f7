package recorder

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// All file I/O of a recorder, its index's too, goes through one vfs.FS: Pebble has a
// file system in memory that can be cloned as a power cut would leave it, and every
// operation can be made to fail. What vfs.FS lacks is asked for by type assertion;
// without it the slower way is taken.

// vectorFile writes several buffers at an offset with one system call.
type vectorFile interface {
	WriteVAt(bufs [][]byte, at int64) (int64, error)
}

// maxVectors is how many buffers a system call takes (IOV_MAX).
const maxVectors = 1024

// truncateFile cuts a file off.
type truncateFile interface {
	Truncate(size int64) error
}

// cacheFile forgets what the page cache holds of the file, so that the next read comes
// from the disk. A hint.
type cacheFile interface {
	DropCache()
}

// inodeFS tells how many files there is room for. Some file systems have no such bound;
// their total is 0.
type inodeFS interface {
	Inodes(dir string) (free, total uint64, err error)
}

// DiskFS returns the machine's file system, with vectored writes.
func DiskFS() vfs.FS { return diskFS{vfs.Default} }

type diskFS struct{ vfs.FS }

func (d diskFS) Unwrap() vfs.FS { return d.FS }

// Inodes implements inodeFS.
func (d diskFS) Inodes(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, os.NewSyscallError("statfs", err)
	}
	return st.Ffree, st.Files, nil
}

// OpenReadWrite implements vfs.FS.
func (d diskFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, category, opts...)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

type diskFile struct{ vfs.File }

// WriteVAt implements vectorFile.
func (f diskFile) WriteVAt(bufs [][]byte, at int64) (int64, error) {
	var done int64
	rest := append(make([][]byte, 0, 8), bufs...)
	for {
		for len(rest) > 0 && len(rest[0]) == 0 {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return done, nil
		}
		n, err := unix.Pwritev(int(f.Fd()), rest[:min(len(rest), maxVectors)], at+done)
		runtime.KeepAlive(f.File)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, os.NewSyscallError("pwritev", err)
		}
		if n == 0 {
			return done, fmt.Errorf("pwritev: wrote nothing of %d bytes", len(rest[0]))
		}
		done += int64(n)
		for n > 0 {
			k := min(n, len(rest[0]))
			rest[0] = rest[0][k:]
			n -= k
			if len(rest[0]) == 0 {
				rest = rest[1:]
			}
		}
	}
}

// Truncate implements truncateFile.
func (f diskFile) Truncate(size int64) error {
	err := unix.Ftruncate(int(f.Fd()), size)
	runtime.KeepAlive(f.File)
	return os.NewSyscallError("ftruncate", err)
}

// DropCache implements cacheFile.
func (f diskFile) DropCache() {
	// A hint: where it is not taken, the read that follows is merely less of a proof.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	runtime.KeepAlive(f.File)
}

// writeAt writes the buffers one after the other at an offset, in one operation.
// scratch is where they are put together for a file that cannot do better.
func writeAt(f vfs.File, bufs [][]byte, at int64, scratch *[]byte) (int64, error) {
	if v, ok := f.(vectorFile); ok {
		return v.WriteVAt(bufs, at)
	}
	*scratch = (*scratch)[:0]
	for _, b := range bufs {
		*scratch = append(*scratch, b...)
	}
	n, err := f.WriteAt(*scratch, at)
	return int64(n), err
}

// truncate cuts the named file off and makes that durable. Where the file system cannot
// cut, a copy takes the file's place.
func truncate(fsys vfs.FS, name string, size int64) error {
	f, err := fsys.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("truncate %s: %w", name, err)
	}
	t, ok := f.(truncateFile)
	if ok {
		err = t.Truncate(size)
		if err == nil {
			err = f.Sync()
		}
	} else {
		err = replaceBy(fsys, io.NewSectionReader(f, 0, size), name)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("truncate %s to %d bytes: %w", name, size, err)
	}
	return nil
}

func replaceBy(fsys vfs.FS, r io.Reader, name string) error {
	temp := name + tempExt
	f, err := fsys.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(temp))
	}
	if err := fsys.Rename(temp, name); err != nil {
		return err
	}
	return syncDir(fsys, fsys.PathDir(name))
}

// tempExt ends the names of files that recovery removes.
const tempExt = ".tmp"

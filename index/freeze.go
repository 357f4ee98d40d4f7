package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// freezer is a file system that stops changing at its first failed write.
//
// Pebble ends or panics its process when a write to its log or manifest fails, on
// goroutines where nothing can recover it. A recorder must outlive its disk. So the
// first error is told to onFail and hidden from Pebble, and from then on nothing
// reaches the disk any more, while Pebble is told that all went well: the directory
// stays as a power cut at that moment would have left it, which Pebble recovers from.
// The store asks for the failure before it acknowledges anything.
type freezer struct {
	vfs.FS
	frozen atomic.Bool
	onFail func(error) // takes note, then sets frozen
}

// missPause slows Pebble down when it looks, again and again, for a table that was
// written after the freeze and so does not exist.
const missPause = 20 * time.Millisecond

// fail freezes the file system because of err.
func (f *freezer) fail(op, name string, err error) {
	f.onFail(fmt.Errorf("%s %s: %w", op, name, err))
}

// do runs a change unless the file system is frozen. The outcome is always good.
func (f *freezer) do(op, name string, change func() error) error {
	if f.frozen.Load() {
		return nil
	}
	if err := change(); err != nil {
		f.fail(op, name, err)
	}
	return nil
}

func (f *freezer) open(op, name string, open func() (vfs.File, error)) (vfs.File, error) {
	if f.frozen.Load() {
		return nullFile{name: name}, nil
	}
	file, err := open()
	if err != nil {
		f.fail(op, name, err)
		return nullFile{name: name}, nil
	}
	return &freezerFile{File: file, fs: f, name: name}, nil
}

func (f *freezer) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open("create", name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *freezer) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open("reuse", oldname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f *freezer) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.open("open", name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

func (f *freezer) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, o...)
	if err != nil && f.frozen.Load() {
		time.Sleep(missPause)
	}
	return file, err
}

func (f *freezer) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &freezerFile{File: file, fs: f, name: name}, nil
}

func (f *freezer) Link(oldname, newname string) error {
	return f.do("link", newname, func() error { return f.FS.Link(oldname, newname) })
}

func (f *freezer) Rename(oldname, newname string) error {
	return f.do("rename", oldname, func() error { return f.FS.Rename(oldname, newname) })
}

func (f *freezer) MkdirAll(dir string, perm os.FileMode) error {
	return f.do("make directory", dir, func() error { return f.FS.MkdirAll(dir, perm) })
}

func (f *freezer) Remove(name string) error {
	return f.do("remove", name, func() error {
		err := f.FS.Remove(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func (f *freezer) RemoveAll(name string) error {
	return f.do("remove", name, func() error { return f.FS.RemoveAll(name) })
}

func (f *freezer) Unwrap() vfs.FS { return f.FS }

// freezerFile is an open file of a freezer.
type freezerFile struct {
	vfs.File
	fs   *freezer
	name string
}

func (f *freezerFile) Write(p []byte) (int, error) {
	return len(p), f.fs.do("write", f.name, func() error {
		_, err := f.File.Write(p)
		return err
	})
}

func (f *freezerFile) WriteAt(p []byte, off int64) (int, error) {
	return len(p), f.fs.do("write", f.name, func() error {
		_, err := f.File.WriteAt(p, off)
		return err
	})
}

func (f *freezerFile) Preallocate(offset, length int64) error {
	return f.fs.do("preallocate", f.name, func() error { return f.File.Preallocate(offset, length) })
}

func (f *freezerFile) Sync() error { return f.fs.do("sync", f.name, f.File.Sync) }

func (f *freezerFile) SyncData() error { return f.fs.do("sync", f.name, f.File.SyncData) }

func (f *freezerFile) SyncTo(length int64) (full bool, err error) {
	err = f.fs.do("sync", f.name, func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// Stat is asked of a log that is used again, where Pebble bears no error.
func (f *freezerFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		f.fs.fail("stat", f.name, err)
		return nullInfo{f.name}, nil
	}
	return info, nil
}

// Close really closes, frozen or not.
func (f *freezerFile) Close() error {
	if err := f.File.Close(); err != nil {
		f.fs.fail("close", f.name, err)
	}
	return nil
}

// nullFile is a file that was made after the freeze.
type nullFile struct{ name string }

var errNull = errors.New("the file was written after the disk had failed")

func (nullFile) Close() error                           { return nil }
func (nullFile) Read([]byte) (int, error)               { return 0, errNull }
func (nullFile) ReadAt([]byte, int64) (int, error)      { return 0, errNull }
func (nullFile) Write(p []byte) (int, error)            { return len(p), nil }
func (nullFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nullFile) Preallocate(int64, int64) error         { return nil }
func (n nullFile) Stat() (vfs.FileInfo, error)          { return nullInfo(n), nil }
func (nullFile) Sync() error                            { return nil }
func (nullFile) SyncTo(int64) (bool, error)             { return false, nil }
func (nullFile) SyncData() error                        { return nil }
func (nullFile) Prefetch(int64, int64) error            { return nil }
func (nullFile) Fd() uintptr                            { return vfs.InvalidFd }

// nullInfo describes a nullFile, which looks empty.
type nullInfo struct{ name string }

func (i nullInfo) Name() string         { return i.name }
func (nullInfo) Size() int64            { return 0 }
func (nullInfo) Mode() fs.FileMode      { return 0 }
func (nullInfo) ModTime() time.Time     { return time.Time{} }
func (nullInfo) IsDir() bool            { return false }
func (nullInfo) Sys() any               { return nil }
func (nullInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

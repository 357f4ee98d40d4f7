package recorder

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// What stands below DATA/.duet.
const (
	metaDir      = ".duet"
	identityFile = "identity.json"
	identityTemp = "identity.json.tmp"
	lockFile     = "lock"
	indexDir     = "index"
)

// Identity says whose a data directory is.
type Identity struct {
	Recorder string `json:"recorder"`
	// ID is random and stays for as long as the directory does. Generation changes
	// when a directory was begun anew, so that "never had it" differs from "lost it".
	ID         string    `json:"id"`
	Generation string    `json:"generation"`
	Created    time.Time `json:"created"`
}

// possession is a data directory that this process holds.
type possession struct {
	identity Identity
	fresh    bool // it was begun just now
	lock     io.Closer
	device   vfs.DeviceID
}

// possess takes the data directory for the recorder, or says why not and what to do.
// An empty one, or one that does not exist, becomes the recorder's.
//
// Beside the directory it leaves a marker, on the file system that the directory is
// mounted on: an empty directory with a marker is a disk that is not mounted, and is
// refused rather than filled.
func possess(fsys vfs.FS, dir, recorder string, now time.Time) (*possession, error) {
	meta := fsys.PathJoin(dir, metaDir)
	names, err := fsys.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, accessError(dir, err)
	}
	id, err := readIdentity(fsys, fsys.PathJoin(meta, identityFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := mayBegin(fsys, dir, recorder, names); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case id.Recorder != recorder:
		return nil, fmt.Errorf("data directory %s belongs to recorder %q, this is %q: give this recorder a directory of its own, or its old name back",
			dir, id.Recorder, recorder)
	}
	if err := fsys.MkdirAll(meta, 0o755); err != nil {
		return nil, accessError(dir, err)
	}
	lock, err := fsys.Lock(fsys.PathJoin(meta, lockFile))
	if err != nil {
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) && isUsable(fsys, meta) ||
			strings.Contains(err.Error(), "lock held by current process") {
			return nil, fmt.Errorf("data directory %s is in use by another process: stop that one first, a directory serves one recorder", dir)
		}
		return nil, accessError(dir, err)
	}
	p := &possession{identity: id, lock: lock}
	if id.Recorder == "" { // none yet: it may have come to be while nobody held the lock
		p.identity, err = readIdentity(fsys, fsys.PathJoin(meta, identityFile))
		if errors.Is(err, fs.ErrNotExist) {
			p.fresh = true
			p.identity, err = begin(fsys, dir, recorder, now)
		}
		if err == nil && p.identity.Recorder != recorder {
			err = fmt.Errorf("data directory %s was just taken by recorder %q", dir, p.identity.Recorder)
		}
	}
	if err == nil {
		err = mark(fsys, dir, p.identity)
	}
	if err == nil {
		var info vfs.FileInfo
		if info, err = fsys.Stat(dir); err == nil {
			p.device = info.DeviceID()
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return p, nil
}

// mayBegin reports, with an error, a directory that is not ours to begin.
func mayBegin(fsys vfs.FS, dir, recorder string, names []string) error {
	var foreign []string
	for _, n := range names {
		if n != "lost+found" && n != metaDir {
			foreign = append(foreign, n)
		}
	}
	if slices.Contains(names, metaDir) { // a first start that a crash cut short left no more than these
		inside, err := fsys.List(fsys.PathJoin(dir, metaDir))
		if err != nil {
			return accessError(dir, err)
		}
		for _, n := range inside {
			if n != lockFile && n != identityTemp {
				foreign = append(foreign, metaDir+"/"+n)
			}
		}
	}
	if len(foreign) > 0 {
		slices.Sort(foreign)
		return fmt.Errorf("data directory %s is not empty (%s …) and has no %s/%s, so it is not a recorder's: give an empty directory, or restore that file",
			dir, foreign[0], metaDir, identityFile)
	}
	marker := markerPath(fsys, dir)
	id, err := readIdentity(fsys, marker)
	if err == nil && id.Recorder == recorder {
		return fmt.Errorf("data directory %s is empty, but recorder %q kept data there (id %s): its disk is not mounted, or was wiped; mount it, or, to begin with an empty one, remove %s",
			dir, recorder, id.ID, marker)
	}
	return nil
}

// markerPath names the marker beside the data directory.
func markerPath(fsys vfs.FS, dir string) string {
	return fsys.PathJoin(fsys.PathDir(dir), "."+fsys.PathBase(dir)+".duet")
}

// mark leaves the marker beside the directory. Where nothing may be written there it
// does without: the marker is a help, not a condition.
func mark(fsys vfs.FS, dir string, id Identity) error {
	marker := markerPath(fsys, dir)
	if old, err := readIdentity(fsys, marker); err == nil && old == id {
		return nil
	}
	err := writeIdentity(fsys, marker+".tmp", marker, id)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil
	}
	return err
}

func begin(fsys vfs.FS, dir, recorder string, now time.Time) (Identity, error) {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		return Identity{}, fmt.Errorf("make an identity for %s: %w", dir, err)
	}
	id := Identity{
		Recorder: recorder, ID: hex.EncodeToString(b[:16]), Generation: hex.EncodeToString(b[16:]),
		Created: now.UTC().Truncate(time.Second),
	}
	meta := fsys.PathJoin(dir, metaDir)
	if err := writeIdentity(fsys, fsys.PathJoin(meta, identityTemp), fsys.PathJoin(meta, identityFile), id); err != nil {
		return Identity{}, err
	}
	for d := dir; ; d = fsys.PathDir(d) { // any of the parents may be new
		if err := syncDir(fsys, d); err != nil && !errors.Is(err, fs.ErrPermission) {
			return Identity{}, err
		}
		if fsys.PathDir(d) == d {
			return id, nil
		}
	}
}

func readIdentity(fsys vfs.FS, name string) (Identity, error) {
	var id Identity
	b, err := readFile(fsys, name, 64<<10)
	if err != nil {
		return id, fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(b, &id); err != nil || id.Recorder == "" || id.ID == "" || id.Generation == "" {
		return Identity{}, fmt.Errorf("%s is damaged (%d bytes): restore it from a backup, or move the directory away and begin with an empty one", name, len(b))
	}
	return id, nil
}

// writeIdentity writes the file durably, whole or not at all.
func writeIdentity(fsys vfs.FS, temp, name string, id Identity) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f, err := fsys.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = fsys.Rename(temp, name)
	}
	if err == nil {
		err = syncDir(fsys, fsys.PathDir(name))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// accessError says in words why a directory cannot be used.
func accessError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("data directory %s is on a file system that is mounted read-only: remount it, and see the kernel's log for why: %w", dir, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("data directory %s is not writable for user %d: change its owner or mode: %w", dir, os.Getuid(), err)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("data directory %s: it, or a part of its path, is not a directory: %w", dir, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("data directory %s: the disk is full to the last byte: free some space: %w", dir, err)
	}
	return fmt.Errorf("data directory %s: %w", dir, err)
}

// isUsable reports whether a file can be made in dir.
func isUsable(fsys vfs.FS, dir string) bool {
	name := fsys.PathJoin(dir, identityTemp)
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), fsys.Remove(name)) == nil
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

func readFile(fsys vfs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return b, errors.Join(err, f.Close())
}

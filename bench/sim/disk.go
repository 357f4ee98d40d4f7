package sim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// dataDir is where every recorder keeps its data, on a disk of its own.
const dataDir = "/disk/data"

// disk is a recorder's disk. A process mounts it; when the process dies, what it had
// mounted is a ghost, and the disk goes on as a clone of what survived.
type disk struct {
	mu   sync.Mutex
	rand *rand.Rand
	mem  *vfs.MemFS
	now  *mount
}

func newDisk(r *rand.Rand) (*disk, error) {
	mem := vfs.NewCrashableMem()
	if err := mem.MkdirAll(dataDir, 0o755); err != nil {
		return nil, err
	}
	for _, dir := range []string{"/", "/disk", dataDir} {
		f, err := mem.OpenDir(dir)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return nil, err
		}
	}
	return &disk{rand: r, mem: mem}, nil
}

// memory returns what the disk is now.
func (d *disk) memory() *vfs.MemFS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mem
}

// mount is what one process sees of a disk.
type mount struct {
	disk    *disk
	mem     *vfs.MemFS
	fs      vfs.FS
	crashed func() // called once, when crash point is reached, after the disk was cloned

	mu      sync.Mutex
	dead    bool
	hurt    bool
	full    bool
	fullAll bool // for the index too
	faults  []*fault
	calls   map[string]int
	ops     int // that change the disk
	crashAt int // ops at which power fails; 0: not
	before  func()
	survive int    // percent of what was not synced that survives it
	tear    bool   // the write before is torn
	torn    string // the file that was written last, and its size before
	tornAt  int64
}

// fault makes the n-th call from now of a kind of operation fail, and times-1 after it.
type fault struct {
	kind  string
	n     int
	times int
	err   error
}

// The kinds of operation that can be made to fail.
var kinds = map[errorfs.OpKind]string{
	errorfs.OpCreate: "create", errorfs.OpLink: "link", errorfs.OpOpen: "open", errorfs.OpRemove: "remove",
	errorfs.OpRemoveAll: "remove", errorfs.OpRename: "rename", errorfs.OpReuseForWrite: "rename",
	errorfs.OpMkdirAll: "mkdir", errorfs.OpFileRead: "read", errorfs.OpFileReadAt: "read",
	errorfs.OpFileWrite: "write", errorfs.OpFileWriteAt: "write", errorfs.OpFileSync: "fsync",
	errorfs.OpFileSyncData: "fsync", errorfs.OpFileSyncTo: "fsync", errorfs.OpFilePreallocate: "write",
	errorfs.OpList: "list", errorfs.OpStat: "stat", errorfs.OpOpenDir: "open",
}

func (d *disk) mount(crashed func()) *mount {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &mount{disk: d, mem: d.mem, crashed: crashed, calls: map[string]int{}}
	m.fs = unsupported{errorfs.Wrap(d.mem, errorfs.InjectorFunc(m.inject))}
	d.now = m
	return m
}

// unsupported makes the disk one that does not say how much room it has; errorfs asks
// MemFS, which answers so too, but wraps it.
type unsupported struct{ vfs.FS }

// inject is asked before every operation.
func (m *mount) inject(op errorfs.Op) error {
	kind := kinds[op.Kind]
	m.mu.Lock()
	if m.dead {
		m.mu.Unlock()
		return nil // a ghost's: it changes nothing that anybody sees
	}
	write := op.Kind.ReadOrWrite() == errorfs.OpIsWrite && kind != ""
	if write {
		m.ops++
		if m.crashAt > 0 && m.ops >= m.crashAt {
			m.crashAt = 0
			before, crashed := m.before, m.crashed
			m.mu.Unlock()
			before()
			m.die(m.survive, m.tear)
			crashed()
			return nil
		}
		m.torn = ""
		if kind == "write" && op.Kind != errorfs.OpFilePreallocate {
			m.torn, m.tornAt = op.Path, 0
			if info, err := m.mem.Stat(op.Path); err == nil {
				m.tornAt = info.Size()
			}
		}
	}
	defer m.mu.Unlock()
	m.calls[kind]++
	// The recorder leaves room for its index on a disk that fills up.
	if m.full && (kind == "write" || kind == "create" || kind == "mkdir") && (m.fullAll || !strings.Contains(op.Path, "/.duet/")) {
		m.hurt = true
		return syscall.ENOSPC
	}
	for _, f := range m.faults {
		if f.kind == kind && f.times > 0 {
			if f.n--; f.n <= 0 {
				f.times--
				m.hurt = true
				return f.err
			}
		}
	}
	return nil
}

// die turns the mount into a ghost's. survive is the percentage of what was not synced
// that is there afterwards: 100 is what a killed process leaves.
func (m *mount) die(survive int, tear bool) {
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return
	}
	m.dead = true
	d.mem = clone(m.mem, d.rand, survive)
	if tear && m.torn != "" {
		cutTail(d.mem, m.torn, m.tornAt, d.rand)
	}
}

func clone(mem *vfs.MemFS, r *rand.Rand, survive int) *vfs.MemFS {
	c := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: survive, RNG: r})
	_ = c.MkdirAll(dataDir, 0o755) // it was made and synced before anything else
	return c
}

// cutTail leaves a part of what follows from in a file.
func cutTail(mem *vfs.MemFS, name string, from int64, r *rand.Rand) {
	b, err := readAll(mem, name)
	if err != nil || int64(len(b)) <= from {
		return // it did not survive
	}
	_ = rewrite(mem, name, b[:from+r.Int64N(int64(len(b))-from)])
}

func rewrite(mem vfs.FS, name string, b []byte) error {
	f, err := mem.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close(), syncDir(mem, mem.PathDir(name)))
}

func syncDir(mem vfs.FS, dir string) error {
	f, err := mem.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func readAll(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	if n, err := f.ReadAt(b, 0); n < len(b) && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// segments returns the names of the media files on a disk, sorted as List sorts.
func segments(fsys vfs.FS) ([]string, error) {
	var out []string
	cameras, err := fsys.List(dataDir)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	for _, c := range cameras {
		if strings.HasPrefix(c, ".") {
			continue
		}
		days, err := fsys.List(fsys.PathJoin(dataDir, c))
		if err != nil {
			continue // a file
		}
		for _, d := range days {
			names, err := fsys.List(fsys.PathJoin(dataDir, c, d))
			if err != nil {
				continue
			}
			for _, n := range names {
				if strings.HasSuffix(n, ".mp4") {
					out = append(out, fsys.PathJoin(c, d, n))
				}
			}
		}
	}
	return out, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// arm adds faults to the mount.
func (m *mount) arm(f *fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, f)
}

func (m *mount) setFull(yes, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full, m.fullAll = yes, all
}

// touched reports whether an operation was made to fail, or the disk is a ghost's.
func (m *mount) touched() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hurt || m.dead
}

func (m *mount) heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full, m.faults, m.crashAt = false, nil, 0
}

// crashIn lets power fail at the n-th operation from now that changes the disk. before is
// called right before, when nothing of that moment is lost yet.
func (m *mount) crashIn(n, survive int, tear bool, before func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashAt, m.survive, m.tear, m.before = m.ops+n, survive, tear, before
}

// flip damages one byte in the middle of a media file.
func flip(mem vfs.FS, name string, r *rand.Rand) error {
	b, err := readAll(mem, mem.PathJoin(dataDir, name))
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return fmt.Errorf("segment %s is empty", name)
	}
	f, err := mem.OpenReadWrite(mem.PathJoin(dataDir, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	at := r.IntN(len(b))
	_, err = f.WriteAt([]byte{b[at] ^ 0x10}, int64(at))
	return errors.Join(err, f.Sync(), f.Close())
}

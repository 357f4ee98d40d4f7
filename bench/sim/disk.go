package sim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A machine's disks are directories of one file system in memory, so that a power cut
// takes them all. What breaks breaks one by one.

// root is where the n-th disk of a machine is mounted, dataDir the data directory there.
func root(n int) string    { return fmt.Sprintf("/disk%d", n+1) }
func dataDir(n int) string { return root(n) + "/data" }

// diskOf returns which disk a file is on; -1: none.
func diskOf(path string) int {
	rest, ok := strings.CutPrefix(path, "/disk")
	if !ok || rest == "" {
		return -1
	}
	return int(rest[0]-'0') - 1
}

// disks are those of a recorder. A process mounts them; when the process dies, what it
// had mounted is a ghost's, and the disks go on as a clone of what survived.
type disks struct {
	rand *rand.Rand
	hear hearing

	mu     sync.Mutex
	mem    *vfs.MemFS
	broken []condition
}

// condition is what is wrong with one disk.
type condition struct {
	full, fullAll bool // it has no room for media, or for nothing
	gone          bool // unmounted: its names are not there, open files go on
	dead          bool // every operation fails
}

// hearing is told what happens on disks. It is called without locks.
type hearing struct {
	// removing: a media file is about to be removed.
	removing func(m *mount, disk int, path string)
	// failed: an operation was made to fail.
	failed func(m *mount)
}

func newDisks(r *rand.Rand, n int, h hearing) (*disks, error) {
	d := &disks{rand: r, hear: h, mem: vfs.NewCrashableMem(), broken: make([]condition, n)}
	for i := range n {
		if err := begin(d.mem, i); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// begin makes an empty disk.
func begin(mem *vfs.MemFS, n int) error {
	if err := mem.MkdirAll(dataDir(n), 0o755); err != nil {
		return err
	}
	return errors.Join(syncDir(mem, "/"), syncDir(mem, root(n)), syncDir(mem, dataDir(n)))
}

// memory returns what the disks are now.
func (d *disks) memory() *vfs.MemFS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mem
}

// copied returns what the disks hold now, to look at.
func (d *disks) copied() *vfs.MemFS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return clone(d.mem, d.rand, 100, len(d.broken))
}

// set changes what is wrong with a disk.
func (d *disks) set(n int, f func(*condition)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.broken[n])
}

// condition returns what is wrong with a disk.
func (d *disks) condition(n int) condition {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broken[n]
}

// heal makes all disks good.
func (d *disks) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.broken)
}

// mount is what one process sees of its machine's disks.
type mount struct {
	disks   *disks
	mem     *vfs.MemFS
	fs      vfs.FS
	crashed func() // called once, when the crash point is reached, after the disks were cloned

	mu     sync.Mutex
	dead   bool
	hurt   bool
	faults []*fault
	crash  crashPoint
	torn   string // the file that was written last, and its size before
	tornAt int64
	// synced is how much of each media file a sync was asked for. dropped are those parts
	// of which the sync failed: the cache shows them, the disk never gets them, whatever a
	// later sync says.
	synced  map[string]int64
	dropped map[string][]span
}

// span is a part of a file.
type span struct{ from, to int64 }

// fault makes the n-th call from now of a kind of operation fail, and times-1 after it.
type fault struct {
	kind  string
	n     int
	times int
	media bool // of media files only
	err   error
}

// crashPoint is when power fails: at the n-th operation from now that changes the disk,
// of a kind if that is not empty.
type crashPoint struct {
	n       int // 0: it does not
	kind    string
	survive int  // percent of what was not synced that survives it
	tear    bool // the write before is torn
	before  func()
}

// The kinds of operation that can be made to fail.
var kinds = map[errorfs.OpKind]string{
	errorfs.OpCreate: "create", errorfs.OpLink: "link", errorfs.OpOpen: "open", errorfs.OpRemove: "remove",
	errorfs.OpRemoveAll: "remove", errorfs.OpRename: "rename", errorfs.OpReuseForWrite: "rename",
	errorfs.OpMkdirAll: "mkdir", errorfs.OpFileRead: "read", errorfs.OpFileReadAt: "read",
	errorfs.OpFileWrite: "write", errorfs.OpFileWriteAt: "write", errorfs.OpFileSync: "fsync",
	errorfs.OpFileSyncData: "fsync", errorfs.OpFileSyncTo: "fsync", errorfs.OpFilePreallocate: "write",
	errorfs.OpList: "list", errorfs.OpStat: "stat", errorfs.OpOpenDir: "open", errorfs.OpLock: "lock",
}

// named are the operations that find a file by its name.
var named = map[errorfs.OpKind]bool{
	errorfs.OpCreate: true, errorfs.OpLink: true, errorfs.OpOpen: true, errorfs.OpRemove: true, errorfs.OpRemoveAll: true,
	errorfs.OpRename: true, errorfs.OpReuseForWrite: true, errorfs.OpMkdirAll: true, errorfs.OpList: true,
	errorfs.OpStat: true, errorfs.OpOpenDir: true, errorfs.OpLock: true,
}

func (d *disks) mount(crashed func()) *mount {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &mount{disks: d, mem: d.mem, crashed: crashed, synced: map[string]int64{}, dropped: map[string][]span{}}
	m.fs = unsupported{errorfs.Wrap(d.mem, errorfs.InjectorFunc(m.inject))}
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
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && kind != "" {
		if m.crash.n > 0 && (m.crash.kind == "" || m.crash.kind == kind) {
			if m.crash.n--; m.crash.n == 0 {
				at, crashed := m.crash, m.crashed
				m.mu.Unlock()
				at.before()
				m.die(at.survive, at.tear, true)
				crashed()
				return nil
			}
		}
		m.torn = ""
		if kind == "write" && op.Kind != errorfs.OpFilePreallocate {
			m.torn, m.tornAt = op.Path, 0
			if info, err := m.mem.Stat(op.Path); err == nil {
				m.tornAt = info.Size()
			}
		}
	}
	err := m.failure(op, kind)
	m.hurt = m.hurt || err != nil
	if name := strings.TrimSuffix(op.Path, ".tmp"); strings.HasSuffix(name, ".mp4") {
		m.media(op, name, kind, err)
	}
	m.mu.Unlock()
	switch {
	case err != nil:
		m.disks.hear.failed(m)
	case op.Kind == errorfs.OpRemove && strings.HasSuffix(op.Path, ".mp4"):
		m.disks.hear.removing(m, diskOf(op.Path), op.Path)
	}
	return err
}

// media follows what becomes of a media file. With mu held.
func (m *mount) media(op errorfs.Op, name, kind string, err error) {
	switch kind {
	case "fsync":
		info, stat := m.mem.Stat(name)
		if stat != nil {
			return
		}
		if err != nil {
			m.dropped[name] = append(m.dropped[name], span{m.synced[name], info.Size()})
		}
		m.synced[name] = info.Size()
	case "write": // what is written anew is not what was dropped
		m.synced[name] = min(m.synced[name], op.Offset)
		list := m.dropped[name]
		for i := range list {
			list[i].to = min(list[i].to, max(op.Offset, list[i].from))
		}
	case "create", "remove", "rename":
		delete(m.synced, name)
		delete(m.dropped, name)
	}
}

// failure says how an operation fails, if it does. With mu held.
func (m *mount) failure(op errorfs.Op, kind string) error {
	n := diskOf(op.Path)
	var b condition
	if n >= 0 && n < len(m.disks.broken) {
		b = m.disks.condition(n)
	}
	switch {
	case b.dead && kind != "":
		return syscall.EIO
	case b.gone && named[op.Kind]:
		return &fs.PathError{Op: kind, Path: op.Path, Err: syscall.ENOENT}
	// The recorder leaves room for its index on a disk that fills up.
	case b.full && (kind == "write" || kind == "create" || kind == "mkdir") && (b.fullAll || !strings.Contains(op.Path, "/.duet/")):
		return syscall.ENOSPC
	}
	for _, f := range m.faults {
		if f.kind == kind && f.times > 0 && (!f.media || strings.HasSuffix(op.Path, ".mp4")) {
			if f.n--; f.n <= 0 {
				f.times--
				return f.err
			}
		}
	}
	return nil
}

// die turns the mount into a ghost's. survive is the percentage of what was not synced
// that is there afterwards: 100 is what a killed process leaves. With power it is the
// machine that dies, and its cache.
func (m *mount) die(survive int, tear, power bool) {
	d := m.disks
	m.mu.Lock()
	defer m.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.dead {
		return
	}
	m.dead = true
	d.mem = clone(m.mem, d.rand, survive, len(d.broken))
	for name, list := range m.dropped {
		for _, x := range list {
			if power && x.from < x.to {
				blank(d.mem, name, x)
			}
		}
	}
	if tear && m.torn != "" {
		cutTail(d.mem, m.torn, m.tornAt, d.rand)
	}
}

func clone(mem *vfs.MemFS, r *rand.Rand, survive, n int) *vfs.MemFS {
	c := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: survive, RNG: r})
	for i := range n {
		_ = c.MkdirAll(dataDir(i), 0o755) // it was made and synced before anything else
	}
	return c
}

// blank puts zeros in the place of a part of a file.
func blank(mem *vfs.MemFS, name string, x span) {
	b, err := readAll(mem, name)
	if err != nil || int64(len(b)) <= x.from {
		return
	}
	clear(b[x.from:min(x.to, int64(len(b)))])
	_ = rewrite(mem, name, b)
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

// segments returns the names of the media files on a disk below its data directory,
// sorted.
func segments(fsys vfs.FS, disk int) ([]string, error) {
	var out []string
	cameras, err := fsys.List(dataDir(disk))
	if err != nil {
		return nil, ignoreMissing(err)
	}
	for _, c := range cameras {
		if strings.HasPrefix(c, ".") {
			continue
		}
		days, err := fsys.List(fsys.PathJoin(dataDir(disk), c))
		if err != nil {
			continue // a file
		}
		for _, d := range days {
			names, err := fsys.List(fsys.PathJoin(dataDir(disk), c, d))
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
	slices.Sort(out) // List does not
	return out, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// arm adds a fault to the mount.
func (m *mount) arm(f *fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, f)
}

// touched reports whether an operation was made to fail, or the mount is a ghost's.
func (m *mount) touched() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hurt || m.dead
}

func (m *mount) heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults, m.crash = nil, crashPoint{}
}

// crashIn lets power fail at a point. Its before is called right before, when nothing of
// that moment is lost yet.
func (m *mount) crashIn(at crashPoint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crash = at
}

// spoil damages a media file of a disk: one bit of it flips (bit), what follows from some
// place is cut off (cut), or it is gone.
func spoil(mem vfs.FS, name, how string, r *rand.Rand) error {
	b, err := readAll(mem, name)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return fmt.Errorf("segment %s is empty", name)
	}
	at := r.IntN(len(b))
	switch how {
	case "gone":
		return errors.Join(mem.Remove(name), syncDir(mem, mem.PathDir(name)))
	case "cut":
		return rewrite(mem, name, b[:at])
	}
	f, err := mem.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{b[at] ^ 0x10}, int64(at))
	return errors.Join(err, f.Sync(), f.Close())
}

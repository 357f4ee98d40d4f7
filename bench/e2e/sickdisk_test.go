package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
)

// sickDisk is a file system that passes everything on to a directory, and is as slow and
// as untrue as it is told: FUSE, served by the test itself. Nothing of the test may touch
// what is below mnt, which waits for the test: it looks at what is below behind.
type sickDisk struct {
	mnt    string
	data   string // the recorder's directory on it
	behind string // the same, without the disk's illness

	// How long each call of a kind takes beside what it takes, ns.
	sync, write, read atomic.Int64
	// failWrites: every write of media is answered with EIO.
	failWrites atomic.Bool
	// lies is how many of the next calls of fsync for media files are answered with EIO
	// after what was written since the last one is gone. The next one succeeds, as
	// with Linux: the pages that could not be written are clean.
	lies atomic.Int32
	// What happened.
	syncs, lied, failed atomic.Int32
}

// needFUSE skips a test that cannot serve a file system; where the project is built it must.
func needFUSE(t testing.TB) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "mounting a file system needs root"
	} else if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		why = "this test needs FUSE: " + err.Error()
	} else {
		_ = f.Close()
	}
	cannot(t, why)
}

func newSickDisk(t testing.TB) *sickDisk {
	t.Helper()
	base := t.TempDir()
	d := &sickDisk{mnt: filepath.Join(base, "mnt")}
	below := filepath.Join(base, "below")
	require.NoError(t, os.Mkdir(d.mnt, 0o755))
	require.NoError(t, os.Mkdir(below, 0o755))
	d.data, d.behind = filepath.Join(d.mnt, "data"), filepath.Join(below, "data")
	var st syscall.Stat_t
	require.NoError(t, syscall.Stat(below, &st))
	root := &fs.LoopbackRoot{Path: below, Dev: st.Dev}
	node := &sickNode{LoopbackNode: fs.LoopbackNode{RootData: root}, disk: d}
	root.RootNode = node
	server, err := fs.Mount(d.mnt, node, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, FsName: "sick", Name: "sick", DisableXAttrs: true,
	}})
	require.NoError(t, err)
	t.Cleanup(func() { // the recorder has ended by now
		require.NoError(t, syscall.Unmount(d.mnt, syscall.MNT_DETACH))
		server.Wait()
	})
	return d
}

// heal makes the disk fast and true.
func (d *sickDisk) heal() {
	d.sync.Store(0)
	d.write.Store(0)
	d.read.Store(0)
	d.failWrites.Store(false)
	d.lies.Store(0)
}

// take takes as long as a call is to take, but not longer than until that is revoked.
func take(ctx context.Context, how *atomic.Int64) {
	began := time.Now()
	for {
		rest := time.Duration(how.Load()) - time.Since(began)
		if rest <= 0 || ctx.Err() != nil {
			return
		}
		time.Sleep(min(rest, 50*time.Millisecond)) // the illness
	}
}

// sickNode is a file or directory of the disk.
type sickNode struct {
	fs.LoopbackNode
	disk *sickDisk

	mu sync.Mutex
	// unsynced is what was written since the last fsync: offset and length.
	unsynced [][2]int64
}

// WrapChild implements fs.NodeWrapChilder.
func (n *sickNode) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &sickNode{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, disk: n.disk}
}

func (n *sickNode) media() bool { return strings.HasSuffix(n.Path(nil), ".mp4") }

// Create implements fs.NodeCreater.
func (n *sickNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, f, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return child, &sickFile{LoopbackFile: f.(*fs.LoopbackFile), node: child.Operations().(*sickNode)}, fuseFlags, 0
}

// Open implements fs.NodeOpener.
func (n *sickNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return &sickFile{LoopbackFile: f.(*fs.LoopbackFile), node: n}, fuseFlags, 0
}

// Setattr implements fs.NodeSetattrer. What is cut off is not there to be lost any more.
func (n *sickNode) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	errno := n.LoopbackNode.Setattr(ctx, f, in, out)
	size, ok := in.GetSize()
	if !ok || errno != 0 {
		return errno
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.unsynced {
		part := &n.unsynced[i]
		part[1] = max(0, min(part[1], int64(size)-part[0]))
	}
	n.unsynced = slices.DeleteFunc(n.unsynced, func(part [2]int64) bool { return part[1] == 0 })
	return 0
}

// Fsync implements fs.NodeFsyncer, for files and directories. The disk below is not waited
// for: nobody cuts its power.
func (n *sickNode) Fsync(ctx context.Context, f fs.FileHandle, _ uint32) syscall.Errno {
	n.disk.syncs.Add(1)
	take(ctx, &n.disk.sync)
	n.mu.Lock()
	lost := n.unsynced
	n.unsynced = nil
	n.mu.Unlock()
	file, ok := f.(*sickFile)
	if !ok || len(lost) == 0 || !n.media() || n.disk.lies.Add(-1) < 0 {
		return 0
	}
	n.disk.lied.Add(1)
	for _, part := range lost {
		if _, errno := file.LoopbackFile.Write(ctx, make([]byte, part[1]), part[0]); errno != 0 {
			return errno
		}
	}
	return syscall.EIO
}

// sickFile is an open file of the disk.
type sickFile struct {
	*fs.LoopbackFile
	node *sickNode
}

// PassthroughFd implements fs.FilePassthroughFder: everything passes through here.
func (f *sickFile) PassthroughFd() (int, bool) { return 0, false }

// Read implements fs.FileReader.
func (f *sickFile) Read(ctx context.Context, buf []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	take(ctx, &f.node.disk.read)
	return f.LoopbackFile.Read(ctx, buf, at)
}

// Write implements fs.FileWriter.
func (f *sickFile) Write(ctx context.Context, b []byte, at int64) (uint32, syscall.Errno) {
	take(ctx, &f.node.disk.write)
	if f.node.disk.failWrites.Load() && f.node.media() {
		f.node.disk.failed.Add(1)
		return 0, syscall.EIO
	}
	n, errno := f.LoopbackFile.Write(ctx, b, at)
	f.node.mu.Lock()
	f.node.unsynced = append(f.node.unsynced, [2]int64{at, int64(n)})
	f.node.mu.Unlock()
	return n, errno
}

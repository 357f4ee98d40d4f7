package recorder

import (
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// slowFS takes a while for everything that makes something durable.
type slowFS struct {
	vfs.FS
	take func()
}

type slowFile struct {
	vfs.File
	take func()
}

func (f slowFile) Sync() error                  { f.take(); return f.File.Sync() }
func (f slowFile) SyncData() error              { f.take(); return f.File.SyncData() }
func (f slowFile) SyncTo(n int64) (bool, error) { f.take(); return f.File.SyncTo(n) }

func (f slowFS) slow(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return slowFile{file, f.take}, nil
}

func (f slowFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.slow(f.FS.Create(name, c))
}

func (f slowFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.slow(f.FS.OpenReadWrite(name, c, o...))
}

func (f slowFS) OpenDir(name string) (vfs.File, error) { return f.slow(f.FS.OpenDir(name)) }

// TestADiskThatIsSlowAtEachOfManyOperationsDoesNotHang: a commit syncs files, directories
// and the index. With 3 s for each it takes long, and each of them answers.
func TestADiskThatIsSlowAtEachOfManyOperationsDoesNotHang(t *testing.T) {
	c := &stepClock{now: testBase}
	var mu sync.Mutex // Pebble syncs in a goroutine of its own
	each, count, longest := time.Duration(0), 0, time.Duration(0)
	var g *rig
	g = openRig(t, slowFS{vfs.NewMem(), func() {
		mu.Lock()
		defer mu.Unlock()
		if each > 0 {
			c.step(each)
			count++
			longest = max(longest, g.disk.stuck())
		}
	}})
	defer g.close()
	g.disk.clock, g.disk.committing.clock = c, c
	for _, camera := range []string{"gate", "yard", "door"} {
		l := newTestLog(t, camera, testBase, 3, time.Hour)
		l.ended = true
		l.play(t, g.feed(camera), 20)
	}
	set := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		each = d
	}
	set(3 * time.Second)
	g.disk.commit()
	set(0)
	require.Greater(t, count, 6, "files, their directories, the index")
	require.Positive(t, longest)
	require.Less(t, longest, hungAfter)
	require.Zero(t, g.disk.stuck())
	why, since := g.disk.slow()
	require.NotEmpty(t, why)
	require.NotZero(t, since)
}

package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/nodepb"
)

// rack is a file system with two disks that can be made to fail.
type rack struct {
	vfs.FS
	mu   sync.Mutex
	bad  string // what is below it fails
	err  error  // with this; nil: it hangs
	thaw chan struct{}
}

var rackVolumes = []Volume{{Dir: "/disks/a"}, {Dir: "/disks/b"}}

func newRack(t testing.TB) *rack {
	r := &rack{}
	r.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(r.maybe))
	t.Cleanup(r.heal)
	return r
}

func (r *rack) maybe(op errorfs.Op) error {
	r.mu.Lock()
	bad, err, thaw := r.bad, r.err, r.thaw
	r.mu.Unlock()
	if bad == "" || !strings.HasPrefix(op.Path, bad) {
		return nil
	}
	switch {
	case err == nil && op.Kind.ReadOrWrite() == errorfs.OpIsWrite:
		<-thaw
	case errors.Is(err, fs.ErrNotExist):
		return &os.PathError{Op: "open", Path: op.Path, Err: syscall.ENOENT}
	case err != nil && op.Kind.ReadOrWrite() == errorfs.OpIsWrite:
		return err
	}
	return nil
}

func (r *rack) fail(dir string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad, r.err, r.thaw = dir, err, make(chan struct{})
}

func (r *rack) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bad != "" {
		close(r.thaw)
	}
	r.bad = ""
}

// where returns how many fragments of a camera each disk holds.
func (g *running) where(camera string) (out [2]int64) {
	for i, s := range g.slots {
		if v := s.serving(); v != nil {
			c, _ := v.index.store().Camera(camera)
			out[i] = c.Fragments
		}
	}
	return out
}

func (g *running) disk(n int) *nodepb.Disk { return g.state().GetDisks()[n] }

func manyCameras(n int) (cameras []Camera) {
	for i := range n {
		cameras = append(cameras, Camera{Name: fmt.Sprintf("cam%d%s", i, strings.Repeat("x", i))})
	}
	return cameras
}

func TestCamerasSpreadOverDisksAndStayThere(t *testing.T) {
	p, r := newFakeProxy(t), newRack(t)
	cameras := manyCameras(16)
	var logs []*testLog
	for _, c := range cameras {
		logs = append(logs, newTestLog(t, c.Name, testBase, 8, time.Hour))
		p.show(logs[len(logs)-1], 4*perFragment+1)
	}
	g := startOn(t, "r1", rackVolumes, r, p.address, cameras...)
	before := map[string][2]int64{}
	var sums [2]int64
	for _, l := range logs {
		g.wait(l, 4*perFragment)
		before[l.camera] = g.where(l.camera)
		require.Contains(t, [][2]int64{{4, 0}, {0, 4}}, before[l.camera])
		sums[0] += before[l.camera][0]
		sums[1] += before[l.camera][1]
	}
	require.Positive(t, sums[0])
	require.Positive(t, sums[1])
	require.Len(t, g.state().GetDisks(), 2)
	g.stop()
	for _, l := range logs {
		p.show(l, l.end())
	}
	g = startOn(t, "r1", rackVolumes, r, p.address, cameras...)
	for _, l := range logs {
		g.wait(l, 7*perFragment)
		now := g.where(l.camera)
		require.Equal(t, before[l.camera][0] > 0, now[0] > 0, "%s moved", l.camera)
		require.Equal(t, before[l.camera][1] > 0, now[1] > 0, "%s moved", l.camera)
		require.Len(t, g.fragments(l.camera), 7)
	}
}

func TestCamerasLeaveADiskThatFailsAndNothingIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		state string
	}{
		"EIO":       {syscall.EIO, diskFailing},
		"read-only": {syscall.EROFS, diskFailing},
		"full":      {syscall.ENOSPC, diskFull},
		"hung":      {nil, diskHung},
		"gone":      {fs.ErrNotExist, diskGone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, r := newFakeProxy(t), newRack(t)
			cameras := manyCameras(6)
			var logs []*testLog
			for _, c := range cameras {
				logs = append(logs, newTestLog(t, c.Name, testBase, 14, time.Hour))
				p.show(logs[len(logs)-1], 3*perFragment+10)
			}
			g := startOn(t, "r1", rackVolumes, r, p.address, cameras...)
			for _, l := range logs {
				g.wait(l, 3*perFragment)
			}
			bad := 0
			if g.where(logs[0].camera)[1] > 0 {
				bad = 1
			}
			r.fail(rackVolumes[bad].Dir+"/", c.err)
			for _, l := range logs {
				p.show(l, 10*perFragment+10)
			}
			// Those of the other disk do not notice, and the others come to it.
			for _, l := range logs {
				g.wait(l, 10*perFragment)
				require.Positive(t, g.where(l.camera)[1-bad])
			}
			require.Eventually(t, func() bool { return g.disk(bad).GetState() == c.state }, patience, 5*time.Millisecond, "%s", g.disk(bad).GetState())
			require.Equal(t, diskGood, g.disk(1-bad).GetState())
			require.NoError(t, g.ready())
			code, _ := g.get("/healthz")
			require.Equal(t, 200, code)

			r.heal()
			require.Eventually(t, func() bool { return g.disk(bad).GetState() == diskGood && g.slots[bad].serving() != nil }, patience, 5*time.Millisecond)
			for _, l := range logs {
				p.show(l, l.end())
				g.wait(l, l.end()-perFragment)
				require.Zero(t, g.camera(l.camera).GetOffsetsLost())
				var at uint64
				for _, f := range g.fragments(l.camera) {
					require.Equal(t, at, f.GetFirst(), l.camera)
					at = f.GetEnd()
				}
				require.Equal(t, l.end()-perFragment, at)
				spans, err := g.client.Spans(t.Context(), &nodepb.SpansRequest{Camera: l.camera, EndNs: 1 << 62})
				require.NoError(t, err)
				require.Len(t, spans.GetSpans(), 1)
				require.Empty(t, spans.GetLacking())
			}
			require.Empty(t, g.state().GetAlarms())
		})
	}
}

func TestARecorderEndsAlthoughItsDiskHangs(t *testing.T) {
	p, r := newFakeProxy(t), newRack(t)
	l := newTestLog(t, "gate", testBase, 8, time.Hour)
	p.show(l, 3*perFragment+1)
	g := startOn(t, "r1", rackVolumes[:1], r, p.address, Camera{Name: "gate"})
	g.wait(l, 3*perFragment)
	r.fail(rackVolumes[0].Dir+"/", nil)
	p.show(l, l.end())
	began := time.Now()
	g.stop()
	require.Less(t, time.Since(began), patience/2)
	require.Contains(t, g.log.String(), "stopped without a disk")
	r.heal()
	require.Eventually(t, func() bool { // what hung ends, and gives the directory free
		held, err := possess(r, rackVolumes[0].Dir, "r1", time.Now())
		return err == nil && held.lock.Close() == nil
	}, patience, 10*time.Millisecond)
}

func TestAnIndexThatTurnsOutToBeDamagedIsMadeAnewWhileRecording(t *testing.T) {
	p, d := newFakeProxy(t), openDir(t)
	l := newTestLog(t, "gate", testBase, 30, 4*time.Second)
	p.show(l, 10*perFragment+1)
	g := start(t, "r1", d.dir, d.fs, p.address, Camera{Name: "gate"})
	g.wait(l, 10*perFragment)
	g.vol().index.mu.Lock()
	g.vol().index.failure = fmt.Errorf("%w: as a test has it", index.ErrCorrupt)
	g.vol().index.mu.Unlock()
	p.show(l, l.end())
	g.wait(l, l.end()-perFragment)
	require.Eventually(t, func() bool { return g.vol().index.err() == nil && !g.vol().adopt.adopting() }, patience, 5*time.Millisecond)
	require.Contains(t, g.log.String(), "rebuilding the index")
	require.Len(t, g.fragments("gate"), 29)
	require.Zero(t, g.camera("gate").GetOffsetsLost())
}

func TestADiskOfFewInodesIsFull(t *testing.T) {
	var none *fileRoom
	require.False(t, none.short(1))
	require.False(t, (&fileRoom{free: 0, total: 0}).short(1), "no bound")
	require.False(t, (&fileRoom{free: 65, total: 1 << 20}).short(1))
	require.True(t, (&fileRoom{free: 64, total: 1 << 20}).short(1))
	require.False(t, (&fileRoom{free: 17, total: 128}).short(1))
	require.True(t, (&fileRoom{free: 16, total: 128}).short(1))
	g := openRig(t, vfs.NewMem())
	defer g.close()
	g.disk.files.Store(&fileRoom{free: 3, total: 1000})
	require.ErrorContains(t, g.disk.hasRoom(), "inodes")
	require.True(t, isFull(g.disk.hasRoom()))
}

func TestADiskIsSlowWhenManySyncsAre(t *testing.T) {
	g := openRig(t, vfs.NewMem())
	defer g.close()
	c := &stepClock{now: testBase}
	g.disk.clock = c
	slow := func() bool { why, since := g.disk.slow(); return why != "" && since != 0 }
	for range 2 {
		g.disk.syncs.add(c.Mono(), 3*time.Second)
	}
	require.False(t, slow(), "a hiccup")
	c.step(time.Second)
	g.disk.syncs.add(c.Mono(), 3*time.Second)
	require.True(t, slow())
	for range 300 {
		g.disk.syncs.add(c.Mono(), time.Millisecond)
	}
	require.False(t, slow(), "the 99th percentile is short")
	for range 10 {
		g.disk.syncs.add(c.Mono(), 3*time.Second)
	}
	require.True(t, slow())
	c.step(slowWindow + time.Second)
	require.False(t, slow(), "it was")
}

func TestADirectoryThatIsToBeAMountPointIsRefusedWithoutADisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.ErrorContains(t, mounted(DiskFS(), dir), "no disk is mounted there")
	require.NoError(t, mounted(DiskFS(), "/proc"))
	p := newFakeProxy(t)
	l := newTestLog(t, "gate", testBase, 3, time.Hour)
	p.show(l, l.end())
	g := startOn(t, "r1", []Volume{{Dir: filepath.Join(t.TempDir(), "good")}, {Dir: dir, Mounted: true}}, nil, p.address, Camera{Name: "gate"})
	g.wait(l, 2*perFragment)
	require.Equal(t, diskGone, g.disk(1).GetState())
	require.Equal(t, [2]int64{2, 0}, g.where("gate"))
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, names, "nothing is written to the bare mount point")
}

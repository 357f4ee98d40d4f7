package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

// TestSlowDiskAndDiskThatLies: the only disk of a recorder is slow; answers every write
// with EIO; answers fsync with EIO, loses what was written, and then says that all is
// well; is slow to read while the index has to be made anew. The recorder says so, goes
// on, and holds everything in the end, in bounded memory.
func TestSlowDiskAndDiskThatLies(t *testing.T) {
	needFUSE(t)
	t.Parallel()
	d := newSickDisk(t)
	const rate = 12_000_000 // bits a second: what is not bounded shows
	sim, list := cameras(t, []camsim.CameraOptions{
		{Name: "gate", Video: "h264", BitrateBPS: rate}, {Name: "yard", Video: "h265", Audio: "aac", BitrateBPS: rate}, {Name: "door", Video: "h264b"},
	})
	s := startSite(t, siteOptions{cameras: list, logSeconds: 30, extra: "segment: {duration: 10s}\nfragment: {max: 1s}\n", recorders: []siteRecorder{
		{name: "r1", role: "primary", data: fmt.Sprintf("%q", d.data)}, {name: "r2", role: "redundant"},
	}})
	g := newStage(t, s, sim.Cameras())
	g.growth = 44 << 20 // 2 fragments of 1.5 MB, of each of the large cameras, and the rest of it, twice

	tr := g.trial("slow-1", "r1", func() {
		d.sync.Store(int64(2200 * time.Millisecond))
		d.write.Store(int64(20 * time.Millisecond))
	})
	tr.waitSign("r1", "disk_slow")
	tr.twice()
	before := d.syncs.Load()
	s.waitAdvanced(t, "r1", tr.began.Add(6*time.Second), 40*time.Second) // it acknowledges, again and again
	require.Greater(t, d.syncs.Load(), before, "it does not do without")
	tr.plays()
	require.Less(t, tr.behindBy(), 6*time.Second, "the other recorder is not concerned")
	waitFor(t, 20*time.Second, "what is kept in memory would be seen", func() error {
		if n := tr.sent(); n <= g.growth {
			return fmt.Errorf("the cameras have sent %d bytes", n)
		}
		return nil
	})
	for _, code := range []string{"disk_hung", "disk_failing", "disk_full", "disk_gone"} {
		require.False(t, tr.seen("r1", code), "a slow disk is not %s", code)
	}
	tr.heal(d.heal)
	tr.complete()
	tr.end()

	tr = g.trial("write-eio-1", "r1", func() { d.failWrites.Store(true) })
	tr.waitSign("r1", "disk_failing", "input/output error")
	tr.plays()
	require.Positive(t, d.failed.Load())
	tr.heal(d.heal)
	tr.twice()
	tr.gone("r1", "disk_failing")
	tr.complete()
	tr.end()

	tr = g.trial("fsync-lies-1", "r1", func() { d.lies.Store(9) })
	tr.waitSign("r1", "disk_failing", "input/output error")
	tr.plays()
	tr.heal(func() {
		waitFor(t, 20*time.Second, "the disk has lied", func() error {
			if left := d.lies.Load(); left > 0 {
				return fmt.Errorf("%d times to go", left)
			}
			return nil
		})
	})
	tr.twice()
	tr.gone("r1", "disk_failing")
	tr.complete()
	tr.end()
	require.EqualValues(t, 9, d.lied.Load())
	require.Zero(t, s.lostOffsets(t, "r1"), "the log had everything")

	// By itself, and by the hashes of what is on the disk, this recorder lacks nothing.
	to := time.Now().Truncate(time.Millisecond)
	s.waitDurable(t, to, 20*time.Second)
	tr = g.start("index-1", "r1", false, func() {
		s.procs["r1"].kill()
		for _, cam := range sim.Cameras() {
			l, err := ledger.ReadFile(cam.Ledger)
			require.NoError(t, err)
			units, err := ledger.FromSegments(d.behind, cam.Name, &l.Header)
			require.NoError(t, err)
			require.NoError(t, ledger.Check(l, within(units, g.from, to), ledger.Options{
				FromNS: g.from.UnixNano(), ToNS: to.UnixNano(), Tolerance: tolerance,
			}).Err(), cam.Name)
		}
		out, code := run(t, "verify", "--data", d.behind)
		require.Zero(t, code, out)
		index, err := filepath.Glob(filepath.Join(d.behind, ".duet", "index", "MANIFEST-*"))
		require.NoError(t, err)
		require.NotEmpty(t, index)
		for _, name := range index {
			require.NoError(t, os.WriteFile(name, []byte("this is no manifest"), 0o600))
		}
		d.read.Store(int64(25 * time.Millisecond))
		s.procs["r1"].start(t)
	})
	tr.waitSign("r1", "index_rebuilding", "is being made anew from the media", " segments are done")
	tr.plays()
	tr.heal(d.heal)
	tr.gone("r1", "index_rebuilding")
	tr.twice()
	tr.converged()
	tr.end()
	s.checkAll(t, sim, g.from)
}

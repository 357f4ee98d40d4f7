package recorder

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// crashLogs are those of two cameras: through a segment change, the end of an epoch and
// the next one.
func crashLogs(t testing.TB) []*testLog {
	one := newTestLog(t, "a", testBase, 4, 12*time.Second)
	one.ended = true
	two := newTestLog(t, "a", testBase.Add(10*time.Second), 3, 12*time.Second)
	other := newTestLog(t, "bb", testBase.Add(time.Second), 5, 12*time.Second)
	other.ended, two.ended = true, true
	return []*testLog{one, other, two}
}

// playAll records the logs from where the recorder is, and commits after every third
// fragment.
func playAll(g *rig, logs []*testLog) {
	n := 0
	written := g.steps
	g.steps = func() {
		written()
		if n++; n%3 == 0 {
			g.disk.commit()
			written()
		}
	}
	for _, l := range logs {
		at := g.feed(l.camera).resume()
		if c := at.Epoch.Compare(l.epoch); c > 0 || c == 0 && at.Offset >= l.end() {
			continue // it had it all
		}
		l.play(g.t, g.feed(l.camera), 20)
	}
	g.steps = written
}

func TestCrashAtEveryStepOfTheWritePathLosesNothing(t *testing.T) {
	logs := crashLogs(t)
	whole := openRig(t, vfs.NewMem())
	playAll(whole, logs)
	whole.commit()
	whole.check()
	want := map[string][]media.Info{"a": whole.fragments("a"), "bb": whole.fragments("bb")}
	require.Len(t, want["a"], 7)
	require.Len(t, want["bb"], 5)
	whole.close()

	type crash struct {
		op    string
		fs    *vfs.MemFS
		acked map[string]record.Position
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	var crashes []crash
	var feeds []*feed
	mem := vfs.NewCrashableMem()
	require.NoError(t, mem.MkdirAll("/data", 0o755))
	watch := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		now := map[string]record.Position{}
		for _, f := range feeds {
			now[f.camera], _ = f.state()
		}
		name := fmt.Sprintf("before %d of %s", op.Kind, op.Path)
		for _, percent := range []int{0, 50, 100} {
			crashes = append(crashes, crash{
				op: fmt.Sprintf("%s, %d %% of what was not synced", name, percent), acked: now,
				fs: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random}),
			})
		}
		return nil
	})
	g := openRig(t, errorfs.Wrap(mem, watch))
	g.steps = func() {
		mu.Lock()
		defer mu.Unlock()
		feeds = slices.Collect(maps.Values(g.feeds))
	}
	playAll(g, logs)
	g.commit()
	g.close()
	t.Logf("%d crashes", len(crashes))
	require.Greater(t, len(crashes), 200)

	for _, c := range crashes {
		ok := t.Run(c.op, func(t *testing.T) {
			require.NoError(t, c.fs.MkdirAll("/data", 0o755))
			g := openWhole(t, c.fs)
			for camera, at := range c.acked {
				require.GreaterOrEqual(t, g.disk.index.store().Position(camera).Compare(at), 0, "%s: acknowledged %s", camera, at)
			}
			for _, infos := range want {
				for _, i := range g.fragments(infos[0].Camera) {
					require.Contains(t, infos, i)
				}
			}
			playAll(g, logs)
			g.commit()
			require.Equal(t, want["a"], g.fragments("a"))
			require.Equal(t, want["bb"], g.fragments("bb"))
			g.check()
			g.close()
			if strings.Contains(c.op, " 0 %") { // then what is not durable is not there at all
				again := openWhole(t, c.fs)
				require.Equal(t, recoveryReport{}, again.rec.report, "a clean start has nothing to recover")
				again.close()
			}
		})
		if !ok {
			return // the first one says enough
		}
	}
}

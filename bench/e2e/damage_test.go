package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
)

// Bits that flip and files that are cut off on one recorder, while it runs and while it
// does not, are never shown: merged exports are complete and proven, the damage is found
// by reading and by the scrubber, told with camera and time, and filled from the other
// recorder.
func TestDamageOnOneRecorderIsNeverShown(t *testing.T) {
	t.Parallel() // it mostly waits
	sim, list := cameras(t, []camsim.CameraOptions{{Name: "gate", Video: "h264", Audio: "aac"}})
	cam := sim.Cameras()[0]
	s := startSite(t, siteOptions{cameras: list, extra: "segment: {duration: 10s}\nscrub: {rate: 100MB/s, every: 1m}\n"})
	from := time.Now().Truncate(time.Millisecond)
	to := from.Add(25 * time.Second)
	s.waitDurable(t, to, 60*time.Second)
	proven := func() {
		t.Helper()
		path := s.export(t, cam.Name, from, to)
		out, code := run(t, "verify", path, "--ca", filepath.Join(s.dir, "tls", "ca.crt"))
		require.Zero(t, code, "%s", out)
		require.NoError(t, s.checkExport(t, cam, from, to).Err())
	}
	proven()
	damage := func(files []string) {
		t.Helper()
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			for at := len(b) / 5; at < len(b); at += len(b) / 3 {
				b[at] ^= 0x40
			}
			h, err := os.OpenFile(f, os.O_WRONLY, 0) // in place: a recorder has it open
			require.NoError(t, err)
			_, err = h.WriteAt(b, 0)
			require.NoError(t, err)
			require.NoError(t, h.Close())
		}
	}
	// whole: both copies of everything are there again, by hashes of what is on the disks.
	whole := func() error {
		out, _ := run(t, "verify", "--site", "--json", "-c", s.config, "--from", from.Add(-time.Minute).Format(time.RFC3339Nano), "--to", to.Format(time.RFC3339Nano))
		var all []struct{ Fragments, Equal int }
		start := strings.Index(out, "[")
		if start < 0 || json.NewDecoder(strings.NewReader(out[start:])).Decode(&all) != nil || len(all) != 1 {
			return fmt.Errorf("duet verify --site:\n%s", out)
		}
		if all[0].Fragments == 0 || all[0].Equal != all[0].Fragments {
			return fmt.Errorf("%d of %d fragments have two equal copies:\n%s", all[0].Equal, all[0].Fragments, out)
		}
		return nil
	}

	t.Log("while it runs")
	files := s.segments(t, "r1")
	require.GreaterOrEqual(t, len(files), 2)
	damage(files[:2]) // closed ones
	proven()
	waitFor(t, 60*time.Second, "what is damaged is copied from the other recorder", whole)
	proven()

	t.Log("while it is stopped")
	s.procs["r1"].kill()
	out, code := run(t, "verify", "--data", filepath.Join(s.dir, "r1"))
	require.Zero(t, code, "%s", out)
	fresh := slices.DeleteFunc(s.segments(t, "r1"), func(f string) bool { return slices.Contains(files[:2], f) })
	require.GreaterOrEqual(t, len(fresh), 2)
	damage(fresh[1:2])
	info, err := os.Stat(fresh[0])
	require.NoError(t, err)
	require.NoError(t, os.Truncate(fresh[0], info.Size()*2/3))
	out, code = run(t, "verify", "--data", filepath.Join(s.dir, "r1"))
	require.Equal(t, 1, code, "%s", out)
	require.Contains(t, out, "camera gate")
	proven()
	s.procs["r1"].start(t)
	s.waitRecording(t, 30*time.Second)
	proven()
	waitFor(t, 60*time.Second, "what is damaged is copied from the other recorder", whole)
	proven()
	out, code = run(t, "verify", "--data", filepath.Join(s.dir, "r1"))
	require.NotZero(t, code)
	require.Contains(t, out, "in use")
	s.noPanics(t)
}

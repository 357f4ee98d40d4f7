package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
)

// pageSays is a line of the program that drives the page.
type pageSays struct {
	At             float64
	Broken         string
	Step, Note, Do string
	Node, Path     string
	From, To       time.Time
	Done           bool
}

// artifacts is where screenshots are kept: DUET_ARTIFACTS, or bin/artifacts.
func artifacts(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("DUET_ARTIFACTS")
	if dir == "" {
		dir = filepath.Join("..", "..", "bin", "artifacts")
	}
	dir, err := filepath.Abs(dir)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}

// TestThePageIsUsedByPeople: the page in Chromium. All cameras play; by keyboard alone one
// is opened; the picture that is shown is the one of the moment that was asked for; a range
// is exported, as the ledger says, and locked; a recorder is killed while it plays; cameras
// play in step; a phone shows all of it; and no serious accessibility fault is anywhere.
func TestThePageIsUsedByPeople(t *testing.T) {
	t.Parallel()
	web := filepath.Join("..", "..", "playback", "web")
	_, err := os.Stat(filepath.Join(web, "node_modules", "playwright-core"))
	require.NoError(t, err, "this test needs the page's tools: `make web` installs them")
	sim, list := cameras(t, []camsim.CameraOptions{
		{Name: "gate", Video: "h264", BitrateBPS: 500_000}, {Name: "yard", Video: "h264", BitrateBPS: 500_000},
	})
	s := startSite(t, siteOptions{cameras: list, extra: "fragment: {min: 1s, max: 2s}\n"})
	began := time.Now()

	tmp, err := os.MkdirTemp("", "duet-page-")
	require.NoError(t, err)
	defer func() { _ = os.RemoveAll(tmp) }() // the browser may still write there
	cmd := exec.Command("node", filepath.Join(web, "test", "e2e.mjs"), s.http, artifacts(t), tmp)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // and the browser
	limit := time.AfterFunc(4*time.Minute, kill)
	defer func() {
		limit.Stop()
		kill()
		_ = cmd.Wait()
	}()

	var broken []string
	done := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var l pageSays
		require.NoError(t, json.Unmarshal(lines.Bytes(), &l), lines.Text())
		t.Logf("%.1f s: %s%s%s%s", l.At, l.Step, l.Note, l.Do, l.Broken)
		switch {
		case l.Broken != "":
			broken = append(broken, l.Broken)
		case l.Do == "kill":
			s.procs[l.Node].kill()
		case l.Do == "start":
			s.procs[l.Node].start(t)
		case l.Do == "durable":
			s.waitDurable(t, l.To, 30*time.Second)
		case l.Do == "exported":
			tl, err := s.timeline("gate", l.From, l.To)
			require.NoError(t, err)
			require.Len(t, tl.Locked, 1)
			require.NoError(t, compare(t, sim.Camera("gate"), l.Path, tl, l.From, l.To).Err())
		}
		if l.Do != "" {
			_, err := fmt.Fprintln(in, "true")
			require.NoError(t, err)
		}
		if l.Done {
			done = true
			break
		}
	}
	require.Empty(t, broken)
	require.True(t, done, "the program that drives the page ended too early")
	t.Logf("%v", time.Since(began).Round(time.Second))
	s.noPanics(t)
}

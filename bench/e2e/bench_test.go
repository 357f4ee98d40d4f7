package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestQuickBench: duet bench, small, loses nothing in any of its works, and writes what it
// promises.
func TestQuickBench(t *testing.T) {
	t.Parallel()
	out, data := t.TempDir(), t.TempDir()
	text, progress, err := tool(t, 4*time.Minute, binary, "bench", "all", "--quick", "-o", out, "--data", data)
	require.NoError(t, err, "%s\n%s", text, progress)
	t.Log(text)
	for _, work := range []string{"record", "live", "failover", "playback"} {
		b, err := os.ReadFile(filepath.Join(out, work+".json"))
		require.NoError(t, err)
		var rep struct {
			Work string `json:"work"`
			Runs []any  `json:"runs"`
		}
		require.NoError(t, json.Unmarshal(b, &rep))
		require.Equal(t, work, rep.Work)
		require.NotEmpty(t, rep.Runs)
		require.FileExists(t, filepath.Join(out, work+".md"))
		svg, err := filepath.Glob(filepath.Join(out, work+"*.svg"))
		require.NoError(t, err)
		require.NotEmpty(t, svg, work)
	}
	requireEmpty(t, data)
}

// TestBenchCleansUpWhenItIsInterrupted: after Ctrl-C nothing is left, neither files nor
// processes.
func TestBenchCleansUpWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	cmd := exec.Command(binary, "bench", "record", "-n", "2", "--mbit", "1", "--warm", "1h", "--data", data)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }()
	waitFor(t, time.Minute, "something is recorded", func() error {
		files, err := filepath.Glob(filepath.Join(data, "*", "r2", "c1", "*", "*.mp4"))
		if err == nil && len(files) == 0 {
			err = os.ErrNotExist
		}
		return err
	})
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("it did not end within a minute of Ctrl-C")
	}
	requireEmpty(t, data)
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, p := range procs {
		b, _ := os.ReadFile(p) // it may have ended
		require.False(t, strings.Contains(string(b), data), "left running: %s", strings.ReplaceAll(string(b), "\x00", " "))
	}
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

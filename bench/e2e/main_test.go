// Package e2e plays whole sites: the real binary, every role a process, simulated and
// foreign cameras, real clients. What clients get is compared with what the cameras'
// ledgers say was sent.
//
// DUET_SEED repeats the random choices of a run, DUET_E2E_KEEP keeps the directory of a
// failed one, and DUET_BIN names the binary (otherwise it is built).
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// binary is the duet that is tested.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		binary = os.Getenv("DUET_BIN")
		if binary == "" {
			dir, err := os.MkdirTemp("", "duet-bin-")
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			defer func() { _ = os.RemoveAll(dir) }()
			binary = filepath.Join(dir, "duet")
			cmd := exec.Command("go", "build", "-o", binary, "github.com/duet-video/duet/cmd/duet")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
			if err := cmd.Run(); err != nil {
				fmt.Fprintln(os.Stderr, "build duet:", err)
				return 1
			}
		}
		return m.Run()
	}())
}

// seed returns what a test's random choices come from, and prints how to repeat them.
func seed(t testing.TB) uint64 {
	t.Helper()
	v := uint64(time.Now().UnixNano())
	if s := os.Getenv("DUET_SEED"); s != "" {
		var err error
		if v, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("DUET_SEED=%q: %v", s, err)
		}
	}
	t.Logf("seed %d; to repeat: make e2e RUN=%s SEED=%d", v, t.Name(), v)
	return v
}

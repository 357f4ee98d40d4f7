// Package e2e plays whole sites: the real binary, every role a process, simulated and
// foreign cameras, real clients. What clients get is compared with what the cameras'
// ledgers say was sent.
//
// DUET_SEED repeats the random choices of a run, DUET_E2E_KEEP keeps the directory of a
// failed one, and DUET_BIN names the binary (otherwise it is built).
package e2e

import (
	"fmt"
	"math/rand/v2"
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

// seeded returns the randomness of a test, and prints the seed that repeats it.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DUET_SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("DUET_SEED=%q: %v", s, err)
		}
		seed = v
	}
	t.Logf("seed %d; to repeat: make e2e RUN=%s SEED=%d", seed, t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's choices, to be repeated
}

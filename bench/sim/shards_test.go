package sim

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// hungAfter is how long one seed may take: bubbles never sleep, they hang.
const hungAfter = 90 * time.Second

// startsWith and countsWith are the lines by which a shard tells what it does.
const (
	startsWith = "seed starts:"
	countsWith = "seeds played:"
)

// shards plays seeds in a process for each processor: what is put back into a pool in one
// bubble is not found in another one that runs at the same time, and the scheduler has
// little to choose.
func shards(t *testing.T) {
	n := runtime.NumCPU()
	began := time.Now()
	var wait sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for i := range n {
		wait.Go(func() {
			played, err := shard(t, i, n)
			mu.Lock()
			defer mu.Unlock()
			total += played
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	took := time.Since(began)
	fmt.Printf("%d seeds from %d on in %v with %d processes, %.1f a second\n",
		total, *seedFirst, took.Round(time.Second), n, float64(total)/took.Seconds())
}

// shard plays the i-th of every n seeds in a process of its own.
func shard(t *testing.T, i, n int) (played int, err error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSeeds$", "-test.timeout=0",
		fmt.Sprintf("-sim.step=%d", n), fmt.Sprintf("-sim.first=%d", *seedFirst+uint64(i)),
		fmt.Sprintf("-sim.seeds=%d", (*seedCount+n-1-i)/n), fmt.Sprintf("-sim.for=%v", *seedTime), "-sim.procs=false")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		_ = write.Close()
		done <- err
	}()
	seed, hung := "none", false
	var rest strings.Builder
	watch := time.AfterFunc(hungAfter, func() { hung = true; cancel() })
	lines := bufio.NewScanner(read)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		if s, ok := strings.CutPrefix(lines.Text(), startsWith); ok {
			seed = strings.TrimSpace(s)
			watch.Reset(hungAfter)
			continue
		}
		if s, ok := strings.CutPrefix(lines.Text(), countsWith); ok {
			_, _ = fmt.Sscan(s, &played)
			continue
		}
		if rest.Len() < 1<<18 {
			rest.WriteString(lines.Text() + "\n")
		}
	}
	watch.Stop()
	err = <-done
	switch {
	case hung:
		return played, fmt.Errorf("seed %s hangs (make sim SEED=%s)", seed, seed)
	case err != nil:
		return played, fmt.Errorf("the last seed was %s (make sim SEED=%s): %w\n%s", seed, seed, err, rest.String())
	}
	return played, nil
}

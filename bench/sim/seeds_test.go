package sim

import (
	"flag"
	"fmt"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

var (
	oneSeed   = flag.Uint64("sim.seed", 0, "play only this seed, -sim.seeds times")
	seedCount = flag.Int("sim.seeds", 0, "play so many seeds")
	seedFirst = flag.Uint64("sim.first", 1, "the first of them")
	seedStep  = flag.Uint64("sim.step", 1, "from one seed to the next")
	seedTime  = flag.Duration("sim.for", 3*time.Second, "play seeds for so long, unless -sim.seeds is given")
	untilFail = flag.Bool("sim.until", false, "stop at the first seed that fails")
	processes = flag.Bool("sim.procs", false, "play them in a process for each processor")
)

// play tells the story of a seed in a bubble of its own.
func play(t *testing.T, seed uint64) error {
	var err error
	synctest.Test(t, func(*testing.T) {
		st := NewStory(seed)
		st.Log = testLog()
		err = st.Tell()
	})
	return err
}

// Whatever happens to a site, what must hold of it holds when it has healed (docs/TESTING.md).
func TestSeeds(t *testing.T) {
	if *oneSeed != 0 {
		t.Log(NewStory(*oneSeed))
		for range max(1, *seedCount) {
			if err := play(t, *oneSeed); err != nil {
				t.Fatalf("seed %d:\n%v", *oneSeed, err)
			}
		}
		return
	}
	if *processes {
		shards(t)
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // heaps of a few MiB
	began := time.Now()
	n := 0
	for ; n < *seedCount || *seedCount == 0 && time.Since(began) < *seedTime; n++ {
		seed := *seedFirst + uint64(n)**seedStep
		fmt.Println(startsWith, seed)
		if err := play(t, seed); err != nil {
			t.Errorf("seed %d (make sim SEED=%d):\n%v\n%v", seed, seed, err, NewStory(seed))
			if *untilFail {
				return
			}
		}
	}
	fmt.Println(countsWith, n)
	t.Logf("%d seeds in %v, %.1f a second", n, time.Since(began).Round(time.Millisecond), float64(n)/time.Since(began).Seconds())
}

package sim

import (
	"flag"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	oneSeed   = flag.Uint64("sim.seed", 0, "play only this seed")
	seedCount = flag.Int("sim.seeds", 0, "play so many seeds")
	seedFirst = flag.Uint64("sim.first", 1, "the first of them")
	untilFail = flag.Bool("sim.until", false, "stop at the first seed that fails")
	seedTime  = flag.Duration("sim.for", 5*time.Second, "play seeds for so long, unless -sim.seeds is given")
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

func TestSeeds(t *testing.T) {
	if *oneSeed != 0 {
		t.Log(NewStory(*oneSeed))
		require.NoError(t, play(t, *oneSeed), "seed %d", *oneSeed)
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // heaps of a few MiB
	began := time.Now()
	n := 0
	for ; n < *seedCount || *seedCount == 0 && time.Since(began) < *seedTime; n++ {
		seed := *seedFirst + uint64(n)
		if err := play(t, seed); err != nil {
			t.Errorf("seed %d (make sim SEED=%d):\n%v\n%v", seed, seed, err, NewStory(seed))
			if *untilFail {
				return
			}
		}
	}
	t.Logf("%d seeds in %v, %.1f a second", n, time.Since(began).Round(time.Millisecond), float64(n)/time.Since(began).Seconds())
}

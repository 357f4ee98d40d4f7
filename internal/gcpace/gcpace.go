// Package gcpace keeps the heap of a process near the size of what it holds for long.
package gcpace

import (
	"context"
	"runtime/debug"
	"time"
)

// With Go's default of 100 % a heap would be let grow to twice its size before it is
// collected. Where most of it lives long and holds no pointers, as media do, the garbage in
// between need not be more than garbageAim.
const (
	garbageAim = 32 << 20
	// otherHeap is what a process holds beside, roughly.
	otherHeap = 24 << 20
	least     = 3
)

// Percent returns the percentage for debug.SetGCPercent for a process that holds that many
// bytes of media.
func Percent(held int64) int {
	return int(min(100, max(least, garbageAim*100/(held+otherHeap))))
}

// Follow sets the percentage once a second after what held returns, until ctx ends. One
// process calls it once.
func Follow(ctx context.Context, held func() int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	percent := 0
	for {
		if want := Percent(held()); want != percent {
			percent = want
			debug.SetGCPercent(percent)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Package gcpace keeps the heap of a process near the size of what it holds for long.
package gcpace

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The greater part of the heap of a node that records is media: it has no pointers and lives
// long. With Go's default of 100 % the heap would be let grow to twice its size before it is
// collected; the garbage in between need not be more than that of a quarter of a second, or
// some megabytes.
const (
	leastGarbage = 4 << 20
	mostGarbage  = 32 << 20
	// otherHeap is what a process holds beside media, roughly.
	otherHeap = 16 << 20
	leastGC   = 1
)

// percent returns the percentage for debug.SetGCPercent when so many bytes of media are held
// and so many were allocated in the last second, for whatever.
func percent(held, allocated int64) int {
	aim := min(max(leastGarbage, allocated/4), mostGarbage)
	heap := held + otherHeap
	return int(min(100, max(leastGC, (aim*100+heap/2)/heap)))
}

// allocated returns how many bytes the process has allocated since its start.
func allocated() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// Follow sets the percentage once a second, by how many bytes of media held says that there
// are, until ctx ends. A process calls it once.
func Follow(ctx context.Context, held func() int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	now, total := 0, int64(0)
	for {
		before := total
		total = allocated()
		if want := percent(held(), total-before); want != now {
			now = want
			debug.SetGCPercent(now)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

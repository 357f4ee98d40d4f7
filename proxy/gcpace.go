package proxy

import gometrics "runtime/metrics"

// The logs are the greater part of the heap, hold no pointers and live long. With Go's
// default of 100 % the heap would be let grow to twice their size before it is
// collected; the garbage in between need not be more than that of a quarter of a second,
// or some megabytes.
const (
	leastGarbage = 4 << 20
	mostGarbage  = 32 << 20
	// otherHeap is what the process holds beside the logs, roughly.
	otherHeap = 16 << 20
	leastGC   = 1
)

// gcPercent returns the percentage for debug.SetGCPercent when the logs hold so many bytes
// and so many were allocated in the last second, for whatever.
func gcPercent(held, allocated int64) int {
	aim := min(max(leastGarbage, allocated/4), mostGarbage)
	heap := held + otherHeap
	return int(min(100, max(leastGC, (aim*100+heap/2)/heap)))
}

// allocated returns how many bytes the process has allocated since its start.
func allocated() int64 {
	s := []gometrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	gometrics.Read(s)
	return int64(s[0].Value.Uint64())
}

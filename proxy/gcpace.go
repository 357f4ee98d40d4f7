package proxy

// The logs are the greater part of the heap, hold no pointers and live long. With Go's
// default of 100 % the heap would be let grow to twice their size before it is
// collected; the garbage in between need not be more than garbageAim.
const (
	garbageAim = 32 << 20
	// otherHeap is what the process holds beside the logs, roughly.
	otherHeap = 24 << 20
	leastGC   = 3
)

// gcPercent returns the percentage for debug.SetGCPercent when the logs hold that many
// bytes.
func gcPercent(held int64) int {
	return int(min(100, max(leastGC, garbageAim*100/(held+otherHeap))))
}

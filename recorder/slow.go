package recorder

import (
	"fmt"
	"sync"
	"time"
)

const (
	// slowSync is how long making a file durable may take. A disk is slow when the 99th
	// percentile of the last slowWindow is above it; slowCount times at least, because
	// one hiccup is none of anybody's business.
	slowSync   = 2 * time.Second
	slowWindow = time.Minute
	slowCount  = 3
	slowKept   = 512
)

// syncTimes remembers how long the last syncs took.
type syncTimes struct {
	mu   sync.Mutex
	ring [slowKept]syncTime
	next int
}

type syncTime struct {
	at   int64 // monotonic, ns; 0: none
	took time.Duration
}

func (s *syncTimes) add(at int64, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring[s.next] = syncTime{max(at, 1), took}
	s.next = (s.next + 1) % slowKept
}

// slow returns since when syncs take too long (monotonic, ns), and what to say; 0: they
// do not.
func (d *disk) slow() (why string, since int64) {
	d.syncs.mu.Lock()
	defer d.syncs.mu.Unlock()
	from := d.clock.Mono() - int64(slowWindow)
	all, over := 0, 0
	var worst time.Duration
	for i := range d.syncs.ring {
		t := &d.syncs.ring[i]
		if t.at == 0 || t.at < from {
			continue
		}
		all++
		if t.took <= slowSync {
			continue
		}
		over++
		worst = max(worst, t.took)
		if since == 0 || t.at < since {
			since = t.at
		}
	}
	if over < slowCount || over*100 <= all {
		return "", 0
	}
	return fmt.Sprintf("%d of the last %d syncs took longer than %s, one %s", over, all, slowSync, worst.Round(10*time.Millisecond)), since
}

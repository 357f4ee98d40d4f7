package sim

import (
	"sync/atomic"
	"time"
)

// nodeClock is the clock of a machine: the bubble's time, and a wall clock that can step.
type nodeClock struct {
	start time.Time
	step  atomic.Int64
}

func newClock() *nodeClock { return &nodeClock{start: time.Now()} }

// Now implements clock.Clock.
func (c *nodeClock) Now() time.Time { return time.Now().Add(time.Duration(c.step.Load())) }

// Mono implements clock.Clock.
func (c *nodeClock) Mono() int64 { return int64(time.Since(c.start)) }

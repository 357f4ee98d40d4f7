// Package clock is the seam through which duet reads time, so that tests can step it.
package clock

import "time"

// Clock tells the time. It may be used concurrently.
type Clock interface {
	// Now returns the wall time with the monotonic reading that time.Now attaches,
	// where there is one.
	Now() time.Time
	// Mono returns nanoseconds on a clock that never steps, from an arbitrary zero.
	Mono() int64
}

// System is the machine's clock.
func System() Clock { return system{start: time.Now()} }

type system struct{ start time.Time }

func (system) Now() time.Time { return time.Now() }
func (s system) Mono() int64  { return int64(time.Since(s.start)) }

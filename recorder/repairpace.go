package recorder

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/duet-video/duet/internal/clock"
)

// pace bounds the bytes per second that repair copies.
type pace struct {
	clock   clock.Clock
	limiter *rate.Limiter
	// pause waits; it reports whether to go on.
	pause func(context.Context, time.Duration) bool
}

// newPace allows bytesPerSecond, and a burst of a quarter of a second.
func newPace(c clock.Clock, bytesPerSecond int64) *pace {
	return &pace{
		clock: c, pause: pause,
		limiter: rate.NewLimiter(rate.Limit(bytesPerSecond), int(max(bytesPerSecond/4, 1))),
	}
}

// take waits until n more bytes may come. It reports whether to go on.
func (p *pace) take(ctx context.Context, n int) bool {
	for n > 0 {
		part := min(n, p.limiter.Burst())
		n -= part
		// The clock that does not step, or a step back would stop everything.
		now := time.Unix(0, p.clock.Mono())
		if wait := p.limiter.ReserveN(now, part).DelayFrom(now); wait > 0 && !p.pause(ctx, wait) {
			return false
		}
	}
	return ctx.Err() == nil
}

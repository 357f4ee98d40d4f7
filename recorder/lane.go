package recorder

import (
	"context"
	"errors"
	"time"

	"github.com/duet-video/duet/internal/media"
)

const (
	// stallAfter is how long a volume may be at one fragment before the cameras that wait
	// for it stop holding up the stream that they share with others.
	stallAfter = time.Second
	stallLook  = 100 * time.Millisecond
)

// errParked is returned where a camera cannot take its next record now: the stream goes
// on without it, and subscribes it again when there is room.
var errParked = errors.New("its volume has no room for the next fragment")

// A lane is the way of one feed's fragments to one volume. A feed that is moved gets
// another lane; what is stuck in the old one, its buffers too, stays there.
type lane struct {
	feed *feed
	// free holds the builders that nobody uses: one builds while the fragment of the
	// other waits for the disk.
	free chan *media.Builder
	emit func(*finished)
	// stalled reports whether the volume does not get on; nil: it always does.
	stalled func() bool

	// Guarded by the disk's mu:

	// seg is the segment that the fragments go to, written what is in it or need not be,
	// though not durable yet.
	seg     *segment
	written progress
	// rewinds counts how often what was not durable was given up.
	rewinds int
}

func newLane(f *feed, emit func(*finished)) *lane {
	l := &lane{feed: f, emit: emit, free: make(chan *media.Builder, 2)}
	for range cap(l.free) {
		l.free <- media.NewBuilder(f.camera)
	}
	return l
}

// giveBack makes a builder free, and what it has built invalid. A repair has none.
func (l *lane) giveBack(b *media.Builder) {
	if b != nil {
		b.Release()
	}
	l.free <- b
}

// builder returns a free builder. It waits for one as long as the volume gets on.
func (l *lane) builder(ctx context.Context) (*media.Builder, error) {
	select {
	case b := <-l.free:
		return b, nil
	default:
	}
	t := time.NewTicker(stallLook)
	defer t.Stop()
	for {
		if l.feed.stale() || l.stalled != nil && l.stalled() {
			return nil, errParked
		}
		select {
		case b := <-l.free:
			return b, nil
		case <-t.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

package replay

import (
	"context"
	"sync"
	"time"
)

// gate lets a player send, or holds it back.
type gate struct {
	mu     sync.Mutex
	open   bool
	change chan struct{}
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = open
	close(g.change)
	g.change = make(chan struct{})
}

func (g *gate) state() (open bool, change <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.change
}

// wait blocks until the gate is open.
func (g *gate) wait(ctx context.Context) error {
	for {
		open, change := g.state()
		if open {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

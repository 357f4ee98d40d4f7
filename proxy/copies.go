package proxy

import (
	"sync"

	"github.com/duet-video/duet/internal/record"
)

// Roles of a copy.
const (
	rolePrimary   = "primary"
	roleRedundant = "redundant"
)

// copyState is what the proxy knows of one recorder's copy of a camera. It may be used
// concurrently.
type copyState struct {
	recorder, role string

	mu sync.Mutex
	// stream is the one that is subscribed; nil: none.
	stream  *recorderStream
	seen    bool
	held    bool // a spare that is not delivered to
	durable record.Position
	endNS   int64
	// ackedNS is when durable last moved, Unix ns; 0: never.
	ackedNS int64
	lost    uint64
}

// copyInfo is a copyState at one moment.
type copyInfo struct {
	Linked, Seen, Held bool
	Durable            record.Position
	EndNS, AckedNS     int64
	Lost               uint64
}

func (c *copyState) info() copyInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return copyInfo{
		Linked: c.stream != nil, Seen: c.seen, Held: c.held,
		Durable: c.durable, EndNS: c.endNS, AckedNS: c.ackedNS, Lost: c.lost,
	}
}

// link notes a subscription from a position. What comes before it need not be durable
// yet, but nothing after it is: a recorder may come back with less than it had.
func (c *copyState) link(s *recorderStream, from record.Position, held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream, c.seen, c.held = s, true, held
	if c.durable.Compare(from) > 0 {
		c.durable, c.endNS = from, 0
	}
}

// unlink notes that s is no longer subscribed; false where another stream has taken its
// place.
func (c *copyState) unlink(s *recorderStream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream != s {
		return false
	}
	c.stream, c.held = nil, false
	return true
}

func (c *copyState) hold(held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = held
}

func (c *copyState) ack(s *recorderStream, durable record.Position, endNS, nowNS int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream != s {
		return
	}
	if durable != c.durable {
		c.ackedNS = nowNS
	}
	c.durable, c.endNS = durable, endNS
}

func (c *copyState) lose(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost += n
}

// recheck makes the stream of this copy, if there are both, look at its gates at once.
func (c *copyState) recheck() {
	if c == nil {
		return
	}
	c.mu.Lock()
	s := c.stream
	c.mu.Unlock()
	if s != nil {
		s.recheck()
	}
}

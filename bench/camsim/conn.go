package camsim

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// listener hands out conns, and can refuse them for a while.
type listener struct {
	*net.TCPListener
	mu    sync.Mutex
	until time.Time
	conns map[*conn]struct{}
}

func newListener(l *net.TCPListener) *listener {
	return &listener{TCPListener: l, conns: make(map[*conn]struct{})}
}

// Accept resets connections while they are refused.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		if time.Now().Before(l.until) {
			l.mu.Unlock()
			_ = c.SetLinger(0)
			_ = c.Close()
			continue
		}
		w := &conn{TCPConn: c, listener: l}
		l.conns[w] = struct{}{}
		l.mu.Unlock()
		return w, nil
	}
}

func (l *listener) refuse(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = until
}

// closeAll closes the connections that are open.
func (l *listener) closeAll() {
	l.mu.Lock()
	list := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		list = append(list, c)
	}
	l.mu.Unlock()
	for _, c := range list {
		_ = c.Close()
	}
}

// conn can be torn: it then writes half of the next big packet and resets.
type conn struct {
	*net.TCPConn
	listener *listener
	torn     atomic.Bool
}

// tearSize is how big a write must be to be torn: a fragment of a NAL unit.
const tearSize = 600

// tearWait is how long the client has to read the half: what it has not read is lost by
// the RST. It holds up the writer of this session alone.
const tearWait = 50 * time.Millisecond

func (c *conn) tear() { c.torn.Store(true) }

func (c *conn) Write(b []byte) (int, error) {
	if len(b) < tearSize || b[0] != '$' || !c.torn.Load() {
		return c.TCPConn.Write(b)
	}
	n, _ := c.TCPConn.Write(b[:len(b)/2])
	time.Sleep(tearWait)
	_ = c.SetLinger(0)
	_ = c.Close()
	return n, net.ErrClosed
}

func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.TCPConn.Close()
}

package sim

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// network connects hosts by name. Bytes arrive in order, after the delay of their path;
// while a path is blocked they wait, as TCP would send them again.
type network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	conns     map[*conn]struct{}
	blocked   map[path]bool
	slow      map[path]time.Duration
	dark      map[string]bool // machines without power
	frozen    map[string]bool // machines that hang
	windows   map[string]int  // bytes under way towards a host, where it is not window
	changed   chan struct{}   // closed, and made anew, at every change of the above
}

// path is a direction between two hosts.
type path struct{ from, to string }

// dialTimeout is how long a machine is dialled that does not answer.
const dialTimeout = 5 * time.Second

// window bounds the bytes under way on a connection, in one direction, unless a host has
// one of its own.
const window = 1 << 20

func newNetwork() *network {
	return &network{
		listeners: map[string]*listener{}, conns: map[*conn]struct{}{}, blocked: map[path]bool{},
		slow: map[path]time.Duration{}, dark: map[string]bool{}, frozen: map[string]bool{}, windows: map[string]int{}, changed: make(chan struct{}),
	}
}

// change changes what paths do and wakes those who wait.
func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// block stops, or with false lets through, what goes from one host to another.
func (n *network) block(from, to string, yes bool) {
	n.change(func() { n.blocked[path{from, to}] = yes })
}

// delay sets how long bytes take from one host to another.
func (n *network) delay(from, to string, d time.Duration) {
	n.change(func() { n.slow[path{from, to}] = d })
}

// heal makes all paths good.
func (n *network) heal() {
	n.change(func() { clear(n.blocked); clear(n.slow); clear(n.frozen) })
}

// state returns whether a path is blocked, its delay, and what is closed when that changes.
func (n *network) state(p path) (blocked bool, delay time.Duration, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.blocked[p] || n.dark[p.from] || n.dark[p.to] || n.frozen[p.from] || n.frozen[p.to], n.slow[p], n.changed
}

// cut resets the connections between two hosts.
func (n *network) cut(a, b string) {
	for _, c := range n.all() {
		if c.local == a && c.remote == b || c.local == b && c.remote == a {
			c.reset()
		}
	}
}

func (n *network) all() []*conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]*conn, 0, len(n.conns))
	for c := range n.conns {
		out = append(out, c)
	}
	return out
}

// die ends what a host has: its process was killed, or with dark its machine lost power.
// Nobody hears another byte of it. The other ends are reset, or notice nothing until the
// machine is up again.
func (n *network) die(host string, dark bool) {
	n.change(func() {
		delete(n.listeners, host)
		n.dark[host] = dark
	})
	for _, c := range n.all() {
		switch {
		case c.local == host:
			c.fail()
		case c.remote == host && !dark:
			c.reset()
		}
	}
}

// up makes a machine answer again: it resets connections that it knows nothing of.
func (n *network) up(host string) {
	n.change(func() { n.dark[host] = false })
	for _, c := range n.all() {
		if c.remote == host && c.peer.gone() {
			c.reset()
		}
	}
}

// listen lets a host take connections. Its address is its name.
func (n *network) listen(host string) *listener {
	l := &listener{n: n, host: host, conns: make(chan *conn, 64), closed: make(chan struct{})}
	n.change(func() { n.listeners[host] = l })
	return l
}

// dialer returns what a host dials with.
func (n *network) dialer(host string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) { return n.dial(ctx, host, address) }
}

func (n *network) dial(ctx context.Context, from, to string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	fail := func(err error) error {
		return &net.OpError{Op: "dial", Net: "sim", Source: addr(from), Addr: addr(to), Err: err}
	}
	for {
		out, _, changed := n.state(path{from, to})
		back, _, _ := n.state(path{to, from})
		if !out && !back {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fail(syscall.ETIMEDOUT)
		}
	}
	a, b := newConn(n, from, to), newConn(n, to, from)
	a.peer, b.peer = b, a
	n.mu.Lock()
	l := n.listeners[to]
	if l != nil {
		n.conns[a], n.conns[b] = struct{}{}, struct{}{}
	}
	n.mu.Unlock()
	if l == nil {
		return nil, fail(syscall.ECONNREFUSED)
	}
	select {
	case l.conns <- b:
		return a, nil
	default:
		a.fail()
		b.fail()
		return nil, fail(syscall.ECONNREFUSED)
	}
}

type addr string

func (addr) Network() string  { return "sim" }
func (a addr) String() string { return string(a) }

type listener struct {
	n      *network
	host   string
	conns  chan *conn
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "sim", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.n.change(func() {
			if l.n.listeners[l.host] == l {
				delete(l.n.listeners, l.host)
			}
		})
		for {
			select {
			case c := <-l.conns:
				_ = c.Close()
				continue
			default:
			}
			return
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return addr(l.host) }

// conn is one end of a connection.
type conn struct {
	n             *network
	local, remote string
	peer          *conn
	window        int // bytes that wait to be read, at most
	read, write   deadline

	mu     sync.Mutex
	in     []chunk // towards this end
	queued int
	ended  bool  // the peer has closed
	err    error // this end is of no use any more
	wake   chan struct{}
	room   chan struct{}
}

type chunk struct {
	data []byte
	at   time.Time // when it is there
}

func (n *network) windowOf(host string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.windows[host]; w > 0 {
		return w
	}
	return window
}

func newConn(n *network, local, remote string) *conn {
	return &conn{
		n: n, local: local, remote: remote, window: n.windowOf(local), wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
		read: newDeadline(), write: newDeadline(),
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	for {
		blocked, _, changed := c.n.state(path{c.remote, c.local})
		c.mu.Lock()
		var later <-chan time.Time
		var timer *time.Timer
		switch {
		case c.err != nil:
			err := c.err
			c.mu.Unlock()
			return 0, c.op("read", err)
		case blocked:
		case len(c.in) > 0:
			if wait := time.Until(c.in[0].at); wait > 0 {
				timer = time.NewTimer(wait)
				later = timer.C
				break
			}
			k := copy(p, c.in[0].data)
			if c.in[0].data = c.in[0].data[k:]; len(c.in[0].data) == 0 {
				c.in = c.in[1:]
			}
			c.queued -= k
			c.mu.Unlock()
			poke(c.peer.room)
			return k, nil
		case c.ended:
			c.mu.Unlock()
			return 0, io.EOF
		}
		c.mu.Unlock()
		select {
		case <-c.wake:
		case <-changed:
		case <-later:
		case <-c.read.done():
			if timer != nil {
				timer.Stop()
			}
			return 0, c.op("read", os.ErrDeadlineExceeded)
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	for {
		c.mu.Lock()
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return 0, c.op("write", err)
		}
		_, delay, _ := c.n.state(path{c.local, c.remote})
		to := c.peer
		to.mu.Lock()
		if to.queued < to.window {
			at := time.Now().Add(delay)
			if k := len(to.in); k > 0 && to.in[k-1].at.After(at) {
				at = to.in[k-1].at
			}
			to.in = append(to.in, chunk{append([]byte(nil), p...), at})
			to.queued += len(p)
			to.mu.Unlock()
			poke(to.wake)
			return len(p), nil
		}
		to.mu.Unlock()
		select {
		case <-c.room:
		case <-c.write.done():
			return 0, c.op("write", os.ErrDeadlineExceeded)
		}
	}
}

func (c *conn) op(what string, err error) error {
	return &net.OpError{Op: what, Net: "sim", Source: addr(c.local), Addr: addr(c.remote), Err: err}
}

// finish ends this end for a reason, the first of which counts.
func (c *conn) finish(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	poke(c.wake)
	poke(c.room)
	c.n.mu.Lock()
	delete(c.n.conns, c)
	c.n.mu.Unlock()
}

func (c *conn) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// fail is what the process of a dead host finds, while it is being cleared away.
func (c *conn) fail() { c.finish(fmt.Errorf("host %s is gone: %w", c.local, syscall.ENETDOWN)) }

func (c *conn) reset() { c.finish(syscall.ECONNRESET) }

// Close implements net.Conn. The other end reads what is under way, then the end.
func (c *conn) Close() error {
	if c.gone() {
		return nil
	}
	c.finish(net.ErrClosed)
	c.peer.mu.Lock()
	c.peer.ended = true
	c.peer.mu.Unlock()
	poke(c.peer.wake)
	return nil
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.addr(c.local) }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.addr(c.remote) }

// addr is the address of a host. A library for RTSP wants ones of TCP.
func (c *conn) addr(host string) net.Addr {
	if c.local == liveHost || c.remote == liveHost {
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1 + len(host)}
	}
	return addr(host)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { c.read.set(t); return nil }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { c.write.set(t); return nil }

// deadline is closed when a time has come that can be moved.
type deadline struct{ *deadlineState }

type deadlineState struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{}
}

func newDeadline() deadline { return deadline{&deadlineState{over: make(chan struct{})}} }

func (d deadline) done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

func (d deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.over // it is being closed
	}
	d.timer = nil
	select {
	case <-d.over:
		d.over = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	if wait := time.Until(t); wait > 0 {
		over := d.over
		d.timer = time.AfterFunc(wait, func() { close(over) })
	} else {
		close(d.over)
	}
}

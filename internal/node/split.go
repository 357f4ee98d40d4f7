package node

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// What a client may take to say which protocol it speaks, and how many may be at it at once.
const (
	peekTimeout = 5 * time.Second
	maxPeeking  = 1024
)

// tlsHandshake is the first byte of a TLS connection: content type handshake (RFC 8446 5.1).
const tlsHandshake = 0x16

// http2Preface begins HTTP/2 with prior knowledge (RFC 9113 3.4), and so gRPC without TLS.
const http2Preface = "PRI "

// SplitListener serves two protocols on one port. It hands each connection of l to
// tlsConns when it begins like TLS (or like HTTP/2 without TLS, which is how gRPC
// begins in tests), and to plainConns otherwise.
//
// A client that says nothing for 5 s is closed; while it is silent it delays nobody.
// The caller closes both listeners (closing twice is fine): one that is closed gets no
// more connections, and when both are, l is closed and nothing of the split is left
// running. When l fails or is closed from elsewhere, both report it.
func SplitListener(l net.Listener) (tlsConns, plainConns net.Listener) {
	s := &splitter{
		base:    l,
		ended:   make(chan struct{}),
		peeking: make(map[net.Conn]struct{}),
		open:    2,
	}
	s.tls = &side{split: s, conns: make(chan net.Conn), closed: make(chan struct{})}
	s.plain = &side{split: s, conns: make(chan net.Conn), closed: make(chan struct{})}
	s.wg.Go(s.accept)
	return s.tls, s.plain
}

type splitter struct {
	base       net.Listener
	tls, plain *side
	wg         sync.WaitGroup // the accept loop, and one for each connection that is being peeked at

	ended  chan struct{} // closed when the accept loop is over
	failed error         // why it is; written before ended is closed

	mu      sync.Mutex
	open    int // sides that are not closed
	peeking map[net.Conn]struct{}
}

func (s *splitter) accept() {
	defer close(s.ended)
	for wait := time.Duration(0); ; {
		c, err := s.base.Accept()
		switch {
		case err == nil:
			wait = 0
			if s.admit(c) {
				s.wg.Go(func() { s.route(c) })
			}
		case temporary(err):
			// Out of file descriptors, most likely. Connections that exist go on.
			wait = min(max(2*wait, 5*time.Millisecond), 200*time.Millisecond)
			time.Sleep(wait)
		default:
			s.failed = err
			return
		}
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return !errors.Is(err, net.ErrClosed) && errors.As(err, &t) && t.Temporary()
}

// admit notes that c is being peeked at. When too many are, any one of them goes: an
// honest client is through within a round trip, so it is rarely the one.
func (s *splitter) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == 0 {
		_ = c.Close()
		return false
	}
	if len(s.peeking) >= maxPeeking {
		for victim := range s.peeking {
			_ = victim.Close() // its peek ends with an error
			delete(s.peeking, victim)
			break
		}
	}
	s.peeking[c] = struct{}{}
	return true
}

// route finds out what c speaks and hands it over, or closes it.
func (s *splitter) route(c net.Conn) {
	head, err := peek(c)
	s.mu.Lock()
	delete(s.peeking, c)
	s.mu.Unlock()
	if err != nil {
		_ = c.Close()
		return
	}
	to := s.plain
	if head[0] == tlsHandshake || string(head) == http2Preface {
		to = s.tls
	}
	select {
	case to.conns <- &peekedConn{Conn: c, head: head}:
	case <-to.closed:
		_ = c.Close()
	case <-s.ended:
		_ = c.Close()
	}
}

// peek reads the first byte, and more as long as it may be the start of http2Preface.
func peek(c net.Conn) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(peekTimeout)); err != nil {
		return nil, err
	}
	head := make([]byte, 0, len(http2Preface))
	for len(head) < len(http2Preface) && bytes.HasPrefix([]byte(http2Preface), head) {
		n, err := c.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err != nil && (len(head) == 0 || !errors.Is(err, io.EOF)) {
			return nil, err
		}
		if err != nil {
			break // the next Read meets the end of the stream again
		}
	}
	return head, c.SetReadDeadline(time.Time{})
}

// closeSide is called once for each side.
func (s *splitter) closeSide() error {
	s.mu.Lock()
	s.open--
	last := s.open == 0
	if last {
		for c := range s.peeking {
			_ = c.Close()
		}
	}
	s.mu.Unlock()
	if !last {
		return nil
	}
	err := s.base.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // from elsewhere, or it had failed
	}
	s.wg.Wait()
	return err
}

// side is one of the two listeners.
type side struct {
	split  *splitter
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *side) Accept() (net.Conn, error) {
	select { // a closed side stays closed
	case <-l.closed:
		return nil, l.errClosed()
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, l.errClosed()
	case <-l.split.ended:
		return nil, l.split.failed
	}
}

func (l *side) errClosed() error {
	return &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
}

func (l *side) Addr() net.Addr { return l.split.base.Addr() }

func (l *side) Close() error {
	var err error
	l.once.Do(func() {
		close(l.closed)
		err = l.split.closeSide()
	})
	return err
}

// peekedConn gives back what was read from it.
type peekedConn struct {
	net.Conn
	head []byte // not yet given back; only the reader touches it
}

func (c *peekedConn) Read(p []byte) (int, error) {
	if len(c.head) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.head)
	c.head = c.head[n:]
	return n, nil
}

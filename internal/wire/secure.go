package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc/credentials"
)

// NewTLS returns TLS credentials for either end of a connection. crypto/tls reads and writes a
// record of 16 KiB with a system call each; here those of a flush leave together, and
// what has arrived is read together: fewer system calls, and fewer wake-ups of the peer. It
// pays where little is sent often. (What fills IOBuffer each time is better off with
// crypto/tls alone: it is copied once less, out of caches.)
func NewTLS(c *tls.Config) credentials.TransportCredentials {
	return secure{credentials.NewTLS(c)}
}

// serverBuffer is what a server reads at once, in bytes: requests and acknowledgements.
const serverBuffer = 32 << 10

type secure struct {
	credentials.TransportCredentials
}

// ClientHandshake implements credentials.TransportCredentials.
func (s secure) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	wire := &wireConn{Conn: raw, ahead: IOBuffer}
	c, info, err := s.TransportCredentials.ClientHandshake(ctx, authority, wire)
	if err != nil {
		return nil, nil, err
	}
	return &secureConn{Conn: c, wire: wire}, info, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (s secure) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	wire := &wireConn{Conn: raw, ahead: serverBuffer}
	c, info, err := s.TransportCredentials.ServerHandshake(wire)
	if err != nil {
		return nil, nil, err
	}
	return &secureConn{Conn: c, wire: wire}, info, nil
}

// Clone implements credentials.TransportCredentials.
func (s secure) Clone() credentials.TransportCredentials {
	return secure{s.TransportCredentials.Clone()}
}

// secureConn is what is above TLS.
type secureConn struct {
	net.Conn
	wire *wireConn
}

// Write writes b, with one system call where the kernel takes it at once.
func (c *secureConn) Write(b []byte) (int, error) {
	if err := c.wire.gather(true); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	return n, errors.Join(err, c.wire.gather(false))
}

// Close ends a Write that waits, too.
func (c *secureConn) Close() error {
	if c.wire.flushing.Load() {
		return errors.Join(c.wire.Close(), c.Conn.Close())
	}
	return c.Conn.Close()
}

// SyscallConn implements syscall.Conn: gRPC sets options of the socket.
func (c *secureConn) SyscallConn() (syscall.RawConn, error) { return c.wire.SyscallConn() }

// wireConn is what is below TLS. One goroutine may read.
type wireConn struct {
	net.Conn

	ahead       int // how much is read at once
	in          []byte
	first, last int

	mu        sync.Mutex
	out       []byte
	gathering bool
	flushing  atomic.Bool
}

// Read implements net.Conn.
func (c *wireConn) Read(p []byte) (int, error) {
	if c.first == c.last {
		if c.in == nil {
			c.in = make([]byte, c.ahead)
		}
		if len(p) >= len(c.in) {
			return c.Conn.Read(p)
		}
		n, err := c.Conn.Read(c.in)
		c.first, c.last = 0, n
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, c.in[c.first:c.last])
	c.first += n
	return n, nil
}

// Write implements net.Conn.
func (c *wireConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gathering {
		return c.Conn.Write(p)
	}
	c.out = append(c.out, p...)
	if len(c.out) < 2*IOBuffer {
		return len(p), nil
	}
	return len(p), c.flush()
}

// gather makes writes wait for one another, or ends that and writes them.
func (c *wireConn) gather(on bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gathering = on
	return c.flush()
}

// flush writes what was gathered. Under mu.
func (c *wireConn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.flushing.Store(true)
	_, err := c.Conn.Write(c.out)
	c.flushing.Store(false)
	c.out = c.out[:0]
	return err
}

// SyscallConn implements syscall.Conn.
func (c *wireConn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

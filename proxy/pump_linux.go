package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/duet-video/duet/internal/clock"
)

const (
	// A pump leaves connections alone for so long after it has read them: less where live
	// readers wait. Neither goes well into the common intervals of pictures, 40 ms and 33.3
	// ms for example: the arrival of the least delayed ones is what time follows.
	watchedRest = 4300 * time.Microsecond
	pumpRest    = 9700 * time.Microsecond
	// pumpReads is how often a pump reads a connection that has more before it goes on to
	// the next one.
	pumpReads = 4
	// maxPiped bounds what gortsplib may leave unread.
	maxPiped = 4 << 20
)

// pump reads the connections of cameras that play. A goroutine for each would be woken
// for each picture or each packet; where a picture takes some microseconds to handle, that
// costs more than everything else. The pump waits until one of the connections has
// something, reads all that have, and rests: some 100 wake-ups a second for any number of
// cameras, and no camera waits longer than that.
type pump struct {
	clock   clock.Clock
	watched atomic.Int64 // live readers

	mu     sync.Mutex
	set    *epoll // nil: not started
	conns  map[int32]*cameraConn
	closed bool
	ended  chan struct{}
	buf    []byte
}

func newPump(clk clock.Clock) *pump {
	return &pump{clock: clk, conns: map[int32]*cameraConn{}, ended: make(chan struct{}), buf: make([]byte, 4*tapBuffer)}
}

// close ends the pump. Its connections are to be closed before.
func (p *pump) close() {
	p.mu.Lock()
	set := p.set
	p.closed = true
	p.mu.Unlock()
	if set != nil {
		set.close()
		<-p.ended
	}
}

// take makes the pump read a connection from now on. Where that is not possible the
// connection goes on as before.
func (p *pump) take(c *cameraConn) error {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	if err := p.start(); err != nil {
		return err
	}
	// The runtime polls the sockets that it has made. One of our own it does not know.
	fd, err := duplicate(tcp)
	if err != nil {
		return err
	}
	local, remote := tcp.LocalAddr(), tcp.RemoteAddr()
	c.moving.Store(true)
	_ = tcp.SetReadDeadline(time.Unix(1, 0)) // ends the read that is under way
	<-c.handed
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.err != nil {
		return os.NewSyscallError("close", unix.Close(fd))
	}
	c.fd, c.pump, c.local, c.remote = fd, p, local, remote
	_ = tcp.Close() // the duplicate keeps the connection
	p.mu.Lock()
	p.conns[int32(fd)] = c
	p.mu.Unlock()
	if err := p.set.add(fd); err != nil {
		c.failed(err)
	}
	return nil
}

func (p *pump) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	if p.set != nil {
		return nil
	}
	set, err := newEpoll()
	if err != nil {
		return fmt.Errorf("read cameras together: %w", err)
	}
	p.set = set
	go p.run(set)
	return nil
}

func (p *pump) run(set *epoll) {
	defer close(p.ended)
	rest := time.NewTimer(time.Hour)
	defer rest.Stop()
	for {
		ready, err := set.wait()
		if err != nil {
			return // it was closed
		}
		more := false
		for {
			for i := range ready {
				p.mu.Lock()
				c := p.conns[ready[i].Fd]
				p.mu.Unlock()
				if c != nil && c.drain(p) {
					more = true
				}
			}
			if len(ready) < cap(ready) {
				break
			}
			if ready, err = set.look(); err != nil {
				return
			}
		}
		if more {
			continue
		}
		d := pumpRest
		if p.watched.Load() > 0 {
			d = watchedRest
		}
		rest.Reset(d)
		<-rest.C
	}
}

// forget takes a connection out, whose descriptor is closed after that.
func (p *pump) forget(fd int) {
	p.mu.Lock()
	delete(p.conns, int32(fd))
	p.mu.Unlock()
	p.set.remove(fd)
}

// drain reads what there is, and reports whether there may be more.
func (c *cameraConn) drain(p *pump) (more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 || c.err != nil {
		return false
	}
	c.buf, c.first, c.last = p.buf, 0, copy(p.buf, c.kept)
	for range pumpReads {
		space := c.buf[c.last:]
		n, err := unix.Read(c.fd, space)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			n = 0
		case err != nil:
			c.failed(os.NewSyscallError("read", err))
		case n == 0:
			c.failed(io.EOF)
		}
		if n <= 0 {
			more = false
			break
		}
		c.last += n
		c.now = p.clock.Mono()
		c.sift()
		if more = n == len(space); !more {
			break
		}
		c.last, c.first = copy(c.buf, c.buf[c.first:c.last]), 0
	}
	c.kept = append(c.kept[:0], c.buf[c.first:c.last]...)
	c.buf = nil
	return more
}

// sift scans what is there and puts what is for gortsplib where it reads. Under mu.
func (c *cameraConn) sift() {
	for {
		c.scan()
		n := c.passed()
		if n == 0 {
			break
		}
		c.piped = append(c.piped, c.buf[c.first:c.first+n]...)
		c.pass = max(c.pass-n, 0)
		c.first += n
	}
	if len(c.piped) > maxPiped {
		c.failed(errors.New("the camera sends more than is read of it"))
	}
	if len(c.piped) > 0 {
		c.readable.Signal()
	}
}

// failed ends the connection. Under mu.
func (c *cameraConn) failed(err error) {
	if c.err == nil {
		c.err = err
		c.pump.forget(c.fd)
		c.readable.Signal()
	}
}

// writePumped writes to a connection that the pump reads.
func (c *cameraConn) writePumped(fd int, p []byte) (n int, err error) {
	for n < len(p) {
		k, err := unix.Write(fd, p[n:])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			wait := -1
			if d := c.deadline; !d.IsZero() {
				if wait = int(time.Until(d).Milliseconds()); wait <= 0 {
					return n, os.ErrDeadlineExceeded
				}
			}
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, wait); err != nil && err != unix.EINTR {
				return n, os.NewSyscallError("poll", err)
			}
		case err != nil:
			return n, os.NewSyscallError("write", err)
		default:
			n += k
		}
	}
	return n, nil
}

// closePumped closes a connection that the pump reads; it does not any more after that.
func (c *cameraConn) closePumped(fd int) error {
	_ = unix.Shutdown(fd, unix.SHUT_RDWR) // ends a write that waits
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed(net.ErrClosed)
	c.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := raw.Control(func(old uintptr) {
		fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	}); cerr != nil {
		return 0, cerr
	}
	return fd, os.NewSyscallError("fcntl", err)
}

// epoll waits for any of a set of sockets to be readable.
type epoll struct {
	file   *os.File // the runtime waits for it
	raw    syscall.RawConn
	fd     int
	events [128]unix.EpollEvent
}

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or the runtime would not wait for it
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	e := &epoll{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if e.raw, err = e.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, e.file.Close())
	}
	return e, nil
}

func (e *epoll) close() { _ = e.file.Close() }

func (e *epoll) add(fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, fd, &ev))
}

func (e *epoll) remove(fd int) {
	_ = unix.EpollCtl(e.fd, unix.EPOLL_CTL_DEL, fd, nil)
}

// wait waits until there are sockets to be read. It is valid until the next call.
func (e *epoll) wait() (ready []unix.EpollEvent, err error) {
	rerr := e.raw.Read(func(uintptr) bool {
		ready, err = e.look()
		return len(ready) > 0 || err != nil
	})
	return ready, errors.Join(rerr, err)
}

// look is wait without waiting.
func (e *epoll) look() ([]unix.EpollEvent, error) {
	for {
		n, err := unix.EpollWait(e.fd, e.events[:], 0)
		if err == unix.EINTR {
			continue
		}
		return e.events[:max(n, 0)], os.NewSyscallError("epoll_wait", err)
	}
}

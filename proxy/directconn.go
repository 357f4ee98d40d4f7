package proxy

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// maxBacklog is how many bytes wait for a reader at most, beside what it is sent when it
// joins. A reader that is further behind is closed.
const maxBacklog = 6 << 20

// directOut is how live media gets to a reader over TCP without passing through gortsplib,
// which handles each packet for each reader. What is sent is one sequence of whole frames
// and messages; who sends is never made to wait: what the socket does not take at once is
// left to a goroutine that is there while something waits.
type directOut struct {
	mu      sync.Mutex
	on      bool // gortsplib's RTP is dropped
	held    bool // until the answer to PLAY
	writing bool
	queue   []byte
	inWrite int // bytes that the goroutine has taken
	err     error
}

// direct makes c one that media is sent to with send: after the next RTSP message, and
// after burst.
func (c *batchConn) direct() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.on, c.out.held = true, true
}

// indirect takes RTP from gortsplib again.
func (c *batchConn) indirect() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.on = false
}

// isDirect reports whether gortsplib's RTP is dropped, and whether the rest has to go the
// way of send.
func (c *batchConn) isDirect() (drops, queues bool) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.on, c.out.on || c.out.writing
}

// send sends whole frames, which it does not keep. False: the reader is too slow.
func (c *batchConn) send(b []byte) bool {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return true // its session is about to end
	case o.held || o.writing:
		if len(o.queue)+o.inWrite+len(b) > maxBacklog {
			return false
		}
		o.queue = append(o.queue, b...)
		return true
	}
	n, err := tryWrite(c.Conn, b)
	if err != nil {
		o.err = err
		_ = c.Close() // which ends the session
		return true
	}
	if n < len(b) {
		o.queue = append(o.queue, b[n:]...)
		o.writing = true
		c.flushers.Go(func() { _ = c.drainQueue() })
	}
	return true
}

// sendMessage sends an RTSP message or RTCP of gortsplib, in order; what was held comes
// after burst.
func (c *batchConn) sendMessage(b, burst []byte) error {
	o := &c.out
	o.mu.Lock()
	if o.held && b[0] != '$' {
		o.held = false
		o.queue = append(append(append(make([]byte, 0, len(b)+len(burst)+len(o.queue)), b...), burst...), o.queue...)
	} else {
		o.queue = append(o.queue, b...)
	}
	if o.held || o.writing || o.err != nil {
		defer o.mu.Unlock()
		return o.err
	}
	o.writing = true
	o.mu.Unlock()
	return c.drainQueue()
}

// drainQueue writes what waits.
func (c *batchConn) drainQueue() error {
	o := &c.out
	for {
		o.mu.Lock()
		b := o.queue
		o.queue, o.inWrite = nil, len(b)
		if len(b) == 0 || o.err != nil {
			o.writing = false
			// The next write may be that of a camera that was away for longer.
			_ = c.Conn.SetWriteDeadline(time.Time{})
			err := o.err
			o.mu.Unlock()
			return err
		}
		o.mu.Unlock()
		for len(b) > 0 {
			// A reader that takes what it gets, slowly, has time.
			_ = c.Conn.SetWriteDeadline(time.Now().Add(readerWrite))
			n, err := c.Conn.Write(b[:min(len(b), coalesce)])
			if err != nil {
				o.mu.Lock()
				o.err = err
				o.mu.Unlock()
				_ = c.Close()
				break
			}
			b = b[n:]
		}
	}
}

// tryWrite writes what the socket takes at once.
func tryWrite(c net.Conn, b []byte) (n int, err error) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return c.Write(b)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, err
	}
	werr := raw.Write(func(fd uintptr) bool {
		for {
			n, err = syscall.Write(int(fd), b)
			if !errors.Is(err, syscall.EINTR) {
				return true
			}
		}
	})
	if errors.Is(err, syscall.EAGAIN) {
		n, err = 0, nil
	}
	if err == nil {
		err = werr
	}
	return max(n, 0), err
}

package proxy

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// coalesce is how much is gathered for one write to a reader.
	coalesce = 32 << 10
	// idleConn is how long a connection may say nothing while no media goes to it.
	idleConn = 10 * time.Minute
	// acceptRetry is how long accepting pauses after a passing error.
	acceptRetry = 50 * time.Millisecond
)

// flushMarks say, for each SSRC, which sequence number is the last of what is at hand,
// so that a reader's connection knows when to stop gathering.
type flushMarks struct{ m sync.Map } // uint32 → *atomic.Uint32: 1<<16 | sequence number

func (f *flushMarks) add(ssrc uint32) *atomic.Uint32 {
	v := new(atomic.Uint32)
	f.m.Store(ssrc, v)
	return v
}

func (f *flushMarks) remove(ssrc uint32) { f.m.Delete(ssrc) }

// ends reports whether an interleaved frame (RFC 2326 10.12) must not wait for more.
func (f *flushMarks) ends(frame []byte) bool {
	if len(frame) < 16 || frame[5]&0x80 != 0 { // RTCP, or an RTP packet with the marker
		return true
	}
	v, ok := f.m.Load(uint32(frame[12])<<24 | uint32(frame[13])<<16 | uint32(frame[14])<<8 | uint32(frame[15]))
	if !ok {
		return true
	}
	return v.(*atomic.Uint32).Load() == 1<<16|uint32(frame[6])<<8|uint32(frame[7])
}

// batchListener accepts connections of readers.
type batchListener struct {
	net.Listener
	marks    *flushMarks
	flushers *sync.WaitGroup
}

// Accept retries passing errors, such as too many open files, which would end the
// server.
func (l *batchListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			return &batchConn{Conn: c, marks: l.marks, flushers: l.flushers}, nil
		}
		if e, ok := err.(interface{ Temporary() bool }); !ok || !e.Temporary() {
			return nil, err
		}
		time.Sleep(acceptRetry)
	}
}

// batchConn gathers the interleaved frames of an access unit, or of what is at hand,
// into one write. Each Write holds one whole frame or one whole RTSP message; frames
// leave whole and in order, or the connection fails.
type batchConn struct {
	net.Conn
	marks *flushMarks

	mu       sync.Mutex
	buf      []byte
	deadline time.Time
	playing  atomic.Bool

	burst []byte            // frames that follow the next message
	skip  map[uint32]uint16 // SSRC → up to where burst has the packets

	out      directOut
	flushers *sync.WaitGroup
}

// follow lets frames, which are whole, follow the next RTSP message, and drops what comes
// of the packets after it that is no later than newest (by SSRC).
func (c *batchConn) follow(frames []byte, newest map[uint32]uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.burst, c.skip = frames, newest
}

// rtpFrame reports whether b is an interleaved frame with RTP in it, not RTCP (RFC 5761 4).
func rtpFrame(b []byte) bool {
	return len(b) >= 16 && b[0] == '$' && (b[5]&0x7f < 64 || b[5]&0x7f >= 96)
}

// known reports whether burst had the packet of a frame.
func (c *batchConn) known(frame []byte) bool {
	if len(c.skip) == 0 || len(frame) < 16 || frame[5]&0x7f >= 64 && frame[5]&0x7f < 96 { // RTCP (RFC 5761 4)
		return false
	}
	ssrc := binary.BigEndian.Uint32(frame[12:])
	last, ok := c.skip[ssrc]
	if !ok {
		return false
	}
	if int16(binary.BigEndian.Uint16(frame[6:])-last) <= 0 {
		return true
	}
	delete(c.skip, ssrc)
	return false
}

// message writes an RTSP message, and what follows it.
func (c *batchConn) message(b []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	_ = c.Conn.SetWriteDeadline(c.deadline)
	n, err := c.Conn.Write(b)
	rest := c.burst
	c.burst = nil
	for err == nil && len(rest) > 0 {
		// A reader that takes what it gets, slowly, has time.
		part := rest[:min(len(rest), coalesce)]
		rest = rest[len(part):]
		_ = c.Conn.SetWriteDeadline(time.Now().Add(readerWrite))
		_, err = c.Conn.Write(part)
	}
	return n, err
}

func (c *batchConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if drops, queues := c.isDirect(); queues {
		if err := c.flush(); err != nil {
			return 0, err
		}
		if drops && rtpFrame(b) {
			return len(b), nil
		}
		burst := c.burst
		if len(b) > 0 && b[0] != '$' {
			c.burst = nil
		}
		return len(b), c.sendMessage(b, burst)
	}
	if len(b) < 4 || b[0] != '$' {
		return c.message(b)
	}
	if c.buf == nil {
		c.buf = make([]byte, 0, coalesce)
		// A reader over TCP need not say anything any more.
		c.playing.Store(true)
		_ = c.SetReadDeadline(time.Time{})
	}
	if len(c.buf)+len(b) > cap(c.buf) {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	if !c.known(b) {
		c.buf = append(c.buf, b...)
	}
	if c.marks.ends(b) {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (c *batchConn) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	_ = c.Conn.SetWriteDeadline(c.deadline)
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// SetWriteDeadline holds for the next write that goes out.
func (c *batchConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

func (c *batchConn) Read(b []byte) (int, error) {
	if !c.playing.Load() {
		_ = c.SetReadDeadline(time.Now().Add(idleConn))
	}
	return c.Conn.Read(b)
}

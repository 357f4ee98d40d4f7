package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/clock"
)

const (
	// tapBuffer holds more than an interleaved frame: 4 bytes and up to 65535.
	tapBuffer = 72 << 10
	// maxRTSPHead bounds the head of an RTSP message.
	maxRTSPHead = 64 << 10
	// showEvery is how often gortsplib sees a packet that was taken, so that it knows that
	// the camera is alive. Clock.Mono.
	showEvery = int64(1e9)
)

// tap is what takes the RTP packets out of a connection to a camera that plays. They go to
// take as they are in the read buffer: no allocation, no copy, none of what gortsplib does
// for receivers of other kinds.
type tap struct {
	log zerolog.Logger
	// take takes a packet, which is only valid until it returns, of a track. lost is how
	// many are missing before it, now when it was read (Clock.Mono).
	take func(t *tapTrack, p *packet, lost uint64, now int64)
	// byChannel are the channels of RTP, by number.
	byChannel [256]*tapTrack
	shown     int64

	now  packet // the one that is being taken
	head rtpHead
}

// tapTrack is a track over TCP.
type tapTrack struct {
	index       int
	reference   bool
	payloadType uint8

	begun bool
	ssrc  uint32
	seq   uint16
}

// packet takes the payload of an interleaved frame. As gortsplib does, it takes only the
// payload type that was set up, and the synchronization source that came first.
func (t *tap) packet(track *tapTrack, b []byte, now int64) {
	p, h := &t.now, &t.head
	switch {
	case !parsePacket(b, p, h):
		t.log.Debug().Int("bytes", len(b)).Msg("the camera sent a packet that cannot be read")
		return
	case h.payloadType != track.payloadType, track.begun && h.ssrc != track.ssrc:
		return // of another stream
	}
	lost := uint64(0)
	if track.begun {
		lost = uint64(p.seq - track.seq - 1)
	}
	track.begun, track.ssrc, track.seq = true, h.ssrc, p.seq
	t.take(track, p, lost, now)
}

// cameraConn is a connection to a camera, below gortsplib, which reads 4 KiB at a time. It
// reads much at a time, and passes on what no tap takes. What it cannot make sense of it
// leaves to gortsplib to judge. A pump may do the reading.
type cameraConn struct {
	net.Conn
	clock clock.Clock
	tap   atomic.Pointer[tap]

	// What was read, of Read's goroutine, or of the pump's and under mu.
	now         int64 // when something was read last, Clock.Mono
	buf         []byte
	first, last int
	pass        int  // so many bytes, there or to come, are for gortsplib
	plain       bool // all are

	// moving: a pump takes over; handed is closed when Read has let go.
	moving atomic.Bool
	handed chan struct{}
	handOn sync.Once
	piping bool // Read's: it reads what the pump has piped

	writing  sync.Mutex
	deadline time.Time // of writes; under writing

	mu            sync.Mutex
	pump          *pump
	fd            int // of the pump; negative: none
	local, remote net.Addr
	closed        bool
	err           error // why nothing more comes
	kept          []byte
	piped         []byte
	readable      sync.Cond
}

// dialCamera connects.
func dialCamera(ctx context.Context, network, address string, clk clock.Clock) (*cameraConn, error) {
	c, err := (&net.Dialer{Timeout: requestTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return newCameraConn(c, clk), nil
}

func newCameraConn(conn net.Conn, clk clock.Clock) *cameraConn {
	c := &cameraConn{Conn: conn, clock: clk, buf: make([]byte, tapBuffer), handed: make(chan struct{}), fd: -1}
	c.readable.L = &c.mu
	return c
}

// Read returns what gortsplib is to see. What a tap takes it takes meanwhile.
func (c *cameraConn) Read(p []byte) (int, error) {
	for !c.piping {
		c.scan()
		if n := c.passed(); n > 0 {
			n = copy(p, c.buf[c.first:c.first+n])
			c.first += n
			c.pass = max(c.pass-n, 0)
			return n, nil
		}
		if c.moving.Load() {
			c.handOver(nil)
			break
		}
		if err := c.fill(); err != nil && !c.moving.Load() {
			c.handOver(err) // to nobody
			return 0, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.piped) == 0 && c.err == nil {
		c.readable.Wait()
	}
	if len(c.piped) == 0 {
		return 0, c.err
	}
	n := copy(p, c.piped)
	c.piped = c.piped[:copy(c.piped, c.piped[n:])]
	return n, nil
}

// handOver leaves what was read to the pump.
func (c *cameraConn) handOver(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.piping = true
	c.kept, c.buf = bytes.Clone(c.buf[c.first:c.last]), nil
	if c.err == nil {
		c.err = err
	}
	c.handOn.Do(func() { close(c.handed) })
}

// passed returns how much of what is there is for gortsplib.
func (c *cameraConn) passed() int {
	switch n := c.last - c.first; {
	case c.plain:
		return n
	default:
		return min(n, c.pass)
	}
}

// Write implements net.Conn.
func (c *cameraConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	fd, pumped, closed := c.fd, c.pump != nil, c.closed
	c.mu.Unlock()
	switch {
	case closed:
		return 0, net.ErrClosed
	case pumped:
		return c.writePumped(fd, p)
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline implements net.Conn.
func (c *cameraConn) SetWriteDeadline(t time.Time) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.deadline = t
	return c.Conn.SetWriteDeadline(t)
}

// Close implements net.Conn. No packet is taken after it.
func (c *cameraConn) Close() error {
	c.mu.Lock()
	fd, pumped, closed := c.fd, c.pump != nil, c.closed
	c.closed = true
	if c.err == nil && !pumped {
		c.err = net.ErrClosed
		c.readable.Signal()
	}
	c.handOn.Do(func() { close(c.handed) })
	c.mu.Unlock()
	switch {
	case closed:
		return net.ErrClosed
	case pumped:
		return c.closePumped(fd)
	}
	return c.Conn.Close()
}

// LocalAddr implements net.Conn.
func (c *cameraConn) LocalAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local != nil {
		return c.local
	}
	return c.Conn.LocalAddr()
}

// RemoteAddr implements net.Conn.
func (c *cameraConn) RemoteAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

// fill reads more behind what is there.
func (c *cameraConn) fill() error {
	if c.first > 0 {
		c.last = copy(c.buf, c.buf[c.first:c.last])
		c.first = 0
	}
	n, err := c.Conn.Read(c.buf[c.last:])
	c.last += n
	if n > 0 {
		c.now = c.clock.Mono()
		return nil // an error comes again
	}
	return err
}

// scan goes through what is there up to something that is for gortsplib, or that is not
// there in whole.
func (c *cameraConn) scan() {
	for c.pass == 0 && !c.plain {
		b := c.buf[c.first:c.last]
		if len(b) < 2 {
			return
		}
		if b[0] != '$' {
			if !c.message(b) {
				return
			}
			continue
		}
		if len(b) < 4 {
			return
		}
		n := 4 + int(binary.BigEndian.Uint16(b[2:]))
		t := c.tap.Load()
		if t == nil || t.byChannel[b[1]] == nil {
			c.pass = n
			return
		}
		if len(b) < n {
			return
		}
		t.packet(t.byChannel[b[1]], b[4:n], c.now)
		if c.now-t.shown >= showEvery {
			t.shown = c.now
			c.pass = n
			return
		}
		c.first += n
	}
}

// message finds the end of an RTSP message (RFC 2326 4). False: more of it is needed.
func (c *cameraConn) message(b []byte) bool {
	if !beginsMessage(b) {
		c.first++ // gortsplib skips it too
		return true
	}
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		c.plain = len(b) >= maxRTSPHead
		return c.plain
	}
	n, ok := contentLength(b[:head+2])
	if !ok {
		c.plain = true
		return true
	}
	c.pass = head + 4 + n
	return true
}

// beginsMessage reports whether gortsplib takes b for the start of an RTSP message.
func beginsMessage(b []byte) bool {
	switch string(b[:2]) {
	case "RT", "AN", "DE", "GE", "OP", "PA", "PL", "RE", "SE", "TE":
		return true
	}
	return false
}

// contentLength finds the length of the body in the head of an RTSP message.
func contentLength(head []byte) (n int, ok bool) {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		key, value, found := bytes.Cut(line, []byte(":"))
		if !found || !bytes.EqualFold(key, []byte("Content-Length")) {
			continue
		}
		v, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
		return int(v), err == nil
	}
	return 0, true
}

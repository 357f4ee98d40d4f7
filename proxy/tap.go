package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"strconv"
	"sync/atomic"

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
// leaves to gortsplib to judge.
type cameraConn struct {
	net.Conn
	clock clock.Clock
	tap   atomic.Pointer[tap]

	now         int64 // when something was read last, Clock.Mono
	buf         []byte
	first, last int
	pass        int  // so many bytes, there or to come, are for gortsplib
	plain       bool // all are
}

// dialCamera connects.
func dialCamera(ctx context.Context, network, address string, clk clock.Clock) (*cameraConn, error) {
	c, err := (&net.Dialer{Timeout: requestTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &cameraConn{Conn: c, clock: clk, buf: make([]byte, tapBuffer)}, nil
}

// Read returns what gortsplib is to see. What a tap takes it takes meanwhile.
func (c *cameraConn) Read(p []byte) (int, error) {
	for {
		if c.scan(); (c.pass > 0 || c.plain) && c.first < c.last {
			n := c.last - c.first
			if !c.plain {
				n = min(n, c.pass)
			}
			n = copy(p, c.buf[c.first:c.first+n])
			c.first += n
			c.pass = max(c.pass-n, 0)
			return n, nil
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
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

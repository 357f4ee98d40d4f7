package proxy

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/pion/rtp"
)

// mostFrames is how much is gathered for one write to all readers.
const mostFrames = 64 << 10

var errBacklog = errors.New("it is more than 6 MiB behind")

// count makes r a reader of s: through c, past gortsplib, or by gortsplib where c is nil.
// Under the feed's mu.
func (s *rtspStream) count(r *reader, c *batchConn) {
	r.stream, r.conn = s, c
	if c == nil {
		s.others++
		return
	}
	s.Flush()
	s.readers = append(s.readers, r)
	c.direct()
}

// leaveDirect leaves r to gortsplib.
func (r *reader) leaveDirect() {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	if s, c := r.stream, r.conn; s != nil && c != nil {
		s.remove(r)
		c.indirect()
		r.conn = nil
		s.others++
	}
}

// uncount undoes count.
func (r *reader) uncount() {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	switch s := r.stream; {
	case s == nil:
	case r.conn != nil:
		s.remove(r)
	default:
		s.others--
	}
	r.stream = nil
}

func (s *rtspStream) remove(r *reader) {
	s.readers = slices.DeleteFunc(s.readers, func(o *reader) bool { return o == r })
}

// gather appends a packet to what Flush sends.
func (s *rtspStream) gather(track int, p *rtp.Packet) {
	n := p.MarshalSize()
	if len(s.frames)+4+n > mostFrames {
		s.Flush()
	}
	at := len(s.frames)
	s.frames = append(s.frames, '$', 0)
	s.frames = binary.BigEndian.AppendUint16(s.frames, uint16(n))
	s.frames = slices.Grow(s.frames, n)[:at+4+n]
	if _, err := p.MarshalTo(s.frames[at+4:]); err != nil {
		s.frames = s.frames[:at]
		return
	}
	binary.BigEndian.PutUint32(s.frames[at+12:], s.tracks[track].ssrc)
	s.starts = append(s.starts, at)
	s.of = append(s.of, uint8(track))
}

// Flush implements liveStream.
func (s *rtspStream) Flush() {
	if len(s.starts) == 0 {
		return
	}
	for _, r := range s.readers {
		if !r.conn.send(s.framesFor(r)) {
			r.tooSlow(errBacklog)
			r.session.Close() // OnSessionClose comes from another goroutine
		}
	}
	s.frames, s.starts, s.of = s.frames[:0], s.starts[:0], s.of[:0]
}

// framesFor puts in the reader's channels, and leaves out what it has not set up.
func (s *rtspStream) framesFor(r *reader) []byte {
	whole := true
	for i, at := range s.starts {
		channel, ok := r.channels[s.tracks[s.of[i]].media]
		whole = whole && ok
		s.frames[at+1] = channel
	}
	if whole {
		return s.frames
	}
	var out []byte
	for i, at := range s.starts {
		end := len(s.frames)
		if i+1 < len(s.starts) {
			end = s.starts[i+1]
		}
		if _, ok := r.channels[s.tracks[s.of[i]].media]; ok {
			out = append(out, s.frames[at:end]...)
		}
	}
	return out
}

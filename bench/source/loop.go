package source

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

const (
	maxPayload = 1440 // of RTP packets, as camsim
	rtpHeader  = 12
	// An RTP packet in a TCP connection follows "$", channel and length (RFC 2326 10.12).
	interleaved = 4
	clockRate   = 90000
	// keyWeight is how many times larger the first picture of a GOP is than others.
	keyWeight = 5
)

// unit is an access unit of the loop, ready to be written once its packets are patched.
type unit struct {
	wire    []byte
	packets []int // where the RTP header of each begins in wire
	mark    int   // where the mark is
	key     bool
	present uint32
}

// loop is what all cameras send again and again.
type loop struct {
	codec    ledger.Codec
	sets     [][]byte
	units    []unit
	interval time.Duration // from one unit to the next
	ticks    uint32        // of the RTP clock, in a whole loop
	packets  int           // in a whole loop
	bytes    int           // of RTP packets, in a whole loop
}

// newLoop pads the clip of a codec (see camsim.VideoClips) to the bit rate.
func newLoop(video string, bitrate int) (*loop, error) {
	c, err := camsim.VideoClip(video)
	if err != nil {
		return nil, err
	}
	n := len(c.Frames)
	l := &loop{
		codec: c.Codec, sets: c.Sets, interval: c.Duration / time.Duration(n),
		ticks: uint32(c.Duration * clockRate / time.Second),
	}
	weight := 0
	for _, f := range c.Frames {
		weight++
		if f.Key {
			weight += keyWeight - 1
		}
	}
	unitBytes := float64(bitrate) / 8 * c.Duration.Seconds() / float64(weight)
	for i, f := range c.Frames {
		want := int(unitBytes)
		if f.Key {
			want *= keyWeight
		}
		u := l.unit(&c.Frames[i], want)
		u.present = uint32(f.Present * clockRate / time.Second)
		l.units = append(l.units, u)
		l.packets += len(u.packets)
		l.bytes += len(u.wire) - interleaved*len(u.packets)
	}
	return l, nil
}

func (l *loop) unit(f *camsim.ClipFrame, want int) unit {
	u := unit{key: f.Key}
	if f.Key {
		for _, s := range l.sets {
			l.packet(&u, s, false)
		}
	}
	sei := l.sei()
	l.packet(&u, sei, false)
	u.mark = len(u.wire) - markSize - 1
	have := 0
	for _, n := range f.NALUs {
		have += len(n)
	}
	for i, n := range f.NALUs {
		last := i == len(f.NALUs)-1
		if last && want > have {
			// More of the last slice; nobody decodes it.
			n = append(n[:len(n):len(n)], make([]byte, want-have)...)
			for j := len(n) - (want - have); j < len(n); j++ {
				n[j] = byte(j*7%251) + 1
			}
		}
		l.nalu(&u, n, last)
	}
	return u
}

// sei returns an SEI NAL unit (user data unregistered) with an empty mark.
func (l *loop) sei() []byte {
	var b []byte
	if l.codec == ledger.H265 {
		b = append(b, 39<<1, 1)
	} else {
		b = append(b, 6)
	}
	b = append(b, 5, markSize)
	var m [markSize]byte
	Mark{}.put(m[:])
	return append(append(b, m[:]...), 0x80)
}

// nalu packetizes a NAL unit: RFC 6184 5.8, RFC 7798 4.4.3 (fragmentation units).
func (l *loop) nalu(u *unit, n []byte, marker bool) {
	if len(n) <= maxPayload {
		l.packet(u, n, marker)
		return
	}
	var head []byte
	var kind byte
	if l.codec == ledger.H265 {
		head = []byte{n[0]&0x81 | 49<<1, n[1]}
		kind = n[0] >> 1 & 0x3f
		n = n[2:]
	} else {
		head = []byte{n[0]&0xe0 | 28}
		kind = n[0] & 0x1f
		n = n[1:]
	}
	room := maxPayload - len(head) - 1
	for first := true; len(n) > 0; first = false {
		size := min(room, len(n))
		fu := kind
		if first {
			fu |= 0x80
		}
		if size == len(n) {
			fu |= 0x40
		}
		payload := append(append(head[:len(head):len(head)], fu), n[:size]...)
		l.packet(u, payload, marker && size == len(n))
		n = n[size:]
	}
}

func (l *loop) packet(u *unit, payload []byte, marker bool) {
	u.wire = append(u.wire, '$', 0)
	u.wire = binary.BigEndian.AppendUint16(u.wire, uint16(rtpHeader+len(payload)))
	u.packets = append(u.packets, len(u.wire))
	pt := byte(96)
	if marker {
		pt |= 0x80
	}
	u.wire = append(u.wire, 0x80, pt, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	u.wire = append(u.wire, payload...)
}

// patch makes the packets of a unit those of one session.
func (u *unit) patch(channel byte, seq uint16, stamp, ssrc uint32) {
	for i, at := range u.packets {
		p := u.wire[at : at+rtpHeader]
		u.wire[at-3] = channel
		binary.BigEndian.PutUint16(p[2:], seq+uint16(i))
		binary.BigEndian.PutUint32(p[4:], stamp)
		binary.BigEndian.PutUint32(p[8:], ssrc)
	}
}

// sdp describes a camera.
func (l *loop) sdp() string {
	b64 := base64.StdEncoding.EncodeToString
	var media string
	if l.codec == ledger.H265 {
		media = fmt.Sprintf("a=rtpmap:96 H265/90000\r\na=fmtp:96 sprop-vps=%s; sprop-sps=%s; sprop-pps=%s\r\n",
			b64(l.sets[0]), b64(l.sets[1]), b64(l.sets[2]))
	} else {
		media = fmt.Sprintf("a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; profile-level-id=%s; sprop-parameter-sets=%s,%s\r\n",
			strings.ToUpper(fmt.Sprintf("%x", l.sets[0][1:4])), b64(l.sets[0]), b64(l.sets[1]))
	}
	return "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n" +
		"m=video 0 RTP/AVP 96\r\na=control:trackID=0\r\n" + media
}

package replay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
)

// lane is a track of a session on its way to the client: what RTP needs to know of it. It
// belongs to the player that runs.
type lane struct {
	*track
	set     bool // there was a SETUP
	ssrc    uint32
	seq     uint16 // of the next packet
	offset  uint32 // of timestamps
	packets uint32
	octets  uint32
	pack    packetizer
	known   [][]byte // parameter sets that the client has

	// Over TCP the channel of RTP, that of RTCP is the next; over UDP the addresses.
	channel   byte
	rtp, rtcp netip.AddrPort

	lastTS  uint32 // of what was sent last, with the capture time
	lastNS  int64
	reports int64 // mono time of the last sender report; 0: none yet
}

// packet is where a packet is in the buffer of an output.
type packet struct {
	end  int
	lane int
	rtcp bool
}

// output collects packets. Over TCP they are framed (RFC 2326 10.12).
type output struct {
	tcp     bool
	buf     []byte
	packets []packet
}

func (o *output) reset() { o.buf, o.packets = o.buf[:0], o.packets[:0] }

func (o *output) empty() bool { return len(o.packets) == 0 }

// begin starts a packet and returns where its first byte is.
func (o *output) begin(channel byte) int {
	if o.tcp {
		o.buf = append(o.buf, '$', channel, 0, 0)
	}
	return len(o.buf)
}

func (o *output) end(at, lane int, rtcp bool) {
	if o.tcp {
		binary.BigEndian.PutUint16(o.buf[at-2:], uint16(len(o.buf)-at))
	}
	o.packets = append(o.packets, packet{len(o.buf), lane, rtcp})
}

const (
	rtpVersion = 2 << 6
	// The header extension of ONVIF replay (Streaming Specification, "RTP header
	// extension"): NTP, marks, CSeq, padding.
	extensionID    = 0xabac
	extensionWords = 3
)

// unit appends the packets of an access unit. The first one has the header extension.
func (o *output) unit(n int, l *lane, sample []byte, u *unit, ts uint32, cseq byte) error {
	be := binary.BigEndian
	first := true
	return l.pack(sample, func(head, body []byte, marker bool, later uint32) {
		at := o.begin(l.channel)
		b0, b1 := byte(rtpVersion), l.pt
		if first {
			b0 |= 1 << 4
		}
		if marker {
			b1 |= 1 << 7
		}
		o.buf = append(o.buf, b0, b1)
		o.buf = be.AppendUint16(o.buf, l.seq)
		o.buf = be.AppendUint32(o.buf, ts+later)
		o.buf = be.AppendUint32(o.buf, l.ssrc)
		if first {
			o.buf = be.AppendUint16(o.buf, extensionID)
			o.buf = be.AppendUint16(o.buf, extensionWords)
			o.buf = be.AppendUint64(o.buf, ntpOf(u.captureNS))
			o.buf = append(o.buf, byte(u.marks), cseq, 0, 0)
			first = false
		}
		o.buf = append(o.buf, head...)
		o.buf = append(o.buf, body...)
		o.end(at, n, false)
		l.seq++
		l.packets++
		l.octets += uint32(len(head) + len(body))
	})
}

// report appends a sender report (RFC 3550 6.4.1) and the name of the source (6.5).
func (o *output) report(n int, l *lane, ntp uint64, ts uint32) {
	be := binary.BigEndian
	at := o.begin(l.channel + 1)
	o.buf = append(o.buf, rtpVersion, 200, 0, 6)
	o.buf = be.AppendUint32(o.buf, l.ssrc)
	o.buf = be.AppendUint64(o.buf, ntp)
	o.buf = be.AppendUint32(o.buf, ts)
	o.buf = be.AppendUint32(o.buf, l.packets)
	o.buf = be.AppendUint32(o.buf, l.octets)
	o.buf = append(o.buf, rtpVersion|1, 202, 0, 3)
	o.buf = be.AppendUint32(o.buf, l.ssrc)
	o.buf = append(o.buf, 1, 4, 'd', 'u', 'e', 't', 0, 0)
	o.end(at, n, true)
}

// bye appends the end of a source (RFC 3550 6.6).
func (o *output) bye(n int, l *lane) {
	at := o.begin(l.channel + 1)
	o.buf = append(o.buf, rtpVersion, 201, 0, 1) // a receiver report without blocks comes first
	o.buf = binary.BigEndian.AppendUint32(o.buf, l.ssrc)
	o.buf = append(o.buf, rtpVersion|1, 203, 0, 1)
	o.buf = binary.BigEndian.AppendUint32(o.buf, l.ssrc)
	o.end(at, n, true)
}

// withSets returns a key access unit with the parameter sets before it that the client
// does not have: those of SDP may be those of other footage.
func (l *lane) withSets(sample []byte, sets [][]byte) []byte {
	if len(sets) == 0 || equalSets(l.known, sets) {
		return sample
	}
	l.known = sets
	inBand := false
	nalus(sample, func(n []byte, _ bool) bool {
		inBand = inBand || l.setKind(n) >= 0
		return !inBand
	})
	if inBand {
		return sample
	}
	var out []byte
	for _, s := range sets {
		out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
		out = append(out, s...)
	}
	return append(out, sample...)
}

func equalSets(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// reportEvery is the time between two sender reports.
const reportEvery = 5 * time.Second

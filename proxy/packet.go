package proxy

import (
	"encoding/binary"

	"github.com/pion/rtp"
)

// packet is what ingest looks at of an RTP packet, which it has either as gortsplib
// delivers it or as the bytes that came.
type packet struct {
	seq     uint16
	ts      uint32
	marker  bool
	payload []byte

	rtp *rtp.Packet
	raw []byte // where rtp is nil: the whole packet, the caller's
}

func packetOf(p *rtp.Packet) packet {
	return packet{seq: p.SequenceNumber, ts: p.Timestamp, marker: p.Marker, payload: p.Payload, rtp: p}
}

// rtpHead is what is read of an RTP header beside what is in packet.
type rtpHead struct {
	payloadType uint8
	ssrc        uint32
}

// parsePacket reads an RTP packet (RFC 3550 5.1) without copying. False: it is none.
func parsePacket(b []byte, p *packet, h *rtpHead) bool {
	if len(b) < 12 || b[0]>>6 != 2 {
		return false
	}
	start := 12 + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 { // header extension (RFC 3550 5.3.1)
		if len(b) < start+4 {
			return false
		}
		start += 4 + 4*int(binary.BigEndian.Uint16(b[start+2:]))
	}
	end := len(b)
	if b[0]&0x20 != 0 { // padding, its length in the last byte
		end -= int(b[end-1])
	}
	if start > end {
		return false
	}
	*p = packet{
		seq: binary.BigEndian.Uint16(b[2:]), ts: binary.BigEndian.Uint32(b[4:]),
		marker: b[1]&0x80 != 0, payload: b[start:end], raw: b,
	}
	*h = rtpHead{payloadType: b[1] & 0x7f, ssrc: binary.BigEndian.Uint32(b[8:])}
	return true
}

// payloadSize returns the bytes of payload of an RTP packet.
func payloadSize(b []byte) int {
	var p packet
	var h rtpHead
	if !parsePacket(b, &p, &h) {
		return len(b)
	}
	return len(p.payload)
}

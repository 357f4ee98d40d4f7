package media

// rtpPacket is what a depacketizer needs of an RTP packet.
type rtpPacket struct {
	payload []byte // a view of the packet
	seq     uint16
	marker  bool
}

// parseRTP reads the header of an RTP packet (RFC 3550 5.1), without allocating.
func parseRTP(b []byte, p *rtpPacket) bool {
	if len(b) < 12 || b[0]>>6 != 2 {
		return false
	}
	start := 12 + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 { // header extension (RFC 3550 5.3.1)
		if len(b) < start+4 {
			return false
		}
		start += 4 + 4*(int(b[start+2])<<8|int(b[start+3]))
	}
	end := len(b)
	if b[0]&0x20 != 0 { // padding, its length in the last byte
		end -= int(b[end-1])
		if end == len(b) {
			return false
		}
	}
	if start > end {
		return false
	}
	p.payload = b[start:end]
	p.seq = uint16(b[2])<<8 | uint16(b[3])
	p.marker = b[1]&0x80 != 0
	return true
}

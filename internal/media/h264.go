package media

// NAL unit types (ISO/IEC 14496-10 table 7-1) and packet types (RFC 6184 table 1).
const (
	h264SPS   = 7
	h264PPS   = 8
	h264STAPA = 24
	h264FUA   = 28
)

// h264 depacketizes RFC 6184, packetization modes 0 and 1.
func (t *trackBuilder) h264(p *rtpPacket) bool {
	switch typ := p.payload[0] & 0x1f; {
	case typ == h264FUA:
		return t.h264FU(p)
	case typ == h264STAPA:
		t.drop(Malformed)
		return t.aggregate(p.payload[1:])
	case typ > h264STAPA: // STAP-B, MTAP, FU-B: interleaved mode; 30 and 31: reserved
		return false
	}
	t.drop(Malformed)
	t.wholeNAL(p.payload)
	return true
}

// h264FU takes a fragmentation unit (RFC 6184 5.8).
func (t *trackBuilder) h264FU(p *rtpPacket) bool {
	if len(p.payload) < 2 {
		return false
	}
	fu := p.payload[1]
	if fu&0x80 != 0 {
		t.drop(Malformed)
		t.beginNAL(p.payload[0]&0xe0 | fu&0x1f)
	}
	return t.continueNAL(p.payload[2:], fu&0x80 != 0, fu&0x40 != 0)
}

// continueNAL appends a part of a fragmented NAL unit. A part without its start is left
// out: where packets are missing the flag says so already. Start and end in one part
// are forbidden, and sent by some cameras (RFC 6184 5.8).
func (t *trackBuilder) continueNAL(part []byte, start, end bool) bool {
	if t.open == closed {
		// After a loss that is what remains of the NAL unit; otherwise it is nonsense.
		t.unitTorn = true
		return t.flags&PacketLoss != 0 || start
	}
	t.data = append(t.data, part...)
	if end {
		t.finishNAL()
	}
	return true
}

// wholeNAL appends a NAL unit.
func (t *trackBuilder) wholeNAL(nal []byte) {
	t.beginNAL()
	t.data = append(t.data, nal...)
	t.finishNAL()
}

// finishNAL ends the open NAL unit and looks at what it is.
func (t *trackBuilder) finishNAL() {
	at := t.open
	t.endNAL()
	if at == len(t.data) {
		return
	}
	t.data = splitAnnexB(t.data, at)
	for b := t.data[at:]; len(b) > 4; {
		n := 4 + int(uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]))
		if t.desc.Codec == H264 {
			t.lookH264(b[4:n])
		} else {
			t.lookH265(b[4:n])
		}
		b = b[n:]
	}
}

func (t *trackBuilder) lookH264(nal []byte) {
	switch typ := nal[0] & 0x1f; {
	case typ == h264SPS:
		t.keepSet(0, nal)
	case typ == h264PPS:
		t.keepSet(1, nal)
	case typ >= 1 && typ <= 5:
		t.vcl, t.unitSlice = true, true
	}
}

// aggregate appends the NAL units of an aggregation packet (RFC 6184 5.7.1, RFC 7798
// 4.4.2). All or none: where a size does not fit, none is kept.
func (t *trackBuilder) aggregate(b []byte) bool {
	for rest := b; len(rest) > 0; {
		if len(rest) < 2 {
			return false
		}
		n := int(rest[0])<<8 | int(rest[1])
		if n == 0 && allZero(rest) { // padding
			break
		}
		if n == 0 || n > len(rest)-2 {
			return false
		}
		rest = rest[2+n:]
	}
	for len(b) >= 2 {
		n := int(b[0])<<8 | int(b[1])
		if n == 0 {
			break
		}
		t.wholeNAL(b[2 : 2+n])
		b = b[2+n:]
	}
	return true
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

package media

// NAL unit types (ISO/IEC 23008-2 table 7-1) and packet types (RFC 7798 4.4).
const (
	h265MaxVCL = 31
	h265VPS    = 32
	h265SPS    = 33
	h265PPS    = 34
	h265AP     = 48
	h265FU     = 49
)

// h265 depacketizes RFC 7798 without DONL fields (sprop-max-don-diff is 0).
func (t *trackBuilder) h265(p *rtpPacket) bool {
	if len(p.payload) < 2 {
		return false
	}
	switch typ := p.payload[0] >> 1 & 0x3f; {
	case typ == h265FU:
		if len(p.payload) < 3 {
			return false
		}
		fu := p.payload[2]
		if fu&0x80 != 0 {
			t.drop(Malformed)
			t.beginNAL(p.payload[0]&0x81|fu&0x3f<<1, p.payload[1])
		}
		return t.continueNAL(p.payload[3:], fu&0x80 != 0, fu&0x40 != 0)
	case typ == h265AP:
		t.drop(Malformed)
		return t.aggregate(p.payload[2:])
	case typ > h265FU: // PACI, and the unspecified ones
		return false
	}
	t.drop(Malformed)
	t.wholeNAL(p.payload)
	return true
}

func (t *trackBuilder) lookH265(nal []byte) {
	switch typ := nal[0] >> 1 & 0x3f; {
	case typ <= h265MaxVCL:
		t.vcl, t.unitSlice = true, true
	case typ == h265VPS:
		t.keepSet(0, nal)
	case typ == h265SPS:
		t.keepSet(1, nal)
	case typ == h265PPS:
		t.keepSet(2, nal)
	}
}

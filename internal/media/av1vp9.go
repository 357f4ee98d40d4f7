package media

import (
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/vp9"
	"github.com/pion/rtp/codecs"
)

// av1State holds the OBU that is being put together.
type av1State struct{ obu []byte }

// OBU types (AV1 specification 6.2.2).
const (
	obuSequenceHeader    = 1
	obuTemporalDelimiter = 2
)

// av1Packet depacketizes the RTP payload format for AV1, 1.0, 4.4.
func (t *trackBuilder) av1Packet(p *rtpPacket) bool {
	z, y, w := p.payload[0]&0x80 != 0, p.payload[0]&0x40 != 0, int(p.payload[0]>>4&3)
	start, b := len(t.data), p.payload[1:]
	if t.open != closed {
		start = t.open
	}
	if len(b) == 0 {
		return false
	}
	for n := 1; len(b) > 0; n++ {
		size := len(b)
		if w == 0 || n < w {
			v, used := uvarint(b)
			if used == 0 || v == 0 || v > uint64(len(b)-used) {
				t.data, t.open = t.data[:start], closed
				return false
			}
			size, b = int(v), b[used:]
		}
		element := b[:size]
		b = b[size:]
		switch {
		case n > 1 || !z:
			t.drop(Malformed)
			t.av1.obu = append(t.av1.obu[:0], element...)
		case t.open == closed: // the rest of an OBU whose start is missing
			if t.flags&PacketLoss == 0 {
				t.flags |= Malformed
			}
			continue
		default:
			t.av1.obu = append(t.av1.obu, element...)
		}
		t.open = len(t.data)
		if len(b) > 0 || !y {
			t.open = closed
			t.appendOBU(t.av1.obu)
		}
	}
	return true
}

// appendOBU appends an OBU with its size (AV1 specification 5.3.1; AV1-ISOBMFF 2.4).
func (t *trackBuilder) appendOBU(obu []byte) {
	head := 1
	if obu[0]&0x04 != 0 {
		head = 2 // with an extension
	}
	typ := obu[0] >> 3 & 0x0f
	if len(obu) < head || typ == obuTemporalDelimiter {
		return
	}
	if obu[0]&0x02 != 0 { // has its size
		v, used := uvarint(obu[head:])
		if used == 0 || v > uint64(len(obu)-head-used) {
			t.flags |= Malformed
			return
		}
		t.data = append(t.data, obu...)
		if typ == obuSequenceHeader {
			plain := append([]byte{obu[0] &^ 0x02}, obu[1:head]...)
			t.keepSet(0, append(plain, obu[head+used:head+used+int(v)]...))
		}
		return
	}
	if typ == obuSequenceHeader {
		t.keepSet(0, obu)
	}
	t.data = append(t.data, obu[0]|0x02)
	t.data = append(t.data, obu[1:head]...)
	size := len(obu) - head
	for ; size >= 0x80; size >>= 7 {
		t.data = append(t.data, byte(size)|0x80)
	}
	t.data = append(t.data, byte(size))
	t.data = append(t.data, obu[head:]...)
}

// uvarint reads leb128() (AV1 specification 4.10.5). used is 0 where it does not end.
func uvarint(b []byte) (v uint64, used int) {
	for i := 0; i < min(len(b), 8); i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			return v, i + 1
		}
	}
	return 0, 0
}

// vp9Params is what the init header says of VP9.
type vp9Params struct {
	profile, bitDepth, subsampling uint8
	fullRange                      bool
}

// vp9 depacketizes RFC 9628.
func (t *trackBuilder) vp9(p *rtpPacket) bool {
	var v codecs.VP9Packet
	if _, err := v.Unmarshal(p.payload); err != nil {
		return false
	}
	if v.B {
		t.drop(Malformed)
		t.open = len(t.data)
	} else if t.open == closed {
		return t.flags&PacketLoss != 0
	}
	t.data = append(t.data, v.Payload...)
	if !v.E {
		return true
	}
	frame := t.data[t.open:]
	t.open = closed
	var h vp9.Header
	if !t.params.known && h.Unmarshal(frame) == nil && h.FrameSize != nil && h.ColorConfig != nil {
		t.params = streamParams{
			known: true, width: h.Width(), height: h.Height(),
			vp9: vp9Params{h.Profile, h.ColorConfig.BitDepth, h.ChromaSubsampling(), h.ColorConfig.ColorRange},
		}
	}
	return true
}

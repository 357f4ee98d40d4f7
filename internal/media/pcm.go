package media

import "github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"

// opus depacketizes RFC 7587: a packet is an access unit.
func (t *trackBuilder) opus(p *rtpPacket) bool {
	t.data = append(t.data, p.payload...)
	if n := opus.PacketDuration2(p.payload); n > 0 {
		t.params.samples, t.params.sampleRate = int(n), 48000
	}
	return true
}

// lpcm depacketizes RFC 3190 and RFC 3551 4.5.11: interleaved samples, big endian.
func (t *trackBuilder) lpcm(p *rtpPacket) bool {
	frame := t.desc.BitDepth / 8 * t.desc.Channels
	if frame <= 0 || len(p.payload)%frame != 0 {
		return false
	}
	t.data = append(t.data, p.payload...)
	t.params.samples, t.params.sampleRate = len(p.payload)/frame, t.desc.SampleRate
	return true
}

// g711 expands RFC 3551 4.5.14 to 16-bit LPCM, big endian.
func (t *trackBuilder) g711(p *rtpPacket, table *[256]int16) bool {
	if t.desc.Channels <= 0 || len(p.payload)%t.desc.Channels != 0 {
		return false
	}
	for _, c := range p.payload {
		v := uint16(table[c])
		t.data = append(t.data, byte(v>>8), byte(v))
	}
	t.params.samples, t.params.sampleRate = len(p.payload)/t.desc.Channels, t.desc.SampleRate
	return true
}

// alaw and mulaw are the values of ITU-T G.711 tables 1 and 2, scaled to 16 bits.
var (
	alaw  = alawTable()
	mulaw = mulawTable()
)

func alawTable() (table [256]int16) {
	for i := range table {
		c := byte(i) ^ 0x55
		v := int16(c&0x0f)<<4 + 8
		if exp := c >> 4 & 7; exp > 0 {
			v = (v + 0x100) << (exp - 1)
		}
		if c&0x80 == 0 {
			v = -v
		}
		table[i] = v
	}
	return table
}

func mulawTable() (table [256]int16) {
	const bias = 0x84
	for i := range table {
		c := ^byte(i)
		v := (int16(c&0x0f)<<3+bias)<<(c>>4&7) - bias
		if c&0x80 != 0 {
			v = -v
		}
		table[i] = v
	}
	return table
}

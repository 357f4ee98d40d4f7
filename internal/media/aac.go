package media

import (
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
)

// maxAUHeaders bounds the access units in a packet (RFC 3640 3.2.1).
const maxAUHeaders = 256

// aac depacketizes RFC 3640, without interleaving.
func (t *trackBuilder) aac(p *rtpPacket) bool {
	if t.desc.SizeLength < 1 || t.desc.SizeLength > 32 ||
		t.desc.IndexLength < 0 || t.desc.IndexLength > 32 ||
		t.desc.IndexDeltaLength < 0 || t.desc.IndexDeltaLength > 32 || len(p.payload) < 2 {
		return false
	}
	bitLen := int(p.payload[0])<<8 | int(p.payload[1])
	headers := bitReader{b: p.payload[2:]}
	body := 2 + (bitLen+7)/8
	if bitLen < t.desc.SizeLength+t.desc.IndexLength || body > len(p.payload) {
		return false
	}
	data := p.payload[body:]
	size := int(headers.read(t.desc.SizeLength))
	if headers.read(t.desc.IndexLength) != 0 {
		return false // interleaved
	}
	if bitLen-headers.pos < t.desc.SizeLength+t.desc.IndexDeltaLength {
		return t.aacOne(p, size, data)
	}
	t.drop(Malformed)
	if !t.aacSizes(headers, bitLen, size, len(data)) {
		return false
	}
	t.marked = t.marked || p.marker
	step := t.frameNS(t.aacFrame())
	for {
		t.data = append(t.data, data[:size]...)
		t.closeAAC()
		t.unitNS += step
		data = data[size:]
		if bitLen-headers.pos < t.desc.SizeLength+t.desc.IndexDeltaLength {
			return true
		}
		size = int(headers.read(t.desc.SizeLength))
		headers.read(t.desc.IndexDeltaLength)
	}
}

// aacSizes checks that the access units after the first fit, too.
func (t *trackBuilder) aacSizes(headers bitReader, bitLen, size, have int) bool {
	for n := 1; ; n++ {
		if have -= size; have < 0 || n > maxAUHeaders {
			return false
		}
		if bitLen-headers.pos < t.desc.SizeLength+t.desc.IndexDeltaLength {
			return true
		}
		size = int(headers.read(t.desc.SizeLength))
		if headers.read(t.desc.IndexDeltaLength) != 0 {
			return false
		}
	}
}

// aacOne takes a packet with one access unit, or a part of one. In a part the size is
// that of the whole access unit (RFC 3640 3.2.3), or, from some cameras, of the part.
func (t *trackBuilder) aacOne(p *rtpPacket, size int, data []byte) bool {
	switch {
	case t.open != closed && t.missing >= 0: // a further part, by the standard
		if len(data) > t.missing {
			return false
		}
		t.data = append(t.data, data...)
		t.missing -= len(data)
		if t.missing == 0 {
			t.closeAAC()
		}
	case size > len(data): // the first part, by the standard
		if t.open != closed || p.marker {
			return false
		}
		t.open = len(t.data)
		t.missing = size - len(data)
		t.data = append(t.data, data...)
	default:
		if t.open == closed {
			t.open = len(t.data)
			t.missing = -1
		}
		t.data = append(t.data, data[:size]...)
		if p.marker {
			t.closeAAC()
		}
	}
	t.marked = t.marked || p.marker
	return true
}

// closeAAC makes a sample of the access unit that is at the end of data, without the
// ADTS header that some cameras leave on it. No access unit begins with the same bits
// otherwise: they would be an empty one.
func (t *trackBuilder) closeAAC() {
	t.open = closed
	au := t.data[t.unitStart:]
	if len(au) > 7 && au[0] == 0xff && au[1]&0xf6 == 0xf0 &&
		int(au[3]&3)<<11|int(au[4])<<3|int(au[5])>>5 == len(au) {
		head := 7
		if au[1]&1 == 0 {
			head = 9 // with a checksum
		}
		if len(au) > head {
			t.data = t.data[:t.unitStart+copy(au, au[head:])]
		}
	}
	t.addSample(t.unitStart, t.unitNS, true)
}

// aacFrame returns the length of a frame in samples, and their rate.
func (t *trackBuilder) aacFrame() (samples, rate int) {
	if t.params.samples == 0 {
		t.params.samples, t.params.sampleRate = 1024, t.desc.SampleRate
		if c, ok := t.aacConfig(); ok {
			t.params.samples, t.params.sampleRate = aacFrame(c)
		}
	}
	return t.params.samples, t.params.sampleRate
}

func aacFrame(c *mpeg4audio.AudioSpecificConfig) (samples, rate int) {
	samples = 1024
	if c.FrameLengthFlag {
		samples = 960
	}
	return samples, c.SampleRate
}

// aacConfig returns the AudioSpecificConfig: of the bitstream, or of the description.
func (t *trackBuilder) aacConfig() (*mpeg4audio.AudioSpecificConfig, bool) {
	if t.latm.config != nil {
		return t.latm.config, true
	}
	if len(t.desc.Params) == 0 || len(t.desc.Params[0]) == 0 {
		return nil, false
	}
	var c mpeg4audio.AudioSpecificConfig
	if err := c.Unmarshal(t.desc.Params[0]); err != nil {
		return nil, false
	}
	return &c, true
}

// frameNS returns the nominal duration of samples at rate in ns.
func (t *trackBuilder) frameNS(samples, rate int) int64 {
	if rate <= 0 {
		rate = t.desc.ClockRate
	}
	return int64(samples) * 1e9 / int64(rate)
}

// bitReader reads bits, the highest first. Past the end it reads zeros.
type bitReader struct {
	b   []byte
	pos int // in bits
}

func (r *bitReader) read(n int) uint64 {
	var v uint64
	for range n {
		v <<= 1
		if i := r.pos >> 3; i < len(r.b) {
			v |= uint64(r.b[i]>>(7-r.pos&7)) & 1
		}
		r.pos++
	}
	return v
}

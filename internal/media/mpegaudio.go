package media

import (
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/ac3"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg1audio"
)

// mpegAudio depacketizes RFC 2250 3.5: whole frames, or a part of one with its offset.
func (t *trackBuilder) mpegAudio(p *rtpPacket) bool {
	if len(p.payload) < 5 {
		return false
	}
	offset := int(p.payload[2])<<8 | int(p.payload[3])
	body := p.payload[4:]
	if offset == 0 {
		t.drop(Malformed)
		return t.frames(body, t.mpegHeader)
	}
	if t.open == closed {
		return t.flags&PacketLoss != 0
	}
	if offset != len(t.data)-t.open {
		return false
	}
	return t.rest(body)
}

// mpegHeader reads the header of a frame (ISO/IEC 11172-3 2.4.1.3).
func (t *trackBuilder) mpegHeader(b []byte) (size, samples, rate int) {
	var h mpeg1audio.FrameHeader
	if err := h.Unmarshal(b); err != nil {
		return 0, 0, 0
	}
	if !t.params.known {
		channels := 2
		if h.ChannelMode == mpeg1audio.ChannelModeMono {
			channels = 1
		}
		t.params = streamParams{known: true, sampleRate: h.SampleRate, channels: channels, samples: h.SampleCount()}
	}
	size = h.FrameLen()
	if h.MPEG2 && h.Layer == 3 { // 72 slots a frame, not 144 (ISO/IEC 13818-3 2.4.3.1)
		size = 72 * h.Bitrate / h.SampleRate
		if h.Padding {
			size++
		}
	}
	return size, h.SampleCount(), h.SampleRate
}

// ac3Params is what the init header says of AC-3.
type ac3Params struct {
	bsi  ac3.BSI
	code uint8
}

// ac3 depacketizes RFC 4184 4.1.
func (t *trackBuilder) ac3(p *rtpPacket) bool {
	if len(p.payload) < 3 || p.payload[0]&0xfc != 0 {
		return false
	}
	body := p.payload[2:]
	switch p.payload[0] & 3 {
	case 0, 1, 2: // whole frames, or the first part of one
		t.drop(Malformed)
		return t.frames(body, t.ac3Header)
	}
	if t.open == closed {
		return t.flags&PacketLoss != 0
	}
	return t.rest(body)
}

// ac3Header reads syncinfo and bsi (ATSC A/52 5.3.1, 5.3.2).
func (t *trackBuilder) ac3Header(b []byte) (size, samples, rate int) {
	var s ac3.SyncInfo
	if len(b) < 8 || s.Unmarshal(b) != nil {
		return 0, 0, 0
	}
	if !t.params.known {
		var bsi ac3.BSI
		if err := bsi.Unmarshal(b[5:]); err != nil {
			return 0, 0, 0
		}
		t.params = streamParams{
			known: true, sampleRate: s.SampleRate(), channels: bsi.ChannelCount(),
			samples: ac3.SamplesPerFrame, ac3: ac3Params{bsi, s.Frmsizecod >> 1},
		}
	}
	return s.FrameSize(), ac3.SamplesPerFrame, s.SampleRate()
}

// frames takes whole frames, each a sample, or the first part of one. header returns
// the size of the frame that b starts with, or 0.
func (t *trackBuilder) frames(b []byte, header func([]byte) (size, samples, rate int)) bool {
	start, unitNS, count := t.unitStart, t.unitNS, len(t.samples)
	for len(b) > 0 {
		size, samples, rate := header(b)
		if size <= 0 || size > len(b) && len(t.samples) > count {
			// Nothing of the packet is kept.
			t.data, t.samples = t.data[:start], t.samples[:count]
			t.unitStart, t.unitNS = start, unitNS
			return false
		}
		if size > len(b) {
			t.open = len(t.data)
			t.missing = size - len(b)
			t.data = append(t.data, b...)
			return true
		}
		t.data = append(t.data, b[:size]...)
		t.addSample(t.unitStart, t.unitNS, true)
		t.unitNS += t.frameNS(samples, rate)
		b = b[size:]
	}
	return true
}

// rest takes a further part of the open frame.
func (t *trackBuilder) rest(b []byte) bool {
	if len(b) > t.missing {
		return false
	}
	t.data = append(t.data, b...)
	t.missing -= len(b)
	if t.missing == 0 {
		t.open = closed
		t.addSample(t.unitStart, t.unitNS, true)
	}
	return true
}

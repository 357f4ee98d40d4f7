package media

import (
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
)

// latmState is what LATM keeps within a fragment.
type latmState struct {
	config *mpeg4audio.AudioSpecificConfig
	mux    *mpeg4audio.StreamMuxConfig
}

// latmPacket depacketizes RFC 6416 6: an AudioMuxElement in one packet or several, the
// last with the marker.
func (t *trackBuilder) latmPacket(p *rtpPacket) bool {
	if t.open == closed {
		t.open = len(t.data)
		t.missing = -1
	}
	t.data = append(t.data, p.payload...)
	if !p.marker {
		return true
	}
	return t.latmElement()
}

// latmElement replaces the AudioMuxElement at the end of data by its access units, each
// a sample.
func (t *trackBuilder) latmElement() bool {
	element := t.data[t.open:]
	if frame, ok := latmFrame(element); ok && !t.desc.MuxConfigInBand {
		t.data = append(t.data[:t.open], frame...)
		t.open = closed
		t.addSample(t.unitStart, t.unitNS, true)
		return true
	}
	if t.latm.mux == nil {
		if c, ok := t.aacConfig(); ok {
			t.latm.mux = &mpeg4audio.StreamMuxConfig{
				Programs: []*mpeg4audio.StreamMuxConfigProgram{{
					Layers: []*mpeg4audio.StreamMuxConfigLayer{{AudioSpecificConfig: c}},
				}},
			}
		}
	}
	e := mpeg4audio.AudioMuxElement{MuxConfigPresent: true, StreamMuxConfig: t.latm.mux}
	if err := e.Unmarshal(element); err != nil {
		return false
	}
	t.latm.mux = e.StreamMuxConfig
	if len(t.latm.mux.Programs) > 0 && len(t.latm.mux.Programs[0].Layers) > 0 && t.latm.config == nil {
		t.latm.config = t.latm.mux.Programs[0].Layers[0].AudioSpecificConfig
		t.params.samples = 0
	}
	step := t.frameNS(t.aacFrame())
	t.data, t.open = t.data[:t.open], closed
	for _, programs := range e.Payloads {
		if len(programs) == 0 || len(programs[0]) == 0 {
			continue
		}
		t.data = append(t.data, programs[0][0]...)
		t.addSample(t.unitStart, t.unitNS, true)
		t.unitNS += step
	}
	return true
}

// latmFrame returns the frame of an AudioMuxElement that has only the length in front
// of one frame (ISO/IEC 14496-3 table 1.44), if it is one.
func latmFrame(b []byte) ([]byte, bool) {
	size := 0
	for i, c := range b {
		size += int(c)
		if c != 255 {
			return b[i+1:], size > 0 && size == len(b)-i-1
		}
	}
	return nil, false
}

package camsim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph265"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmjpeg"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmpeg4audio"
	"github.com/pion/rtp"

	"github.com/duet-video/duet/bench/ledger"
)

// encoder makes the RTP packets of an access unit. Sequence numbers, timestamps and SSRC
// of them are not used.
type encoder interface {
	encode(nalus [][]byte, data []byte) ([]*rtp.Packet, error)
}

type encodeNALUs func([][]byte) ([]*rtp.Packet, error)

func (f encodeNALUs) encode(nalus [][]byte, _ []byte) ([]*rtp.Packet, error) { return f(nalus) }

type encodeData func([]byte) ([]*rtp.Packet, error)

func (f encodeData) encode(_ [][]byte, data []byte) ([]*rtp.Packet, error) { return f(data) }

// newMedia returns how a clip is declared in the SDP, and its encoder.
func newMedia(c *clip, o *CameraOptions) (*description.Media, encoder, error) {
	size := o.MaxPacket
	if size == 0 {
		size = defaultPayload
	}
	sets := c.sets
	if o.NoSDPSets {
		sets = make([][]byte, 3)
	}
	m := &description.Media{Type: description.MediaTypeVideo}
	var enc encoder
	var err error
	switch c.codec {
	case ledger.H264:
		m.Formats = []format.Format{&format.H264{PayloadTyp: 96, PacketizationMode: 1, SPS: sets[0], PPS: sets[1]}}
		e := &rtph264.Encoder{PayloadType: 96, PacketizationMode: 1, PayloadMaxSize: size}
		err = e.Init()
		enc = encodeNALUs(e.Encode)
	case ledger.H265:
		m.Formats = []format.Format{&format.H265{PayloadTyp: 96, VPS: sets[0], SPS: sets[1], PPS: sets[2]}}
		e := &rtph265.Encoder{PayloadType: 96, PayloadMaxSize: size}
		err = e.Init()
		enc = encodeNALUs(e.Encode)
	case ledger.MJPEG:
		m.Formats = []format.Format{&format.MJPEG{}}
		e := &rtpmjpeg.Encoder{PayloadMaxSize: size}
		err = e.Init()
		enc = encodeData(e.Encode)
	case ledger.AAC:
		m.Type = description.MediaTypeAudio
		m.Formats = []format.Format{&format.MPEG4Audio{
			PayloadTyp: 97, Config: c.aac, SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3,
		}}
		e := &rtpmpeg4audio.Encoder{
			PayloadType: 97, SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3, PayloadMaxSize: size,
		}
		err = e.Init()
		enc = encodeData(func(au []byte) ([]*rtp.Packet, error) { return e.Encode([][]byte{au}) })
	case ledger.PCMA, ledger.PCMU:
		m.Type = description.MediaTypeAudio
		pt := uint8(8)
		if c.codec == ledger.PCMU {
			pt = 0
		}
		m.Formats = []format.Format{&format.G711{
			PayloadTyp: pt, MULaw: c.codec == ledger.PCMU, SampleRate: 8000, ChannelCount: 1,
		}}
		enc = encodeData(func(b []byte) ([]*rtp.Packet, error) {
			return []*rtp.Packet{{Header: rtp.Header{Version: 2, PayloadType: pt}, Payload: b}}, nil
		})
	default:
		return nil, nil, fmt.Errorf("codec %s cannot be sent", c.codec)
	}
	return m, enc, err
}

// canonicalJPEG returns the JPEG as it comes out of RTP (RFC 2435 keeps few headers), with
// two quantization tables, so that there is room for a mark.
func canonicalJPEG(image []byte) ([]byte, error) {
	if t := quantTables(image); t[0] != nil && t[1] == nil {
		dqt := append([]byte{0xff, 0xdb, 0, 67, 1}, t[0]...)
		image = slices.Concat(image[:2], dqt, image[2:])
	}
	e := &rtpmjpeg.Encoder{}
	if err := e.Init(); err != nil {
		return nil, err
	}
	pkts, err := e.Encode(image)
	if err != nil {
		return nil, err
	}
	d := &rtpmjpeg.Decoder{}
	if err := d.Init(); err != nil {
		return nil, err
	}
	for _, p := range pkts[:len(pkts)-1] {
		if _, err := d.Decode(p); !errors.Is(err, rtpmjpeg.ErrMorePacketsNeeded) {
			return nil, fmt.Errorf("through RTP and back: %w", err)
		}
	}
	out, err := d.Decode(pkts[len(pkts)-1])
	if err != nil {
		return nil, fmt.Errorf("through RTP and back: %w", err)
	}
	if (ledger.Mark{}).PutJPEG(slices.Clone(out)) {
		return out, nil
	}
	return nil, fmt.Errorf("no room for a mark: want two 8-bit quantization tables")
}

// quantTables returns the 8-bit quantization tables 0 and 1 where they are.
func quantTables(image []byte) (t [2][]byte) {
	for b := image[min(2, len(image)):]; len(b) >= 4 && b[0] == 0xff && b[1] != 0xda; {
		n := int(b[2])<<8 | int(b[3])
		if n < 2 || len(b) < 2+n {
			return t
		}
		if b[1] == 0xdb {
			for q := b[4 : 2+n]; len(q) >= 65 && q[0] <= 1; q = q[65:] {
				t[q[0]] = q[1:65]
			}
		}
		b = b[2+n:]
	}
	return t
}

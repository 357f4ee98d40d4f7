package replay

import (
	"fmt"

	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpac3"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpav1"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtplpcm"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmjpeg"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmpeg1audio"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmpeg4audio"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpsimpleaudio"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpvp9"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/pion/rtp"

	"github.com/duet-video/duet/internal/media"
)

// maxPayload leaves room for the headers of IPv6, UDP and RTP, and its extension.
const maxPayload = 1400

// emit takes a payload in two pieces, which it must not keep. later is how much the
// timestamp of this packet is after that of the access unit.
type emit func(head, body []byte, marker bool, later uint32)

// packetizer puts an access unit into RTP payloads.
type packetizer func(sample []byte, out emit) error

// newPacketizer returns the packetizer of a track. Not for concurrent use.
func (t *track) newPacketizer() (packetizer, error) {
	switch t.codec {
	case media.H264:
		return t.packH264, nil
	case media.H265:
		return t.packH265, nil
	case media.AV1:
		e := &rtpav1.Encoder{PayloadType: t.pt, PayloadMaxSize: maxPayload}
		return packed(func(b []byte) ([]*rtp.Packet, error) {
			var obus av1.Bitstream
			if err := obus.Unmarshal(b); err != nil {
				return nil, err
			}
			return e.Encode(obus)
		}), e.Init()
	case media.VP9:
		e := &rtpvp9.Encoder{PayloadType: t.pt, PayloadMaxSize: maxPayload}
		return packed(e.Encode), e.Init()
	case media.MJPEG:
		e := &rtpmjpeg.Encoder{PayloadMaxSize: maxPayload}
		return packed(e.Encode), e.Init()
	case media.AAC:
		e := &rtpmpeg4audio.Encoder{PayloadType: t.pt, PayloadMaxSize: maxPayload, SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3}
		return packed(func(b []byte) ([]*rtp.Packet, error) { return e.Encode([][]byte{b}) }), e.Init()
	case media.Opus:
		e := &rtpsimpleaudio.Encoder{PayloadType: t.pt, PayloadMaxSize: maxPayload}
		return packed(func(b []byte) ([]*rtp.Packet, error) {
			p, err := e.Encode(b)
			return []*rtp.Packet{p}, err
		}), e.Init()
	case media.MP3:
		e := &rtpmpeg1audio.Encoder{PayloadMaxSize: maxPayload}
		return packed(func(b []byte) ([]*rtp.Packet, error) { return e.Encode([][]byte{b}) }), e.Init()
	case media.AC3:
		e := &rtpac3.Encoder{PayloadType: t.pt, PayloadMaxSize: maxPayload}
		return packed(func(b []byte) ([]*rtp.Packet, error) { return e.Encode([][]byte{b}) }), e.Init()
	case media.LPCM:
		e := &rtplpcm.Encoder{PayloadType: t.pt, PayloadMaxSize: maxPayload, BitDepth: t.depth, ChannelCount: t.channels}
		return packed(e.Encode), e.Init()
	}
	return nil, fmt.Errorf("no RTP payload format for %s", t.codec)
}

// packed makes a packetizer of an encoder of the library.
func packed(encode func([]byte) ([]*rtp.Packet, error)) packetizer {
	return func(sample []byte, out emit) (err error) {
		defer func() {
			if r := recover(); r != nil { // what the library does not expect of a camera
				err = fmt.Errorf("packetize: %v", r)
			}
		}()
		packets, err := encode(sample)
		if err != nil {
			return fmt.Errorf("packetize: %w", err)
		}
		for _, p := range packets {
			out(nil, p.Payload, p.Marker, p.Timestamp)
		}
		return nil
	}
}

// packH264 is RFC 6184: a NAL unit a packet, or FU-A. Nothing is allocated per packet.
func (t *track) packH264(sample []byte, out emit) error {
	var fu [2]byte
	nalus(sample, func(n []byte, last bool) bool {
		if len(n) <= maxPayload {
			out(nil, n, last, 0)
			return true
		}
		fu[0], fu[1] = n[0]&0xe0|28, n[0]&0x1f|0x80
		fragments(n[1:], fu[:], last, out)
		return true
	})
	return nil
}

// packH265 is RFC 7798: a NAL unit a packet, or FUs.
func (t *track) packH265(sample []byte, out emit) error {
	var fu [3]byte
	nalus(sample, func(n []byte, last bool) bool {
		if len(n) <= maxPayload || len(n) < 3 {
			out(nil, n, last, 0)
			return true
		}
		fu[0], fu[1], fu[2] = n[0]&0x81|49<<1, n[1], n[0]>>1&0x3f|0x80
		fragments(n[2:], fu[:], last, out)
		return true
	})
	return nil
}

// fragments sends a NAL unit without its header in pieces. The last byte of head is the
// FU header, with its start bit set.
func fragments(n, head []byte, last bool, out emit) {
	h := &head[len(head)-1]
	for len(n) > 0 {
		k := min(len(n), maxPayload-len(head))
		if k == len(n) {
			*h |= 0x40
		}
		out(head, n[:k], last && k == len(n), 0)
		*h &= 0x3f
		n = n[k:]
	}
}

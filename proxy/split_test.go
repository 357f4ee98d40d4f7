package proxy

import (
	"bytes"
	"testing"

	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph265"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmjpeg"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
)

func bigNAL(head ...byte) []byte {
	return append(head, bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7}, 900)...)
}

// splitAll returns the packets that a payload becomes, each within the limit.
func splitAll(t *testing.T, codec media.Codec, payload []byte) (out []*rtp.Packet) {
	var scratch []byte
	lasts := 0
	ok := splitPayload(codec, payload, 1400, &scratch, func(p []byte, last bool) {
		require.LessOrEqual(t, len(p), 1400)
		if last {
			lasts++
		}
		out = append(out, &rtp.Packet{
			Header:  rtp.Header{Version: 2, Marker: last, SequenceNumber: uint16(len(out))},
			Payload: bytes.Clone(p),
		})
	})
	require.True(t, ok)
	require.Equal(t, 1, lasts)
	require.True(t, out[len(out)-1].Marker)
	return out
}

func aggregate(head []byte, nals ...[]byte) []byte {
	for _, n := range nals {
		head = append(append(head, byte(len(n)>>8), byte(len(n))), n...)
	}
	return head
}

func TestSplitH264PacketsDecodeToTheSame(t *testing.T) {
	big := bigNAL(0x65, 0x88)
	for name, p := range map[string][]byte{"single": big, "aggregate": aggregate([]byte{24}, sps1, pps1, big)} {
		d := &rtph264.Decoder{PacketizationMode: 1}
		require.NoError(t, d.Init())
		var au [][]byte
		for _, pkt := range splitAll(t, media.H264, p) {
			au, _ = d.Decode(pkt)
		}
		require.Equal(t, big, au[len(au)-1], name)
	}
	// The middle of a fragmented unit.
	parts := splitAll(t, media.H264, append([]byte{0x7c, 0x05}, big...))
	require.Equal(t, byte(0x05), parts[0].Payload[1])
	require.Equal(t, byte(0x05), parts[len(parts)-1].Payload[1])
}

func TestSplitH265PacketsDecodeToTheSame(t *testing.T) {
	big := bigNAL(19<<1, 1, 0x80)
	vps := []byte{32 << 1, 1, 9, 9}
	for name, p := range map[string][]byte{"single": big, "aggregate": aggregate([]byte{48 << 1, 1}, vps, big)} {
		d := &rtph265.Decoder{}
		require.NoError(t, d.Init())
		var au [][]byte
		for _, pkt := range splitAll(t, media.H265, p) {
			au, _ = d.Decode(pkt)
		}
		require.Equal(t, big, au[len(au)-1], name)
	}
}

func TestSplitJPEGPacketsKeepEveryByteAtItsOffset(t *testing.T) {
	data := bigNAL()
	tables := append([]byte{0, 0, 0, 128}, bytes.Repeat([]byte{8}, 128)...)
	p := append(append([]byte{0, 0, 0, 0, 1, 255, 40, 30}, tables...), data...)
	got := make([]byte, len(data))
	for i, pkt := range splitAll(t, media.MJPEG, p) {
		b := pkt.Payload
		o := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		b = b[8:]
		if i == 0 {
			require.Equal(t, tables, b[:len(tables)])
			b = b[len(tables):]
		}
		copy(got[o:], b)
	}
	require.Equal(t, data, got)
	d := &rtpmjpeg.Decoder{}
	require.NoError(t, d.Init())
	for _, pkt := range splitAll(t, media.MJPEG, p) {
		if _, err := d.Decode(pkt); err != nil {
			require.ErrorIs(t, err, rtpmjpeg.ErrMorePacketsNeeded)
		}
	}
}

func FuzzSplitPayload(f *testing.F) {
	f.Add(uint8(0), bigNAL(0x65, 0x88))
	f.Add(uint8(1), bigNAL(49<<1, 1, 0x93))
	f.Add(uint8(2), bigNAL(0, 0, 0, 0, 65, 255))
	f.Fuzz(func(t *testing.T, c uint8, b []byte) {
		codec := []media.Codec{media.H264, media.H265, media.MJPEG}[c%3]
		var scratch []byte
		splitPayload(codec, b, 200, &scratch, func(p []byte, _ bool) {
			require.LessOrEqual(t, len(p), 200)
		})
	})
}

func FuzzInspect(f *testing.F) {
	f.Add(uint8(0), idr)
	f.Add(uint8(1), []byte{48 << 1, 1, 0, 3, 1, 2, 3})
	f.Fuzz(func(_ *testing.T, c uint8, b []byte) {
		codecs := []media.Codec{media.H264, media.H265, media.AV1, media.VP8, media.VP9, media.MJPEG, media.AAC}
		in := newInspector(&media.Track{Kind: media.KindVideo, Codec: codecs[int(c)%len(codecs)]})
		in.inspect(0, false, b)
		in.inspect(1, true, b)
	})
}

func TestRandomAccessPointsOfEveryCodec(t *testing.T) {
	ra := payloadInfo{begins: true, picture: true, randomAccess: true}
	open := payloadInfo{begins: true, picture: true, randomAccess: true, openGOP: true}
	pic := payloadInfo{begins: true, picture: true}
	rest := payloadInfo{picture: true}
	pre := payloadInfo{begins: true}
	for _, c := range []struct {
		name    string
		codec   media.Codec
		payload []byte
		want    payloadInfo
	}{
		{"IDR", media.H264, idr, ra},
		{"second slice of an IDR", media.H264, idr2, rest},
		{"P", media.H264, non, pic},
		{"AUD", media.H264, aud, pre},
		{"SEI", media.H264, sei, pre},
		{"STAP-A of sets and IDR", media.H264, aggregate([]byte{24}, sps1, pps1, idr), ra},
		{"STAP-A of sets", media.H264, aggregate([]byte{24}, sps1, pps1), pre},
		{"STAP-A cut off", media.H264, []byte{24, 0, 9, 1}, payloadInfo{}},
		{"FU-A of an IDR", media.H264, []byte{0x7c, 0x85, 0x88}, ra},
		{"FU-A of an IDR, middle", media.H264, []byte{0x7c, 0x05, 0x88}, rest},
		{"FU-A of a P", media.H264, []byte{0x7c, 0x81, 0x88}, pic},
		{"FU-A of a SEI, middle", media.H264, []byte{0x7c, 0x06, 0x88}, payloadInfo{}},
		{"IDR_W_RADL", media.H265, []byte{19 << 1, 1, 0x80}, ra},
		{"CRA", media.H265, []byte{21 << 1, 1, 0x80}, open},
		{"BLA_W_LP", media.H265, []byte{16 << 1, 1, 0x80}, open},
		{"BLA_N_LP", media.H265, []byte{18 << 1, 1, 0x80}, ra},
		{"TRAIL", media.H265, []byte{1 << 1, 1, 0x80}, pic},
		{"second slice of an IDR", media.H265, []byte{19 << 1, 1, 0x00}, rest},
		{"AP of sets and CRA", media.H265, aggregate([]byte{48 << 1, 1}, []byte{33 << 1, 1, 7}, []byte{21 << 1, 1, 0x80}), open},
		{"FU of an IDR", media.H265, []byte{49 << 1, 1, 0x80 | 19, 0x80}, ra},
		{"FU of an IDR, middle", media.H265, []byte{49 << 1, 1, 19, 0x80}, rest},
		{"suffix SEI", media.H265, []byte{40 << 1, 1, 0x80}, payloadInfo{}},
		{"N", media.AV1, []byte{0x18, 0x0a, 1}, ra},
		{"sequence header without N", media.AV1, []byte{0x20, 2, 0x08, 1}, ra},
		{"inter frame", media.AV1, []byte{0x10, 0x32, 1}, pic},
		{"continuation", media.AV1, []byte{0x98, 0x0a}, rest},
		{"key", media.VP8, []byte{0x90, 0x80, 0x81, 0x01, 0x00}, ra},
		{"inter", media.VP8, []byte{0x10, 0x01}, pic},
		{"rest", media.VP8, []byte{0x00, 0x00}, rest},
		{"key", media.VP9, []byte{0x88, 0x01}, ra},
		{"inter", media.VP9, []byte{0xc8, 0x01}, pic},
		{"upper layer", media.VP9, []byte{0xa8, 0x01, 0x02}, rest},
		{"first", media.MJPEG, []byte{0, 0, 0, 0, 1}, ra},
		{"rest", media.MJPEG, []byte{0, 0, 5, 0, 1}, rest},
	} {
		in := newInspector(&media.Track{Kind: media.KindVideo, Codec: c.codec})
		require.Equal(t, c.want, in.payload(c.payload), "%s %s", c.codec, c.name)
	}
	in := newInspector(&media.Track{Kind: media.KindAudio, Codec: media.AAC})
	require.Equal(t, ra, in.payload([]byte{1}))
}

func TestOfSeveralParameterSetsTheLowestNumberCounts(t *testing.T) {
	in := newInspector(&media.Track{Kind: media.KindVideo, Codec: media.H264})
	second := []byte{0x68, 0x5b, 0xe3, 0xcb} // pic_parameter_set_id 1
	in.inspect(0, false, pps1)
	in.inspect(0, false, second)
	require.Equal(t, pps1, in.params.sets[1])
	require.Equal(t, 1, in.params.version)
}

package replay

import (
	"bytes"
	"image"
	"image/jpeg"
	"testing"

	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4/seekablebuffer"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mp4/codecs"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
)

var (
	test5VPS = []byte{
		0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03,
		0x00, 0x00, 0x03, 0x00, 0x78, 0x99, 0x98, 0x09,
	}
	test5SPS = []byte{
		0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03,
		0x00, 0x78, 0xa0, 0x03, 0xc0, 0x80, 0x10, 0xe5, 0x96, 0x66, 0x69, 0x24, 0xca, 0xe0, 0x10, 0x00,
		0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x01, 0xe0, 0x80,
	}
	test5PPS = []byte{0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40}
)

func blob(n int, first ...byte) []byte {
	b := bytes.Repeat([]byte{0xa5}, n)
	for i := range b {
		b[i] ^= byte(i * 31)
	}
	copy(b, first)
	return b
}

func avcc(t *testing.T, n ...[]byte) []byte {
	b, err := h264.AVCC(n).Marshal()
	require.NoError(t, err)
	return b
}

// joined gives the NAL units of an access unit as they are stored.
func joined(t *testing.T, d interface {
	Decode(p *rtp.Packet) ([][]byte, error)
},
) func(*rtp.Packet) ([]byte, error) {
	return func(p *rtp.Packet) ([]byte, error) {
		n, err := d.Decode(p)
		if err != nil {
			return nil, err
		}
		return avcc(t, n...), nil
	}
}

// TestEveryStoredCodecArrivesUnchanged: what is packetized, decoders of the library give back.
func TestEveryStoredCodecArrivesUnchanged(t *testing.T) {
	var picture bytes.Buffer
	img := image.NewYCbCr(image.Rect(0, 0, 320, 240), image.YCbCrSubsampleRatio420)
	for i := range img.Y {
		img.Y[i] = byte(i * i >> 5)
	}
	require.NoError(t, jpeg.Encode(&picture, img, nil))
	obus := [][]byte{{0x08, 0, 0, 0, 0x42, 0xa7, 0xbf, 0xe4, 0x60, 0x0d, 0, 0x40}, blob(5000, 0x30)}
	tu, err := av1.Bitstream(obus).Marshal()
	require.NoError(t, err)
	aac := mpeg4audio.AudioSpecificConfig{Type: mpeg4audio.ObjectTypeAACLC, SampleRate: 48000, ChannelConfig: 2}

	for name, c := range map[string]struct {
		codec  codecs.Codec
		scale  uint32
		sample []byte
		decode func(f format.Format) func(*rtp.Packet) ([]byte, error)
	}{
		"H.264": {
			&codecs.H264{SPS: testSPS, PPS: testPPS}, 90000, avcc(t, testSPS, testPPS, blob(9, 6), blob(1400, 0x65), blob(1401, 0x65), blob(10000, 0x65)),
			func(f format.Format) func(*rtp.Packet) ([]byte, error) {
				d, err := f.(*format.H264).CreateDecoder()
				require.NoError(t, err)
				return joined(t, d)
			},
		},
		"H.265": {
			&codecs.H265{VPS: test5VPS, SPS: test5SPS, PPS: test5PPS}, 90000, avcc(t, test5VPS, test5SPS, test5PPS, blob(1400, 0x26, 1), blob(1401, 0x26, 1), blob(10000, 0x26, 1)),
			func(f format.Format) func(*rtp.Packet) ([]byte, error) {
				d, err := f.(*format.H265).CreateDecoder()
				require.NoError(t, err)
				return joined(t, d)
			},
		},
		"AV1": {
			&codecs.AV1{SequenceHeader: []byte{8, 0, 0, 0, 66, 167, 191, 228, 96, 13, 0, 64}}, 90000, tu,
			func(f format.Format) func(*rtp.Packet) ([]byte, error) {
				d, err := f.(*format.AV1).CreateDecoder()
				require.NoError(t, err)
				return func(p *rtp.Packet) ([]byte, error) {
					o, err := d.Decode(p)
					if err != nil {
						return nil, err
					}
					return av1.Bitstream(o).Marshal()
				}
			},
		},
		"VP9": {
			&codecs.VP9{Width: 1920, Height: 804, BitDepth: 8, ChromaSubsampling: 1}, 90000, blob(5000, 0x82, 0x49, 0x83, 0x42, 0, 0x77, 0xf0, 0x32, 0x34),
			func(f format.Format) func(*rtp.Packet) ([]byte, error) {
				d, err := f.(*format.VP9).CreateDecoder()
				require.NoError(t, err)
				return d.Decode
			},
		},
		"MJPEG": {
			&codecs.MJPEG{Width: 320, Height: 240}, 90000, picture.Bytes(),
			func(f format.Format) func(*rtp.Packet) ([]byte, error) {
				d, err := f.(*format.MJPEG).CreateDecoder()
				require.NoError(t, err)
				return func(p *rtp.Packet) ([]byte, error) {
					b, err := d.Decode(p)
					if err != nil {
						return nil, err
					}
					got, err := jpeg.Decode(bytes.NewReader(b))
					require.NoError(t, err)
					want, err := jpeg.Decode(bytes.NewReader(picture.Bytes()))
					require.NoError(t, err)
					require.Equal(t, want, got, "the same picture; its header is another one")
					return picture.Bytes(), nil
				}
			},
		},
		"AAC": {
			&codecs.MPEG4Audio{Config: aac}, 48000, blob(3000),
			func(f format.Format) func(*rtp.Packet) ([]byte, error) {
				d, err := f.(*format.MPEG4Audio).CreateDecoder()
				require.NoError(t, err)
				return func(p *rtp.Packet) ([]byte, error) {
					n, err := d.Decode(p)
					return bytes.Join(n, nil), err
				}
			},
		},
		"Opus": {
			&codecs.Opus{ChannelCount: 2}, 48000, blob(300),
			func(f format.Format) func(*rtp.Packet) ([]byte, error) {
				d, err := f.(*format.Opus).CreateDecoder()
				require.NoError(t, err)
				return d.Decode
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var buf seekablebuffer.Buffer
			in := fmp4.Init{Tracks: []*fmp4.InitTrack{{ID: 1, TimeScale: c.scale, Codec: c.codec}}}
			require.NoError(t, in.Marshal(&buf))
			tracks, _, err := tracksOf(buf.Bytes())
			require.NoError(t, err)
			require.Len(t, tracks, 1)
			require.Equal(t, int(c.scale), tracks[0].rate)
			require.Contains(t, string(describeSDP("gate", "npt=0-", tracks)), "\r\na=control:trackID=0\r\n")
			l := lane{track: &tracks[0], set: true, ssrc: 7}
			l.pack, err = tracks[0].newPacketizer()
			require.NoError(t, err)
			decode := c.decode(tracks[0].format)
			for range 3 {
				var o output
				require.NoError(t, o.unit(0, &l, c.sample, &unit{}, 1, 2))
				var got []byte
				at := 0
				for i, p := range o.packets {
					require.LessOrEqual(t, p.end-at, 1452, "of an Ethernet frame")
					var r rtp.Packet
					require.NoError(t, r.Unmarshal(o.buf[at:p.end]))
					require.Equal(t, i == 0, r.Extension, "on the first packet only")
					require.Equal(t, tracks[0].pt, r.PayloadType)
					at = p.end
					if b, err := decode(&r); err == nil {
						got = append(got, b...)
					}
				}
				require.Equal(t, c.sample, got)
			}
		})
	}
}

func TestTracksOfOtherFootageAreSentWhereTheyFit(t *testing.T) {
	of := func(same ...string) []track {
		var out []track
		for i, s := range same {
			out = append(out, track{id: uint32(i + 1), same: s})
		}
		return out
	}
	for _, c := range []struct {
		of   []string
		want map[uint32]int
	}{
		{[]string{"h264", "aac"}, map[uint32]int{1: 0, 2: 1}},
		{[]string{"aac", "h264"}, map[uint32]int{1: 1, 2: 0}},
		{[]string{"h265", "aac"}, map[uint32]int{2: 1}},
		{[]string{"h264", "h264"}, map[uint32]int{1: 0}},
		{[]string{"aac"}, map[uint32]int{1: 1}},
	} {
		require.Equal(t, c.want, match(of("h264", "aac"), of(c.of...)))
	}
}

func TestPacketizingAllocatesNothingPerPacket(t *testing.T) {
	tr := &track{codec: media.H264, pt: 96}
	l := lane{track: tr, pack: tr.packH264}
	sample := avcc(t, blob(100_000, 0x65))
	o := output{tcp: true}
	require.LessOrEqual(t, testing.AllocsPerRun(20, func() {
		o.reset()
		_ = o.unit(0, &l, sample, &unit{}, 1, 2)
	}), 4.0, "of 72 packets")
}

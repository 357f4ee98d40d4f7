package media

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpac3"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpav1"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtplpcm"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmjpeg"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmpeg1audio"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmpeg4audio"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpsimpleaudio"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpvp9"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

// readSamples returns the samples of the first track of an fMP4 file, with mp4ff.
func readSamples(t testing.TB, file []byte) (data [][]byte, durations []int64) {
	t.Helper()
	f, err := mp4.DecodeFile(bytes.NewReader(file))
	require.NoError(t, err)
	trak := f.Init.Moov.Trak
	trex := f.Init.Moov.Mvex.Trex
	for _, s := range f.Segments {
		for _, frag := range s.Fragments {
			full, err := frag.GetFullSamples(trex)
			require.NoError(t, err)
			for _, x := range full {
				data = append(data, x.Data)
				durations = append(durations, int64(x.Dur)*1e9/int64(trak.Mdia.Mdhd.Timescale))
			}
		}
	}
	return data, durations
}

// streamCase is a codec other than H.264 and H.265.
type streamCase struct {
	name   string
	ffmpeg string // arguments that encode it to fMP4, or to raw chunks of 20 ms
	raw    bool
	track  Track
	// encode makes the packets of an access unit; want is how that stands in a fragment.
	encode func(testing.TB) func([]byte) []*rtp.Packet
	want   func([]byte) []byte
	// decoded is what ffprobe calls it.
	decoded string
}

func streamCases() []streamCase {
	sine := "-f lavfi -i sine=frequency=440 -t 2 "
	picture := "-f lavfi -i testsrc2=size=160x96:rate=25 -t 2 -pix_fmt yuv420p "
	must := func(p []*rtp.Packet, err error) []*rtp.Packet {
		if err != nil {
			panic(err)
		}
		return p
	}
	return []streamCase{
		{
			name: "aac", ffmpeg: sine + "-ar 48000 -ac 2 -c:a aac -b:a 96k", decoded: "aac",
			track: Track{
				Kind: KindAudio, Codec: AAC, ClockRate: 48000, SampleRate: 48000, Channels: 2,
				SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3, Params: [][]byte{{0x11, 0x90}},
			},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtpmpeg4audio.Encoder{SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3, PayloadMaxSize: 200}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet { return must(e.Encode([][]byte{b})) }
			},
		},
		{
			name: "latm", ffmpeg: sine + "-ar 48000 -ac 2 -c:a aac -b:a 96k", decoded: "aac",
			track: Track{
				Kind: KindAudio, Codec: AAC, ClockRate: 48000, SampleRate: 48000, Channels: 2,
				LATM: true, Params: [][]byte{{0x11, 0x90}},
			},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				seq := uint16(0)
				return func(b []byte) []*rtp.Packet {
					var element []byte
					n := len(b)
					for ; n >= 255; n -= 255 {
						element = append(element, 255)
					}
					element = append(append(element, byte(n)), b...)
					seq += 2
					half := len(element) / 2
					return []*rtp.Packet{
						{Header: rtp.Header{Version: 2, SequenceNumber: seq}, Payload: element[:half]},
						{Header: rtp.Header{Version: 2, SequenceNumber: seq + 1, Marker: true}, Payload: element[half:]},
					}
				}
			},
		},
		{
			name: "latm with its configuration in the band", ffmpeg: sine + "-ar 48000 -ac 2 -c:a aac -b:a 96k", decoded: "aac",
			track: Track{Kind: KindAudio, Codec: AAC, ClockRate: 48000, SampleRate: 48000, Channels: 2, LATM: true, MuxConfigInBand: true, Params: [][]byte{{0x11, 0x90}}},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				seq := uint16(0)
				config := &mpeg4audio.AudioSpecificConfig{}
				require.NoError(t, config.Unmarshal([]byte{0x11, 0x90}))
				mux := &mpeg4audio.StreamMuxConfig{Programs: []*mpeg4audio.StreamMuxConfigProgram{{
					Layers: []*mpeg4audio.StreamMuxConfigLayer{{AudioSpecificConfig: config, LatmBufferFullness: 255}},
				}}}
				return func(b []byte) []*rtp.Packet {
					seq++
					e := mpeg4audio.AudioMuxElement{
						MuxConfigPresent: true, UseSameStreamMux: seq%10 != 1, StreamMuxConfig: mux,
						Payloads: [][][][]byte{{{b}}},
					}
					element, err := e.Marshal()
					require.NoError(t, err)
					return []*rtp.Packet{{Header: rtp.Header{Version: 2, SequenceNumber: seq, Marker: true}, Payload: element}}
				}
			},
		},
		{
			name: "opus", ffmpeg: sine + "-ar 48000 -ac 2 -c:a libopus", decoded: "opus",
			track: Track{Kind: KindAudio, Codec: Opus, ClockRate: 48000, SampleRate: 48000, Channels: 2},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtpsimpleaudio.Encoder{}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet {
					p, err := e.Encode(b)
					return must([]*rtp.Packet{p}, err)
				}
			},
		},
		{
			name: "mp3", ffmpeg: sine + "-ar 44100 -ac 2 -c:a libmp3lame -b:a 128k", decoded: "mp3",
			track: Track{Kind: KindAudio, Codec: MP3, ClockRate: 90000},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtpmpeg1audio.Encoder{PayloadMaxSize: 200}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet { return must(e.Encode([][]byte{b})) }
			},
		},
		{
			name: "ac3", ffmpeg: sine + "-ar 48000 -ac 2 -c:a ac3 -b:a 192k", decoded: "ac3",
			track: Track{Kind: KindAudio, Codec: AC3, ClockRate: 48000, SampleRate: 48000, Channels: 2},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtpac3.Encoder{PayloadMaxSize: 500}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet { return must(e.Encode([][]byte{b})) }
			},
		},
		{
			name: "lpcm", ffmpeg: sine + "-ar 16000 -ac 2 -c:a pcm_s16be -f s16be", raw: true, decoded: "pcm_s16be",
			track: Track{Kind: KindAudio, Codec: LPCM, ClockRate: 16000, SampleRate: 16000, Channels: 2, BitDepth: 16},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtplpcm.Encoder{BitDepth: 16, ChannelCount: 2}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet { return must(e.Encode(b)) }
			},
		},
		{
			name: "lpcm of 24 bits", ffmpeg: sine + "-ar 8000 -ac 1 -c:a pcm_s24be -f s24be", raw: true, decoded: "pcm_s24be",
			track: Track{Kind: KindAudio, Codec: LPCM, ClockRate: 8000, SampleRate: 8000, Channels: 1, BitDepth: 24},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtplpcm.Encoder{BitDepth: 24, ChannelCount: 1}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet { return must(e.Encode(b)) }
			},
		},
		{
			name: "pcma", ffmpeg: sine + "-ar 8000 -ac 1 -c:a pcm_alaw -f alaw", raw: true, decoded: "pcm_s16be",
			track: Track{Kind: KindAudio, Codec: PCMA, ClockRate: 8000, SampleRate: 8000, Channels: 1},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtplpcm.Encoder{BitDepth: 8, ChannelCount: 1}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet { return must(e.Encode(b)) }
			},
			want: func(b []byte) []byte {
				var lpcm g711.Alaw
				lpcm.Unmarshal(b)
				return lpcm
			},
		},
		{
			name: "pcmu", ffmpeg: sine + "-ar 8000 -ac 1 -c:a pcm_mulaw -f mulaw", raw: true, decoded: "pcm_s16be",
			track: Track{Kind: KindAudio, Codec: PCMU, ClockRate: 8000, SampleRate: 8000, Channels: 1},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtplpcm.Encoder{BitDepth: 8, ChannelCount: 1}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet { return must(e.Encode(b)) }
			},
			want: func(b []byte) []byte {
				var lpcm g711.Mulaw
				lpcm.Unmarshal(b)
				return lpcm
			},
		},
		{
			name: "mjpeg", ffmpeg: picture + "-c:v mjpeg -huffman default -pix_fmt yuvj420p -q:v 5", decoded: "mjpeg",
			track: Track{Kind: KindVideo, Codec: MJPEG, ClockRate: 90000},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtpmjpeg.Encoder{PayloadMaxSize: 800}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet { return must(e.Encode(b)) }
			},
			want: rebuildJPEG,
		},
		{
			name: "av1", ffmpeg: picture + "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 25", decoded: "av1",
			track: Track{Kind: KindVideo, Codec: AV1, ClockRate: 90000},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtpav1.Encoder{PayloadMaxSize: 500}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet {
					var bs av1.Bitstream
					require.NoError(t, bs.Unmarshal(b))
					return must(e.Encode(bs))
				}
			},
		},
		{
			name: "vp9", ffmpeg: picture + "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25", decoded: "vp9",
			track: Track{Kind: KindVideo, Codec: VP9, ClockRate: 90000},
			encode: func(t testing.TB) func([]byte) []*rtp.Packet {
				e := &rtpvp9.Encoder{PayloadMaxSize: 500}
				require.NoError(t, e.Init())
				return func(b []byte) []*rtp.Packet { return must(e.Encode(b)) }
			},
		},
	}
}

// rebuildJPEG returns the image as every receiver of RFC 2435 rebuilds it: with the
// scan and quantization tables of the original, and typical Huffman tables.
func rebuildJPEG(b []byte) []byte {
	var tables, scan []byte
	var width, height int
	for i := 2; ; {
		n := int(b[i+2])<<8 | int(b[i+3])
		body := b[i+4 : i+2+n]
		switch b[i+1] {
		case 0xdb:
			for ; len(body) >= 65; body = body[65:] {
				tables = append(tables, body[1:65]...)
			}
		case 0xc0:
			height, width = int(body[1])<<8|int(body[2]), int(body[3])<<8|int(body[4])
		case 0xda:
			scan = b[i+2+n:]
			return append(appendJPEGHeader(nil, 1, width, height, 0, tables), scan...)
		}
		i += 2 + n
	}
}

// load returns the access units of the case, and the duration of each in ns.
func (c *streamCase) load(t testing.TB) (units [][]byte, durations []int64) {
	args := append([]string{"-v", "error"}, strings.Fields(c.ffmpeg)...)
	if !c.raw {
		file := filepath.Join(t.TempDir(), "in.mp4")
		run(t, "ffmpeg", append(args, "-movflags", "frag_keyframe+delay_moov+default_base_moof", "-f", "mp4", file)...)
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		return readSamples(t, b)
	}
	b := run(t, "ffmpeg", append(args, "-")...)
	frame := max(c.track.BitDepth, 8) / 8 * c.track.Channels
	for n := frame * c.track.SampleRate / 50; len(b) >= n; b = b[n:] {
		units = append(units, b[:n])
		durations = append(durations, 20e6)
	}
	return units, durations
}

// records returns the records of the case, as track index, from start on, with a cut
// about every second.
func (c *streamCase) records(t testing.TB, index uint8, ext []byte) (records []record.Record, want [][]byte) {
	units, durations := c.load(t)
	encode := c.encode(t)
	at, cutAt := captureBase, captureBase
	for i, u := range units {
		for j, p := range encode(u) {
			p.Version = 2
			r := record.Record{Track: index, CaptureNS: at, Packet: marshal(p)}
			if j == 0 {
				r.Flags = record.AccessUnit
				if c.track.Kind == KindAudio || c.track.Codec == MJPEG || i%25 == 0 {
					r.Flags |= record.RandomAccess
					if ext != nil && at >= cutAt {
						r.Flags |= record.Cut
						r.Ext = ext
						cutAt += 1e9
					}
				}
			}
			records = append(records, r)
		}
		at += durations[i]
		if c.want != nil {
			u = c.want(u)
		}
		want = append(want, u)
	}
	return records, want
}

func TestEveryCodecIsStoredUnchangedAndDecodes(t *testing.T) {
	for _, c := range streamCases() {
		t.Run(c.name, func(t *testing.T) {
			records, want := c.records(t, 0, encodeDescription(t, c.track))
			frags := buildAll(t, NewBuilder("gate"), records)
			require.GreaterOrEqual(t, len(frags), 2)
			for _, f := range frags {
				require.Zero(t, f.Info.Flags)
				require.Equal(t, frags[0].Init, f.Init)
			}
			init, err := ParseInit(frags[0].Init)
			require.NoError(t, err)
			codec := c.track.Codec
			if codec == PCMA || codec == PCMU {
				codec = LPCM
			}
			require.Equal(t, codec, init.Tracks[0].Codec)
			require.Equal(t, c.track.Kind, init.Tracks[0].Kind)

			got, durations := readSamples(t, segment(frags))
			require.Equal(t, len(want), len(got))
			for i := range want {
				require.Equal(t, want[i], got[i], "access unit %d", i)
				require.Positive(t, durations[i])
			}
			file := filepath.Join(t.TempDir(), "segment.mp4")
			require.NoError(t, os.WriteFile(file, segment(frags), 0o600))
			name := run(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", file)
			require.Equal(t, c.decoded, strings.Trim(string(name), ",\n"))
			run(t, "ffmpeg", "-v", "error", "-xerror", "-i", file, "-f", "null", "-")
			length := run(t, "ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", file)
			_, err = strconv.ParseFloat(strings.TrimSpace(string(length)), 64)
			require.NoError(t, err)
		})
	}
}

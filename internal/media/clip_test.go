package media

import (
	"bytes"
	"crypto/sha256"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph265"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

// captureBase is the capture time of the first access unit in tests.
const captureBase = int64(1_790_000_123_456_789_012)

var testEpoch = record.Epoch{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// clip is encoded video, access unit after access unit in decoding order.
type clip struct {
	codec  Codec
	units  [][][]byte // NAL units
	pts    []time.Duration
	sync   []bool
	params [][]byte
}

// makeClip encodes a test picture with ffmpeg.
func makeClip(t testing.TB, codec Codec, args ...string) *clip {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "clip.ts")
	in := []string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"}
	run(t, "ffmpeg", append(append(in, args...), "-pix_fmt", "yuv420p", file)...)
	c := &clip{codec: codec}
	format := "h264"
	if codec == H265 {
		format = "hevc"
	}
	raw := run(t, "ffmpeg", "-v", "error", "-i", file, "-c", "copy", "-f", format, "-")
	raw = bytes.ReplaceAll(raw, []byte{0, 0, 0, 1}, []byte{0, 0, 1})
	for _, n := range bytes.Split(raw, []byte{0, 0, 1})[1:] {
		if c.isAUD(n) {
			c.units = append(c.units, nil)
		}
		i := len(c.units) - 1
		c.units[i] = append(c.units[i], n)
	}
	out := run(t, "ffprobe", "-v", "error", "-show_entries", "packet=pts_time,flags", "-of", "csv=p=0", file)
	for line := range strings.Lines(string(out)) {
		at, flags, _ := strings.Cut(strings.TrimSpace(line), ",")
		if at == "" {
			continue
		}
		s, err := strconv.ParseFloat(at, 64)
		require.NoError(t, err)
		c.pts = append(c.pts, time.Duration(s*1e9).Round(time.Millisecond))
		c.sync = append(c.sync, strings.HasPrefix(flags, "K"))
	}
	require.Len(t, c.units, len(c.pts))
	c.params = make([][]byte, 2)
	if codec == H265 {
		c.params = make([][]byte, 3)
	}
	for _, n := range c.units[0] {
		if i := c.isSet(n); i >= 0 {
			c.params[i] = n
		}
	}
	return c
}

func (c *clip) isAUD(nal []byte) bool {
	if c.codec == H265 {
		return nal[0]>>1&0x3f == 35
	}
	return nal[0]&0x1f == 9
}

func (c *clip) isSet(nal []byte) int {
	if c.codec == H265 {
		if typ := int(nal[0] >> 1 & 0x3f); typ >= 32 && typ <= 34 {
			return typ - 32
		}
		return -1
	}
	if typ := int(nal[0] & 0x1f); typ == 7 || typ == 8 {
		return typ - 7
	}
	return -1
}

func (c *clip) track() Track {
	return Track{Kind: KindVideo, Codec: c.codec, ClockRate: 90000, Params: c.params}
}

// sampleBytes is how an access unit stands in a fragment.
func (c *clip) sampleBytes(i int) []byte {
	b, err := h264.AVCC(c.units[i]).Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

// records returns the clip's records, as track 0, with a cut at every random access
// point.
func (c *clip) records(t testing.TB, ext []byte) []record.Record {
	t.Helper()
	var encode func([][]byte) ([]*rtp.Packet, error)
	if c.codec == H265 {
		e := &rtph265.Encoder{PayloadType: 96, PayloadMaxSize: 1200}
		require.NoError(t, e.Init())
		encode = e.Encode
	} else {
		e := &rtph264.Encoder{PayloadType: 96, PayloadMaxSize: 1200, PacketizationMode: 1}
		require.NoError(t, e.Init())
		encode = e.Encode
	}
	var out []record.Record
	for i, au := range c.units {
		packets, err := encode(au)
		require.NoError(t, err)
		for j, p := range packets {
			r := record.Record{CaptureNS: captureBase + int64(c.pts[i]), Packet: marshal(p)}
			if j == 0 {
				r.Flags = record.AccessUnit
				if c.sync[i] {
					r.Flags |= record.RandomAccess | record.Cut
					r.Ext = ext
				}
			}
			out = append(out, r)
		}
	}
	return out
}

func marshal(p *rtp.Packet) []byte {
	b, err := p.Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

func encodeDescription(t testing.TB, tracks ...Track) []byte {
	t.Helper()
	d := Description{SegmentMS: 600_000, Since: CauseStart, Tracks: tracks}
	b, err := d.Encode()
	require.NoError(t, err)
	return b
}

// built is a fragment that stays.
type built struct {
	Info       Info
	Init, Box  []byte
	Moof, Mdat []byte
}

func (b *built) bytes() []byte { return append(bytes.Clone(b.Moof), b.Mdat...) }

func keepFragment(f *Fragment) *built {
	return &built{f.Info, bytes.Clone(f.Init), bytes.Clone(f.Box), bytes.Clone(f.Moof), bytes.Join(f.Mdat, nil)}
}

// buildAll builds the fragments of records, the first of which is a cut at offset 0.
func buildAll(t testing.TB, b *Builder, records []record.Record) []*built {
	t.Helper()
	var out []*built
	finish := func(cut *record.Record) {
		f, err := b.Finish(cut, true)
		require.NoError(t, err)
		k := keepFragment(f)
		require.Equal(t, k.Info.Hash, Hash(sha256.Sum256(k.bytes())))
		require.Equal(t, k.Info.InitHash, Hash(sha256.Sum256(k.Init)))
		require.EqualValues(t, len(k.bytes()), k.Info.Size)
		out = append(out, k)
	}
	for i := range records {
		r := &records[i]
		if r.Flags.Has(record.Cut) {
			if i > 0 {
				finish(r)
			}
			b.Begin(testEpoch, uint64(i))
		}
		require.NoError(t, b.Push(uint64(i), r))
	}
	finish(nil)
	return out
}

// segment puts fragments into a file.
func segment(fragments []*built) []byte {
	out := bytes.Clone(fragments[0].Init)
	for _, f := range fragments {
		out = append(append(append(out, f.Box...), f.Moof...), f.Mdat...)
	}
	return out
}

func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), "%s %s: %s", name, strings.Join(args, " "), errs.String())
	require.Empty(t, errs.String(), "%s %s", name, strings.Join(args, " "))
	return out.Bytes()
}

// h264BFrames is 4 s of H.264 with B-frames, a key frame each second, in packets of a
// few sizes.
func h264BFrames(t testing.TB) *clip {
	return makeClip(t, H264, "-t", "4", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25",
		"-x264-params", "aud=1:repeat-headers=1:b-adapt=0:scenecut=0")
}

func h265BFrames(t testing.TB) *clip {
	return makeClip(t, H265, "-t", "4", "-c:v", "libx265", "-preset", "ultrafast", "-g", "25",
		"-x265-params", "aud=1:repeat-headers=1:bframes=2:b-adapt=0:scenecut=0:open-gop=0:log-level=none")
}

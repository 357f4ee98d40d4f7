package playback

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// clipStart is the capture time of the first frame of the clip; not on a tick.
const clipStart = int64(1_772_366_400_123_456_789)

const (
	clipFrames  = 1000
	clipFrameNS = int64(40e6)
	clipGOP     = 25
	audioNS     = int64(20e6) // of a packet
)

// clipEnd is where the last frame begins.
var clipEnd = frameNS(clipFrames - 1)

func frameNS(i int) int64 { return clipStart + int64(i)*clipFrameNS }

// clip is 40 s of H.264 with B-frames, and the G.711 that goes with it.
type clip struct {
	units  [][][]byte // NAL units of access units, in decoding order
	pts    []int64    // Unix ns
	sync   []bool
	params [][]byte
	frames []string // MD5 of the decoded pictures, in order of presentation
}

// theClip is made once: encoding takes a second.
var theClip = sync.OnceValues(func() (*clip, error) {
	dir, err := os.MkdirTemp("", "duet-playback")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c := &clip{}
	file := filepath.Join(dir, "clip.ts")
	if _, err := tool("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25", "-frames:v", strconv.Itoa(clipFrames),
		"-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", strconv.Itoa(clipGOP), "-threads", "1",
		"-x264-params", "aud=1:repeat-headers=1:b-adapt=0:scenecut=0", "-pix_fmt", "yuv420p", file); err != nil {
		return nil, err
	}
	raw, err := tool("ffmpeg", "-v", "error", "-i", file, "-c", "copy", "-f", "h264", "-")
	if err != nil {
		return nil, err
	}
	raw = bytes.ReplaceAll(raw, []byte{0, 0, 0, 1}, []byte{0, 0, 1})
	for _, n := range bytes.Split(raw, []byte{0, 0, 1})[1:] {
		switch n[0] & 0x1f {
		case 9:
			c.units = append(c.units, nil)
		case 7:
			c.params = [][]byte{n, nil}
		case 8:
			c.params[1] = n
		}
		i := len(c.units) - 1
		c.units[i] = append(c.units[i], n)
	}
	out, err := tool("ffprobe", "-v", "error", "-show_entries", "packet=pts,flags", "-of", "csv=p=0", file)
	if err != nil {
		return nil, err
	}
	first := int64(-1)
	for line := range strings.Lines(string(out)) {
		at, flags, ok := strings.Cut(strings.TrimSpace(line), ",")
		if !ok || len(c.pts) == clipFrames {
			continue
		}
		pts, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return nil, err
		}
		if first < 0 {
			first = pts
		}
		c.pts = append(c.pts, frameNS(int((pts-first)/3600)))
		c.sync = append(c.sync, strings.HasPrefix(flags, "K"))
	}
	pictures, err := decoded(file)
	for _, p := range pictures {
		c.frames = append(c.frames, p.sum)
	}
	return c, err
})

// picture is one that ffmpeg decodes.
type picture struct {
	at  time.Duration
	sum string // MD5
}

// decoded returns the pictures that ffmpeg decodes, in the order of presentation.
func decoded(file string, args ...string) ([]picture, error) {
	in := append(append([]string{"-v", "error"}, args...), "-i", file, "-map", "0:v", "-fps_mode", "passthrough",
		"-enc_time_base", "1/90000", "-f", "framemd5", "-")
	out, err := tool("ffmpeg", in...)
	if err != nil {
		return nil, err
	}
	var list []picture
	for line := range strings.Lines(string(out)) {
		if f := strings.Split(line, ","); !strings.HasPrefix(line, "#") && len(f) == 6 {
			pts, err := strconv.ParseInt(strings.TrimSpace(f[2]), 10, 64)
			if err != nil {
				return nil, err
			}
			list = append(list, picture{time.Duration(pts) * time.Second / 90000, strings.TrimSpace(f[5])})
		}
	}
	return list, nil
}

// tool runs a program, which must not complain.
func tool(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, &toolError{name, args, err.Error() + ": " + errs.String()}
	}
	if errs.Len() > 0 {
		return nil, &toolError{name, args, errs.String()}
	}
	return out.Bytes(), nil
}

type toolError struct {
	name string
	args []string
	says string
}

func (e *toolError) Error() string { return e.name + " " + strings.Join(e.args, " ") + ": " + e.says }

// footage is what recorders hold of the clip.
type footage struct {
	clip  *clip
	inits [][]byte
	frags []stored
}

// footageOptions say how the clip was recorded.
type footageOptions struct {
	audio bool
	// cutEvery is how many frames a fragment has; cuts at frames without a key are forced.
	// 0: a GOP.
	cutEvery int
	// breaks are the access units (in decoding order) before which the camera session
	// broke: a new epoch starts there.
	breaks map[int]bool
}

// audioSample is a sample of the audio, which counts.
func audioSample(packet int64, i int) byte { return byte(packet) ^ byte(i*7) }

func makeFootage(t testing.TB, o footageOptions) *footage {
	t.Helper()
	c, err := theClip()
	require.NoError(t, err)
	require.Len(t, c.units, clipFrames)
	require.Len(t, c.frames, clipFrames)
	f := &footage{clip: c}
	video := media.Track{Kind: media.KindVideo, Codec: media.H264, ClockRate: 90000, Params: c.params}
	d := media.Description{SegmentMS: 600_000, Since: media.CauseStart, Tracks: []media.Track{video}}
	if o.audio {
		d.Tracks = append(d.Tracks, media.Track{Kind: media.KindAudio, Codec: media.PCMU, ClockRate: 8000, SampleRate: 8000, Channels: 1, BitDepth: 8})
	}
	if o.cutEvery == 0 {
		o.cutEvery = clipGOP
	}
	enc := &rtph264.Encoder{PayloadType: 96, PayloadMaxSize: 1200, PacketizationMode: 1}
	require.NoError(t, enc.Init())

	b := media.NewBuilder("gate")
	var epoch record.Epoch
	var offset uint64
	building := false
	finish := func(cut *record.Record) {
		if !building {
			return
		}
		fr, err := b.Finish(cut, true)
		require.NoError(t, err)
		f.keep(fr)
	}
	push := func(r *record.Record) {
		if r.Flags.Has(record.Cut) {
			b.Begin(epoch, offset)
			building = true
		}
		require.NoError(t, b.Push(offset, r))
		offset++
	}
	nextAudio, packet := clipStart+7_000_000, int64(0)
	for i, au := range c.units {
		packets, err := enc.Encode(au)
		require.NoError(t, err)
		if i == 0 || o.breaks[i] {
			finish(nil)
			require.Equal(t, i%clipGOP, 0, "an epoch starts with a key frame here")
			epoch, err = record.NewEpoch(time.Unix(0, c.pts[i]), bytes.NewReader(bytes.Repeat([]byte{byte(i + 1)}, 10)))
			require.NoError(t, err)
			offset, building = 0, false
			if i > 0 {
				d.Since, d.SinceNS = media.CauseConnection, c.pts[i]-clipFrameNS
			}
		}
		ext, err := d.Encode()
		require.NoError(t, err)
		for j, p := range packets {
			r := record.Record{CaptureNS: c.pts[i], Packet: marshal(t, p)}
			if j == 0 {
				r.Flags = record.AccessUnit
				if c.sync[i] {
					r.Flags |= record.RandomAccess
				}
				if i%o.cutEvery == 0 {
					r.Flags |= record.Cut
					r.Ext = ext
					if !c.sync[i] {
						r.Flags |= record.Forced
					}
					if offset > 0 {
						finish(&r)
					}
				}
			}
			push(&r)
		}
		// Audio is up to 100 ms late.
		for o.audio && nextAudio < c.pts[i]-100e6 {
			payload := make([]byte, 160)
			for k := range payload {
				payload[k] = audioSample(packet, k)
			}
			p := &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 0, SequenceNumber: uint16(packet), Timestamp: uint32(packet * 160)}, Payload: payload}
			push(&record.Record{Track: 1, Flags: record.AccessUnit | record.RandomAccess, CaptureNS: nextAudio, Packet: marshal(t, p)})
			packet++
			nextAudio += audioNS
		}
	}
	finish(nil)
	return f
}

func (f *footage) keep(fr *media.Fragment) {
	data := append(bytes.Clone(fr.Moof), bytes.Join(fr.Mdat, nil)...)
	f.frags = append(f.frags, stored{index.Ref{Info: fr.Info}, data})
	hash := sha256.Sum256(fr.Init)
	for _, b := range f.inits {
		if sha256.Sum256(b) == hash {
			return
		}
	}
	f.inits = append(f.inits, bytes.Clone(fr.Init))
}

func marshal(t testing.TB, p *rtp.Packet) []byte {
	b, err := p.Marshal()
	require.NoError(t, err)
	return b
}

// on puts the footage on recorders.
func (f *footage) on(fakes ...*fakeRecorder) {
	for _, r := range fakes {
		r.add("gate", f.inits, f.frags...)
	}
}

// beU32 is for looking at boxes.
func beU32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

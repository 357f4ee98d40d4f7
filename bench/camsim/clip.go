package camsim

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"github.com/duet-video/duet/bench/ledger"
	"github.com/duet-video/duet/testdata"
)

// frame is an access unit of a clip.
type frame struct {
	// nalus without parameter sets (H.264, H.265), or data.
	nalus [][]byte
	data  []byte
	key   bool
	// decode and present count from the start of the clip; present ≥ decode.
	decode, present time.Duration
}

// clip is what a track loops: immutable, shared by all cameras that send it.
type clip struct {
	codec     ledger.Codec
	clockRate int
	frames    []frame
	duration  time.Duration
	// depth is the longest time between decoding and presentation.
	depth time.Duration
	// sets are the parameter sets: H.264 SPS, PPS; H.265 VPS, SPS, PPS.
	sets [][]byte
	aac  *mpeg4audio.AudioSpecificConfig
}

// g711Frame is how many samples a G.711 packet has: 40 ms at 8 kHz.
const g711Frame = 320

// library reads clips, each once.
type library map[string]*clip

func (lib library) embedded(name string) (*clip, error) {
	if c := lib[name]; c != nil {
		return c, nil
	}
	file := map[string]string{"pcma": "g711.alaw", "pcmu": "g711.ulaw"}[name]
	if file == "" {
		file = name + ".mp4"
	}
	b, err := testdata.Clips.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("clip %q is not known: video is one of %v, audio one of %v", name, VideoClips(), AudioClips())
	}
	var c *clip
	switch name {
	case "pcma", "pcmu":
		c = g711Clip(ledger.Codec(name), b)
	default:
		v, a, err := readMP4(b)
		if err != nil {
			return nil, fmt.Errorf("clip %s: %w", name, err)
		}
		if c = v; c == nil {
			c = a
		}
	}
	lib[name] = c
	return c, nil
}

// file returns the video and the audio track of an MP4 file; either may be nil.
func (lib library) file(path string) (video, audio *clip, err error) {
	if lib[path+"#v"] == nil && lib[path+"#a"] == nil {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, fmt.Errorf("read the clip: %w", err)
		}
		v, a, err := readMP4(b)
		if err != nil {
			return nil, nil, fmt.Errorf("clip %s: %w", path, err)
		}
		lib[path+"#v"], lib[path+"#a"] = v, a
	}
	return lib[path+"#v"], lib[path+"#a"], nil
}

func g711Clip(codec ledger.Codec, raw []byte) *clip {
	c := &clip{codec: codec, clockRate: 8000}
	step := g711Frame * time.Second / 8000
	for ; len(raw) >= g711Frame; raw = raw[g711Frame:] {
		f := bytes.Clone(raw[:g711Frame])
		if codec == ledger.PCMU {
			// The negative zero expands to the same sample as the positive one.
			f = bytes.ReplaceAll(f, []byte{0x7f}, []byte{0xff})
		}
		c.frames = append(c.frames, frame{data: f, key: true, decode: c.duration, present: c.duration})
		c.duration += step
	}
	return c
}

func readMP4(b []byte) (video, audio *clip, err error) {
	f, err := mp4.DecodeFile(bytes.NewReader(b))
	if err != nil {
		return nil, nil, err
	}
	if f.Moov == nil || f.IsFragmented() {
		return nil, nil, fmt.Errorf("want an MP4 file that is not fragmented")
	}
	for _, t := range f.Moov.Traks {
		c, err := describeTrack(t)
		if err != nil {
			return nil, nil, err
		}
		if c == nil {
			continue
		}
		slot := &audio
		if c.codec.Video() {
			slot = &video
		}
		if *slot != nil {
			continue
		}
		if err := c.readSamples(t, b); err != nil {
			return nil, nil, fmt.Errorf("%s track: %w", c.codec, err)
		}
		*slot = c
	}
	if video == nil && audio == nil {
		return nil, nil, fmt.Errorf("no track of H.264, H.265, MJPEG or AAC in it")
	}
	return video, audio, nil
}

// describeTrack returns nil for a codec that cameras do not send.
func describeTrack(t *mp4.TrakBox) (*clip, error) {
	stsd := t.Mdia.Minf.Stbl.Stsd
	switch {
	case stsd.AvcX != nil:
		a := stsd.AvcX.AvcC
		if len(a.SPSnalus) == 0 || len(a.PPSnalus) == 0 {
			return nil, fmt.Errorf("the H.264 track has no parameter sets")
		}
		return &clip{codec: ledger.H264, clockRate: 90000, sets: [][]byte{a.SPSnalus[0], a.PPSnalus[0]}}, nil
	case stsd.HvcX != nil:
		c := &clip{codec: ledger.H265, clockRate: 90000, sets: make([][]byte, 3)}
		for _, a := range stsd.HvcX.HvcC.NaluArrays {
			if i := int(a.NaluType()) - 32; i >= 0 && i < 3 && len(a.Nalus) > 0 {
				c.sets[i] = a.Nalus[0]
			}
		}
		for _, s := range c.sets {
			if s == nil {
				return nil, fmt.Errorf("the H.265 track lacks a parameter set")
			}
		}
		return c, nil
	case stsd.Mp4a != nil:
		var conf mpeg4audio.AudioSpecificConfig
		if err := conf.Unmarshal(stsd.Mp4a.Esds.DecConfigDescriptor.DecSpecificInfo.DecConfig); err != nil {
			return nil, fmt.Errorf("the AAC track: %w", err)
		}
		return &clip{codec: ledger.AAC, clockRate: conf.SampleRate, aac: &conf}, nil
	}
	if len(stsd.Children) > 0 && stsd.Children[0].Type() == "mp4v" {
		return &clip{codec: ledger.MJPEG, clockRate: 90000}, nil // checked by its samples
	}
	return nil, nil
}

func (c *clip) readSamples(t *mp4.TrakBox, file []byte) error {
	n := t.GetNrSamples()
	if n == 0 {
		return fmt.Errorf("it is empty")
	}
	samples, err := t.GetSampleData(1, n)
	if err != nil {
		return err
	}
	scale := time.Duration(t.Mdia.Mdhd.Timescale)
	var at time.Duration // in units of the timescale
	lead := int32(0)     // composition offsets of version 1 may be negative
	for _, s := range samples {
		lead = min(lead, s.CompositionTimeOffset)
	}
	for i, s := range samples {
		r, err := t.GetRangesForSampleInterval(uint32(i+1), uint32(i+1))
		if err != nil {
			return err
		}
		if len(r) != 1 || r[0].Offset+r[0].Size > uint64(len(file)) {
			return fmt.Errorf("sample %d is not in the file", i+1)
		}
		f, err := c.frame(file[r[0].Offset : r[0].Offset+r[0].Size])
		if err != nil {
			return fmt.Errorf("sample %d: %w", i+1, err)
		}
		f.decode = at * time.Second / scale
		f.present = (at + time.Duration(s.CompositionTimeOffset-lead)) * time.Second / scale
		c.depth = max(c.depth, f.present-f.decode)
		c.frames = append(c.frames, f)
		at += time.Duration(s.Dur)
	}
	c.duration = at * time.Second / scale
	if !c.frames[0].key {
		return fmt.Errorf("it does not start with a random access point")
	}
	return nil
}

func (c *clip) frame(sample []byte) (frame, error) {
	if c.codec != ledger.H264 && c.codec != ledger.H265 {
		if c.codec == ledger.MJPEG {
			var err error
			if sample, err = canonicalJPEG(sample); err != nil {
				return frame{}, err
			}
		}
		return frame{data: sample, key: true}, nil
	}
	all, err := ledger.SplitNALUs(sample)
	if err != nil {
		return frame{}, err
	}
	f := frame{key: ledger.IsKey(c.codec, all)}
	for _, n := range all {
		if len(n) > 0 && !isSet(c.codec, n) {
			f.nalus = append(f.nalus, n)
		}
	}
	if len(f.nalus) == 0 {
		return frame{}, fmt.Errorf("no slices in it")
	}
	return f, nil
}

// isSet reports whether n is a parameter set.
func isSet(codec ledger.Codec, n []byte) bool {
	if codec == ledger.H265 {
		t := n[0] >> 1 & 0x3f
		return t >= 32 && t <= 34
	}
	t := n[0] & 0x1f
	return t == 7 || t == 8
}

// isDelimiter reports whether n is an access unit delimiter, which comes before
// everything else.
func isDelimiter(codec ledger.Codec, n []byte) bool {
	if codec == ledger.H265 {
		return n[0]>>1&0x3f == 35
	}
	return n[0]&0x1f == 9
}

// reordered reports whether pictures are decoded in another order than they are shown in.
func (c *clip) reordered() bool { return c.depth > c.frames[0].present-c.frames[0].decode }

package proxy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/sdp"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"github.com/duet-video/duet/internal/media"
)

// trackOf maps a format of a camera's SDP.
func trackOf(m *description.Media, f format.Format) media.Track {
	t := media.Track{Kind: media.KindVideo, ClockRate: f.ClockRate()}
	if m.Type == description.MediaTypeAudio {
		t.Kind = media.KindAudio
	}
	switch f := f.(type) {
	case *format.H264:
		sps, pps := f.SafeParams()
		t.Codec, t.Params = media.H264, [][]byte{sps, pps}
	case *format.H265:
		vps, sps, pps := f.SafeParams()
		t.Codec, t.Params = media.H265, [][]byte{vps, sps, pps}
	case *format.AV1:
		t.Codec = media.AV1
	case *format.VP8:
		t.Codec = media.VP8
	case *format.VP9:
		t.Codec = media.VP9
	case *format.MJPEG:
		t.Codec = media.MJPEG
	case *format.MPEG4Audio:
		t.Codec = media.AAC
		t.SizeLength, t.IndexLength, t.IndexDeltaLength = f.SizeLength, f.IndexLength, f.IndexDeltaLength
		setAAC(&t, f.Config)
	case *format.MPEG4AudioLATM:
		t.Codec, t.LATM, t.MuxConfigInBand = media.AAC, true, f.CPresent
		if c := f.StreamMuxConfig; c != nil && len(c.Programs) > 0 && len(c.Programs[0].Layers) > 0 {
			setAAC(&t, c.Programs[0].Layers[0].AudioSpecificConfig)
		}
	case *format.Opus:
		t.Codec, t.SampleRate, t.Channels = media.Opus, 48000, f.ChannelCount
	case *format.MPEG1Audio:
		t.Codec = media.MP3
	case *format.AC3:
		t.Codec, t.SampleRate, t.Channels = media.AC3, f.SampleRate, f.ChannelCount
	case *format.LPCM:
		t.Codec, t.SampleRate, t.Channels, t.BitDepth = media.LPCM, f.SampleRate, f.ChannelCount, f.BitDepth
	case *format.G711:
		t.Codec, t.SampleRate, t.Channels, t.BitDepth = media.PCMA, f.SampleRate, f.ChannelCount, 16
		if f.MULaw {
			t.Codec = media.PCMU
		}
	default:
		t.Codec = media.Unknown
		if m.Type != description.MediaTypeVideo && m.Type != description.MediaTypeAudio {
			t.Kind, t.Codec = media.KindMetadata, media.Metadata
		}
		t.RTPMap, t.FMTP = f.RTPMap(), fmtpLine(f.FMTP())
	}
	if t.ClockRate <= 0 {
		t.ClockRate = 90000
	}
	return t
}

func setAAC(t *media.Track, c *mpeg4audio.AudioSpecificConfig) {
	if c == nil {
		return
	}
	t.SampleRate, t.Channels = c.SampleRate, int(c.ChannelConfig)
	if t.Channels == 7 {
		t.Channels = 8 // ISO/IEC 14496-3 1.6.3.4
	}
	if b, err := c.Marshal(); err == nil {
		t.Params = [][]byte{b}
	}
}

func fmtpLine(m map[string]string) string {
	kv := make([]string, 0, len(m))
	for k, v := range m {
		kv = append(kv, k+"="+v)
	}
	slices.Sort(kv)
	return strings.Join(kv, "; ")
}

func fmtpMap(line string) map[string]string {
	m := map[string]string{}
	for kv := range strings.SplitSeq(line, ";") {
		if k, v, ok := strings.Cut(strings.TrimSpace(kv), "="); ok {
			m[k] = v
		}
	}
	return m
}

// mediaOf is the reverse of trackOf, for the endpoint's SDP. pt is the payload type
// where the format has no static one. ok is false for what SDP cannot describe.
func mediaOf(t *media.Track, pt uint8) (m *description.Media, ok bool) {
	param := func(i int) []byte {
		if i < len(t.Params) && len(t.Params[i]) > 0 {
			return t.Params[i]
		}
		return nil
	}
	m = &description.Media{Type: description.MediaTypeVideo}
	switch t.Kind {
	case media.KindAudio:
		m.Type = description.MediaTypeAudio
	case media.KindMetadata:
		m.Type = description.MediaTypeApplication
	}
	var f format.Format
	switch t.Codec {
	case media.H264:
		f = &format.H264{PayloadTyp: pt, PacketizationMode: 1, SPS: param(0), PPS: param(1)}
	case media.H265:
		f = &format.H265{PayloadTyp: pt, VPS: param(0), SPS: param(1), PPS: param(2)}
	case media.AV1:
		f = &format.AV1{PayloadTyp: pt}
	case media.VP8:
		f = &format.VP8{PayloadTyp: pt}
	case media.VP9:
		f = &format.VP9{PayloadTyp: pt}
	case media.MJPEG:
		f = &format.MJPEG{}
	case media.AAC:
		f, ok = aacFormat(t, pt)
		if !ok {
			return nil, false
		}
	case media.Opus:
		f = &format.Opus{PayloadTyp: pt, ChannelCount: max(t.Channels, 1)}
	case media.MP3:
		f = &format.MPEG1Audio{}
	case media.AC3:
		f = &format.AC3{PayloadTyp: pt, SampleRate: t.SampleRate, ChannelCount: t.Channels}
	case media.LPCM:
		f = &format.LPCM{PayloadTyp: pt, BitDepth: t.BitDepth, SampleRate: t.SampleRate, ChannelCount: t.Channels}
	case media.PCMA, media.PCMU:
		g := &format.G711{PayloadTyp: pt, MULaw: t.Codec == media.PCMU, SampleRate: t.SampleRate, ChannelCount: t.Channels}
		if t.SampleRate == 8000 && t.Channels == 1 {
			g.PayloadTyp = 8
			if g.MULaw {
				g.PayloadTyp = 0
			}
		}
		f = g
	default:
		if t.RTPMap == "" {
			return nil, false
		}
		f = &format.Generic{PayloadTyp: pt, RTPMa: t.RTPMap, FMT: fmtpMap(t.FMTP), ClockRat: t.ClockRate}
	}
	m.Formats = []format.Format{f}
	return m, true
}

func aacFormat(t *media.Track, pt uint8) (format.Format, bool) {
	var c mpeg4audio.AudioSpecificConfig
	if len(t.Params) == 0 || c.Unmarshal(t.Params[0]) != nil {
		return nil, false
	}
	if !t.LATM {
		return &format.MPEG4Audio{
			PayloadTyp: pt, Config: &c,
			SizeLength: t.SizeLength, IndexLength: t.IndexLength, IndexDeltaLength: t.IndexDeltaLength,
		}, true
	}
	return &format.MPEG4AudioLATM{
		PayloadTyp: pt, ProfileLevelID: 30, CPresent: t.MuxConfigInBand,
		StreamMuxConfig: &mpeg4audio.StreamMuxConfig{
			Programs: []*mpeg4audio.StreamMuxConfigProgram{{
				Layers: []*mpeg4audio.StreamMuxConfigLayer{{
					AudioSpecificConfig: &c, LatmBufferFullness: 255,
				}},
			}},
		},
	}, true
}

// setParams puts newer parameter sets into a format that readers may be asking for.
func setParams(f format.Format, params [][]byte) {
	switch f := f.(type) {
	case *format.H264:
		if len(params) == 2 {
			f.SafeSetParams(params[0], params[1])
		}
	case *format.H265:
		if len(params) == 3 {
			f.SafeSetParams(params[0], params[1], params[2])
		}
	}
}

// mendSDP returns body without the parts that would make the whole description
// unreadable: parameter sets that are truncated (they come in the stream again) and
// media that make no sense. A body with nothing wrong is returned as it is.
func mendSDP(body []byte) []byte {
	if readableSDP(body) == nil {
		return body
	}
	head, sections := splitSDP(body)
	out := bytes.Clone(head)
	for _, s := range sections {
		for _, mend := range []func([]byte) []byte{
			func(b []byte) []byte { return b },
			func(b []byte) []byte { return dropFMTP(b, "sprop-") },
			func(b []byte) []byte { return dropFMTP(b, "") },
		} {
			if b := mend(s); readableSDP(append(bytes.Clone(head), b...)) == nil {
				out = append(out, b...)
				break
			}
		}
	}
	if readableSDP(out) != nil {
		return body // beyond repair: let the error name what it is
	}
	return out
}

func readableSDP(b []byte) error { return unmarshalSDP(b, &description.Session{}) }

func unmarshalSDP(b []byte, d *description.Session) error {
	var s sdp.SessionDescription
	if err := s.Unmarshal(b); err != nil {
		return fmt.Errorf("read an SDP: %w", err)
	}
	if err := d.Unmarshal(&s); err != nil {
		return fmt.Errorf("read an SDP: %w", err)
	}
	return nil
}

// splitSDP splits a description into what comes before the first media, and the media.
func splitSDP(b []byte) (head []byte, sections [][]byte) {
	for line := range bytes.Lines(b) {
		switch {
		case bytes.HasPrefix(line, []byte("m=")):
			sections = append(sections, bytes.Clone(line))
		case len(sections) == 0:
			head = append(head, line...)
		default:
			sections[len(sections)-1] = append(sections[len(sections)-1], line...)
		}
	}
	return head, sections
}

// dropFMTP removes format parameters whose names begin with prefix.
func dropFMTP(section []byte, prefix string) (out []byte) {
	for line := range bytes.Lines(section) {
		if !bytes.HasPrefix(line, []byte("a=fmtp:")) {
			out = append(out, line...)
			continue
		}
		pt, rest, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		var kept []string
		for kv := range strings.SplitSeq(rest, ";") {
			if kv = strings.TrimSpace(kv); kv != "" && !strings.HasPrefix(strings.ToLower(kv), prefix) {
				kept = append(kept, kv)
			}
		}
		if len(kept) > 0 {
			out = append(out, pt+" "+strings.Join(kept, ";")+"\r\n"...)
		}
	}
	return out
}

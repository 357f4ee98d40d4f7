package replay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mp4/codecs"

	"github.com/duet-video/duet/internal/media"
)

// track is a track of a presentation: what SDP says of it. It does not change.
type track struct {
	id     uint32 // of the fragments that it was made from
	kind   media.Kind
	codec  media.Codec
	pt     uint8
	rate   int // of RTP timestamps
	format format.Format
	// same tells tracks of other fragments that may be sent as this one.
	same string
	// params are the parameter sets that SDP has: H.264 SPS, PPS; H.265 VPS, SPS, PPS.
	params [][]byte
	// LPCM only.
	depth, channels int
}

var errNoTrack = errors.New("none of its tracks can be sent over RTP")

// tracksOf returns the tracks that an init header describes, as far as they can be sent.
func tracksOf(header []byte) ([]track, *media.Init, error) {
	init, err := media.ParseInit(header)
	if err != nil {
		return nil, nil, err
	}
	var out []track
	for i := range init.Tracks {
		it := &init.Tracks[i]
		t := track{id: it.ID, kind: it.Kind, codec: it.Codec, pt: uint8(96 + len(out)), rate: int(it.Timescale)}
		if !t.describe(it, codecOf(it)) || t.rate <= 0 {
			continue
		}
		out = append(out, t)
	}
	if len(out) == 0 {
		return nil, nil, errNoTrack
	}
	return out, init, nil
}

// codecOf returns what the library reads of the sample entry; nil: nothing.
func codecOf(it *media.InitTrack) (c codecs.Codec) {
	if it.Codec == media.LPCM {
		return nil // it knows no entries of QuickTime
	}
	defer func() {
		if recover() != nil { // a camera made up part of it
			c = nil
		}
	}()
	var f fmp4.Init
	if f.Unmarshal(bytes.NewReader(it.Alone())) != nil || len(f.Tracks) != 1 {
		return nil
	}
	return f.Tracks[0].Codec
}

// describe fills in what depends on the codec. It reports whether the track can be sent.
func (t *track) describe(it *media.InitTrack, c codecs.Codec) bool {
	switch c := c.(type) {
	case *codecs.H264:
		t.params = [][]byte{c.SPS, c.PPS}
		t.format = &format.H264{PayloadTyp: t.pt, PacketizationMode: 1, SPS: c.SPS, PPS: c.PPS}
	case *codecs.H265:
		t.params = [][]byte{c.VPS, c.SPS, c.PPS}
		t.format = &format.H265{PayloadTyp: t.pt, VPS: c.VPS, SPS: c.SPS, PPS: c.PPS}
	case *codecs.AV1:
		t.format = &format.AV1{PayloadTyp: t.pt}
	case *codecs.VP9:
		t.format = &format.VP9{PayloadTyp: t.pt}
	case *codecs.MJPEG:
		t.pt, t.format = 26, &format.MJPEG{}
	case *codecs.MPEG4Audio:
		config := c.Config
		if _, err := config.Marshal(); err != nil {
			return false
		}
		t.format = &format.MPEG4Audio{
			PayloadTyp: t.pt, ProfileLevelID: 1, Config: (*mpeg4audio.AudioSpecificConfig)(&config),
			SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3,
		}
	case *codecs.Opus:
		t.format = &format.Opus{PayloadTyp: t.pt, ChannelCount: max(c.ChannelCount, 1)}
	case *codecs.MPEG1Audio:
		t.pt, t.format = 14, &format.MPEG1Audio{}
	case *codecs.AC3:
		t.format = &format.AC3{PayloadTyp: t.pt, SampleRate: c.SampleRate, ChannelCount: max(c.ChannelCount, 1)}
	default:
		if it.Codec != media.LPCM || it.BitDepth == 0 || it.Channels == 0 {
			return false
		}
		t.depth, t.channels = it.BitDepth, it.Channels
		t.format = &format.LPCM{PayloadTyp: t.pt, BitDepth: it.BitDepth, SampleRate: int(it.Timescale), ChannelCount: it.Channels}
	}
	t.rate = t.format.ClockRate()
	t.same = fmt.Sprintf("%s %s %d", t.kind, t.codec, t.rate)
	if t.kind == media.KindAudio {
		t.same += " " + t.format.RTPMap()
		if a, ok := t.format.(*format.MPEG4Audio); ok {
			t.same += a.FMTP()["config"]
		}
	}
	return true
}

// match says which of the tracks of a presentation a fragment's are sent as, by their ID.
func match(presented, of []track) map[uint32]int {
	out := make(map[uint32]int, len(of))
	taken := make([]bool, len(presented))
	for pass := range 2 { // those with the same ID first
		for i := range of {
			if _, done := out[of[i].id]; done {
				continue
			}
			for j := range presented {
				if !taken[j] && presented[j].same == of[i].same && (pass > 0 || presented[j].id == of[i].id) {
					out[of[i].id], taken[j] = j, true
					break
				}
			}
		}
	}
	return out
}

// describeSDP returns the description of a presentation (RFC 8866, RFC 2326 C). span is
// the value of a=range.
func describeSDP(camera, span string, tracks []track) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=%s\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\na=range:%s\r\n", camera, span)
	numbers := map[string]int{}
	for i := range tracks {
		t := &tracks[i]
		name := "video"
		if t.kind == media.KindAudio {
			name = "audio"
		}
		numbers[name]++
		fmt.Fprintf(&b, "m=%s 0 RTP/AVP %d\r\na=control:trackID=%d\r\na=x-onvif-track:%s%03d\r\n",
			name, t.pt, i, strings.ToUpper(name), numbers[name])
		if m := t.format.RTPMap(); m != "" {
			fmt.Fprintf(&b, "a=rtpmap:%d %s\r\n", t.pt, m)
		}
		if f := t.format.FMTP(); len(f) > 0 {
			keys := make([]string, 0, len(f))
			for k := range f {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			for i, k := range keys {
				keys[i] = k + "=" + f[k]
			}
			fmt.Fprintf(&b, "a=fmtp:%d %s\r\n", t.pt, strings.Join(keys, "; "))
		}
	}
	return []byte(b.String())
}

// trackNumber reads what describeSDP writes after control:.
func trackNumber(s string, tracks int) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 8)
	return int(n), err == nil && int(n) < tracks
}

// nalus calls f with each NAL unit of a sample (ISO/IEC 14496-15 5.3.2), until f returns false.
func nalus(sample []byte, f func(nalu []byte, last bool) bool) {
	for len(sample) >= 4 {
		n := int64(binary.BigEndian.Uint32(sample))
		sample = sample[4:]
		if n > int64(len(sample)) {
			return
		}
		nalu := sample[:n]
		sample = sample[n:]
		if n > 0 && !f(nalu, len(sample) == 0) {
			return
		}
	}
}

// setKind returns which of the parameter sets of a track a NAL unit is, -1: none.
func (t *track) setKind(nalu []byte) int {
	switch t.codec {
	case media.H264:
		switch nalu[0] & 0x1f {
		case 7:
			return 0
		case 8:
			return 1
		}
	case media.H265:
		if typ := nalu[0] >> 1 & 0x3f; typ >= 32 && typ <= 34 {
			return int(typ - 32)
		}
	}
	return -1
}

// isReference reports whether other access units may refer to this one.
func (t *track) isReference(sample []byte) bool {
	reference := t.codec != media.H264 && t.codec != media.H265
	nalus(sample, func(n []byte, _ bool) bool {
		switch t.codec {
		case media.H264:
			if typ := n[0] & 0x1f; typ >= 1 && typ <= 5 {
				reference = n[0]&0x60 != 0 // nal_ref_idc
				return false
			}
		default:
			if typ := n[0] >> 1 & 0x3f; typ < 32 {
				reference = typ > 14 || typ%2 == 1 // sub-layer non-reference: the even ones below 15
				return false
			}
		}
		return true
	})
	return reference
}

package media

import (
	"crypto/sha256"
	"fmt"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4/seekablebuffer"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mp4/codecs"
)

// maxRate bounds timescales, so that the times of a fragment fit their fields.
const maxRate = 384_000

// header makes init headers. What it made last is kept, with what it was made of.
type header struct {
	key       []byte
	timescale [maxTracks]uint32 // by track; 0: the track is left out
	bytes     []byte
	hash      Hash
}

// build makes the header of a fragment with these tracks.
func (h *header) build(tracks []*trackBuilder) {
	var key []byte
	for _, t := range tracks {
		key = t.appendKey(key)
	}
	if h.bytes != nil && string(key) == string(h.key) {
		return
	}
	var out []moovTrack
	h.timescale = [maxTracks]uint32{}
	for i, t := range tracks {
		scale, entry := t.description()
		if entry == nil || scale == 0 || scale > maxRate {
			continue
		}
		h.timescale[i] = scale
		m := moovTrack{id: uint32(i) + 1, timescale: scale, kind: t.desc.Kind, entries: [][]byte{entry}}
		if t.desc.Kind == KindVideo {
			m.width, m.height = entrySize(entry)
		}
		out = append(out, m)
	}
	h.key = key
	h.bytes = appendMoov(ftyp(), out, movie{})
	h.hash = sha256.Sum256(h.bytes)
}

// appendKey appends everything of the track that the header depends on.
func (t *trackBuilder) appendKey(b []byte) []byte {
	p := t.params
	p.samples = 0 // only of times
	b = fmt.Appendf(b, "%+v %v %+v %q", t.desc, t.early, p, t.sets)
	if c := t.latm.config; c != nil {
		b = fmt.Appendf(b, "%+v", *c)
	}
	return append(b, '\n')
}

// description returns the timescale and the sample entry of the track. No entry: what
// it is cannot be told.
func (t *trackBuilder) description() (timescale uint32, entry []byte) {
	switch t.desc.Codec {
	case H264:
		for _, s := range t.setChoices(2) {
			if e := sampleEntry(&codecs.H264{SPS: s[0], PPS: s[1]}); e != nil {
				return videoTimescale, e
			}
		}
	case H265:
		for _, s := range t.setChoices(3) {
			if e := sampleEntry(&codecs.H265{VPS: s[0], SPS: s[1], PPS: s[2]}); e != nil {
				return videoTimescale, e
			}
		}
	case AV1:
		if len(t.sets[0]) > 0 {
			return videoTimescale, sampleEntry(&codecs.AV1{SequenceHeader: t.sets[0]})
		}
	case VP9:
		if p := t.params; p.known {
			return videoTimescale, sampleEntry(&codecs.VP9{
				Width: p.width, Height: p.height, Profile: p.vp9.profile, BitDepth: p.vp9.bitDepth,
				ChromaSubsampling: p.vp9.subsampling, ColorRange: p.vp9.fullRange,
			})
		}
	case MJPEG:
		if p := t.params; p.known {
			return videoTimescale, sampleEntry(&codecs.MJPEG{Width: p.width, Height: p.height})
		}
	case AAC:
		if c, ok := t.aacConfig(); ok {
			return rate(t.desc.SampleRate, c.SampleRate), sampleEntry(&codecs.MPEG4Audio{Config: *c})
		}
	case Opus:
		return 48000, sampleEntry(&codecs.Opus{ChannelCount: max(t.desc.Channels, 1)})
	case MP3:
		if p := t.params; p.known {
			return rate(p.sampleRate), sampleEntry(&codecs.MPEG1Audio{SampleRate: p.sampleRate, ChannelCount: p.channels})
		}
	case AC3:
		if p := t.params; p.known {
			return rate(p.sampleRate), sampleEntry(&codecs.AC3{
				SampleRate: p.sampleRate, ChannelCount: p.channels, Bsid: p.ac3.bsi.Bsid, Bsmod: p.ac3.bsi.Bsmod,
				Acmod: p.ac3.bsi.Acmod, LfeOn: p.ac3.bsi.LfeOn, BitRateCode: p.ac3.code,
			})
		}
	case LPCM:
		return rate(t.desc.SampleRate), pcmEntry(t.desc.BitDepth, t.desc.Channels, t.desc.SampleRate)
	case PCMA, PCMU:
		r := rate(t.desc.SampleRate, t.desc.ClockRate)
		return r, pcmEntry(16, t.desc.Channels, int(r))
	}
	return 0, nil
}

func rate(of ...int) uint32 {
	for _, r := range of {
		if r > 0 && r <= maxRate {
			return uint32(r)
		}
	}
	return 0
}

// setChoices returns which parameter sets to try, best first: those that come before the
// first picture of the fragment itself, where there are any; what the description says;
// what comes later in the fragment.
func (t *trackBuilder) setChoices(n int) [][3][]byte {
	var mixed, described [3][]byte
	for i := range n {
		if i < len(t.desc.Params) {
			described[i] = t.desc.Params[i]
		}
		mixed[i] = described[i]
		if t.early[i] || len(mixed[i]) == 0 {
			mixed[i] = t.sets[i]
		}
	}
	return [][3][]byte{mixed, described, t.sets}
}

// sampleEntry returns the sample entry of the codec (a box of an stsd), or nil where its
// parameters make no sense.
func sampleEntry(c codecs.Codec) (entry []byte) {
	// Parameter sets come from the camera: what the library does not expect of them
	// must not end a recorder.
	defer func() {
		if recover() != nil {
			entry = nil
		}
	}()
	var buf seekablebuffer.Buffer
	in := fmp4.Init{Tracks: []*fmp4.InitTrack{{ID: 1, TimeScale: videoTimescale, Codec: c}}}
	if err := in.Marshal(&buf); err != nil {
		return nil
	}
	stsd, ok := findBox(buf.Bytes(), "moov", "trak", "mdia", "minf", "stbl", "stsd")
	if !ok || len(stsd) < 8 {
		return nil
	}
	b, _, ok := nextBox(stsd[8:])
	if !ok {
		return nil
	}
	return b.full
}

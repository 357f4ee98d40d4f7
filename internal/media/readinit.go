package media

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by the errors of everything that reads MP4.
var ErrMalformed = errors.New("malformed MP4")

// Init is what an init header says.
type Init struct {
	Hash   Hash // SHA-256 of the header
	Tracks []InitTrack
}

// InitTrack is a track of an init header.
type InitTrack struct {
	// ID is the track's number in the camera's Description, plus one.
	ID uint32
	// Timescale: ticks per second of the track's times.
	Timescale uint32
	Kind      Kind
	// Codec: G.711 is LPCM here; Unknown where it is none that a Builder writes.
	Codec Codec
	// SampleRate in Hz and Channels, of audio; BitDepth, of LPCM; Width and Height in
	// pixels, of video.
	SampleRate, Channels int
	BitDepth             int
	Width, Height        int

	entries [][]byte // sample descriptions, whole boxes of the stsd
}

// ParseInit reads an init header (ftyp and moov). It keeps no reference to b.
func ParseInit(b []byte) (*Init, error) {
	moov, ok := findBox(b, "moov")
	if !ok {
		return nil, fmt.Errorf("%w: no moov", ErrMalformed)
	}
	out := &Init{Hash: sha256.Sum256(b)}
	for len(moov) > 0 {
		box, rest, ok := nextBox(moov)
		if !ok {
			return nil, fmt.Errorf("%w: a box of moov is not whole", ErrMalformed)
		}
		moov = rest
		if box.typ != "trak" {
			continue
		}
		t, err := parseTrak(box.body)
		if err != nil {
			return nil, fmt.Errorf("track %d of moov: %w", len(out.Tracks)+1, err)
		}
		if out.Track(t.ID) != nil || len(out.Tracks) == maxTracks {
			return nil, fmt.Errorf("%w: track %d is there twice, or there are too many", ErrMalformed, t.ID)
		}
		out.Tracks = append(out.Tracks, t)
	}
	return out, nil
}

// Track returns the track with the ID, or nil.
func (i *Init) Track(id uint32) *InitTrack {
	for j := range i.Tracks {
		if i.Tracks[j].ID == id {
			return &i.Tracks[j]
		}
	}
	return nil
}

// Alone returns an init header (ftyp and moov) that has only this track.
func (t *InitTrack) Alone() []byte {
	return appendMoov(ftyp(), []moovTrack{{
		id: t.ID, timescale: t.Timescale, kind: t.Kind, width: t.Width, height: t.Height, entries: t.entries[:1],
	}}, movie{})
}

func parseTrak(b []byte) (InitTrack, error) {
	be := binary.BigEndian
	tkhd, ok1 := findBox(b, "tkhd")
	mdhd, ok2 := findBox(b, "mdia", "mdhd")
	hdlr, ok3 := findBox(b, "mdia", "hdlr")
	stsd, ok4 := findBox(b, "mdia", "minf", "stbl", "stsd")
	if !ok1 || !ok2 || !ok3 || !ok4 || len(hdlr) < 12 || len(stsd) < 8 {
		return InitTrack{}, fmt.Errorf("%w: a box is missing", ErrMalformed)
	}
	// Behind two times, of four bytes each in version 0 and eight in version 1.
	idAt, scaleAt := versioned(tkhd, 12, 20), versioned(mdhd, 12, 20)
	if len(tkhd) < idAt+4 || len(mdhd) < scaleAt+4 {
		return InitTrack{}, fmt.Errorf("%w: a header is too short", ErrMalformed)
	}
	t := InitTrack{ID: be.Uint32(tkhd[idAt:]), Timescale: be.Uint32(mdhd[scaleAt:])}
	switch string(hdlr[8:12]) {
	case "vide":
		t.Kind = KindVideo
	case "soun":
		t.Kind = KindAudio
	default:
		t.Kind = KindMetadata
	}
	count := be.Uint32(stsd[4:])
	for rest := stsd[8:]; count > 0; count-- {
		box, r, ok := nextBox(rest)
		if !ok {
			return InitTrack{}, fmt.Errorf("%w: a sample entry is not whole", ErrMalformed)
		}
		t.entries = append(t.entries, bytes.Clone(box.full))
		rest = r
	}
	if t.ID == 0 || t.Timescale == 0 || len(t.entries) == 0 {
		return InitTrack{}, fmt.Errorf("%w: track %d, timescale %d, %d sample entries",
			ErrMalformed, t.ID, t.Timescale, len(t.entries))
	}
	t.describe(t.entries[0])
	return t, nil
}

func versioned(b []byte, v0, v1 int) int {
	if len(b) > 0 && b[0] == 1 {
		return v1
	}
	return v0
}

// describe sets what a sample entry says (ISO/IEC 14496-12 12.1.3, 12.2.3).
func (t *InitTrack) describe(entry []byte) {
	typ := string(entry[4:8])
	if c, ok := entryCodecs[typ]; ok {
		t.Codec = c
	} else {
		t.Codec = Unknown
	}
	switch typ {
	case "mp4v":
		if objectType(entry, 86) != otiJPEG {
			t.Codec = Unknown
		}
	case "mp4a":
		if oti := objectType(entry, 36); oti == otiMP3 || oti == otiMP3Low {
			t.Codec = MP3
		}
	}
	switch {
	case t.Kind == KindVideo:
		t.Width, t.Height = entrySize(entry)
	case t.Kind == KindAudio && len(entry) >= 36:
		t.Channels = int(binary.BigEndian.Uint16(entry[24:]))
		t.SampleRate = int(binary.BigEndian.Uint16(entry[32:]))
		if t.Codec == LPCM {
			t.BitDepth = int(binary.BigEndian.Uint16(entry[26:]))
		}
	}
}

var entryCodecs = map[string]Codec{
	"avc1": H264, "hvc1": H265, "av01": AV1, "vp09": VP9, "mp4v": MJPEG,
	"mp4a": AAC, "Opus": Opus, "ac-3": AC3, "twos": LPCM, "in24": LPCM, "raw ": LPCM,
}

// Object types of esds (ISO/IEC 14496-1 table 5).
const (
	otiMP3Low = 0x69 // ISO/IEC 13818-3
	otiMP3    = 0x6b // ISO/IEC 11172-3
	otiJPEG   = 0x6c
)

// objectType returns the object type of the esds box among the boxes of a sample entry
// (ISO/IEC 14496-1 7.2.6), or 0.
func objectType(entry []byte, boxesAt int) byte {
	if len(entry) < boxesAt {
		return 0
	}
	b, ok := findBox(entry[boxesAt:], "esds")
	if !ok || len(b) < 4 {
		return 0
	}
	es, ok := descriptor(b[4:], 3)
	if !ok || len(es) < 3 {
		return 0
	}
	config, ok := descriptor(es[3:], 4)
	if !ok || len(config) == 0 {
		return 0
	}
	return config[0]
}

// descriptor returns the content of the descriptor at the start of b, with this tag.
func descriptor(b []byte, tag byte) ([]byte, bool) {
	if len(b) < 2 || b[0] != tag {
		return nil, false
	}
	size := 0
	for i := 1; i < min(len(b), 5); i++ {
		size = size<<7 | int(b[i]&0x7f)
		if b[i]&0x80 == 0 {
			return b[i+1 : min(i+1+size, len(b))], true
		}
	}
	return nil, false
}

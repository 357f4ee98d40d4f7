package media

import "errors"

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
	// Codec: G.711 is LPCM here.
	Codec Codec
	// SampleRate in Hz and Channels, of audio; Width and Height in pixels, of video.
	SampleRate, Channels int
	Width, Height        int

	entries [][]byte // sample descriptions, whole boxes of the stsd
}

// ParseInit reads an init header (ftyp and moov). It keeps no reference to b.
func ParseInit(b []byte) (*Init, error) { return nil, ErrMalformed }

// Track returns the track with the ID, or nil.
func (i *Init) Track(id uint32) *InitTrack { return nil }

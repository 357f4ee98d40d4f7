package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Codec names what a track carries, in the words of package internal/media.
type Codec string

// The codecs of simulated cameras.
const (
	H264  Codec = "h264"
	H265  Codec = "h265"
	MJPEG Codec = "mjpeg"
	AAC   Codec = "aac"
	PCMA  Codec = "pcma"
	PCMU  Codec = "pcmu"
)

// Video reports whether c is a video codec.
func (c Codec) Video() bool { return c == H264 || c == H265 || c == MJPEG }

// Track describes a track of the camera.
type Track struct {
	Codec     Codec `json:"codec"`
	ClockRate int   `json:"clockRate"`
}

// Header is the first line of a ledger. Entries name a track by its index in Tracks,
// which is the order of the SDP.
type Header struct {
	Format int     `json:"ledger"` // 1
	Camera string  `json:"camera"`
	Tracks []Track `json:"tracks"`
	// VCLOnly: the hashes of H.264 and H.265 cover the coded slices alone. A camera that
	// is not ours may insert parameter sets and drop delimiters after it was listened to.
	VCLOnly bool `json:"vclOnly,omitempty"`
	// Unmarked: access units do not carry their number and are known by their hash.
	Unmarked bool `json:"unmarked,omitempty"`
}

// Hash is a SHA-256 that is text in JSON.
type Hash [sha256.Size]byte

// MarshalText writes hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (h *Hash) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(h) {
		return fmt.Errorf("a SHA-256 has %d digits, not %d", 2*len(h), len(b))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// Entry is one access unit of a camera, whether it was sent to anybody or not.
type Entry struct {
	// Track is an index into Header.Tracks.
	Track int `json:"t"`
	// Number counts the access units of a track from 0 in the order of sending, which is
	// the order of decoding. Nothing resets it.
	Number uint64 `json:"n"`
	Hash   Hash   `json:"h"`
	// Size of the access unit in bytes, in the form that was hashed.
	Size int `json:"size"`
	// AtNS is when its first packet was handed over, or would have been: Unix ns.
	AtNS int64  `json:"at"`
	RTP  uint32 `json:"rtp"`
	Key  bool   `json:"key,omitempty"`
	// Sent names the sessions whose queue took all packets of it. What a session had
	// queued when it ended may not have reached the client.
	Sent []string `json:"sent,omitempty"`
	// Lost counts the packets that were withheld on purpose (packet loss). Such an access
	// unit may be missing from a recording or stand in it incomplete.
	Lost int `json:"lost,omitempty"`
}

// At returns when it was sent.
func (e *Entry) At() time.Time { return time.Unix(0, e.AtNS) }

// Event says what happened to a camera: a session that began or ended, a pathology.
type Event struct {
	Event  string `json:"event"`
	AtNS   int64  `json:"at"`
	Detail string `json:"detail,omitempty"`
}

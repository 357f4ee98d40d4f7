package media

import (
	"crypto/sha256"

	"github.com/duet-video/duet/internal/record"
)

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// InfoFlags say what is wrong with a fragment. A whole one has none but perhaps Repaired.
type InfoFlags uint32

const (
	// NoRandomAccess: the fragment does not start at a random access point.
	NoRandomAccess InfoFlags = 1 << iota
	// PacketLoss: RTP packets of the camera are missing inside.
	PacketLoss
	// Discontinuity: the camera's RTP timestamps jumped inside, or right before.
	Discontinuity
	// Truncated: the next cut was never seen. Another recorder may hold a longer
	// fragment of the same epoch and first offset.
	Truncated
	// Malformed: packets that could not be depacketized were left out.
	Malformed
	// Repaired: it was copied from another recorder. This is the only flag that says
	// nothing of the fragment but how this copy came to be: equal copies may differ in it.
	Repaired
)

// Info is everything that is known of a fragment, apart from where it is stored.
type Info struct {
	Camera string
	Epoch  record.Epoch
	// First and End are the offsets of its records: First ≤ offset < End.
	First, End uint64
	// StartNS is the capture time of the record that it was cut at, EndNS that of the
	// record at which the next fragment was cut; where the epoch ended instead, the end
	// of the last access unit of the track that was cut at. Unix ns. StartNS < EndNS.
	StartNS, EndNS int64
	// MinNS is the capture time of its earliest sample and MaxNS the end of its latest
	// one, over all tracks: audio runs a little before or after the video that it is
	// cut with. Unix ns. MinNS ≤ StartNS, EndNS ≤ MaxNS.
	MinNS, MaxNS int64
	// WindowNS is the start of the segment window, the zero of its decode times: the
	// last multiple of the segment duration at or before MinNS. Unix ns.
	WindowNS int64
	Flags    InfoFlags
	// Size is the length of moof and mdat, and Hash their SHA-256.
	Size int64
	Hash Hash
	// InitHash is the SHA-256 of the init header (ftyp and moov) that it needs.
	InitHash Hash
	// Since and SinceNS say why footage is missing before this epoch, see Description.
	Since   Cause
	SinceNS int64
}

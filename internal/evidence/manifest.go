package evidence

import (
	"encoding/base64"
	"fmt"
	"time"

	"github.com/duet-video/duet/internal/media"
)

// Head is what the manifest says of the export as a whole. It is JSON in the file.
type Head struct {
	Software string `json:"software"`
	// Node is the playback node that made the manifest, at Made.
	Node string    `json:"node"`
	Made time.Time `json:"made"`

	Camera string `json:"camera"`
	// From and To are the range that was asked for, Start and End what is shown.
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// Gaps are stretches of the range that no recorder has. Unknown are those that no
	// recorder which answered has, while those in Silent did not answer.
	Gaps    []Gap     `json:"gaps"`
	Unknown []Unknown `json:"unknown"`
	Silent  []string  `json:"silent,omitempty"`
	// Dropped and Conflicts count fragments that are not shown: of a second session of
	// the camera at the same time, and of copies that disagree.
	Dropped   int `json:"dropped,omitempty"`
	Conflicts int `json:"conflicts,omitempty"`

	// BaseNS is where the times of the file count from, Unix ns.
	BaseNS int64 `json:"base_ns"`
	// Header is what stands before the first fragment.
	Header Header `json:"header"`

	Recorders []string `json:"recorders"`
	Epochs    []string `json:"epochs"`
	Sources   []Source `json:"sources"`
	// Units are the access units of trimmed fragments and of the header.
	Units []Unit `json:"units"`
}

// Stretch is a span of capture time, end exclusive.
type Stretch struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Gap is a stretch that no recorder has.
type Gap struct {
	Stretch
	// Cause as in the timeline, when the manifest was made; empty: it was not known.
	Cause media.Cause `json:"cause,omitempty"`
}

// Unknown is a stretch of which these recorders, which did not answer, may have something.
type Unknown struct {
	Stretch
	Recorders []string `json:"recorders,omitempty"`
}

// Header is the start of the file: ftyp and moov, and where the header describes the
// first pictures, an mdat with them.
type Header struct {
	Size int64 `json:"size"`
	Sum  Sum   `json:"sha256"`
	// Fragment is where its pictures come from, by number; -1: it has none.
	Fragment int `json:"fragment"`
}

// Source is an init header that fragments were recorded with.
type Source struct {
	Init   Sum          `json:"init_sha256"`
	Tracks []media.Undo `json:"tracks"`
}

// Unit is an access unit of which the fragment is not in the file as a whole.
type Unit struct {
	// At and Size are where it is in the file.
	At   int64  `json:"at"`
	Size uint32 `json:"size"`
	// Fragment that it was recorded in, by number, and the track in it.
	Fragment int       `json:"fragment"`
	Track    uint32    `json:"track"`
	Time     time.Time `json:"time"`
	Sum      Sum       `json:"sha256"`
}

// Fragment is a piece of the file. In the file it is a row of FragmentSize bytes.
type Fragment struct {
	// At and Size are where it is in the file; Size is 0 for one of which only pictures
	// in the header are left.
	At, Size int64
	// Recorded is the length of the fragment as it was recorded, Hash its SHA-256.
	Recorded int64
	Hash     media.Hash
	// First and End are the offsets of its records, and Epoch the number of its epoch.
	First, End uint64
	Epoch      uint32
	// StartNS and EndNS are its capture times, WindowNS where its decode times counted
	// from. Unix ns.
	StartNS, EndNS, WindowNS int64
	// Source is the number of its init header.
	Source uint32
	// Recorders held it when the manifest was made: bit i is recorder i.
	Recorders uint64
	// Trimmed: only some of its access units are in the file, and Sum is the SHA-256 of
	// what is there. Otherwise the whole fragment is, moved to its place in time.
	Trimmed bool
	Sum     media.Hash
}

// Sum is a SHA-256, base64 without padding in JSON.
type Sum media.Hash

// MarshalText implements encoding.TextMarshaler.
func (s Sum) MarshalText() ([]byte, error) {
	return base64.RawStdEncoding.AppendEncode(nil, s[:]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sum) UnmarshalText(b []byte) error {
	d, err := base64.RawStdEncoding.AppendDecode(nil, b)
	if err != nil || len(d) != len(s) {
		return fmt.Errorf("%q is not a SHA-256", b)
	}
	copy(s[:], d)
	return nil
}

// Manifest is what a file says that it is made of.
type Manifest struct {
	Head
	Fragments []Fragment
	// Cert is the certificate of the signer, DER; empty: it is not signed. Signature is
	// over Digest, see Signer.
	Cert, Signature []byte
	Digest          media.Hash
	// At is where it stands in the file, which is as long as the media before it.
	At, Size int64
}

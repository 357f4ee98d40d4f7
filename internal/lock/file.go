package lock

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
)

// MaxFile bounds the file of a set, in bytes.
const MaxFile = 64 << 20

// fileVersion changes when an older program would misread the file.
const fileVersion = 1

type file struct {
	Version int    `json:"version"`
	Locks   []Lock `json:"locks"`
}

// Encode returns the file of a set. Equal sets give equal bytes.
func Encode(s Set) ([]byte, error) {
	all := s.All()
	if all == nil {
		all = []Lock{}
	}
	b, err := json.MarshalIndent(file{fileVersion, all}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode %d locks: %w", len(all), err)
	}
	return append(b, '\n'), nil
}

// Decode reads the file of a set. A lock that is not well formed makes the whole file
// damaged: what it was meant to protect is not known.
func Decode(b []byte) (Set, error) {
	var f file
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Set{}, fmt.Errorf("read locks: %w", err)
	}
	if f.Version != fileVersion {
		return Set{}, fmt.Errorf("read locks: the file has version %d, this program knows %d", f.Version, fileVersion)
	}
	for i := range f.Locks {
		if err := f.Locks[i].Check(); err != nil {
			return Set{}, fmt.Errorf("read locks: %w", err)
		}
	}
	s, _ := Set{}.With(f.Locks...)
	return s, nil
}

// Digest is the same for equal sets, and for no others.
func Digest(s Set) ([sha256.Size]byte, error) {
	b, err := Encode(s)
	return sha256.Sum256(b), err
}

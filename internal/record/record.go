package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Flags say what is known of a record. The proxy sets them once; they never change.
type Flags uint16

const (
	// AccessUnit: the first record of an access unit of its track.
	AccessUnit Flags = 1 << iota
	// RandomAccess: the access unit that starts here is a random access point. Only
	// together with AccessUnit.
	RandomAccess
	// Cut: a new fragment starts here. Only together with AccessUnit; Ext holds a
	// Description (package media, JSON).
	Cut
	// Forced: this cut was forced by fragment.max and is no random access point.
	Forced
	// LossBefore: RTP packets of this track are missing before this one (a hole in
	// the camera's sequence numbers).
	LossBefore
	// Discontinuity: the camera's RTP timestamps jumped, and capture time was
	// anchored anew here, forward only.
	Discontinuity
	// OpenGOP: pictures that follow this random access point in decoding order may
	// precede it in output order (H.265 CRA or BLA with leading pictures).
	OpenGOP

	knownFlags = OpenGOP<<1 - 1
)

// Has reports whether all flags of o are set.
func (f Flags) Has(o Flags) bool { return f&o == o }

// Record is one RTP packet in the log. Packet is the packet as the camera sent it.
// Its offset is not stored: it follows from the batch that it stands in.
type Record struct {
	// Track is the index of the track in the Description of the fragment.
	Track uint8
	Flags Flags
	// CaptureNS is when the access unit was captured, UTC in Unix nanoseconds. Equal
	// for all records of an access unit, strictly increasing with the RTP timestamp
	// within a track of an epoch.
	CaptureNS int64
	// Ext is the Description of the fragment that starts here; nil unless Cut is set.
	Ext []byte
	// Packet is the RTP packet (RFC 3550 5.1), header and payload.
	Packet []byte
}

// The wire form, little endian, is the same in the log's slabs and on the link:
//
//	0  u32 size of the whole record, header included
//	4  u16 flags
//	6  u8  track
//	7  u8  0
//	8  i64 capture time, Unix ns
//	16 u32 length of ext
//	20     ext, then the packet up to size
const (
	// HeaderSize is the size of a record without ext and packet, in bytes.
	HeaderSize = 20
	// MaxSize bounds a whole record, in bytes.
	MaxSize = 1 << 20
)

// ErrCorrupt is wrapped by every error of a decoder of this package.
var ErrCorrupt = errors.New("corrupt record")

// Size returns the length of r's wire form in bytes.
func (r *Record) Size() int { return HeaderSize + len(r.Ext) + len(r.Packet) }

// AppendHeader appends the wire form of r up to the packet, for a packet of
// packetLen bytes that the caller appends right after it. r.Packet is not read.
func AppendHeader(dst []byte, r *Record, packetLen int) []byte {
	var h [HeaderSize]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(HeaderSize+len(r.Ext)+packetLen))
	binary.LittleEndian.PutUint16(h[4:], uint16(r.Flags))
	h[6] = r.Track
	binary.LittleEndian.PutUint64(h[8:], uint64(r.CaptureNS))
	binary.LittleEndian.PutUint32(h[16:], uint32(len(r.Ext)))
	dst = append(dst, h[:]...)
	return append(dst, r.Ext...)
}

// Append appends the wire form of r.
func Append(dst []byte, r *Record) []byte {
	return append(AppendHeader(dst, r, len(r.Packet)), r.Packet...)
}

// Next decodes the first record of b into r and returns the bytes after it. The
// slices of r are views of b: they live as long as b and must not be modified.
func Next(b []byte, r *Record) (rest []byte, err error) {
	if len(b) < HeaderSize {
		return nil, fmt.Errorf("%w: %d bytes are left, a header has %d", ErrCorrupt, len(b), HeaderSize)
	}
	size := binary.LittleEndian.Uint32(b)
	ext := binary.LittleEndian.Uint32(b[16:])
	flags := Flags(binary.LittleEndian.Uint16(b[4:]))
	switch {
	case size > MaxSize:
		return nil, fmt.Errorf("%w: size %d is over %d", ErrCorrupt, size, MaxSize)
	case int64(size) > int64(len(b)):
		return nil, fmt.Errorf("%w: size %d, but %d bytes are left", ErrCorrupt, size, len(b))
	case int64(size) < HeaderSize+int64(ext):
		return nil, fmt.Errorf("%w: size %d does not hold a header and an ext of %d bytes", ErrCorrupt, size, ext)
	case flags&^knownFlags != 0 || b[7] != 0:
		return nil, fmt.Errorf("%w: unknown flags %#x", ErrCorrupt, uint16(flags))
	case flags.Has(Cut) != (ext > 0):
		return nil, fmt.Errorf("%w: flags %#x with an ext of %d bytes", ErrCorrupt, uint16(flags), ext)
	}
	r.Track = b[6]
	r.Flags = flags
	r.CaptureNS = int64(binary.LittleEndian.Uint64(b[8:]))
	r.Ext = nil
	if ext > 0 {
		r.Ext = b[HeaderSize : HeaderSize+ext : HeaderSize+ext]
	}
	r.Packet = b[HeaderSize+ext : size : size]
	return b[size:], nil
}

// Count returns how many records b holds, or an error where b is not a whole number
// of well-formed records.
func Count(b []byte) (int, error) {
	var r Record
	n := 0
	for len(b) > 0 {
		rest, err := Next(b, &r)
		if err != nil {
			return n, fmt.Errorf("record %d of the batch: %w", n, err)
		}
		b = rest
		n++
	}
	return n, nil
}

package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Every value is: one byte of version, the fields in little endian, and a CRC-32C of
// the key and all of the value before it, so that a value is only ever read back under
// the key that it was written for.
const (
	valueVersion = 1
	crcLen       = 4
)

// formatVersion is that of the database as a whole.
// 2: with digests.
const formatVersion = 2

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// seal appends the CRC to the value that starts at dst[from:].
func seal(dst []byte, from int, key []byte) []byte {
	crc := crc32.Update(crc32.Update(0, crcTable, key), crcTable, dst[from:])
	return binary.LittleEndian.AppendUint32(dst, crc)
}

// fields takes the fields of a value one after the other. After a short value, ok is
// false and all fields are zero.
type fields struct {
	b  []byte
	ok bool
}

// unseal checks version and CRC of a value and returns its fields.
func unseal(key, value []byte) (fields, error) {
	if len(value) < 1+crcLen {
		return fields{}, fmt.Errorf("%w: the value of %q has %d bytes", ErrCorrupt, key, len(value))
	}
	body, crc := value[:len(value)-crcLen], binary.LittleEndian.Uint32(value[len(value)-crcLen:])
	if crc32.Update(crc32.Update(0, crcTable, key), crcTable, body) != crc {
		return fields{}, fmt.Errorf("%w: the value of %q has a wrong checksum", ErrCorrupt, key)
	}
	if body[0] != valueVersion {
		return fields{}, fmt.Errorf("%w: the value of %q has version %d, known is %d", ErrCorrupt, key, body[0], valueVersion)
	}
	return fields{b: body[1:], ok: true}, nil
}

// done returns an error unless exactly all of the value was taken.
func (f *fields) done(key []byte) error {
	if !f.ok || len(f.b) != 0 {
		return fmt.Errorf("%w: the value of %q has a wrong length", ErrCorrupt, key)
	}
	return nil
}

func (f *fields) bytes(n int) []byte {
	if len(f.b) < n {
		f.ok, f.b = false, nil
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) u8() int {
	if b := f.bytes(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (f *fields) u16() int {
	if b := f.bytes(2); b != nil {
		return int(binary.LittleEndian.Uint16(b))
	}
	return 0
}

func (f *fields) u32() uint32 {
	if b := f.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (f *fields) i64() int64 { return int64(f.u64()) }

func (f *fields) cause() media.Cause { return knownCause(f.bytes(f.u8())) }

// knownCause is media.Cause(b), without an allocation for the usual ones.
func knownCause(b []byte) media.Cause {
	switch media.Cause(b) {
	case media.CauseStart:
		return media.CauseStart
	case media.CauseConnection:
		return media.CauseConnection
	case media.CauseStalled:
		return media.CauseStalled
	case media.CauseFormat:
		return media.CauseFormat
	case media.CauseProxy:
		return media.CauseProxy
	}
	return media.Cause(b)
}

var le = binary.LittleEndian

func appendCause(dst []byte, c media.Cause) []byte {
	dst = append(dst, byte(len(c)))
	return append(dst, c...)
}

// appendRef appends the value of a fragment. StartNS, epoch and first offset are in
// the key.
func appendRef(dst, key []byte, r *Ref) []byte {
	from := len(dst)
	dst = append(dst, valueVersion)
	dst = le.AppendUint32(dst, uint32(r.Flags))
	dst = le.AppendUint64(dst, r.End)
	for _, v := range [...]int64{r.EndNS, r.MinNS, r.MaxNS, r.WindowNS, r.Size, r.At, r.SinceNS} {
		dst = le.AppendUint64(dst, uint64(v))
	}
	dst = append(dst, r.Hash[:]...)
	dst = append(dst, r.InitHash[:]...)
	dst = appendCause(dst, r.Since)
	dst = le.AppendUint16(dst, uint16(len(r.Segment)))
	dst = append(dst, r.Segment...)
	return seal(dst, from, key)
}

// decodeRef reads a fragment. When r holds the same segment already, its string is
// kept: reading a listing allocates once per segment and not once per fragment.
func decodeRef(r *Ref, camera string, prefixLen int, key, value []byte) error {
	p, err := parsePlace(key, prefixLen)
	if err != nil {
		return err
	}
	f, err := unseal(key, value)
	if err != nil {
		return err
	}
	r.Camera, r.StartNS, r.Epoch, r.First = camera, p.startNS, p.epoch, p.first
	r.Flags = media.InfoFlags(f.u32())
	r.End = f.u64()
	for _, v := range [...]*int64{&r.EndNS, &r.MinNS, &r.MaxNS, &r.WindowNS, &r.Size, &r.At, &r.SinceNS} {
		*v = f.i64()
	}
	copy(r.Hash[:], f.bytes(len(r.Hash)))
	copy(r.InitHash[:], f.bytes(len(r.InitHash)))
	r.Since = f.cause()
	if s := f.bytes(f.u16()); r.Segment != string(s) {
		r.Segment = string(s)
	}
	return f.done(key)
}

func appendSpan(dst, key []byte, s *Span) []byte {
	from := len(dst)
	dst = append(dst, valueVersion)
	dst = le.AppendUint64(dst, s.End)
	dst = le.AppendUint64(dst, uint64(s.EndNS))
	dst = le.AppendUint64(dst, uint64(s.SinceNS))
	dst = appendCause(dst, s.Since)
	return seal(dst, from, key)
}

func decodeSpan(s *Span, prefixLen int, key, value []byte) error {
	p, err := parsePlace(key, prefixLen)
	if err != nil {
		return err
	}
	f, err := unseal(key, value)
	if err != nil {
		return err
	}
	s.StartNS, s.Epoch, s.First = p.startNS, p.epoch, p.first
	s.End, s.EndNS, s.SinceNS = f.u64(), f.i64(), f.i64()
	s.Since = f.cause()
	return f.done(key)
}

func appendSegment(dst, key []byte, s *Segment) []byte {
	from := len(dst)
	dst = append(dst, valueVersion)
	for _, v := range [...]int64{s.StartNS, s.EndNS, s.Bytes, s.Fragments} {
		dst = le.AppendUint64(dst, uint64(v))
	}
	return seal(dst, from, key)
}

func decodeSegment(key, value []byte) (Segment, error) {
	var s Segment
	camera, path, err := splitKey(key)
	if err != nil {
		return s, err
	}
	f, err := unseal(key, value)
	if err != nil {
		return s, err
	}
	s.Camera, s.Path = camera, string(path)
	s.StartNS, s.EndNS, s.Bytes, s.Fragments = f.i64(), f.i64(), f.i64(), f.i64()
	return s, f.done(key)
}

// cameraRow is what is kept of a camera as a whole.
type cameraRow struct {
	position         record.Position
	bytes, fragments int64
	// How far, at most, a fragment began before its start time, and ended after it,
	// and how long a span was at most: where a scan has to begin and end. They only grow.
	lead, tail, span int64
}

func appendCamera(dst, key []byte, c *cameraRow) []byte {
	from := len(dst)
	dst = append(dst, valueVersion)
	dst = append(dst, c.position.Epoch[:]...)
	dst = le.AppendUint64(dst, c.position.Offset)
	for _, v := range [...]int64{c.bytes, c.fragments, c.lead, c.tail, c.span} {
		dst = le.AppendUint64(dst, uint64(v))
	}
	return seal(dst, from, key)
}

func decodeCamera(key, value []byte) (cameraRow, error) {
	var c cameraRow
	f, err := unseal(key, value)
	if err != nil {
		return c, err
	}
	copy(c.position.Epoch[:], f.bytes(len(c.position.Epoch)))
	c.position.Offset = f.u64()
	c.bytes, c.fragments, c.lead, c.tail, c.span = f.i64(), f.i64(), f.i64(), f.i64(), f.i64()
	return c, f.done(key)
}

// appendBlob appends the value of an init header.
func appendBlob(dst, key, blob []byte) []byte {
	from := len(dst)
	dst = append(dst, valueVersion)
	dst = append(dst, blob...)
	return seal(dst, from, key)
}

func decodeBlob(key, value []byte) ([]byte, error) {
	f, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), f.b...), nil
}

func appendCount(dst, key []byte, n int64) []byte {
	from := len(dst)
	dst = append(dst, valueVersion)
	dst = le.AppendUint64(dst, uint64(n))
	return seal(dst, from, key)
}

func decodeCount(key, value []byte) (int64, error) {
	f, err := unseal(key, value)
	if err != nil {
		return 0, err
	}
	n := f.i64()
	return n, f.done(key)
}

package index

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/duet-video/duet/internal/media"
)

// HourNS is the stretch of time that a Digest sums up.
const HourNS = int64(time.Hour)

// firstNS is the first instant whose hour can be told.
const firstNS = math.MinInt64 / HourNS * HourNS

// Sum is what a set of fragments adds up to: the sum, lane by lane, of the SHA-256 of
// epoch, first and end offset and hash of each. The order does not matter, and what was
// added can be taken away again. Two sets have the same Sum exactly when they hold the
// same fragments, but for chance.
type Sum [4]uint64

func sumOf(r *Ref) Sum {
	var b [16 + 8 + 8 + 32]byte
	copy(b[:], r.Epoch[:])
	binary.BigEndian.PutUint64(b[16:], r.First)
	binary.BigEndian.PutUint64(b[24:], r.End)
	copy(b[32:], r.Hash[:])
	h := sha256.Sum256(b[:])
	var s Sum
	for i := range s {
		s[i] = binary.BigEndian.Uint64(h[8*i:])
	}
	return s
}

// Digest sums up the fragments of a camera that start in one hour, or in a part of it.
// What it says is a function of the set of fragments, so that two recorders that hold
// the same ones have the same digest, and an index that was rebuilt has those of the one
// that was lost.
type Digest struct {
	// HourNS is when the hour begins, Unix ns: a multiple of HourNS.
	HourNS int64
	// Fragments and Bytes (moof and mdat) are how many; Repaired are those of Fragments
	// that were copied from another recorder.
	Fragments, Repaired, Bytes int64
	Sum                        Sum
}

// Equal reports whether both digests are of the same fragments. How a recorder came by
// them does not matter.
func (d *Digest) Equal(o *Digest) bool { return d.Fragments == o.Fragments && d.Sum == o.Sum }

// Add takes a fragment into the digest.
func (d *Digest) Add(r *Ref) { d.add(r, 1) }

// Join takes the fragments of another digest into d. One that is in both counts twice.
func (d *Digest) Join(o *Digest) {
	d.Fragments += o.Fragments
	d.Repaired += o.Repaired
	d.Bytes += o.Bytes
	for i := range d.Sum {
		d.Sum[i] += o.Sum[i]
	}
}

func (d *Digest) add(r *Ref, sign int64) {
	d.Fragments += sign
	d.Bytes += sign * r.Size
	if r.Flags&media.Repaired != 0 {
		d.Repaired += sign
	}
	for i, v := range sumOf(r) {
		if sign < 0 {
			v = -v
		}
		d.Sum[i] += v
	}
}

// HourOf returns the start of the hour that an instant (Unix ns) is in.
func HourOf(ns int64) int64 {
	h := ns / HourNS
	if ns < h*HourNS {
		h--
	}
	return h * HourNS
}

// Digests returns the digests of the fragments of a camera that start in [startNS,
// endNS), oldest first, hours without any left out. Whole hours are read from the
// index's own sums; the parts of one that the range begins and ends with are summed up
// from their fragments.
func (s *Store) Digests(camera string, startNS, endNS int64) ([]Digest, error) {
	if startNS >= endNS || !validName(camera) {
		return nil, nil
	}
	var out []Digest
	startNS = max(startNS, firstNS)
	from, to := HourOf(startNS), HourOf(endNS)
	if from != startNS {
		if from == to {
			return s.partOf(out, camera, startNS, endNS)
		}
		var err error
		if out, err = s.partOf(out, camera, startNS, satAdd(from, HourNS)); err != nil {
			return nil, err
		}
		from = satAdd(from, HourNS)
	}
	out, err := s.hours(out, camera, from, to)
	if err != nil {
		return nil, fmt.Errorf("list digests of %s: %w", camera, err)
	}
	return s.partOf(out, camera, to, endNS)
}

// partOf appends the digest of a part of an hour.
func (s *Store) partOf(out []Digest, camera string, startNS, endNS int64) ([]Digest, error) {
	if startNS >= endNS {
		return out, nil
	}
	d := Digest{HourNS: HourOf(startNS)}
	for ref, err := range s.Fragments(camera, startNS, endNS) {
		if err != nil {
			return nil, err
		}
		if ref.StartNS >= startNS && ref.StartNS < endNS {
			d.Add(&ref)
		}
	}
	if d.Fragments > 0 {
		out = append(out, d)
	}
	return out, nil
}

// hours appends the digests of the hours that begin in [fromNS, toNS).
func (s *Store) hours(out []Digest, camera string, fromNS, toNS int64) (_ []Digest, err error) {
	if fromNS >= toNS {
		return out, nil
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: appendHour(nil, camera, fromNS), UpperBound: appendHour(nil, camera, toNS),
	})
	if err != nil {
		return nil, s.readErr(err)
	}
	defer func() { err = s.readErr(errors.Join(err, it.Close())) }()
	for ok := it.First(); ok; ok = it.Next() {
		d, err := decodeDigest(it.Key(), it.Value())
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, it.Error()
}

// Repaired returns the stretches of [startNS, endNS) whose footage was copied from
// another recorder, in order. It lists the fragments of those hours only that were
// repaired in part.
func (s *Store) Repaired(camera string, startNS, endNS int64) ([]Stretch, error) {
	var out []Stretch
	add := func(from, to int64) {
		if from, to = max(from, startNS), min(to, endNS); from >= to {
			return
		}
		if n := len(out); n > 0 && from <= out[n-1].EndNS {
			out[n-1].EndNS = max(out[n-1].EndNS, to)
			return
		}
		out = append(out, Stretch{from, to})
	}
	// A fragment of the hour before may reach into the range.
	hours, err := s.hours(nil, camera, satSub(HourOf(max(startNS, firstNS)), HourNS), endNS)
	if err != nil {
		return nil, fmt.Errorf("list what was repaired of %s: %w", camera, err)
	}
	for _, h := range hours {
		switch h.Repaired {
		case 0:
		case h.Fragments:
			spans, err := s.Spans(camera, h.HourNS, satAdd(h.HourNS, HourNS))
			if err != nil {
				return nil, err
			}
			for _, p := range spans {
				add(max(p.StartNS, h.HourNS), min(p.EndNS, satAdd(h.HourNS, HourNS)))
			}
		default:
			for ref, err := range s.Fragments(camera, h.HourNS, satAdd(h.HourNS, HourNS)) {
				if err != nil {
					return nil, err
				}
				if ref.Flags&media.Repaired != 0 {
					add(ref.StartNS, ref.EndNS)
				}
			}
		}
	}
	return out, nil
}

// digest returns the digest of the hour of r, which the change may go on to alter.
func (t *txn) digest(c *change, r *Ref) (*Digest, error) {
	hour := HourOf(r.StartNS)
	if d, ok := c.hours[hour]; ok {
		return d, nil
	}
	d := &Digest{HourNS: hour}
	if c.mem.hour.HourNS == hour && c.mem.hour.Fragments > 0 {
		*d = c.mem.hour
		c.hours[hour] = d
		return d, nil
	}
	t.key = appendHour(t.key[:0], c.name, hour)
	value, closer, err := t.s.db.Get(t.key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
	case err != nil:
		return nil, t.s.readErr(err)
	default:
		*d, err = decodeDigest(t.key, value)
		if err := errors.Join(err, closer.Close()); err != nil {
			return nil, err
		}
	}
	c.hours[hour] = d
	return d, nil
}

// putDigests writes the digests that have changed.
func (t *txn) putDigests(c *change) {
	for hour, d := range c.hours {
		t.key = appendHour(t.key[:0], c.name, hour)
		if d.Fragments == 0 {
			t.delete(t.key)
			continue
		}
		t.put(t.key, func(dst, key []byte) []byte { return appendDigest(dst, key, d) })
	}
}

// appendHour appends the key of a digest.
func appendHour(dst []byte, camera string, hourNS int64) []byte {
	return binary.BigEndian.AppendUint64(appendPrefix(dst, kindDigest, camera), uint64(hourNS)^(1<<63))
}

func appendDigest(dst, key []byte, d *Digest) []byte {
	from := len(dst)
	dst = append(dst, valueVersion)
	for _, v := range [...]int64{d.Fragments, d.Repaired, d.Bytes} {
		dst = le.AppendUint64(dst, uint64(v))
	}
	for _, v := range d.Sum {
		dst = le.AppendUint64(dst, v)
	}
	return seal(dst, from, key)
}

func decodeDigest(key, value []byte) (Digest, error) {
	var d Digest
	_, rest, err := splitKey(key)
	if err != nil {
		return d, err
	}
	if len(rest) != 8 {
		return d, fmt.Errorf("%w: key %q has no hour", ErrCorrupt, key)
	}
	d.HourNS = int64(binary.BigEndian.Uint64(rest) ^ (1 << 63))
	f, err := unseal(key, value)
	if err != nil {
		return d, err
	}
	d.Fragments, d.Repaired, d.Bytes = f.i64(), f.i64(), f.i64()
	for i := range d.Sum {
		d.Sum[i] = f.u64()
	}
	return d, f.done(key)
}

package index

import (
	"cmp"
	"fmt"
	"slices"
)

// Damage is a fragment whose bytes are not what they were when they were committed. It
// is not among the fragments, spans and sums any more: nobody is told of it who looks
// for footage.
type Damage struct {
	Ref
	// FoundNS is when it was found out, Unix ns.
	FoundNS int64
	// Why it is taken for damaged, for people. Cut off at 255 bytes.
	Why string
	// Quarantined: the bytes in the file were turned into a box that everybody skips.
	Quarantined bool
}

// MarkDamaged takes fragments out of the index and remembers them as damaged, durably,
// in one batch. A mark that is there already is replaced. One whose place another copy
// of the fragment has taken is skipped, and so is one of a camera that the index does
// not know. The mark ends when a copy of the fragment is committed from another place,
// or when its segment is deleted.
func (s *Store) MarkDamaged(damages []Damage) error {
	err := s.change(func() error {
		t := s.begin()
		defer t.close()
		for i := range damages {
			if err := t.markDamaged(&damages[i]); err != nil {
				return err
			}
		}
		return t.commit()
	})
	if err != nil {
		return fmt.Errorf("mark %d fragments as damaged: %w", len(damages), err)
	}
	return nil
}

func (t *txn) markDamaged(d *Damage) error {
	if err := validate(&d.Ref); err != nil {
		return err
	}
	if t.s.cameras[d.Camera] == nil && t.cameras[d.Camera] == nil {
		return nil
	}
	c := t.camera(d.Camera)
	at := place{startNS: d.StartNS, epoch: d.Epoch, first: d.First}
	_, marked := c.damaged[at]
	old, err := t.existing(c, &d.Ref)
	switch {
	case err != nil:
		return err
	case old != nil && (marked || !samePlace(old, &d.Ref)):
		return nil
	case old != nil:
		if err := t.remove(c, old); err != nil {
			return err
		}
	default:
		if err := t.mention(&d.Ref); err != nil {
			return err
		}
	}
	mark := *d
	mark.Why = mark.Why[:min(len(mark.Why), 255)]
	c.damaged[at] = &mark
	t.key = appendPlace(t.key[:0], kindDamaged, c.name, d.StartNS, d.Epoch, d.First)
	t.put(t.key, func(dst, key []byte) []byte { return appendDamage(dst, key, &mark) })
	return nil
}

// damageOf returns the mark at the place of r, or nil.
func (c *change) damageOf(r *Ref) *Damage {
	at := place{startNS: r.StartNS, epoch: r.Epoch, first: r.First}
	if d, ok := c.damaged[at]; ok {
		return d
	}
	return c.mem.damaged[at]
}

// undamage forgets a mark.
func (t *txn) undamage(c *change, d *Damage) {
	c.damaged[place{startNS: d.StartNS, epoch: d.Epoch, first: d.First}] = nil
	t.key = appendPlace(t.key[:0], kindDamaged, c.name, d.StartNS, d.Epoch, d.First)
	t.delete(t.key)
}

// Damaged returns the fragments of a camera that are marked as damaged and start in
// [startNS, endNS), sorted, from memory. An empty camera means all.
func (s *Store) Damaged(camera string, startNS, endNS int64) []Damage {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []Damage
	for name, c := range s.cameras {
		if camera != "" && name != camera {
			continue
		}
		for at, d := range c.damaged {
			if at.startNS >= startNS && at.startNS < endNS {
				out = append(out, *d)
			}
		}
	}
	slices.SortFunc(out, func(a, b Damage) int {
		return cmp.Or(cmp.Compare(a.Camera, b.Camera), Compare(&a.Ref, &b.Ref))
	})
	return out
}

// appendDamage appends the value of a mark: what is known of the damage, then the value
// of the fragment under the same key.
func appendDamage(dst, key []byte, d *Damage) []byte {
	from := len(dst)
	dst = append(dst, valueVersion)
	dst = le.AppendUint64(dst, uint64(d.FoundNS))
	quarantined := byte(0)
	if d.Quarantined {
		quarantined = 1
	}
	dst = append(dst, quarantined, byte(len(d.Why)))
	dst = append(dst, d.Why...)
	dst = appendRef(dst, key, &d.Ref)
	return seal(dst, from, key)
}

func decodeDamage(d *Damage, camera string, prefixLen int, key, value []byte) error {
	f, err := unseal(key, value)
	if err != nil {
		return err
	}
	d.FoundNS = f.i64()
	d.Quarantined = f.u8() == 1
	d.Why = string(f.bytes(f.u8()))
	if !f.ok {
		return f.done(key)
	}
	return decodeRef(&d.Ref, camera, prefixLen, key, f.b)
}

// loadDamage reads the marks of all cameras.
func (s *Store) loadDamage() error {
	return s.scan([]byte{kindDamaged}, func(key, value []byte) error {
		c, rest, err := s.cameraOf(key)
		if err != nil {
			return err
		}
		name, _, err := splitKey(key)
		if err != nil {
			return err
		}
		d := new(Damage)
		if err := decodeDamage(d, name, len(key)-len(rest), key, value); err != nil {
			return err
		}
		c.damaged[place{startNS: d.StartNS, epoch: d.Epoch, first: d.First}] = d
		return nil
	})
}

// Stretch is a span of capture time, Unix ns, end exclusive.
type Stretch struct{ StartNS, EndNS int64 }

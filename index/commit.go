package index

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Commit adds fragments and the init headers that they need in one batch, durably:
// when it returns nil all of it survives a power cut, and never a part of it.
//
// A fragment that is there already is left alone. Of two with the same epoch and
// first offset the larger End wins, then the one that is not Truncated, then the one
// with the greater Segment and At: whatever the order in which they come. An init
// header must be known, or be in the same batch, unless its hash is zero; pass it with
// every batch, it is written once. An error that wraps ErrInvalid leaves the store
// usable, any other one has failed it. The store keeps no slice that it is given.
func (s *Store) Commit(refs []Ref, inits []Init) error {
	if len(refs) == 0 && len(inits) == 0 {
		return nil
	}
	err := s.change(func() error { return s.commit(refs, inits) })
	if err != nil {
		return fmt.Errorf("commit %d fragments: %w", len(refs), err)
	}
	return nil
}

func (s *Store) commit(refs []Ref, inits []Init) error {
	sorted := make([]*Ref, len(refs))
	for i := range refs {
		if err := validate(&refs[i]); err != nil {
			return err
		}
		sorted[i] = &refs[i]
	}
	slices.SortFunc(sorted, func(a, b *Ref) int {
		if a.Camera != b.Camera {
			if a.Camera < b.Camera {
				return -1
			}
			return 1
		}
		return Compare(a, b)
	})
	t := s.begin()
	defer t.close()
	for i := range inits {
		if err := t.putInit(&inits[i]); err != nil {
			return err
		}
	}
	for i := 0; i < len(sorted); {
		best, n := sorted[i], 1
		for ; i+n < len(sorted) && sorted[i+n].Camera == best.Camera && Compare(sorted[i+n], best) == 0; n++ {
			if err := t.mention(sorted[i+n]); err != nil {
				return err
			}
			if better(sorted[i+n], best) {
				best = sorted[i+n]
			}
		}
		if err := t.mention(sorted[i]); err != nil {
			return err
		}
		if err := t.add(best); err != nil {
			return err
		}
		i += n
	}
	return t.commit()
}

// validate refuses a reference that contradicts itself.
func validate(r *Ref) error {
	bad := ""
	switch {
	case !validName(r.Camera):
		bad = "its camera is not a name"
	case !validPath(r.Segment):
		bad = "its segment is not a path below the data directory"
	case r.First >= r.End:
		bad = "it holds no record"
	case r.StartNS >= r.EndNS:
		bad = "it ends before it starts"
	case r.MinNS > r.StartNS || r.MaxNS <= r.MinNS:
		bad = "its samples do not cover its start"
	case r.Size < 0 || r.At < 0:
		bad = "its place in the file is negative"
	case len(r.Since) > maxCause:
		bad = "its cause is too long"
	default:
		return nil
	}
	return fmt.Errorf("%w: fragment %s %s [%d, %d) in %q: %s", ErrInvalid, r.Camera, r.Epoch, r.First, r.End, r.Segment, bad)
}

const maxCause = 255

// better reports whether a is the one to keep of two with the same key.
func better(a, b *Ref) bool {
	if a.End != b.End {
		return a.End > b.End
	}
	if at, bt := a.Flags&media.Truncated, b.Flags&media.Truncated; at != bt {
		return at == 0
	}
	if a.Segment != b.Segment {
		return a.Segment > b.Segment
	}
	return a.At > b.At
}

// putInit stores an init header that is not known yet.
func (t *txn) putInit(i *Init) error {
	if !validName(i.Camera) {
		return fmt.Errorf("%w: init header of a camera %q that is not a name", ErrInvalid, i.Camera)
	}
	c := t.camera(i.Camera)
	if _, known := c.uses(i.Hash); known {
		return nil
	}
	c.used[i.Hash] = 0
	t.key = appendHash(t.key[:0], kindInit, i.Camera, i.Hash)
	t.put(t.key, func(dst, key []byte) []byte { return appendBlob(dst, key, i.Data) })
	return nil
}

// mention makes sure that the segment of r is known, even when r does not win.
func (t *txn) mention(r *Ref) error {
	c := t.camera(r.Camera)
	seg, err := t.segment(c, r.Segment)
	if err != nil {
		return err
	}
	if !seg.known {
		seg.StartNS, seg.EndNS, seg.known = r.StartNS, r.EndNS, true
		return nil
	}
	seg.StartNS, seg.EndNS = min(seg.StartNS, r.StartNS), max(seg.EndNS, r.EndNS)
	return nil
}

// add takes a fragment into the index, unless it holds a better one.
func (t *txn) add(r *Ref) error {
	c := t.camera(r.Camera)
	if d := c.damageOf(r); d != nil {
		if d.Segment == r.Segment && d.At == r.At {
			return nil // it is what was found damaged
		}
		t.undamage(c, d)
	}
	old, err := t.existing(c, r)
	if err != nil {
		return err
	}
	if old != nil {
		if !better(r, old) {
			return nil
		}
		if err := t.remove(c, old); err != nil {
			return err
		}
	}
	if r.InitHash != (media.Hash{}) {
		n, known := c.uses(r.InitHash)
		if !known {
			return fmt.Errorf("%w: fragment %s %s [%d, %d): its init header is neither known nor in the batch",
				ErrInvalid, r.Camera, r.Epoch, r.First, r.End)
		}
		c.used[r.InitHash] = n + 1
	}
	seg, err := t.segment(c, r.Segment)
	if err != nil {
		return err
	}
	d, err := t.digest(c, r)
	if err != nil {
		return err
	}
	d.add(r, 1)
	seg.Bytes += r.Size
	seg.Fragments++
	c.row.bytes += r.Size
	c.row.fragments++
	c.row.lead = max(c.row.lead, satSub(r.StartNS, r.MinNS))
	c.row.tail = max(c.row.tail, satSub(r.MaxNS, r.StartNS), satSub(r.EndNS, r.StartNS))
	c.newestNS = max(c.newestNS, r.StartNS)
	if p := (record.Position{Epoch: r.Epoch, Offset: r.End}); c.row.position.Compare(p) < 0 {
		c.row.position = p
	}

	t.key = appendPlace(t.key[:0], kindFragment, r.Camera, r.StartNS, r.Epoch, r.First)
	t.put(t.key, func(dst, key []byte) []byte { return appendRef(dst, key, r) })
	return t.cover(c, spanOf(r))
}

// existing returns the fragment in the database with the place of r, or nil.
func (t *txn) existing(c *change, r *Ref) (*Ref, error) {
	if r.StartNS > c.mem.newestNS {
		return nil, nil
	}
	t.key = appendPlace(t.key[:0], kindFragment, r.Camera, r.StartNS, r.Epoch, r.First)
	value, closer, err := t.s.db.Get(t.key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, t.s.readErr(err)
	}
	old := new(Ref)
	err = decodeRef(old, r.Camera, len(t.key)-placeLen, t.key, value)
	return old, errors.Join(err, closer.Close())
}

// remove takes a fragment, which the database holds, out of it.
func (t *txn) remove(c *change, r *Ref) error {
	if r.InitHash != (media.Hash{}) {
		n, _ := c.uses(r.InitHash)
		c.used[r.InitHash] = n - 1
	}
	seg, err := t.segment(c, r.Segment)
	if err != nil {
		return err
	}
	d, err := t.digest(c, r)
	if err != nil {
		return err
	}
	d.add(r, -1)
	c.removals++
	seg.Bytes -= r.Size
	seg.Fragments--
	c.row.bytes -= r.Size
	c.row.fragments--
	t.key = appendPlace(t.key[:0], kindFragment, c.name, r.StartNS, r.Epoch, r.First)
	t.delete(t.key)
	return t.uncover(c, spanOf(r))
}

// samePlace reports whether two references name the same bytes of the same file.
func samePlace(a, b *Ref) bool {
	return a.Segment == b.Segment && a.At == b.At && bytes.Equal(a.Hash[:], b.Hash[:])
}

package index

import (
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/duet-video/duet/internal/media"
)

// load reads what the store keeps in memory: a row per camera and init header, the
// marks of deletion, and the first and last spans.
func (s *Store) load() error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	err := s.scan([]byte{kindCamera}, func(key, value []byte) error {
		name, _, err := splitKey(key)
		if err != nil {
			return err
		}
		row, err := decodeCamera(key, value)
		if err != nil {
			return err
		}
		s.cameras[name] = newCamera(row)
		return nil
	})
	if err != nil {
		return err
	}
	err = s.scan([]byte{kindHorizon}, func(key, value []byte) error {
		c, _, err := s.cameraOf(key)
		if err != nil {
			return err
		}
		c.horizonNS, err = decodeCount(key, value)
		return err
	})
	if err != nil {
		return err
	}
	err = s.scan([]byte{kindUses}, func(key, value []byte) error {
		c, rest, err := s.cameraOf(key)
		if err != nil {
			return err
		}
		n, err := decodeCount(key, value)
		if err != nil {
			return err
		}
		if len(rest) != len(media.Hash{}) {
			return fmt.Errorf("%w: key %q has no hash", ErrCorrupt, key)
		}
		c.inits[media.Hash(rest)] = n
		return nil
	})
	if err != nil {
		return err
	}
	err = s.scan([]byte{kindDeleting}, func(key, value []byte) error {
		c, _, err := s.cameraOf(key)
		if err != nil {
			return err
		}
		seg, err := decodeSegment(key, value)
		c.deleting[seg.Path] = seg
		return err
	})
	if err != nil {
		return err
	}
	if err := s.loadDamage(); err != nil {
		return err
	}
	for name, c := range s.cameras {
		if c.extent, err = s.measure(name, c.span); err != nil {
			return err
		}
		if c.last.End != 0 {
			c.newestNS = c.endNS
		}
	}
	return nil
}

func newCamera(row cameraRow) *camera {
	return &camera{
		cameraRow: row,
		newestNS:  math.MinInt64,
		inits:     map[media.Hash]int64{},
		deleting:  map[string]Segment{},
		damaged:   map[place]*Damage{},
	}
}

func (s *Store) cameraOf(key []byte) (*camera, []byte, error) {
	name, rest, err := splitKey(key)
	if err != nil {
		return nil, nil, err
	}
	c, ok := s.cameras[name]
	if !ok {
		return nil, nil, fmt.Errorf("%w: key %q of an unknown camera", ErrCorrupt, key)
	}
	return c, rest, nil
}

// checkFormat refuses a database of another version, and marks a new one.
func (s *Store) checkFormat() error {
	key := []byte{kindFormat}
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		if err := s.scan(nil, func(_, _ []byte) error {
			return fmt.Errorf("%w: it has no format version", ErrCorrupt)
		}); err != nil {
			return err
		}
		b := s.db.NewBatch()
		if err := b.Set(key, appendCount(nil, key, formatVersion), nil); err != nil {
			return err
		}
		return s.apply(b)
	}
	if err != nil {
		return s.readErr(err)
	}
	version, err := decodeCount(key, value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return err
	}
	if version != formatVersion {
		return fmt.Errorf("%w: it has format %d, known is %d", ErrCorrupt, version, formatVersion)
	}
	return nil
}

// scan calls f with every key that begins with prefix. Key and value are views.
func (s *Store) scan(prefix []byte, f func(key, value []byte) error) (err error) {
	it, err := s.iter(prefix)
	if err != nil {
		return err
	}
	defer func() { err = s.readErr(errors.Join(err, it.Close())) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := f(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

// iter returns an iterator over all keys that begin with prefix.
func (s *Store) iter(prefix []byte) (*pebble.Iterator, error) {
	o := &pebble.IterOptions{LowerBound: prefix}
	if len(prefix) > 0 {
		o.UpperBound = after(append([]byte(nil), prefix...))
	}
	it, err := s.db.NewIter(o)
	return it, s.readErr(err)
}

// extent is what of a camera's footage is the oldest and the newest.
type extent struct {
	startNS, endNS int64
	last           Span // in the order of keys
}

// measure finds the extent of a camera whose longest span lasts longestNS.
func (s *Store) measure(name string, longestNS int64) (e extent, err error) {
	prefix := appendPrefix(nil, kindSpan, name)
	it, err := s.iter(prefix)
	if err != nil {
		return e, err
	}
	defer func() { err = s.readErr(errors.Join(err, it.Close())) }()

	if it.First() {
		p, err := parsePlace(it.Key(), len(prefix))
		if err != nil {
			return e, err
		}
		e.startNS, e.endNS = p.startNS, math.MinInt64
	}
	for ok := it.Last(); ok; ok = it.Prev() {
		var span Span
		if err := decodeSpan(&span, len(prefix), it.Key(), it.Value()); err != nil {
			return e, err
		}
		if e.last.End == 0 {
			e.last = span
		}
		e.endNS = max(e.endNS, span.EndNS)
		if satAdd(span.StartNS, longestNS) <= e.endNS {
			break // no earlier one reaches further
		}
	}
	return e, it.Error()
}

// satAdd is a+b, or the nearest int64.
func satAdd(a, b int64) int64 {
	switch c := a + b; {
	case a > 0 && b > 0 && c < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && c >= 0:
		return math.MinInt64
	default:
		return c
	}
}

func satSub(a, b int64) int64 {
	if b == math.MinInt64 {
		return satAdd(satAdd(a, math.MaxInt64), 1)
	}
	return satAdd(a, -b)
}

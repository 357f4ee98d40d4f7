package index

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/duet-video/duet/internal/media"
)

// A listing is read in pages, the first one small, because many a caller wants one
// fragment only. Nothing is held between two pages.
const (
	firstPage = 16
	fullPage  = 512
)

// Fragments yields the fragments of a camera whose [MinNS, MaxNS) overlaps [startNS,
// endNS), in the order of Compare. It holds no lock and no iterator while the caller
// works; a change made meanwhile is seen or not. After an error it ends.
func (s *Store) Fragments(camera string, startNS, endNS int64) iter.Seq2[Ref, error] {
	return func(yield func(Ref, error) bool) {
		if startNS >= endNS || !validName(camera) {
			return
		}
		s.mu.RLock()
		c, ok := s.cameras[camera]
		var lead, tail int64
		if ok {
			lead, tail = c.lead, c.tail
		}
		s.mu.RUnlock()
		if !ok {
			return
		}
		p := pager{
			s: s, camera: camera, prefixLen: len(camera) + 2,
			lower: timeKey(kindFragment, camera, satSub(startNS, tail)),
			upper: timeKey(kindFragment, camera, satAdd(endNS, lead)),
			keep:  func(r *Ref) bool { return r.MinNS < endNS && r.MaxNS > startNS },
		}
		for size := firstPage; ; size = fullPage {
			if err := p.next(size); err != nil {
				yield(Ref{}, fmt.Errorf("list fragments of %s: %w", camera, err))
				return
			}
			for i := range p.page {
				if !yield(p.page[i], nil) {
					return
				}
			}
			if p.done {
				return
			}
		}
	}
}

// pager reads fragments of one camera a page at a time.
type pager struct {
	s            *Store
	camera       string
	prefixLen    int
	lower, upper []byte // what is still to be read
	keep         func(*Ref) bool
	page         []Ref
	segment      string // of the fragment before, see decodeRef
	done         bool
}

// next reads the next page, of at most size fragments.
func (p *pager) next(size int) error {
	if err := p.s.enter(); err != nil {
		return err
	}
	defer p.s.life.RUnlock()
	return p.read(size)
}

func (p *pager) read(size int) (err error) {
	p.page = p.page[:0]
	it, err := p.s.db.NewIter(&pebble.IterOptions{LowerBound: p.lower, UpperBound: p.upper})
	if err != nil {
		return p.s.readErr(err)
	}
	defer func() { err = p.s.readErr(errors.Join(err, it.Close())) }()
	for ok := it.First(); ok; ok = it.Next() {
		p.page = append(p.page, Ref{Segment: p.segment})
		r := &p.page[len(p.page)-1]
		if err := decodeRef(r, p.camera, p.prefixLen, it.Key(), it.Value()); err != nil {
			p.page = p.page[:len(p.page)-1]
			return err
		}
		p.segment = r.Segment
		if !p.keep(r) {
			p.page = p.page[:len(p.page)-1]
		} else if len(p.page) == size {
			p.lower = append(append(p.lower[:0], it.Key()...), 0)
			return nil
		}
	}
	p.done = true
	return it.Error()
}

// Lookup returns one fragment by its start time and key, or ErrNotFound.
func (s *Store) Lookup(camera string, startNS int64, k Key) (Ref, error) {
	var r Ref
	key := appendPlace(nil, kindFragment, camera, startNS, k.Epoch, k.First)
	err := s.get(key, func(value []byte) error {
		return decodeRef(&r, camera, len(key)-placeLen, key, value)
	})
	if err != nil {
		return Ref{}, fmt.Errorf("look up fragment %s %s+%d: %w", camera, k.Epoch, k.First, err)
	}
	return r, nil
}

// Init returns an init header, or ErrNotFound. The caller owns the slice.
func (s *Store) Init(camera string, hash media.Hash) (data []byte, err error) {
	key := appendHash(nil, kindInit, camera, hash)
	err = s.get(key, func(value []byte) error {
		data, err = decodeBlob(key, value)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up init header %x of %s: %w", hash[:4], camera, err)
	}
	return data, nil
}

// get calls f with the value of key, a view.
func (s *Store) get(key []byte, f func(value []byte) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.life.RUnlock()
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return s.readErr(err)
	}
	return s.readErr(errors.Join(f(value), closer.Close()))
}

// Spans returns the spans of a camera that overlap [startNS, endNS), whole, sorted by
// start time, epoch, first offset.
func (s *Store) Spans(camera string, startNS, endNS int64) ([]Span, error) {
	spans, err := s.SpansAround(camera, startNS, endNS)
	return slices.DeleteFunc(spans, func(p Span) bool { return p.EndNS <= startNS || p.StartNS >= endNS }), err
}

// SpansAround is Spans, and the nearest one before and after, if any: a timeline needs
// them to say why something is missing at its edges, and whether it is still to come.
func (s *Store) SpansAround(camera string, startNS, endNS int64) ([]Span, error) {
	if startNS >= endNS {
		return nil, nil
	}
	spans, err := s.spans(camera, startNS, endNS)
	if err != nil {
		return nil, fmt.Errorf("list spans of %s: %w", camera, err)
	}
	return spans, nil
}

func (s *Store) spans(camera string, startNS, endNS int64) (spans []Span, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	s.mu.RLock()
	c, ok := s.cameras[camera]
	var longest int64
	if ok {
		longest = c.span
	}
	s.mu.RUnlock()
	if !ok {
		return nil, nil
	}
	prefix := appendPrefix(nil, kindSpan, camera)
	it, err := s.iter(prefix)
	if err != nil {
		return nil, err
	}
	defer func() { err = s.readErr(errors.Join(err, it.Close())) }()

	// No span that starts before reaches startNS.
	from := timeKey(kindSpan, camera, satSub(startNS, longest))
	ok = it.SeekLT(from)
	if !ok {
		ok = it.First()
	}
	var before Span // the one that ends last before the range
	for ; ok; ok = it.Next() {
		var span Span
		if err := decodeSpan(&span, len(prefix), it.Key(), it.Value()); err != nil {
			return nil, err
		}
		if span.EndNS > startNS {
			spans = append(spans, span)
		} else if before.End == 0 || span.EndNS > before.EndNS {
			before = span
		}
		if span.StartNS >= endNS {
			break
		}
	}
	if before.End != 0 {
		spans = append(spans, before)
		slices.SortFunc(spans, func(a, b Span) int { return compareSpans(&a, &b) })
	}
	return spans, it.Error()
}

package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// Merged is a fragment of a merged listing, and who holds it.
type Merged struct {
	Ref
	// Holders are the indices of the sources that hold exactly this fragment (epoch,
	// first, End and hash), ascending. Ref is that of the first one. The slice is
	// shared and must not be modified; it may be kept.
	Holders []int
	// Conflict: another copy of some of the same records has other bytes, or was cut
	// elsewhere. Copies with the same records are yielded one right after the other,
	// the one with most holders first.
	Conflict bool
	// Unknown are the sources that failed before they came to this fragment and may
	// hold it as well (only with Continue), ascending. Shared, like Holders.
	Unknown []int
}

// MergeOptions say what a merge does with a source that fails.
type MergeOptions struct {
	// Continue makes the merge go on without a source that fails: what follows names
	// it in Unknown. Otherwise the merge ends with a *SourceError.
	Continue bool
	// OnError, if set, is told of each source that failed, with Continue.
	OnError func(*SourceError)
}

// SourceError says which source of a merge failed.
type SourceError struct {
	Source int // index among the sources
	// AfterNS is the start time of the last fragment that it gave, Unix ns; 0 if none.
	AfterNS int64
	Err     error
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("source %d of the merge: %v", e.Source, e.Err)
}

func (e *SourceError) Unwrap() error { return e.Err }

// Merge yields the union of the listings of one camera by any number of recorders,
// each of them sorted by Compare and without repetition: every fragment once, sorted by Compare. Where two
// copies of a fragment (same epoch and first offset) are of unequal length, the one
// with the larger End wins; of equal length, one that is not Truncated. A fragment
// whose records were all yielded before is dropped.
//
// It streams: it holds one fragment of each source, and allocates per merge and not
// per fragment. The caller may stop at any time.
func Merge(sources ...iter.Seq2[Ref, error]) iter.Seq2[Merged, error] {
	return MergeWith(MergeOptions{}, sources...)
}

// MergeWith is Merge with options.
func MergeWith(o MergeOptions, sources ...iter.Seq2[Ref, error]) iter.Seq2[Merged, error] {
	return func(yield func(Merged, error) bool) {
		m := merge{options: o, heads: make([]head, len(sources))}
		defer m.stop()
		for i, s := range sources {
			m.heads[i].source = i
			m.heads[i].next, m.heads[i].stop = iter.Pull2(s)
		}
		m.run(yield)
	}
}

var errUnsorted = errors.New("its fragments are not in order")

// head is a source and the fragment that it gave last.
type head struct {
	source int
	next   func() (Ref, error, bool)
	stop   func()
	ref    Ref // kept when there is none any more
}

type merge struct {
	options MergeOptions
	heads   []head  // by source
	live    []*head // those that hold a fragment, by source
	group   []*head // those whose fragment is the lowest
	sets    holderSets
	unknown []int
	seen    watermarks
	err     *SourceError
}

func (m *merge) stop() {
	for i := range m.heads {
		if m.heads[i].stop != nil {
			m.heads[i].stop()
		}
	}
}

func (m *merge) run(yield func(Merged, error) bool) {
	for i := range m.heads {
		if m.advance(&m.heads[i]) {
			m.live = append(m.live, &m.heads[i])
		}
	}
	for m.err == nil && len(m.live) > 0 {
		m.collect()
		if !m.emit(yield) {
			return
		}
		m.step()
	}
	if m.err != nil {
		yield(Merged{}, m.err)
	}
}

// advance takes the next fragment of a source, and reports whether there was one.
func (m *merge) advance(h *head) bool {
	ref, err, ok := h.next()
	if ok && err == nil && h.ref.End > 0 && Compare(&ref, &h.ref) <= 0 {
		err = errUnsorted
	}
	if ok && err == nil {
		h.ref = ref
		return true
	}
	if ok {
		e := &SourceError{Source: h.source, AfterNS: h.ref.StartNS, Err: err}
		switch {
		case !m.options.Continue:
			if m.err == nil {
				m.err = e
			}
		default:
			m.unknown = withSource(m.unknown, h.source)
			if m.options.OnError != nil {
				m.options.OnError(e)
			}
		}
	}
	return false
}

// withSource returns a new ascending list.
func withSource(list []int, source int) []int {
	out := make([]int, 0, len(list)+1)
	i := 0
	for ; i < len(list) && list[i] < source; i++ {
		out = append(out, list[i])
	}
	return append(append(out, source), list[i:]...)
}

// collect finds the sources that hold the lowest fragment.
func (m *merge) collect() {
	m.group = append(m.group[:0], m.live[0])
	for _, h := range m.live[1:] {
		switch c := Compare(&h.ref, &m.group[0].ref); {
		case c < 0:
			m.group = append(m.group[:0], h)
		case c == 0:
			m.group = append(m.group, h)
		}
	}
}

// step moves every source of the group on, over all that it has of this fragment.
func (m *merge) step() {
	ended := false
	for _, h := range m.group {
		if !m.advance(h) {
			ended = true
			h.next = nil
		}
	}
	if !ended {
		return
	}
	live := m.live[:0]
	for _, h := range m.live {
		if h.next != nil {
			live = append(live, h)
		}
	}
	m.live = live
}

// emit yields the fragment of the group, or its copies where they differ.
func (m *merge) emit(yield func(Merged, error) bool) bool {
	best := &m.group[0].ref
	equal := true // the usual case: all copies are the same
	for _, h := range m.group[1:] {
		if h.ref.End == best.End && h.ref.Hash == best.Hash {
			continue
		}
		equal = false
		if longer(&h.ref, best) {
			best = &h.ref
		}
	}
	news, overlap := m.seen.pass(best)
	if !news {
		return true
	}
	out := Merged{Conflict: overlap, Unknown: m.unknown}
	if equal {
		out.Ref, out.Holders = *best, m.sets.of(m.group)
		return yield(out, nil)
	}
	copies := m.copies(best)
	out.Conflict = out.Conflict || len(copies) > 1
	for _, c := range copies {
		out.Ref, out.Holders = *c.ref, c.holders
		if !yield(out, nil) {
			return false
		}
	}
	return true
}

// longer reports whether a is to be preferred to b, a copy of the same fragment.
func longer(a, b *Ref) bool {
	if a.End != b.End {
		return a.End > b.End
	}
	return a.Flags&media.Truncated == 0 && b.Flags&media.Truncated != 0
}

// sameBytes is a set of holders of the same bytes.
type sameBytes struct {
	ref     *Ref
	holders []int
}

// copies returns the copies in the group that are as good as best, each once, the one
// with most holders first.
func (m *merge) copies(best *Ref) []sameBytes {
	var all []sameBytes
next:
	for _, h := range m.group {
		if longer(best, &h.ref) {
			continue
		}
		for i := range all {
			if all[i].ref.Hash == h.ref.Hash {
				all[i].holders = append(all[i].holders, h.source)
				continue next
			}
		}
		all = append(all, sameBytes{ref: &h.ref, holders: []int{h.source}})
	}
	for i := range all {
		if len(all[i].holders) > len(all[0].holders) {
			all[0], all[i] = all[i], all[0]
		}
	}
	return all
}

// holderSets gives every set of holders one slice, since there are only a few.
type holderSets struct {
	byKey map[string][]int
	key   []byte
}

func (s *holderSets) of(group []*head) []int {
	s.key = s.key[:0]
	for _, h := range group {
		s.key = binary.AppendUvarint(s.key, uint64(h.source))
	}
	if set, ok := s.byKey[string(s.key)]; ok {
		return set
	}
	set := make([]int, len(group))
	for i, h := range group {
		set[i] = h.source
	}
	if s.byKey == nil {
		s.byKey = map[string][]int{}
	}
	s.byKey[string(s.key)] = set
	return set
}

// watermarks remember up to which offset the epochs that were met last were yielded.
type watermarks struct {
	marks [8]struct {
		epoch record.Epoch
		end   uint64
	}
	last int // the mark used last
	next int // the mark to give up for another epoch
}

// pass reports whether r has records that were not yielded yet, and whether it has
// some that were, and takes note of it.
func (w *watermarks) pass(r *Ref) (news, overlap bool) {
	if m := &w.marks[w.last]; m.epoch != r.Epoch || m.end == 0 {
		if !w.find(r.Epoch) {
			w.marks[w.last].epoch, w.marks[w.last].end = r.Epoch, 0
		}
	}
	m := &w.marks[w.last]
	news, overlap = r.End > m.end, r.First < m.end
	m.end = max(m.end, r.End)
	return news, overlap
}

// find makes last the mark of an epoch, or else a free one.
func (w *watermarks) find(e record.Epoch) bool {
	for i := range w.marks {
		if w.marks[i].epoch == e && w.marks[i].end > 0 {
			w.last = i
			return true
		}
	}
	if w.next == w.last {
		w.next = (w.next + 1) % len(w.marks)
	}
	w.last = w.next
	w.next = (w.next + 1) % len(w.marks)
	return false
}

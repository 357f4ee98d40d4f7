package index

import (
	"cmp"
	"slices"
)

// compareSpans orders spans by start time, epoch and first offset, like their keys.
func compareSpans(a, b *Span) int {
	if c := cmp.Compare(a.StartNS, b.StartNS); c != 0 {
		return c
	}
	if c := a.Epoch.Compare(b.Epoch); c != 0 {
		return c
	}
	return cmp.Compare(a.First, b.First)
}

// spanOf is the span of a single fragment.
func spanOf(r *Ref) Span {
	return Span{
		Epoch: r.Epoch, First: r.First, End: r.End, StartNS: r.StartNS, EndNS: r.EndNS,
		Since: r.Since, SinceNS: r.SinceNS,
	}
}

// touches reports whether two spans are one: same epoch, no offset between them.
func (s *Span) touches(o *Span) bool {
	return s.Epoch == o.Epoch && s.First <= o.End && o.First <= s.End
}

// join makes s the union of itself and o, which touches it.
func (s *Span) join(o *Span) {
	if o.First < s.First {
		s.First = o.First
	}
	s.End = max(s.End, o.End)
	s.StartNS = min(s.StartNS, o.StartNS)
	s.EndNS = max(s.EndNS, o.EndNS)
}

// cut returns what of s is left without o, at most two spans. Fragments of an epoch
// follow each other without a hole in time, so what is left ends where o begins, and
// begins where o ends.
func (s *Span) cut(o *Span) (left [2]Span, n int) {
	if s.Epoch != o.Epoch || o.End <= s.First || s.End <= o.First {
		left[0] = *s
		return left, 1
	}
	if s.First < o.First {
		left[n] = *s
		left[n].End, left[n].EndNS = o.First, o.StartNS
		n++
	}
	if o.End < s.End {
		left[n] = *s
		left[n].First, left[n].StartNS = o.End, o.EndNS
		n++
	}
	return left, n
}

// MergeSpans returns the union of the spans of one camera that several stores hold,
// sorted. Within an epoch, what touches or overlaps becomes one span.
func MergeSpans(lists ...[]Span) []Span {
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(a, b Span) int {
		if c := a.Epoch.Compare(b.Epoch); c != 0 {
			return c
		}
		return cmp.Compare(a.First, b.First)
	})
	out := all[:0]
	for _, s := range all {
		if n := len(out); n > 0 && out[n-1].touches(&s) {
			out[n-1].join(&s)
			continue
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Span) int { return compareSpans(&a, &b) })
	return out
}

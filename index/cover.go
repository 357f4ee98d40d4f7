package index

import (
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// touchNS is how far apart in time two spans that touch by their offsets may be at
// most. Fragments follow each other without a hole in time; this is slack.
const touchNS = int64(10 * time.Second)

// cover adds a stretch to the spans of a camera.
func (t *txn) cover(c *change, s Span) error { return t.extend(c, s, false) }

// uncover takes a stretch out of the spans of a camera.
func (t *txn) uncover(c *change, s Span) error { return t.extend(c, s, true) }

// extend gathers stretches that follow each other, so that a thousand fragments in a
// row change a span once.
func (t *txn) extend(c *change, s Span, out bool) error {
	if c.run.End != 0 && c.runOut == out && c.run.touches(&s) {
		c.run.join(&s)
		return nil
	}
	if err := t.flush(c); err != nil {
		return err
	}
	c.run, c.runOut = s, out
	return nil
}

// flush applies what extend has gathered.
func (t *txn) flush(c *change) error {
	run := c.run
	c.run = Span{}
	switch {
	case run.End == 0:
		return nil
	case c.runOut:
		c.remeasure = true
		return t.subtract(c, &run)
	}
	if c.last.End == 0 {
		c.startNS, c.endNS = run.StartNS, run.EndNS
	}
	c.startNS, c.endNS = min(c.startNS, run.StartNS), max(c.endNS, run.EndNS)
	switch {
	case c.last.End == 0:
		c.last = run
	case c.last.Epoch == run.Epoch && c.last.End == run.First:
		c.last.join(&run) // nothing is behind the last span that it could join, too
	default:
		return t.insert(c, run)
	}
	t.putSpan(c, &c.last)
	return nil
}

// insert adds a span and joins it with those that it touches.
func (t *txn) insert(c *change, s Span) error {
	near, err := t.near(c, &s)
	if err != nil {
		return err
	}
	lastGone := false
	for i := range near {
		if !near[i].touches(&s) {
			continue
		}
		s.join(&near[i])
		t.deleteSpan(c, &near[i])
		lastGone = lastGone || compareSpans(&near[i], &c.last) == 0
	}
	t.putSpan(c, &s)
	if lastGone || compareSpans(&s, &c.last) >= 0 {
		return t.findLast(c)
	}
	return nil
}

// subtract takes a stretch out of the spans that hold it.
func (t *txn) subtract(c *change, s *Span) error {
	near, err := t.near(c, s)
	if err != nil {
		return err
	}
	for i := range near {
		left, n := near[i].cut(s)
		if n == 1 && left[0] == near[i] {
			continue
		}
		t.deleteSpan(c, &near[i])
		for j := range n {
			t.putSpan(c, &left[j])
		}
	}
	return t.findLast(c)
}

// near returns the spans of the same epoch that may touch s, sorted.
func (t *txn) near(c *change, s *Span) (near []Span, err error) {
	prefix := appendPrefix(nil, kindSpan, c.name)
	it, err := t.spans.NewIter(&pebble.IterOptions{
		LowerBound: timeKey(kindSpan, c.name, satSub(s.StartNS, satAdd(c.row.span, touchNS))),
		UpperBound: timeKey(kindSpan, c.name, satAdd(s.EndNS, touchNS)),
	})
	if err != nil {
		return nil, t.s.readErr(err)
	}
	defer func() { err = t.s.readErr(errors.Join(err, it.Close())) }()
	n := len(prefix)

	// Behind: usually the very next one is of the same epoch and ends the search.
	start := appendPlace(nil, kindSpan, c.name, s.StartNS, s.Epoch, s.First)
	var o Span
	for ok := it.SeekLT(start); ok; ok = it.Prev() {
		if err := decodeSpan(&o, n, it.Key(), it.Value()); err != nil {
			return nil, err
		}
		if o.Epoch == s.Epoch {
			near = append(near, o)
			break
		}
	}
	for ok := it.SeekGE(start); ok; ok = it.Next() {
		if err := decodeSpan(&o, n, it.Key(), it.Value()); err != nil {
			return nil, err
		}
		if o.Epoch == s.Epoch {
			near = append(near, o)
		}
	}
	return near, it.Error()
}

// findLast reads the last span of a camera again.
func (t *txn) findLast(c *change) (err error) {
	prefix := appendPrefix(nil, kindSpan, c.name)
	n := len(prefix)
	it, err := t.spans.NewIter(&pebble.IterOptions{
		LowerBound: prefix, UpperBound: after(append([]byte(nil), prefix...)),
	})
	if err != nil {
		return t.s.readErr(err)
	}
	defer func() { err = t.s.readErr(errors.Join(err, it.Close())) }()
	c.last = Span{}
	if it.Last() {
		return decodeSpan(&c.last, n, it.Key(), it.Value())
	}
	return it.Error()
}

func (t *txn) putSpan(c *change, s *Span) {
	c.row.span = max(c.row.span, satSub(s.EndNS, s.StartNS))
	t.key = appendPlace(t.key[:0], kindSpan, c.name, s.StartNS, s.Epoch, s.First)
	t.val = appendSpan(t.val[:0], t.key, s)
	if err := t.spans.Set(t.key, t.val, nil); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *txn) deleteSpan(c *change, s *Span) {
	t.key = appendPlace(t.key[:0], kindSpan, c.name, s.StartNS, s.Epoch, s.First)
	if err := t.spans.Delete(t.key, nil); err != nil && t.err == nil {
		t.err = err
	}
}

package replay

import "slices"

// back is next in reverse.
func (w *walker) back() move {
	if len(w.steps) > 0 {
		s := w.steps[0]
		w.steps = w.steps[1:]
		return move{kind: moveStep, step: s}
	}
	if w.toNS != 0 && w.tail != nil && w.tail.StartNS <= w.toNS {
		w.beyond = beyondEnd
	}
	if w.group() {
		return w.back()
	}
	switch w.beyond {
	case beyondEnd:
		return move{kind: moveEnd}
	case beyondHole:
		at := w.lowNS()
		if w.missedNS != 0 {
			at = min(at, w.missedNS)
		}
		return move{kind: moveFind, fromNS: at}
	}
	m := move{kind: moveList, toNS: w.lowNS()}
	if w.beyond == beyondFound {
		m.toNS = min(w.foundNS, m.toNS)
	}
	m.fromNS = max(m.toNS-w.windowNS, 0)
	return m
}

// lowNS is down to where it is known what there is.
func (w *walker) lowNS() int64 {
	if w.tail == nil {
		return w.fromNS + 1
	}
	return w.tail.StartNS
}

// group makes steps of the first fragments of the queue: those that the last GOP of the
// first one needs. It reports whether there are any.
func (w *walker) group() bool {
	n := 0 // index of the one where that GOP begins
	for {
		if n >= len(w.queue) {
			if n == 0 || w.beyond != beyondEnd {
				return false
			}
			n = 0 // where it begins is not there
			break
		}
		if w.queue[n].RandomAccess || n > chainLimit {
			break
		}
		if n+1 < len(w.queue) && !w.queue[n].follows(&w.queue[n+1]) {
			n = 0
			break
		}
		n++
	}
	if n+1 >= len(w.queue) && w.beyond != beyondEnd {
		return false // what comes before is not known yet
	}
	newest, oldest := w.queue[0], w.queue[n]
	last := n+1 >= len(w.queue) || !oldest.follows(&w.queue[n+1])
	end := w.beyond == beyondEnd && n+1 >= len(w.queue)
	if end && w.toNS != 0 && oldest.StartNS <= w.toNS {
		last = false // there is more, it was not asked for
	}
	fresh := w.gave == nil || !w.gave.follows(&newest)
	add := func(f Fragment, p part) {
		w.steps = append(w.steps, step{Fragment: f, part: p, fresh: fresh && len(w.steps) == 0})
	}
	if n == 0 {
		add(newest, partAll)
	} else {
		add(newest, partSynced)
		add(oldest, partTail)
		for i := n - 1; i > 0; i-- {
			add(w.queue[i], partMiddle)
		}
		add(newest, partLead)
		w.mark(last, end)
		add(oldest, partLeading)
	}
	w.mark(last, end)
	w.queue = w.queue[n+1:]
	w.gave = &oldest
	return true
}

// mark marks the newest step. Of partLead that counts only where partLeading is empty.
func (w *walker) mark(last, end bool) {
	s := &w.steps[len(w.steps)-1]
	s.last, s.end = last, end
}

func (w *walker) listedBack(m *move, l *Listing, nowNS int64) (wait bool) {
	took := 0
	for i := range slices.Backward(l.Fragments) {
		f := &l.Fragments[i]
		low := w.lowNS()
		if f.StartNS >= low || w.tail != nil && f.Epoch == w.tail.Epoch && f.First >= w.tail.First {
			continue
		}
		joined := w.tail != nil && w.tail.follows(f) || f.EndNS >= low
		if !joined && overlaps(l.Unknown, f.EndNS, low) && (took > 0 || !w.patient(nowNS)) {
			if took > 0 {
				break
			}
			return true
		}
		w.queue = append(w.queue, *f)
		w.tail = f
		took++
		w.doubtNS = 0
	}
	empty := beyondHole
	if m.fromNS == 0 || w.toNS != 0 && m.fromNS <= w.toNS {
		empty = beyondEnd
	}
	return w.concludes(took, l, m.fromNS, empty, nowNS)
}

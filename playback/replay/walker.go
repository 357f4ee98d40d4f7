package replay

// part says which access units of a fragment are sent.
type part int

const (
	// partAll: all of them; in reverse one GOP after another, the last one first.
	partAll part = iota
	// The others are for reverse, and GOPs that reach over several fragments.
	partSynced  // from the first sync sample on, the last GOP first
	partTail    // from the last sync sample on
	partMiddle  // all, as part of a GOP that began in an earlier fragment
	partLead    // those before the first sync sample, likewise
	partLeading // all GOPs but the last, the last one first
)

// step is a fragment to send, or a part of it.
type step struct {
	Fragment
	part part
	// fresh: there is a gap between what was sent before and this (D), or nothing was.
	fresh bool
	// last: a gap follows, or the end of the footage (E); end: nothing more follows of what
	// was asked for (T).
	last, end bool
}

type moveKind int

const (
	moveStep moveKind = iota // send move.step
	moveList                 // list [fromNS, toNS), then call listed
	moveFind                 // find footage after (in reverse: before) fromNS, then call found
	moveWait                 // there is none yet: ask again later
	moveEnd                  // all was sent
)

// move is what the walker wants done.
type move struct {
	kind         moveKind
	fromNS, toNS int64
	after        *After // of moveList
	step         step
}

const (
	firstWindowNS = int64(10e9)
	// lateNS is how old the end of the newest footage is when it counts as the end.
	lateNS = int64(20e9)
	// Where those who answer have a gap, and others do not answer: how long it waits for
	// them, at the start and later.
	startPatienceNS = int64(1e9)
	patienceNS      = int64(8e9)
	// chainLimit bounds how many fragments earlier a GOP may begin.
	chainLimit = 1200
)

// beyond is what is known of what comes behind the queue.
type beyond int

const (
	beyondUnlisted beyond = iota // list
	beyondHole                   // nothing near: find
	beyondFound                  // list at foundNS
	beyondNothing                // nothing for now
	beyondEnd                    // nothing that was asked for
)

// walker decides which fragment is sent next. Pure: it is told the time. It knows what
// follows a fragment before it gives it away, so that the last access unit before a gap
// can be marked; only at the live edge it does not.
type walker struct {
	reverse bool
	// fromNS and toNS are what was asked for; toNS 0: open.
	fromNS, toNS int64
	maxWindowNS  int64

	queue    []Fragment // listed and not given, in the order of sending
	tail     *Fragment  // the last one that was listed
	gave     *Fragment  // the last one that was given
	beyond   beyond
	foundNS  int64
	missedNS int64 // where footage was found that could not be listed
	windowNS int64
	doubtNS  int64  // since when it waits for those who do not answer; 0: it does not
	steps    []step // of the group that is being given, in reverse
}

func newWalker(a *ask) *walker {
	w := &walker{reverse: a.scale < 0, fromNS: a.fromNS, toNS: a.toNS, windowNS: firstWindowNS, maxWindowNS: 60e9}
	if !a.paced {
		w.maxWindowNS = 600e9
	}
	return w
}

// next returns what is to be done now.
func (w *walker) next(nowNS int64) move {
	if w.reverse {
		return w.back()
	}
	if w.toNS != 0 && w.tail != nil && w.tail.EndNS >= w.toNS {
		w.beyond = beyondEnd
	}
	if len(w.queue) >= 2 {
		s := w.pop()
		s.last = !w.queue[0].follows(&s.Fragment)
		return move{kind: moveStep, step: s}
	}
	switch w.beyond {
	case beyondHole:
		return move{kind: moveFind, fromNS: max(w.coverNS(), w.missedNS)}
	case beyondNothing, beyondEnd:
		return w.edge(nowNS)
	}
	m := move{kind: moveList, fromNS: w.coverNS()}
	if w.beyond == beyondFound {
		m.fromNS = max(w.foundNS, m.fromNS)
	}
	m.toNS = m.fromNS + w.windowNS
	if w.toNS != 0 {
		m.toNS = min(m.toNS, w.toNS)
	}
	if w.tail != nil {
		m.after = &After{Epoch: w.tail.Epoch, End: w.tail.End, CoverNS: w.tail.EndNS}
	}
	return m
}

// coverNS is up to where it is known what there is.
func (w *walker) coverNS() int64 {
	if w.tail == nil {
		return w.fromNS
	}
	return w.tail.EndNS
}

func (w *walker) pop() step {
	f := w.queue[0]
	w.queue = w.queue[1:]
	s := step{Fragment: f, fresh: w.gave == nil || !f.follows(w.gave)}
	w.gave = &f
	return s
}

// edge is where nothing follows the queue.
func (w *walker) edge(nowNS int64) move {
	over := w.beyond == beyondEnd || w.toNS != 0 && nowNS > w.toNS+lateNS
	if len(w.queue) > 0 {
		s := w.pop()
		inside := w.toNS != 0 && s.EndNS >= w.toNS
		s.end = over
		s.last = !inside && (over || nowNS > s.EndNS+lateNS)
		return move{kind: moveStep, step: s}
	}
	if over {
		return move{kind: moveEnd}
	}
	w.beyond = beyondUnlisted
	return move{kind: moveWait}
}

// patient reports whether it is time to go on over a gap that may be none.
func (w *walker) patient(nowNS int64) bool {
	limit := patienceNS
	if w.gave == nil {
		limit = startPatienceNS
	}
	if w.doubtNS == 0 {
		w.doubtNS = nowNS
	}
	return nowNS-w.doubtNS >= limit
}

func overlaps(list []Stretch, fromNS, toNS int64) bool {
	for _, s := range list {
		if s.StartNS < toNS && s.EndNS > fromNS {
			return true
		}
	}
	return false
}

// listed takes the answer to moveList. It reports whether to wait before next.
func (w *walker) listed(m *move, l *Listing, nowNS int64) (wait bool) {
	if w.reverse {
		return w.listedBack(m, l, nowNS)
	}
	took := 0
	for i := range l.Fragments {
		f := &l.Fragments[i]
		hole := w.coverNS()
		joined := w.tail != nil && f.follows(w.tail) || f.StartNS <= hole
		if !joined && overlaps(l.Unknown, hole, f.StartNS) && (took > 0 || !w.patient(nowNS)) {
			if took > 0 {
				break // to be listed again, from the hole on
			}
			return true
		}
		w.queue = append(w.queue, *f)
		w.tail = f
		took++
		w.doubtNS = 0
	}
	empty := beyondHole
	switch {
	case w.toNS != 0 && m.toNS >= w.toNS && nowNS > w.toNS+lateNS:
		empty = beyondEnd
	case m.toNS > nowNS || w.coverNS() > nowNS-lateNS: // what is missing is still to come
		empty = beyondNothing
	}
	return w.concludes(took, l, m.toNS, empty, nowNS)
}

// concludes says what is beyond a listing of which so many were taken: where there were
// none, empty. edgeNS is the far end of what was listed. It reports whether to wait before
// next.
func (w *walker) concludes(took int, l *Listing, edgeNS int64, empty beyond, nowNS int64) (wait bool) {
	switch {
	case took > 0:
		w.beyond = beyondUnlisted
		w.windowNS = min(2*w.windowNS, w.maxWindowNS)
	case len(l.Unknown) > 0 && !w.patient(nowNS):
		return true
	case w.beyond == beyondFound: // it has gone meanwhile
		w.beyond, w.missedNS = beyondHole, edgeNS
		return true
	default:
		w.beyond = empty
	}
	return false
}

// found takes the answer to moveFind.
func (w *walker) found(ns int64, ok bool) {
	switch {
	case !ok && w.reverse:
		w.beyond = beyondEnd
	case !ok:
		w.beyond = beyondNothing
	case w.toNS != 0 && (w.reverse && ns <= w.toNS || !w.reverse && ns >= w.toNS):
		w.beyond = beyondEnd
	default:
		w.beyond, w.foundNS = beyondFound, ns
	}
}

// lost tells that the last fragment that was given cannot be read: what follows it comes
// after a gap.
func (w *walker) lost() { w.gave = nil }

package playback

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// asideFor is how long a recorder that failed to deliver a fragment is asked only when
// no other can deliver.
const asideFor = 2 * time.Second

// readLoad is how a recorder does at delivering fragments. Safe for concurrent use.
type readLoad struct {
	mu         sync.Mutex
	running    int
	costNS     float64 // of a read, moving average
	asideUntil int64   // clock.Mono
}

func (l *readLoad) begin() {
	l.mu.Lock()
	l.running++
	l.mu.Unlock()
}

func (l *readLoad) end(took time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	if !ok {
		return
	}
	if l.costNS == 0 {
		l.costNS = float64(took)
		return
	}
	l.costNS += (float64(took) - l.costNS) / 8
}

// aside puts the recorder behind the others until then (clock.Mono).
func (l *readLoad) aside(until int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asideUntil = max(l.asideUntil, until)
}

// cost is an estimate of how long a read would take now, in ns, and whether the recorder
// is set aside.
func (l *readLoad) cost(now int64) (float64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.costNS * float64(1+l.running), l.asideUntil > now
}

// alike is by how much the costs of two recorders may differ while they are used in turn.
const alike = 1.5

// measureEvery: one read in so many goes to the second best, to see whether it still is.
const measureEvery = 16

// order sorts the recorders of a holder set: the better ones first, in turn where they
// are alike.
func order(peers []*peer, holders uint64, now int64, turn *atomic.Uint64) []*peer {
	type choice struct {
		peer *peer
		rank int
		cost float64
	}
	var c []choice
	for _, p := range peers {
		if holders&(1<<p.index) == 0 {
			continue
		}
		cost, aside := p.load.cost(now)
		rank := 0
		if aside {
			rank = 1
		}
		if p.isDown() {
			rank = 2
		}
		c = append(c, choice{p, rank, cost})
	}
	slices.SortStableFunc(c, func(a, b choice) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.cost, b.cost))
	})
	n := 0 // how many are as good as the best
	for n < len(c) && c[n].rank == c[0].rank && c[n].cost <= c[0].cost*alike {
		n++
	}
	out := make([]*peer, len(c))
	for i := range c {
		out[i] = c[i].peer
	}
	switch t := turn.Add(1); {
	case n > 1:
		k := int(t % uint64(n))
		slices.Reverse(out[:k])
		slices.Reverse(out[k:n])
		slices.Reverse(out[:n])
	case t%measureEvery == 0 && len(c) > 1 && c[1].rank == c[0].rank:
		out[0], out[1] = out[1], out[0]
	}
	return out
}

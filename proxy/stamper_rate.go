package proxy

import "time"

const (
	// windowNS is the span of arrivals of which only the least delayed one counts.
	windowNS = int64(time.Second)
	// windowCount windows are kept: the baseline of the rate.
	windowCount = 120
	// baselineNS is the least baseline from which a rate is estimated.
	baselineNS = int64(1500 * time.Millisecond)
	// jitterNS is how far off a least-delayed arrival is taken to be, beside what the
	// arrivals of its window are spread by. A deviation from the declared rate counts as
	// far as it stands out of that over the baseline.
	jitterNS = 20e6
	// rateMin and rateMax bound the estimated rate against the declared one: cameras
	// that count 25 frames a second and deliver 13 exist.
	rateMin, rateMax = 0.5, 2.0
	// steadyRateStep bounds how much the rate changes per window once f has settled and
	// the baseline is long. While it is short, the rate may still be wrong by the jitter
	// over the baseline, and a quarter of that is made good per window.
	steadyRateStep = 100e-6
)

// point is an arrival: timestamp x (ticks, unwrapped) at t (ns).
type point struct{ x, t int64 }

// arrivals keep the least-delayed arrival of each window, and estimate from them how
// long a tick really takes: the edge under the middle of their lower convex hull, which
// delays cannot pull up as long as some packets come through undelayed.
type arrivals struct {
	nominal, rate float64 // ns per tick

	ring  [windowCount]point
	n     int // how many windows were ever closed
	from  int // the first of them that still counts
	cur   point
	begin int64
	open  bool
	hull  [windowCount]point

	// How much later than the least delayed the others of a window are on average.
	spread   [windowCount]float64
	base     point
	sum      float64
	arrivals int
}

// delay orders arrivals of about the same time by how late they are.
func (a *arrivals) delay(p, base point) float64 {
	return float64(p.t-base.t) - float64(p.x-base.x)*a.rate
}

// add takes an arrival, and reports whether it closed a window.
func (a *arrivals) add(x, t int64) bool {
	p := point{x, t}
	if a.open && t-a.begin < windowNS {
		if a.delay(p, a.cur) < 0 {
			a.cur = p
		}
		a.sum += a.delay(p, a.base)
		a.arrivals++
		return false
	}
	closed := a.open
	if closed {
		a.ring[a.n%windowCount] = a.cur
		a.spread[a.n%windowCount] = a.sum/float64(a.arrivals) - a.delay(a.cur, a.base)
		a.n++
	}
	a.cur, a.begin, a.open = p, t, true
	a.base, a.sum, a.arrivals = p, 0, 1
	return closed
}

// reset forgets all arrivals, and keeps the rate: timestamps jumped.
func (a *arrivals) reset() {
	a.from = a.n
	a.open = false
}

// forget drops the closed windows but the latest keep of them: the rate changed.
func (a *arrivals) forget(keep int) { a.from = max(a.from, a.n-keep) }

func (a *arrivals) first() int { return max(a.from, a.n-windowCount) }

// line returns when the timestamp x would arrive if it were as little delayed as the
// best of the latest n windows and the open one. mature says that this rests on at
// least a whole window.
func (a *arrivals) line(x int64, n int) (t int64, mature bool) {
	best := a.cur
	first := max(a.first(), a.n-n)
	for i := first; i < a.n; i++ {
		if p := a.ring[i%windowCount]; a.delay(p, best) < 0 {
			best = p
		}
	}
	return best.t + int64(float64(x-best.x)*a.rate), a.n > first
}

// estimate sets the rate anew; slowly where f has settled.
func (a *arrivals) estimate(settled bool) {
	first := a.first()
	if a.n-first < 2 {
		return
	}
	oldest, newest := a.ring[first%windowCount], a.ring[(a.n-1)%windowCount]
	span := newest.t - oldest.t
	if span < baselineNS || newest.x <= oldest.x {
		return
	}
	jitter := 0.0
	for i := first; i < a.n; i++ {
		jitter += a.spread[i%windowCount]
	}
	noise := (jitterNS + jitter/float64(a.n-first)) / float64(span)
	deviation := a.hullRate(first)/a.nominal - 1
	if s := deviation / noise; s != 0 {
		deviation *= s * s / (1 + s*s)
	}
	want := min(max(1+deviation, rateMin), rateMax) * a.nominal
	if !settled {
		a.rate = want
		return
	}
	step := max(steadyRateStep, noise/4) * a.nominal
	a.rate += min(max(want-a.rate, -step), step)
}

// hullRate returns the slope of the edge of the lower convex hull that lies under the
// middle of the arrivals.
func (a *arrivals) hullRate(first int) float64 {
	h := a.hull[:0]
	for i := first; i < a.n; i++ {
		p := a.ring[i%windowCount]
		for len(h) >= 2 && !below(h[len(h)-2], h[len(h)-1], p) {
			h = h[:len(h)-1]
		}
		if len(h) == 1 && p.x <= h[0].x {
			continue
		}
		h = append(h, p)
	}
	if len(h) < 2 {
		return a.rate
	}
	middle := h[0].x + (h[len(h)-1].x-h[0].x)/2
	i := 1
	for i < len(h)-1 && h[i].x < middle {
		i++
	}
	return float64(h[i].t-h[i-1].t) / float64(h[i].x-h[i-1].x)
}

// below reports whether b lies below the line from a to c.
func below(a, b, c point) bool {
	return float64(b.t-a.t)*float64(c.x-a.x) < float64(c.t-a.t)*float64(b.x-a.x)
}

const (
	// saneNS is how far a sender report may be from the wall clock, and
	// agreeNS how far two of them may be apart, to be believed.
	saneNS  = int64(2 * time.Second)
	agreeNS = int64(100 * time.Millisecond)
	// reportTTL is how long a sender report is followed.
	reportTTL = int64(30 * time.Second)
)

// reports are the sender reports of a track.
type reports struct {
	have   bool
	trust  bool
	p      point // t: the instant it names, on the monotonic clock
	seenNS int64
}

// add takes a report: timestamp x stands for the instant y, where f expects expected;
// now is when it came. It reports whether f has to go to a new line.
func (r *reports) add(x, y, expected, now int64, rate float64) bool {
	near := func(a, b, within int64) bool { return a-b <= within && b-a <= within }
	if !near(y, now, saneNS) || !near(y, expected, saneNS) {
		r.trust = false
		r.have = false
		return false
	}
	agrees := r.have && near(r.p.t+int64(float64(x-r.p.x)*rate), y, agreeNS)
	fresh := !r.have || !r.trust
	// The first one is followed at once; one that contradicts it makes both doubtful
	// until the next agrees.
	trust := !r.have || agrees
	r.have, r.trust = true, trust
	r.p, r.seenNS = point{x, y}, now
	return trust && fresh
}

// line returns the instant that the reports name for x.
func (r *reports) line(x int64, rate float64, now int64) (int64, bool) {
	if !r.have || !r.trust || now-r.seenNS > reportTTL {
		return 0, false
	}
	return r.p.t + int64(float64(x-r.p.x)*rate), true
}

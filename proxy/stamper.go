package proxy

import "time"

// The numbers of the capture-time machine; docs/CLOCK.md says where each comes from.
const (
	// jumpNS: an RTP timestamp that moves this much further than real time did, or
	// backward by more than reordering explains, is a jump.
	jumpNS = int64(3 * time.Second)
	// backReorderedNS and backInOrderNS are how far back a timestamp may go without
	// being a jump, with and without B-frames.
	backReorderedNS = int64(2 * time.Second)
	backInOrderNS   = int64(500 * time.Millisecond)
	// rejoinStepNS is the least step forward at a jump.
	rejoinStepNS = int64(time.Millisecond)

	// knotNS is how often the slope may change, in media time.
	knotNS = int64(40 * time.Millisecond)

	// While learning, f approaches its target with learnTau at any slope between
	// learnMin and learnMax of the rate; afterwards with steadyTau and steadySlew.
	learnNS   = int64(10 * time.Second)
	learnTau  = float64(time.Second)
	learnMin  = -0.5
	learnMax  = 1.0
	brakeNS   = int64(2 * time.Second) // f is ahead of arrival by this much: nearly stand still
	brakeMin  = -0.9
	settledNS = int64(50 * time.Millisecond)

	steadyTau = float64(10 * time.Second)
	// How many windows of arrivals f follows while learning, and afterwards.
	fewWindows, manyWindows = 2, 10
	steadySlew              = 500e-6

	// Outside of these errors f learns anew: ahead of the least-delayed arrival is
	// impossible, behind it may be a congested network.
	aheadNS  = int64(150 * time.Millisecond)
	behindNS = int64(time.Second)
)

// stamper makes the capture times of one track: capture = f(RTP timestamp), where f is
// continuous, piecewise linear and strictly increasing. f follows the least-delayed
// arrivals on the monotonic clock. What f says of a timestamp never changes once a
// later one was stamped, so that B-frames find their place between their references.
//
// It is a pure machine: no clock, no I/O, no allocation after newStamper.
type stamper struct {
	nominal  float64 // ns per tick as declared
	reorders bool
	useSR    bool
	wallNS   int64 // Unix time at the zero of the monotonic clock, for the whole epoch

	started bool
	lastRaw uint32
	lastX   int64 // ticks, unwrapped, of lastRaw
	frontX  int64 // the greatest timestamp so far, its f, and when it arrived
	frontY  int64
	frontT  int64

	knots   knots
	arrival arrivals
	reports reports

	learning   bool
	learnSince int64
	late       bool // behind by more than jumpNS for a whole window
}

// stamperOptions say what is declared of a track.
type stamperOptions struct {
	// ClockRate of the RTP timestamps, in Hz.
	ClockRate int
	// Reorders: the codec may have B-frames.
	Reorders bool
	// SenderReports: follow the camera's RTCP sender reports where they are sane.
	SenderReports bool
	// WallNS is the Unix time in ns at the zero of the monotonic clock. Sampled once
	// for a session: a step of the wall clock does not reach an epoch.
	WallNS int64
}

func newStamper(o stamperOptions) *stamper {
	rate := o.ClockRate
	if rate <= 0 {
		rate = 90000
	}
	nominal := float64(time.Second) / float64(rate)
	return &stamper{
		nominal:  nominal,
		reorders: o.Reorders,
		useSR:    o.SenderReports,
		wallNS:   o.WallNS,
		arrival:  arrivals{nominal: nominal, rate: nominal},
	}
}

// stamp returns the capture time, in Unix ns, of the access unit with RTP timestamp ts
// whose first packet arrived at arrivalNS on the monotonic clock. instant says that all
// access units before it come before it in output order too (an IDR). Timestamps are
// given in the order of arrival; equal ones get equal capture times. jumped reports
// that the timestamps jumped and f was anchored anew, forward only.
func (s *stamper) stamp(ts uint32, arrivalNS int64, instant bool) (captureNS int64, jumped bool) {
	if !s.started {
		s.start(ts, arrivalNS)
		return s.wallNS + s.frontY, false
	}
	dx := int64(int32(ts - s.lastRaw))
	x := s.lastX + dx
	switch {
	case x > s.frontX:
		ran := int64(float64(x-s.frontX) * s.arrival.rate)
		if ran-(arrivalNS-s.frontT) > jumpNS || s.late {
			return s.jump(ts, arrivalNS), true
		}
		s.lastRaw, s.lastX = ts, x
		s.advance(x, arrivalNS)
		return s.wallNS + s.frontY, false
	case x == s.frontX:
		// A camera whose timestamps stand still must not stop time.
		if arrivalNS-s.frontT > jumpNS {
			return s.jump(ts, arrivalNS), true
		}
		s.lastRaw, s.lastX = ts, x
		return s.wallNS + s.frontY, false
	}
	back := int64(float64(s.frontX-x) * s.arrival.rate)
	limit := backInOrderNS
	if s.reorders {
		limit = backReorderedNS
	}
	if instant || back > limit {
		return s.jump(ts, arrivalNS), true
	}
	s.lastRaw, s.lastX = ts, x
	return s.wallNS + s.knots.at(x), false
}

func (s *stamper) start(ts uint32, t int64) {
	s.started = true
	s.lastRaw = ts
	s.frontY, s.frontT = t, t
	s.knots.add(knot{x: 0, y: t, slope: s.nominal})
	s.arrival.add(0, t)
	s.learn(t)
}

func (s *stamper) learn(t int64) {
	s.learning = true
	s.learnSince = t
}

// advance moves the front to x, which arrived at t.
func (s *stamper) advance(x, t int64) {
	closed := s.arrival.add(x, t)
	if closed {
		s.arrival.estimate(!s.learning)
	}
	last := s.knots.last()
	if float64(x-last.x)*s.nominal >= float64(knotNS) {
		s.knots.add(knot{x: s.frontX, y: s.frontY, slope: s.arrival.rate * (1 + s.correction(t))})
		last = s.knots.last()
	}
	s.frontX, s.frontY, s.frontT = x, last.y+int64(float64(x-last.x)*last.slope), t
}

// correction returns by how much, relative to the estimated rate, f is to be faster
// (positive) or slower than it, to come nearer to what it follows.
func (s *stamper) correction(t int64) float64 {
	// The latest windows notice a change at once, many of them see through jitter.
	target, mature := s.arrival.line(s.frontX, fewWindows)
	e := target - s.frontY
	s.late = mature && e > jumpNS
	reported := false
	if s.useSR {
		if target, reported = s.reports.line(s.frontX, s.arrival.rate, t); reported {
			e, mature = target-s.frontY, true
		}
	}
	if e > 0 && !mature {
		return 0
	}
	switch {
	case s.learning && t-s.learnSince >= learnNS && max(e, -e) < settledNS:
		s.learning = false
	case !s.learning && (e < -aheadNS || e > behindNS):
		// Behind is a rate that changed seconds ago, ahead may be a step just now.
		keep := 0
		if e > 0 {
			keep = fewWindows
		}
		s.arrival.forget(keep)
		s.learn(t)
	}
	if !s.learning {
		if !reported {
			target, _ = s.arrival.line(s.frontX, manyWindows)
			e = target - s.frontY
		}
		return min(max(float64(e)/steadyTau, -steadySlew), steadySlew)
	}
	low := learnMin
	if e < -brakeNS {
		low = brakeMin
	}
	return min(max(float64(e)/learnTau, low), learnMax)
}

// jump anchors f anew at ts, which arrived at t: at t, but never before the front.
func (s *stamper) jump(ts uint32, t int64) int64 {
	y := max(t, s.frontY+rejoinStepNS)
	ticks := max(int64(float64(y-s.frontY)/s.arrival.rate), 1)
	x := s.frontX + ticks
	s.knots.add(knot{x: s.frontX, y: s.frontY, slope: float64(y-s.frontY) / float64(ticks)})
	s.knots.add(knot{x: x, y: y, slope: s.arrival.rate})
	s.lastRaw, s.lastX = ts, x
	s.frontX, s.frontY, s.frontT = x, y, t
	s.late = false
	s.arrival.reset()
	s.arrival.add(x, t)
	s.reports = reports{}
	s.learn(t)
	return s.wallNS + y
}

// report takes a sender report (RFC 3550 6.4.1) that arrived at arrivalNS: the RTP
// timestamp ts stands for the instant ntpNS, in Unix ns. It is ignored unless
// stamperOptions.SenderReports is set and the report is sane.
func (s *stamper) report(ntpNS int64, ts uint32, arrivalNS int64) {
	if !s.useSR || !s.started {
		return
	}
	x := s.lastX + int64(int32(ts-s.lastRaw))
	expected := s.frontY + int64(float64(x-s.frontX)*s.arrival.rate)
	if s.reports.add(x, ntpNS-s.wallNS, expected, arrivalNS, s.arrival.rate) {
		s.learn(arrivalNS)
	}
}

// knot begins a linear piece of f: f(v) = y + (v-x)·slope for v ≥ x.
type knot struct {
	x, y  int64
	slope float64
}

// knots are the latest pieces of f: at least 128 · knotNS of media time, which is more
// than a timestamp may go back.
type knots struct {
	ring [128]knot
	n    int // how many were ever added
}

func (k *knots) add(v knot) {
	k.ring[k.n%len(k.ring)] = v
	k.n++
}

func (k *knots) last() *knot { return &k.ring[(k.n-1)%len(k.ring)] }

func (k *knots) at(x int64) int64 {
	first := max(k.n-len(k.ring), 0)
	i := k.n - 1
	for i > first && k.ring[i%len(k.ring)].x > x {
		i--
	}
	v := &k.ring[i%len(k.ring)]
	return v.y + int64(float64(x-v.x)*v.slope)
}

package replay

import (
	"math"
	"time"
)

// playout maps capture times to the time of playing out, of the session, and to the times
// at which access units are due. Play-out time goes on over gaps and seeks. Pure.
type playout struct {
	scale float64 // negative: reverse
	speed float64
	paced bool

	// Play-out time baseNS is that of capture time originNS.
	originNS, baseNS int64
	// Mono time anchorNS is when play-out time zeroNS is due.
	anchorNS, zeroNS int64

	lastNS int64 // the latest play-out time that was given
	edgeNS int64 // the end of what was played, capture time; 0: nothing was
}

// afterNS is how much later than what was sent last a new range begins in play-out time:
// more than a frame lasts, so that times do not go back.
const afterNS = int64(50 * time.Millisecond)

// begin starts a range whose first access unit was captured at captureNS.
func (p *playout) begin(a *ask, captureNS, monoNS int64) {
	p.scale, p.speed, p.paced = a.scale, a.speed, a.paced
	if p.lastNS != 0 {
		p.lastNS += afterNS
	}
	p.originNS, p.baseNS, p.edgeNS = captureNS, p.lastNS, 0
	p.anchorNS, p.zeroNS = monoNS, p.lastNS
}

// rescale goes on at another pace from captureNS on.
func (p *playout) rescale(a *ask, captureNS, monoNS int64) {
	at := p.at(captureNS)
	p.scale, p.speed, p.paced = a.scale, a.speed, a.paced
	p.originNS, p.baseNS = captureNS, at
	p.anchorNS, p.zeroNS = monoNS, at
}

// at returns the play-out time of what was captured then.
func (p *playout) at(captureNS int64) int64 {
	d := captureNS - p.originNS
	switch p.scale {
	case 1:
		return p.baseNS + d
	case -1:
		return p.baseNS - d
	}
	return p.baseNS + int64(math.Round(float64(d)/p.scale))
}

// enter is told of each fragment, in the order of sending: from and to are the ends of
// it, Unix ns. What is missing between two of them takes no time.
func (p *playout) enter(s *step) {
	near, far := max(s.MinNS, s.FromNS), s.MaxNS
	if p.scale < 0 {
		near, far = far, near
	}
	if s.fresh && p.edgeNS != 0 {
		p.originNS += near - p.edgeNS
	}
	p.edgeNS = far
	if s.part != partAll && s.part != partLeading { // parts go to and fro
		p.edgeNS = near
	}
}

// due returns the mono time at which an access unit is due that is decoded at decodeNS.
func (p *playout) due(decodeNS int64) int64 {
	t := p.at(decodeNS) - p.zeroNS
	if p.speed != 1 {
		t = int64(float64(t) / p.speed)
	}
	return p.anchorNS + t
}

// lateNow: what was due then is only sent now. What follows is sent as much later, so
// that its pace stays even.
func (p *playout) late(byNS int64) { p.anchorNS += byNS }

// sent notes what was sent.
func (p *playout) sent(captureNS int64) { p.lastNS = max(p.lastNS, p.at(captureNS)) }

// timestamp returns the RTP timestamp of an access unit, less the random offset of the
// track: the time of playing out (RFC 2326 B), or that of sampling where the pace is that
// of the transport.
func (p *playout) timestamp(captureNS int64, rate int) uint32 {
	switch {
	case !p.paced:
		return uint32(ticksOf(captureNS, rate))
	case p.scale == 1:
		// Not by way of nanoseconds: audio is exact to the sample.
		return uint32(ticksOf(captureNS, rate) + ticksOf(p.baseNS-p.originNS, rate))
	}
	return uint32(ticksOf(p.at(captureNS), rate))
}

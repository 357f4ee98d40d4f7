package proxy

import "time"

// rewriter gives the packets of a track, over any number of epochs, one run of sequence
// numbers and timestamps, so that a reader sees one stream. Within an epoch timestamps
// are the camera's plus a constant, and holes in its sequence numbers stay holes; from
// one epoch to the next timestamps advance by the time that passed between the captures.
// It is a pure machine.
type rewriter struct {
	rate int64 // Hz

	seq    uint16 // the latest that was given out
	raw    uint16 // and the camera's for it
	follow bool   // the next raw sequence number continues from raw

	offset   uint32 // timestamps given out minus the camera's
	anchored bool
	started  bool
	front    uint32 // the greatest timestamp that was given out
	frontNS  int64  // and its capture time
}

// newRewriter returns a rewriter that begins at seq and ts, which RFC 3550 5.1 wants
// random.
func newRewriter(clockRate int, seq uint16, ts uint32) *rewriter {
	return &rewriter{rate: int64(clockRate), seq: seq - 1, front: ts}
}

// gap says that packets were left out on purpose: the next sequence number follows.
func (w *rewriter) gap() { w.follow = false }

// restart says that the camera's numbers begin anew.
func (w *rewriter) restart() { w.follow, w.anchored = false, false }

// next returns the numbers for a packet of the camera.
func (w *rewriter) next(seq uint16, ts uint32, captureNS int64) (outSeq uint16, outTS uint32) {
	step := uint16(1)
	if w.follow {
		if d := seq - w.raw; d >= 1 && d < 1000 {
			step = d
		}
	}
	w.seq += step
	w.raw, w.follow = seq, true

	begins := !w.anchored
	if begins {
		at := w.front
		if w.started {
			elapsed := max(captureNS-w.frontNS, 0)
			// Seconds apart: an outage of a week must not overflow.
			s, ns := elapsed/int64(time.Second), elapsed%int64(time.Second)
			at += uint32(max(s*w.rate+ns*w.rate/int64(time.Second), 1))
		}
		w.offset, w.anchored = at-ts, true
	}
	outTS = ts + w.offset
	if begins || int32(outTS-w.front) > 0 {
		w.front, w.frontNS = outTS, captureNS
	}
	w.started = true
	return w.seq, outTS
}

// extra returns the sequence number of one more packet that the camera did not send.
func (w *rewriter) extra() uint16 {
	w.seq++
	return w.seq
}

// at returns the timestamp of the instant ns, for a sender report.
func (w *rewriter) at(ns int64) uint32 {
	d := ns - w.frontNS
	return w.front + uint32(d/int64(time.Second)*w.rate+d%int64(time.Second)*w.rate/int64(time.Second))
}

package proxy

import (
	"time"

	"github.com/duet-video/duet/internal/record"
)

// gate says whether the redundant recorder of a camera with copies: spare is delivered to.
type gate uint8

const (
	// gateHeld: nothing is delivered; the primary is enough.
	gateHeld gate = iota
	// gateRunning: records are delivered.
	gateRunning
	// gateStopping: records are delivered up to the next cut.
	gateStopping
)

// primaryState is what a gate decides by.
type primaryState struct {
	// Linked: the primary is subscribed. Seen: it has been at some time.
	Linked, Seen bool
	// Overdue: a fragment has been complete for the time that the primary is given, and
	// it has not acknowledged it.
	Overdue bool
	// CaughtUp: what has been complete for half that time is acknowledged.
	CaughtUp bool
	// Up is how long the proxy has been running, and Grace the time that the primary is
	// given.
	Up, Grace time.Duration
}

// next returns what becomes of the gate. The way from gateStopping to gateHeld is not
// here: it is taken when the cut has come.
func (g gate) next(p primaryState) gate {
	// After a start of the proxy the primary may take its time to come.
	absent := !p.Linked && (p.Seen || p.Up >= p.Grace)
	switch {
	case absent || p.Overdue:
		return gateRunning
	case g == gateRunning && p.Linked && p.CaughtUp:
		return gateStopping
	}
	return g
}

// spareStart returns where delivery to the redundant recorder begins: where the primary's
// durable copy ends, or at own, up to where the redundant one has been sent everything
// already, if that is later. known tells which positions are of this log.
func spareStart(primary, own record.Position, known func(record.Epoch) bool) record.Position {
	if known(own.Epoch) && (!known(primary.Epoch) || own.Compare(primary) > 0) {
		return own
	}
	return primary
}

package proxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

func TestSpareGate(t *testing.T) {
	const grace = 5 * time.Second
	good := primaryState{Linked: true, Seen: true, CaughtUp: true, Up: time.Hour, Grace: grace}
	with := func(change func(*primaryState)) primaryState {
		p := good
		change(&p)
		return p
	}
	gone := with(func(p *primaryState) { p.Linked = false })
	hung := with(func(p *primaryState) { p.Overdue, p.CaughtUp = true, false })
	catching := with(func(p *primaryState) { p.CaughtUp = false })
	for _, c := range []struct {
		name    string
		primary primaryState
		from    gate
		want    gate
	}{
		{"a good primary holds the spare", good, gateHeld, gateHeld},
		{"one that is a little behind does too", catching, gateHeld, gateHeld},
		{"a primary that is gone is replaced at once", gone, gateHeld, gateRunning},
		{"one that is linked and hangs is replaced", hung, gateHeld, gateRunning},
		{"while it is gone the spare runs", gone, gateRunning, gateRunning},
		{"while it catches up the spare runs", catching, gateRunning, gateRunning},
		{"when it has caught up the spare stops", good, gateRunning, gateStopping},
		{"stopping goes on until the cut", good, gateStopping, gateStopping},
		{"stopping is not undone by a little lag", catching, gateStopping, gateStopping},
		{"stopping is undone when the primary goes", gone, gateStopping, gateRunning},
		{"stopping is undone when the primary hangs", hung, gateStopping, gateRunning},
		{
			"after a start of the proxy the primary gets its grace",
			primaryState{Up: grace - 1, Grace: grace},
			gateHeld, gateHeld,
		},
		{
			"a primary that never comes is replaced",
			primaryState{Up: grace, Grace: grace},
			gateHeld, gateRunning,
		},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, c.from.next(c.primary)) })
	}
}

func TestSpareStart(t *testing.T) {
	at := func(epoch int, offset uint64) record.Position {
		return record.Position{Epoch: testEpoch(epoch), Offset: offset}
	}
	known := func(e record.Epoch) bool { return e == testEpoch(5) || e == testEpoch(6) }
	zero := record.Position{}
	for _, c := range []struct {
		name               string
		primary, own, want record.Position
	}{
		{"where the primary's copy ends", at(5, 100), at(5, 40), at(5, 100)},
		{"not again what the spare has itself", at(5, 100), at(5, 140), at(5, 140)},
		{"a later epoch counts for more than an offset", at(5, 100), at(6, 1), at(6, 1)},
		{"the spare's position of another time says nothing", at(5, 100), at(3, 900), at(5, 100)},
		{"without a primary, from its own", zero, at(5, 40), at(5, 40)},
		{"a primary from before the proxy's start", at(2, 7), at(1, 9), at(2, 7)},
		{"without anything, from the oldest record", zero, zero, zero},
		{"without anything known, not from an old position of its own", zero, at(3, 9), zero},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, spareStart(c.primary, c.own, known)) })
	}
}

package proxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

func spareSite(t *testing.T, after time.Duration) (*site, *scene) {
	s := startSite(t, nil, func(o *Options) { o.SpareAfter = after }, Camera{Name: "gate", Copies: Spare, Primary: "r1", Redundant: "r2"})
	return s, s.sources["gate"]
}

func TestASpareGoesOnWhereThePrimaryEndedAndStopsAtACut(t *testing.T) {
	s, src := spareSite(t, time.Second)
	src.begin(t)
	src.fragments(t, 3)
	e := src.start.Epoch
	at := func(n uint64) record.Position { return record.Position{Epoch: e, Offset: n} }

	primary := s.recorder("r1")
	primary.send(link.Subscribe{Channel: 1, Camera: "gate"})
	require.IsType(t, link.Open{}, primary.next())
	primary.take(1, 0, 30)
	primary.send(link.Ack{Channel: 1, Durable: at(20)})
	require.Eventually(t, func() bool { return s.link.cameras["gate"].primary().info().Durable == at(20) }, 10*time.Second, time.Millisecond)

	spare := s.recorder("r2")
	spare.send(link.Subscribe{Channel: 4, Camera: "gate"})
	spare.nothingFor(100 * time.Millisecond)

	primary.close()
	require.Equal(t, link.Open{Channel: 4, Epoch: e, Offset: 20}, spare.next(), "from the primary's last durable position")
	spare.take(4, 20, 10)

	primary = s.recorder("r1")
	primary.send(link.Subscribe{Channel: 1, Camera: "gate", From: at(20)})
	require.IsType(t, link.Open{}, primary.next())
	primary.take(1, 20, 10)
	src.fragments(t, 1)
	primary.take(1, 30, 10)
	spare.take(4, 30, 10)
	primary.send(link.Ack{Channel: 1, Durable: at(30)})
	// The fragment that began at 30 is not whole: delivery stops where it is.
	require.Eventually(t, func() bool { return !s.overdue("gate") }, 10*time.Second, 10*time.Millisecond)
	spare.nothingFor(3 * tickEvery) // the gate has been looked at
	src.fragments(t, 1)
	require.Equal(t, link.Pause{Channel: 4, Epoch: e, Offset: 40, CaptureNS: src.start.FloorNS + 1 + 4*int64(time.Second)}, spare.next())
	primary.take(1, 40, 10)
	spare.send(link.Ack{Channel: 4, Durable: at(40)})
	require.Eventually(t, func() bool {
		i := s.link.cameras["gate"].redundant().info()
		return i.Held && i.Durable == at(40)
	}, 10*time.Second, time.Millisecond)

	primary.close()
	require.Equal(t, link.Open{Channel: 4, Epoch: e, Offset: 40}, spare.next(), "not again what it has itself")
}

// overdue reports what the gate would be told.
func (s *site) overdue(camera string) bool {
	p := s.link.primaryState(s.link.cameras[camera])
	return p.Overdue || !p.CaughtUp
}

func TestASpareReplacesAPrimaryThatAcknowledgesNothing(t *testing.T) {
	s, src := spareSite(t, 300*time.Millisecond)
	src.begin(t)
	src.fragments(t, 1)
	primary := s.recorder("r1")
	primary.send(link.Subscribe{Channel: 1, Camera: "gate"})
	require.IsType(t, link.Open{}, primary.next())
	spare := s.recorder("r2")
	spare.send(link.Subscribe{Channel: 4, Camera: "gate"})
	spare.nothingFor(2 * tickEvery) // the only fragment is not whole
	src.fragments(t, 1)
	require.Equal(t, link.Open{Channel: 4, Epoch: src.start.Epoch}, spare.next())
	spare.take(4, 0, 20)
}

func TestASpareDoesNotWaitForAPrimaryThatNeverComes(t *testing.T) {
	s, src := spareSite(t, 300*time.Millisecond)
	src.begin(t)
	src.fragments(t, 2)
	spare := s.recorder("r2")
	spare.send(link.Subscribe{Channel: 4, Camera: "gate"})
	require.Equal(t, link.Open{Channel: 4, Epoch: src.start.Epoch}, spare.next())
	spare.take(4, 0, 20)
}

func TestASpareIsNotSentAgainWhatItHasNotAcknowledgedYet(t *testing.T) {
	s, src := spareSite(t, time.Second)
	src.begin(t)
	src.fragments(t, 2)
	e := src.start.Epoch
	at := func(n uint64) record.Position { return record.Position{Epoch: e, Offset: n} }
	spare := s.recorder("r2")
	spare.send(link.Subscribe{Channel: 4, Camera: "gate"})
	require.IsType(t, link.Open{}, spare.next()) // the primary never came
	spare.take(4, 0, 20)
	primary := s.recorder("r1")
	primary.send(link.Subscribe{Channel: 1, Camera: "gate", From: at(10)}, link.Ack{Channel: 1, Durable: at(10)})
	require.Eventually(t, func() bool { return !s.overdue("gate") }, 10*time.Second, 10*time.Millisecond)
	spare.nothingFor(3 * tickEvery)
	src.fragments(t, 1)
	require.Equal(t, uint64(20), spare.next().(link.Pause).Offset)
	primary.close()
	require.Equal(t, link.Open{Channel: 4, Epoch: e, Offset: 20}, spare.next())
}

func TestASpareDoesNotHearOfAnEndOfWhatItNeverHad(t *testing.T) {
	s, src := spareSite(t, time.Hour)
	src.begin(t)
	src.fragments(t, 1)
	end := record.Position{Epoch: src.start.Epoch, Offset: 10}
	primary := s.recorder("r1")
	primary.send(link.Subscribe{Channel: 1, Camera: "gate"})
	require.IsType(t, link.Open{}, primary.next())
	primary.take(1, 0, 10)
	spare := s.recorder("r2")
	spare.send(link.Subscribe{Channel: 4, Camera: "gate"})
	spare.nothingFor(50 * time.Millisecond)
	src.fail(t, media.CauseStalled)
	require.IsType(t, link.End{}, primary.next())
	primary.send(link.Ack{Channel: 1, Durable: end})
	require.Eventually(t, func() bool { return s.link.cameras["gate"].primary().info().Durable == end }, 10*time.Second, time.Millisecond)
	src.n = 0
	src.begin(t)
	src.fragments(t, 1)
	primary.close()
	require.Equal(t, link.Open{Channel: 4, Epoch: src.start.Epoch}, spare.next())
}

package proxy

import (
	"crypto/rand"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

func gate1() Camera { return Camera{Name: "gate", Primary: "r1", Redundant: "r2"} }

func TestRecordersGetTheSameRecordsAndResumeAnywhere(t *testing.T) {
	for name, ca := range map[string]*testCA{"plain": nil, "tls": newTestCA(t)} {
		t.Run(name, func(t *testing.T) {
			s := startSite(t, ca, nil, gate1())
			src := s.sources["gate"]
			src.begin(t)
			src.fragments(t, 2)
			e := src.start.Epoch
			for _, name := range []string{"r1", "r2"} {
				r := s.recorder(name)
				r.send(link.Subscribe{Channel: 1, Camera: "gate"})
				require.Equal(t, link.Open{Channel: 1, Epoch: e}, r.next())
				r.take(1, 0, 20)
				r.close()
			}
			for _, from := range []uint64{7, 10, 20} {
				r := s.recorder("r1")
				r.send(link.Subscribe{Channel: 9, Camera: "gate", From: record.Position{Epoch: e, Offset: from}})
				if from == 20 {
					src.fragments(t, 1)
				}
				require.Equal(t, link.Open{Channel: 9, Epoch: e, Offset: from}, r.next())
				r.take(9, from, 20-int(from))
				r.close()
			}
		})
	}
}

func TestAfterAProxyRestartARecorderGetsTheNewEpochFromItsStart(t *testing.T) {
	s := startSite(t, nil, nil, gate1())
	src := s.sources["gate"]
	src.begin(t)
	src.fragments(t, 2)
	r := s.recorder("r1")
	r.send(link.Subscribe{Channel: 1, Camera: "gate", From: record.Position{Epoch: testEpoch(77), Offset: 1234}})
	require.Equal(t, link.Open{Channel: 1, Epoch: src.start.Epoch}, r.next())
	r.take(1, 0, 20)
}

func TestARecorderFromTheFutureGetsALaterEpoch(t *testing.T) {
	s := startSite(t, nil, nil, gate1())
	src := s.sources["gate"]
	src.begin(t)
	src.fragments(t, 1)
	first := src.start.Epoch
	future, err := record.NewEpoch(time.Now().Add(10*365*24*time.Hour), rand.Reader)
	require.NoError(t, err)
	r := s.recorder("r1")
	r.send(link.Subscribe{Channel: 1, Camera: "gate", From: record.Position{Epoch: future, Offset: 99}})
	require.Eventually(t, func() bool { return s.link.cameras["gate"].primary().info().Linked }, 10*time.Second, time.Millisecond)
	src.n = 0
	src.begin(t)
	src.fragments(t, 1)
	require.Positive(t, src.start.Epoch.Compare(future))
	require.Positive(t, src.start.Epoch.Compare(first))
	require.Equal(t, link.Open{Channel: 1, Epoch: src.start.Epoch}, r.next())
	r.take(1, 0, 10)
}

func TestAnAcknowledgementBesideItsSubscriptionCounts(t *testing.T) {
	s := startSite(t, nil, nil, gate1())
	src := s.sources["gate"]
	src.begin(t)
	src.fragments(t, 2)
	for i := range 50 {
		at := record.Position{Epoch: src.start.Epoch, Offset: uint64(i % 20)}
		r := s.recorder("r1")
		r.send(link.Subscribe{Channel: 1, Camera: "gate", From: at}, link.Ack{Channel: 1, Durable: at})
		require.Eventually(t, func() bool { return s.link.cameras["gate"].primary().info().Durable == at }, 10*time.Second, time.Millisecond)
		r.close()
	}
}

func TestAnEpochEndsAndTheNextOneFollows(t *testing.T) {
	s := startSite(t, nil, nil, gate1())
	src := s.sources["gate"]
	r := s.recorder("r1")
	r.send(link.Subscribe{Channel: 1, Camera: "gate"})
	src.begin(t)
	require.Equal(t, media.CauseStart, src.start.Since)
	require.Zero(t, src.start.SinceNS)
	src.fragments(t, 1)
	first, last := src.start.Epoch, src.next-int64(time.Second)/fragmentPackets
	src.fail(t, media.CauseStalled)
	require.Equal(t, link.Open{Channel: 1, Epoch: first}, r.next())
	r.take(1, 0, 10)
	require.Equal(t, link.End{Channel: 1, Epoch: first, End: 10, Cause: media.CauseStalled}, r.next())

	src.n = 0
	src.begin(t)
	require.Equal(t, media.CauseStalled, src.start.Since)
	require.Equal(t, last, src.start.SinceNS)
	require.Equal(t, last, src.start.FloorNS)
	require.Positive(t, src.start.Epoch.Compare(first))
	src.fragments(t, 1)
	require.Equal(t, link.Open{Channel: 1, Epoch: src.start.Epoch}, r.next())
	r.take(1, 0, 10)

	r2 := s.recorder("r2")
	r2.send(link.Subscribe{Channel: 4, Camera: "gate", From: record.Position{Epoch: first, Offset: 10}})
	require.Equal(t, link.End{Channel: 4, Epoch: first, End: 10, Cause: media.CauseStalled}, r2.next(),
		"a position at the end of an epoch is answered with its end")
	require.Equal(t, link.Open{Channel: 4, Epoch: src.start.Epoch}, r2.next())
}

func TestASessionWithoutARecordLeavesNoEpoch(t *testing.T) {
	s := startSite(t, nil, nil, gate1())
	src := s.sources["gate"]
	src.begin(t)
	src.fail(t, media.CauseConnection)
	src.begin(t)
	require.Equal(t, media.CauseStart, src.start.Since)
	src.fragments(t, 1)
	r := s.recorder("r1")
	r.send(link.Subscribe{Channel: 1, Camera: "gate"})
	require.Equal(t, link.Open{Channel: 1, Epoch: src.start.Epoch}, r.next())
}

func TestBadSubscriptionsAreRejectedAndHurtNobody(t *testing.T) {
	s := startSite(t, nil, nil, gate1(), Camera{Name: "yard", Primary: "r3"})
	src := s.sources["gate"]
	src.begin(t)
	src.fragments(t, 1)
	beyond := record.Position{Epoch: src.start.Epoch, Offset: 11}
	r := s.recorder("r1")
	for i, c := range []struct {
		sub  link.Subscribe
		want string
	}{
		{link.Subscribe{Camera: "attic"}, `no camera "attic"`},
		{link.Subscribe{Camera: "yard"}, "r1 is not to record camera yard"},
		{link.Subscribe{Camera: "gate", From: beyond}, "past the end"},
	} {
		c.sub.Channel = uint32(i)
		r.send(c.sub)
		rej, ok := r.next().(link.Reject)
		require.True(t, ok)
		require.Equal(t, uint32(i), rej.Channel)
		require.Contains(t, rej.Reason, c.want)
	}
	r.send(link.Subscribe{Channel: 0, Camera: "gate"})
	require.IsType(t, link.Open{}, r.next())
	r.take(0, 0, 10)
	r.send(link.Subscribe{Channel: 5, Camera: "gate"})
	require.Contains(t, r.next().(link.Reject).Reason, "subscribed already")
	r.send(link.Unsubscribe{Channel: 0}, link.Ack{Channel: 0}, link.Subscribe{Channel: 6, Camera: "gate"})
	require.Equal(t, link.Open{Channel: 6, Epoch: src.start.Epoch}, r.next())
}

func TestBrokenProtocolEndsTheStreamWithAReason(t *testing.T) {
	s := startSite(t, nil, nil, gate1())
	src := s.sources["gate"]
	src.begin(t)
	src.fragments(t, 1)
	good := s.recorder("r2")
	good.send(link.Subscribe{Channel: 1, Camera: "gate"})
	require.IsType(t, link.Open{}, good.next())
	good.take(1, 0, 10)
	for name, frames := range map[string][]link.Frame{
		"hello twice":     {link.Hello{Recorder: "r1"}},
		"wrong direction": {link.Open{}},
		"channel in use":  {link.Subscribe{Channel: 1, Camera: "gate"}, link.Subscribe{Channel: 1, Camera: "gate"}},
		"ack beyond end": {
			link.Subscribe{Channel: 1, Camera: "gate"},
			link.Ack{Channel: 1, Durable: record.Position{Epoch: src.start.Epoch, Offset: 11}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.recorder("r1")
			for _, f := range frames {
				if _, ok := f.(link.Ack); ok {
					require.IsType(t, link.Open{}, r.next(), "the subscription is in force")
				}
				r.send(f)
			}
			<-r.done
			require.Equal(t, codes.InvalidArgument, status.Code(r.err), "%v", r.err)
		})
	}
	src.fragments(t, 1)
	good.take(1, 10, 10)
}

func TestTheNameInHelloMustBeThatOfTheCertificate(t *testing.T) {
	s := startSite(t, newTestCA(t), nil, gate1())
	r := s.recorderAs("r1", "r2")
	<-r.done
	require.Equal(t, codes.PermissionDenied, status.Code(r.err))
	require.ErrorContains(t, r.err, `recorder "r1" has the certificate of "r2"`)

	foreign := *s
	foreign.ca = newTestCA(t)
	conn := foreign.conn("r1")
	_, err := link.NewClient(conn).Subscribe(t.Context(), "r1")
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
}

func TestGarbageOnThePortHurtsNobody(t *testing.T) {
	for name, ca := range map[string]*testCA{"plain": nil, "tls": newTestCA(t)} {
		t.Run(name, func(t *testing.T) {
			s := startSite(t, ca, nil, gate1())
			src := s.sources["gate"]
			src.begin(t)
			r := s.recorder("r1")
			r.send(link.Subscribe{Channel: 1, Camera: "gate"})
			for _, junk := range []string{"", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x16\x03\x01\xff\xff"} {
				c, err := net.Dial("tcp", s.addr)
				require.NoError(t, err)
				_, err = c.Write([]byte(junk))
				require.NoError(t, err)
				require.NoError(t, c.(*net.TCPConn).CloseWrite())
				require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
				_, err = io.Copy(io.Discard, c)
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection must be closed")
				require.NoError(t, c.Close())
			}
			src.fragments(t, 1)
			require.IsType(t, link.Open{}, r.next())
			r.take(1, 0, 10)
		})
	}
}

func TestANewStreamOfARecorderReplacesTheOldOne(t *testing.T) {
	s := startSite(t, nil, nil, gate1())
	src := s.sources["gate"]
	src.begin(t)
	src.fragments(t, 1)
	old := s.recorder("r1")
	old.send(link.Subscribe{Channel: 1, Camera: "gate"})
	require.IsType(t, link.Open{}, old.next())
	r := s.recorder("r1")
	r.send(link.Subscribe{Channel: 1, Camera: "gate"})
	require.IsType(t, link.Open{}, r.next())
	<-old.done
	require.Equal(t, codes.Aborted, status.Code(old.err))
	require.True(t, s.link.cameras["gate"].primary().info().Linked, "the end of the old stream does not unlink the new one")
}

func TestARecorderThatDoesNotReadHurtsNobody(t *testing.T) {
	s := startSite(t, nil, func(o *Options) { o.LogSeconds, o.LogBytes = time.Hour, 4<<20 }, gate1())
	src := s.sources["gate"]
	src.begin(t)
	// A stream that is never read from: flow control stops the proxy's sender.
	hung, err := link.NewClient(s.conn("r1")).Subscribe(t.Context(), "r1")
	require.NoError(t, err)
	defer hung.Close()
	var m link.Message
	m.Add(link.Subscribe{Channel: 1, Camera: "gate"})
	require.NoError(t, hung.Send(&m))
	r := s.recorder("r2")
	r.send(link.Subscribe{Channel: 1, Camera: "gate"})
	live := s.link.cameras["gate"].log.NewLiveCursor(LiveTail)
	defer live.Close()
	got := uint64(0)
	for range 40 {
		src.fragments(t, 100) // 500 KB
		for {
			k, ok := live.TryNext(1 << 20)
			if !ok {
				break
			}
			require.NotEqual(t, ChunkLost, k.Kind)
			if k.Kind == ChunkBatch {
				got = k.End
			}
		}
		require.Equal(t, uint64(src.n), got, "live readers have everything at once")
		if src.n == 100*fragmentPackets {
			require.IsType(t, link.Open{}, r.next())
		}
		r.take(1, uint64(src.n-100*fragmentPackets), 100*fragmentPackets)
		require.LessOrEqual(t, s.budget.Bytes(), int64(4<<20+2*maxSlab))
	}
	// What the hung one missed it is told exactly, when it goes on.
	next := uint64(0)
	lost := uint64(0)
	for next < uint64(src.n) {
		f, err := hung.Recv()
		require.NoError(t, err)
		switch f := f.(type) {
		case link.Open:
			require.Equal(t, next, f.Offset)
		case link.Batch:
			require.Equal(t, next, f.First)
			next += uint64(f.Count)
		case link.Lost:
			require.Equal(t, next, f.From)
			next = f.To
			lost += f.To - f.From
		}
	}
	require.Positive(t, lost)
	require.Equal(t, lost, s.link.cameras["gate"].primary().info().Lost)
}

func TestShutdownWaitsForAcknowledgements(t *testing.T) {
	s := startSite(t, nil, func(o *Options) { o.DrainTimeout = time.Minute }, gate1())
	src := s.sources["gate"]
	src.begin(t)
	src.fragments(t, 1)
	r := s.recorder("r1")
	r.send(link.Subscribe{Channel: 1, Camera: "gate"})
	require.IsType(t, link.Open{}, r.next())
	r.take(1, 0, 10)
	s.stop()
	require.Equal(t, link.End{Channel: 1, Epoch: src.start.Epoch, End: 10, Cause: media.CauseProxy}, r.next())
	select {
	case <-s.done:
		t.Fatal("the proxy did not wait")
	case <-time.After(50 * time.Millisecond):
	}
	r.send(link.Ack{Channel: 1, Durable: record.Position{Epoch: src.start.Epoch, Offset: 10}})
	require.NoError(t, <-s.done)
	s.done <- nil
	<-r.done
	require.Equal(t, codes.Unavailable, status.Code(r.err))
}

func TestShutdownDoesNotWaitForEverOrForTheDead(t *testing.T) {
	s := startSite(t, nil, func(o *Options) { o.DrainTimeout = 100 * time.Millisecond }, gate1())
	src := s.sources["gate"]
	src.begin(t)
	src.fragments(t, 1)
	r := s.recorder("r1")
	r.send(link.Subscribe{Channel: 1, Camera: "gate"})
	require.IsType(t, link.Open{}, r.next())
	s.stop()
	select {
	case err := <-s.done:
		require.NoError(t, err)
		s.done <- nil
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for ever")
	}
}

func TestStatusSaysHowFarEachCopyIs(t *testing.T) {
	s := startSite(t, nil, nil, gate1())
	src := s.sources["gate"]
	src.begin(t)
	src.fragments(t, 3)
	e := src.start.Epoch
	r := s.recorder("r1")
	r.send(link.Subscribe{Channel: 1, Camera: "gate"})
	require.IsType(t, link.Open{}, r.next())
	r.send(link.Ack{Channel: 1, Durable: record.Position{Epoch: e, Offset: 20}, EndNS: 5})
	client := nodepb.NewProxyClient(s.conn("v1"))
	var c *nodepb.ProxyCamera
	require.Eventually(t, func() bool {
		st, err := client.Status(t.Context(), &nodepb.StatusRequest{})
		require.NoError(t, err)
		c = st.GetCameras()[0]
		return c.GetCopies()[0].GetDurableEndNs() == 5
	}, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, "live", c.GetState())
	require.Equal(t, e[:], c.GetEpoch())
	require.Equal(t, uint64(30), c.GetNextOffset())
	require.Equal(t, uint64(30), c.GetRecords())
	require.Equal(t, uint64(30*500), c.GetBytes())
	require.Equal(t, []string{"h264"}, c.GetTracks())
	primary, redundant := c.GetCopies()[0], c.GetCopies()[1]
	require.True(t, primary.GetConnected())
	require.Equal(t, uint64(20), primary.GetDurable().GetOffset())
	require.Equal(t, uint64(10), primary.GetBehindRecords())
	require.Positive(t, primary.GetAckedAtNs())
	require.False(t, redundant.GetConnected())
	require.Equal(t, "redundant", redundant.GetRole())
}

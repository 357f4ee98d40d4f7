package proxy

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"
)

// requireUnbroken checks that the packets are one stream that begins at a key frame.
func requireUnbroken(t *testing.T, got []*rtp.Packet) {
	t.Helper()
	require.Equal(t, sps1, got[0].Payload, "begins at a key frame")
	for i, p := range got[1:] {
		require.EqualValues(t, 1, p.SequenceNumber-got[i].SequenceNumber, "packet %d", i+1)
		require.GreaterOrEqual(t, int32(p.Timestamp-got[i].Timestamp), int32(0), "packet %d", i+1)
	}
}

func TestReaderOverTCPHasAPictureAtOnce(t *testing.T) {
	s := newLiveSite(t)
	s.begin(100, 5000, h264Track(), pcmaTrack())
	for range 8 { // the fourth access unit after a key frame
		s.next()
	}
	w := watch(t, s.url, gortsplib.TransportTCP)
	const units = 3 // the key frame and two more
	require.Eventually(t, func() bool { return len(w.got()) == units+2 }, 5*time.Second, time.Millisecond,
		"nothing is sent by the camera: the first reader gets it from the log")
	require.Eventually(t, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.audio == units }, 5*time.Second, time.Millisecond)

	s.next()
	require.Eventually(t, func() bool { return len(w.got()) == units+3 }, 5*time.Second, time.Millisecond)
	second := watch(t, s.url, gortsplib.TransportTCP)
	require.Eventually(t, func() bool { return len(second.got()) == units+3 }, 5*time.Second, time.Millisecond,
		"the second one gets what the first one had")
	s.until(func() bool { return len(second.got()) > 100 }, "packets")
	for i, q := range second.got()[:100] {
		p := w.got()[i]
		require.Equal(t, p.Header, q.Header, "the first reader is not disturbed, the second one sees the same")
		require.Equal(t, p.Payload, q.Payload)
	}
	requireUnbroken(t, w.got())
	require.EqualValues(t, 2, s.readers.total.Load())
	require.Zero(t, s.readers.dropped.Load())
}

// Readers come at any instant, while packets are under way.
func TestReadersThatComeAnyTimeMissNothing(t *testing.T) {
	s := newLiveSite(t)
	s.begin(65500, 5000, h264Track(), pcmaTrack())
	s.next()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
				s.next()
			}
		}
	}()
	for range 40 {
		w := watch(t, s.url, gortsplib.TransportTCP)
		require.Eventually(t, func() bool { return len(w.got()) > 20 }, 10*time.Second, time.Millisecond)
		w.client.Close()
		requireUnbroken(t, w.got())
	}
	close(stop)
	<-stopped
}

func TestPlayTellsTheInstantItBeginsAt(t *testing.T) {
	for _, transport := range []gortsplib.Transport{gortsplib.TransportTCP, gortsplib.TransportUDP} {
		t.Run(transport.String(), func(t *testing.T) {
			s := newLiveSite(t)
			s.begin(100, 5000, h264Track(), pcmaTrack())
			s.next()
			first := watch(t, s.url, gortsplib.TransportTCP)
			s.until(func() bool { return len(first.got()) > 30 }, "packets")

			u, err := base.ParseURL(s.url)
			require.NoError(t, err)
			c := &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Transport: &transport}
			require.NoError(t, c.Start2())
			defer c.Close()
			desc, _, err := c.Describe(u)
			require.NoError(t, err)
			require.NoError(t, c.SetupAll(desc.BaseURL, desc.Medias))
			got := make(chan *rtp.Packet, 10000)
			c.OnPacketRTPAny(func(m *description.Media, _ format.Format, p *rtp.Packet) {
				if m == desc.Medias[0] {
					got <- p
				}
			})
			res, err := c.Play(nil)
			require.NoError(t, err)
			var r headers.Range
			require.NoError(t, r.Unmarshal(res.Header["Range"]))
			start := r.Value.(*headers.RangeUTC).Start
			require.WithinDuration(t, time.Now(), start, time.Minute)
			var info headers.RTPInfo
			require.NoError(t, info.Unmarshal(res.Header["RTP-Info"]))
			require.Len(t, info, 2)
			for i, e := range info {
				require.True(t, strings.HasSuffix(e.URL, fmt.Sprint("/trackID=", i)), e.URL)
				require.NotNil(t, e.Timestamp)
			}
			s.next()
			select {
			case p := <-got:
				require.Equal(t, *info[0].SequenceNumber, p.SequenceNumber)
				if transport == gortsplib.TransportTCP {
					require.Equal(t, *info[0].Timestamp, p.Timestamp, "the first packet is of that instant")
				}
			case <-time.After(5 * time.Second):
				require.FailNow(t, "no packet")
			}
		})
	}
}

func TestReaderTakesNoHistoryFromBeforeAnOutage(t *testing.T) {
	s := newLiveSite(t)
	s.begin(100, 5000, h264Track())
	s.next()
	first := watch(t, s.url, gortsplib.TransportTCP)
	s.until(func() bool { return len(first.got()) > 30 }, "packets")
	s.begin(7, 9, h264Track())
	s.next()
	s.next()
	require.Eventually(t, func() bool {
		g := first.got()
		return bytes.Equal(g[len(g)-1].Payload, non) && bytes.Equal(g[len(g)-2].Payload, idr)
	}, 5*time.Second, time.Millisecond)
	w := watch(t, s.url, gortsplib.TransportTCP)
	require.Eventually(t, func() bool { return len(w.got()) == 4 }, 5*time.Second, time.Millisecond)
	s.until(func() bool { return len(w.got()) > 30 }, "packets")
	requireUnbroken(t, w.got())
}

func TestHistoryIsBounded(t *testing.T) {
	var h liveHistory
	h.add(sentPacket{raw: make([]byte, 10)})
	require.Empty(t, h.read(), "it does not begin at a random access point")
	h.begin()
	h.add(sentPacket{raw: make([]byte, 10), seq: 1})
	old := h.read()
	h.begin()
	h.add(sentPacket{raw: make([]byte, 10), seq: 2})
	require.EqualValues(t, 1, old[0].seq, "who reads it keeps it")
	for range maxHistoryPackets {
		h.add(sentPacket{raw: make([]byte, 10)})
	}
	require.Empty(t, h.read())
	h.begin()
	for range 9 {
		h.add(sentPacket{raw: make([]byte, 1<<20)})
	}
	require.Empty(t, h.read())
}

func TestFramesThatFollowAMessageAreNotSentTwice(t *testing.T) {
	c := &chunks{}
	b := &batchConn{Conn: c, marks: &flushMarks{}}
	frame := func(seq uint16, ssrc uint32) []byte {
		p, err := (&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: seq, SSRC: ssrc}, Payload: []byte{1}}).Marshal()
		require.NoError(t, err)
		return append([]byte{'$', 0, 0, byte(len(p))}, p...)
	}
	burst := append(frame(65535, 7), frame(0, 7)...)
	b.follow(burst, map[uint32]uint16{7: 0})
	for _, w := range [][]byte{[]byte("RTSP/1.0 200 OK\r\n\r\n"), frame(65535, 7), frame(4, 8), frame(0, 7), frame(1, 7), frame(0, 7)} {
		n, err := b.Write(w)
		require.NoError(t, err)
		require.Len(t, w, n)
	}
	require.Equal(t, [][]byte{[]byte("RTSP/1.0 200 OK\r\n\r\n"), burst, frame(4, 8), frame(1, 7), frame(0, 7)}, c.writes)
}

var _ net.Conn = (*batchConn)(nil)

package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// logSink writes a session into a Log.
type logSink struct {
	log   *Log
	epoch record.Epoch
	floor int64
}

func (s *logSink) Begin([]media.Track) (epochStart, error) {
	return epochStart{Epoch: s.epoch, FloorNS: s.floor}, s.log.Begin(s.epoch)
}

func (s *logSink) Append(r *record.Record, p *rtp.Packet) (uint64, error) { return s.log.Append(r, p) }
func (s *logSink) Publish()                                               { s.log.Publish() }
func (s *logSink) Lost(uint64)                                            {}

// pusher writes epochs into the log of a camera that readers watch.
type pusher struct {
	t      *testing.T
	log    *Log
	epochs byte
	in     *ingest
	video  *sender
	audio  *sender
	i      int
}

func (p *pusher) begin(seq uint16, ts uint32, tracks ...media.Track) {
	if p.in != nil {
		p.in.end()
		p.log.End(media.CauseConnection)
	}
	p.epochs++
	cfg := liveConfig(p.t, "")
	p.in = newIngest(cfg, &logSink{log: p.log, epoch: record.Epoch{p.epochs}}, tracks)
	p.video = &sender{in: p.in, seq: seq, ts: ts}
	p.audio = &sender{in: p.in, seq: seq, ts: ts, track: 1}
	p.i = 0
}

// next sends the next access unit, one in five a key frame.
func (p *pusher) next(extra ...[]byte) {
	unit := [][]byte{non}
	if p.i%5 == 0 {
		unit = [][]byte{sps1, pps1, idr}
	}
	p.video.unit(p.t, append(unit, extra...)...)
	if len(p.in.tracks) > 1 {
		p.audio.send(p.t, false, []byte{1, 2, 3})
		p.audio.ts += 320
	}
	p.video.ts += 3600
	p.i++
}

type liveSite struct {
	*pusher
	endpoint *endpoint
	readers  readerCount
	url      string
	stop     func()
	logged   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newLiveSite(t *testing.T, users ...User) *liveSite {
	t.Helper()
	l := NewLog(LogOptions{Window: 20 * time.Second, MaxBytes: 64 << 20, Clock: clock.System()})
	s := &liveSite{pusher: &pusher{t: t, log: l}, logged: &lockedBuffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	addr := freeAddress(t)
	port := freeEvenPort(t)
	s.endpoint = newEndpoint(endpointOptions{
		Address: addr, RTPAddress: fmt.Sprintf("127.0.0.1:%d", port), RTCPAddress: fmt.Sprintf("127.0.0.1:%d", port+1),
		Users: users, Clock: clock.System(), Log: zerolog.New(s.logged),
		Cameras: []endpointCamera{{Name: "gate", Log: l, Readers: &s.readers, Why: func() string { return "no route to\nhost" }}},
	})
	require.NoError(t, s.endpoint.start(ctx))
	s.url = "rtsp://" + addr + "/gate"
	done := make(chan error, 1)
	go func() { done <- s.endpoint.run() }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
		l.Close()
	})
	t.Cleanup(s.stop)
	return s
}

// watcher is a reader that keeps what it gets.
type watcher struct {
	client  *gortsplib.Client
	desc    *description.Session
	mu      sync.Mutex
	packets []*rtp.Packet // of the first media
	reports []*rtcp.SenderReport
	audio   int
}

func watch(t *testing.T, url string, transport gortsplib.Transport) *watcher {
	t.Helper()
	u, err := base.ParseURL(url)
	require.NoError(t, err)
	w := &watcher{client: &gortsplib.Client{
		Scheme: u.Scheme, Host: u.Host, Transport: &transport,
		OnDecodeError: func(error) {}, OnPacketsLost: func(uint64) {},
	}}
	require.NoError(t, w.client.Start2())
	t.Cleanup(w.client.Close)
	w.desc, _, err = w.client.Describe(u)
	require.NoError(t, err)
	require.NoError(t, w.client.SetupAll(w.desc.BaseURL, w.desc.Medias))
	w.client.OnPacketRTPAny(func(m *description.Media, _ format.Format, p *rtp.Packet) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if m == w.desc.Medias[0] {
			w.packets = append(w.packets, p)
		} else {
			w.audio++
		}
	})
	w.client.OnPacketRTCPAny(func(m *description.Media, p rtcp.Packet) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if sr, ok := p.(*rtcp.SenderReport); ok && m == w.desc.Medias[0] {
			w.reports = append(w.reports, sr)
		}
	})
	_, err = w.client.Play(nil)
	require.NoError(t, err)
	return w
}

func (w *watcher) got() []*rtp.Packet {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.packets[:len(w.packets):len(w.packets)]
}

// until pushes access units in real time until the condition holds.
func (s *liveSite) until(cond func() bool, what string) {
	s.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		if cond() {
			return
		}
		s.next()
		<-tick.C
	}
	require.FailNow(s.t, what)
}

func TestReaderSeesOneStreamOverReconnects(t *testing.T) {
	for _, transport := range []gortsplib.Transport{gortsplib.TransportTCP, gortsplib.TransportUDP} {
		t.Run(transport.String(), func(t *testing.T) {
			s := newLiveSite(t)
			s.begin(100, 5000, h264Track(), pcmaTrack())
			s.next()
			w := watch(t, s.url, transport)
			s.until(func() bool { return len(w.got()) > 50 }, "packets")
			require.EqualValues(t, 1, s.readers.now.Load())
			forma := w.desc.Medias[0].Formats[0].(*format.H264)
			require.Equal(t, [][]byte{sps1, pps1}, [][]byte{forma.SPS, forma.PPS}, "SDP")

			s.begin(40000, 4_000_000_000, h264Track(), pcmaTrack())
			s.in.cfg.Camera.Clock = "" // same camera, new numbers
			n := len(w.got())
			s.until(func() bool { return len(w.got()) > n+50 }, "packets after the reconnect")

			got := w.got()
			require.Equal(t, sps1, got[0].Payload, "begins at a key frame")
			for i, p := range got[1:] {
				q := got[i]
				require.Equal(t, q.SSRC, p.SSRC)
				require.EqualValues(t, 1, p.SequenceNumber-q.SequenceNumber)
				d := int32(p.Timestamp - q.Timestamp)
				require.GreaterOrEqual(t, d, int32(0))
				require.Less(t, d, int32(90000))
			}
			w.mu.Lock()
			require.NotEmpty(t, w.reports)
			require.Positive(t, w.audio)
			r := w.reports[len(w.reports)-1]
			w.mu.Unlock()
			require.Equal(t, got[0].SSRC, r.SSRC)
			require.WithinDuration(t, time.Now(), time.Unix(0, ntpToUnix(r.NTPTime)), 6*time.Second)
			require.InDelta(t, 0, int32(r.RTPTime-got[len(got)-1].Timestamp), 20*90000)

			w.client.Close()
			require.Eventually(t, func() bool { return s.readers.now.Load() == 0 }, 5*time.Second, time.Millisecond)
			w = watch(t, s.url, transport)
			s.until(func() bool { return len(w.got()) > 10 }, "packets for the next reader")
			require.Equal(t, got[0].SSRC, w.got()[0].SSRC)
		})
	}
}

func TestReaderIsClosedWhenTheTracksChange(t *testing.T) {
	s := newLiveSite(t)
	s.begin(1, 1, h264Track())
	s.next()
	w := watch(t, s.url, gortsplib.TransportTCP)
	s.until(func() bool { return len(w.got()) > 10 }, "packets")
	s.begin(1, 1, h264Track(), pcmaTrack())
	closed := make(chan struct{})
	go func() { _ = w.client.Wait(); close(closed) }()
	s.until(func() bool {
		select {
		case <-closed:
			return true
		default:
			return false
		}
	}, "the reader was not closed")
	w = watch(t, s.url, gortsplib.TransportTCP)
	require.Len(t, w.desc.Medias, 2)
	s.until(func() bool { return len(w.got()) > 10 }, "packets")
}

func describeStatus(t *testing.T, url string) error {
	u, err := base.ParseURL(url)
	require.NoError(t, err)
	c := &gortsplib.Client{Scheme: u.Scheme, Host: u.Host}
	require.NoError(t, c.Start2())
	defer c.Close()
	_, _, err = c.Describe(u)
	return err
}

func TestUnknownOrAbsentCameraIsAClearAnswer(t *testing.T) {
	s := newLiveSite(t)
	require.ErrorContains(t, describeStatus(t, s.url+"x"), "404 (No Such Camera)")
	began := time.Now()
	require.ErrorContains(t, describeStatus(t, s.url), "503 (Camera Is Not Live: no route to host)")
	require.InDelta(t, 3, time.Since(began).Seconds(), 1.5)
	// One that comes while the reader waits is served.
	answer := make(chan error, 1)
	go func() { answer <- describeStatus(t, s.url) }()
	s.begin(1, 1, h264Track())
	s.next()
	require.NoError(t, <-answer)
}

func TestUsersAuthenticateWithDigest(t *testing.T) {
	s := newLiveSite(t, User{"anna", "secret1"}, User{"ben", "secret2"})
	s.begin(1, 1, h264Track())
	s.next()
	with := func(userinfo string) string { return strings.Replace(s.url, "rtsp://", "rtsp://"+userinfo, 1) }
	require.NoError(t, describeStatus(t, with("anna:secret1@")))
	require.NoError(t, describeStatus(t, with("ben:secret2@")))
	require.ErrorContains(t, describeStatus(t, with("anna:secret2@")), "401")
	require.ErrorContains(t, describeStatus(t, s.url), "401")
	require.NotContains(t, s.logged.String(), "secret")
	w := watch(t, with("ben:secret2@"), gortsplib.TransportTCP)
	s.until(func() bool { return len(w.got()) > 3 }, "packets")
}

// rawPlay plays over TCP without reading more than the answers.
func rawPlay(t *testing.T, url string) (net.Conn, *bufio.Reader) {
	u, err := base.ParseURL(url)
	require.NoError(t, err)
	c, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(64<<10))
	r := bufio.NewReader(c)
	session := ""
	ask := func(text string) {
		_, err := io.WriteString(c, text+"\r\n\r\n")
		require.NoError(t, err)
		var res base.Response
		require.NoError(t, res.Unmarshal(r))
		require.Equal(t, base.StatusOK, res.StatusCode)
		if id := res.Header["Session"]; len(id) > 0 {
			session = strings.Split(id[0], ";")[0]
		}
	}
	ask("SETUP " + url + "/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1")
	ask("PLAY " + url + " RTSP/1.0\r\nCSeq: 2\r\nSession: " + session)
	return c, r
}

func TestStalledReaderIsClosedAndHurtsNobody(t *testing.T) {
	s := newLiveSite(t)
	s.begin(1, 1, h264Track())
	s.next()
	healthy := watch(t, s.url, gortsplib.TransportTCP)
	stalled, r := rawPlay(t, s.url)
	defer stalled.Close()
	require.Eventually(t, func() bool { return s.readers.now.Load() == 2 }, 5*time.Second, time.Millisecond)

	big := bigNAL(0x41, 0x1a)[:1400]
	pushed := 0
	for s.readers.now.Load() == 2 {
		for range 5 {
			s.next(big, big, big, big, big, big, big, big, big, big)
			pushed += 10
		}
		require.Less(t, pushed, 60000, "the stalled reader is still there")
		// The healthy one is not behind by more than is on its way.
		require.Eventually(t, func() bool { return len(healthy.got()) >= pushed-200 }, 5*time.Second, time.Millisecond)
	}
	require.Contains(t, s.logged.String(), "reader is too slow and is closed")
	t.Logf("closed after %d packets of 1400 bytes", pushed)

	// What the stalled reader finds in its socket are whole frames, in order, and an end.
	require.NoError(t, stalled.SetReadDeadline(time.Now().Add(3*time.Second)))
	last, frames := -1, 0
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			break
		}
		require.Equal(t, byte('$'), head[0])
		body := make([]byte, int(head[2])<<8|int(head[3]))
		if _, err := io.ReadFull(r, body); err != nil {
			break
		}
		if head[1] != 0 {
			continue
		}
		seq := int(body[2])<<8 | int(body[3])
		if last >= 0 {
			require.Equal(t, uint16(last+1), uint16(seq))
		}
		last = seq
		frames++
	}
	require.Positive(t, frames)

	n := len(healthy.got())
	s.until(func() bool { return len(healthy.got()) > n+20 }, "the healthy reader goes on")
	got := healthy.got()
	for i, p := range got[1:] {
		require.EqualValues(t, 1, p.SequenceNumber-got[i].SequenceNumber)
	}
}

func TestLargePacketsReachReadersInPieces(t *testing.T) {
	for _, transport := range []gortsplib.Transport{gortsplib.TransportTCP, gortsplib.TransportUDP} {
		s := newLiveSite(t)
		s.begin(1, 1, h264Track())
		s.next()
		w := watch(t, s.url, transport)
		s.until(func() bool { return len(w.got()) > 3 }, "packets")
		big := bigNAL(0x41, 0x9a)
		s.next(big)
		d, err := w.desc.Medias[0].Formats[0].(*format.H264).CreateDecoder()
		require.NoError(t, err)
		seen := 0
		s.until(func() bool {
			for _, p := range w.got()[seen:] {
				seen++
				if au, err := d.Decode(p); err == nil && bytes.Equal(au[len(au)-1], big) {
					return true
				}
			}
			return false
		}, "the large unit")
	}
}

func TestGarbageOnThePortIsSurvived(t *testing.T) {
	s := newLiveSite(t)
	s.begin(1, 1, h264Track())
	s.next()
	w := watch(t, s.url, gortsplib.TransportTCP)
	u, _ := base.ParseURL(s.url)
	for _, junk := range []string{
		"\x16\x03\x01\x02\x00\x01", "GET / HTTP/1.1\r\n\r\n", "$\x00\xff\xff", strings.Repeat("\x00\xff", 5000),
		"DESCRIBE rtsp://x/gate RTSP/1.0\r\n\r\n", "SETUP * RTSP/1.0\r\nCSeq: 1\r\n\r\n", "PLAY " + s.url + " RTSP/1.0\r\nCSeq: 1\r\nSession: 1\r\n\r\n",
		"OPTIONS " + s.url + " RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 999999999\r\n\r\n", "TEARDOWN \x00 RTSP/1.0\r\nCSeq: 1\r\n\r\n",
		"SETUP " + s.url + "/trackID=99999999999 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n",
	} {
		c, err := net.Dial("tcp", u.Host)
		require.NoError(t, err)
		_, _ = io.WriteString(c, junk)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	s.until(func() bool { return len(w.got()) > 10 }, "packets")
}

// chunks records the writes to a connection.
type chunks struct {
	net.Conn
	writes [][]byte
}

func (c *chunks) Write(b []byte) (int, error) {
	c.writes = append(c.writes, bytes.Clone(b))
	return len(b), nil
}
func (*chunks) SetWriteDeadline(time.Time) error { return nil }
func (*chunks) SetReadDeadline(time.Time) error  { return nil }

func TestAccessUnitGoesOutInOneWrite(t *testing.T) {
	marks := &flushMarks{}
	mark := marks.add(7)
	c := &chunks{}
	b := &batchConn{Conn: c, marks: marks}
	put := func(seq uint16, marker bool, ssrc uint32) []byte {
		p, err := (&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: seq, Marker: marker, SSRC: ssrc}, Payload: []byte{1}}).Marshal()
		require.NoError(t, err)
		frame := append([]byte{'$', 0, 0, byte(len(p))}, p...)
		n, err := b.Write(frame)
		require.NoError(t, err)
		require.Len(t, frame, n)
		return frame
	}
	one := append(append(put(1, false, 7), put(2, false, 7)...), put(3, true, 7)...)
	mark.Store(1<<16 | 5)
	two := append(put(4, false, 7), put(5, false, 7)...)
	three := put(6, false, 7)
	answer := []byte("RTSP/1.0 200 OK\r\n\r\n")
	_, err := b.Write(answer)
	require.NoError(t, err)
	other := put(7, false, 8)
	require.Equal(t, [][]byte{one, two, three, answer, other}, c.writes)
}

package replay

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	rtspconn "github.com/bluenviron/gortsplib/v4/pkg/conn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/clock"
)

// serve runs a server of the footage until the test ends.
func serve(t testing.TB, f Footage, change func(*Options)) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o := Options{Listener: l, Footage: f, Clock: clock.System(), Log: zerolog.Nop(), Registry: prometheus.NewRegistry()}
	o.RTP, o.RTCP = udpPair(t)
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return s
}

func udpPair(t testing.TB) (a, b *net.UDPConn) {
	for range 100 {
		a, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		port := a.LocalAddr().(*net.UDPAddr).Port
		if port%2 == 0 {
			if b, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port + 1}); err == nil {
				return a, b
			}
		}
		_ = a.Close()
	}
	t.Fatal("no two ports in a row")
	return nil, nil
}

// client speaks RTSP as it is told.
type client struct {
	t       testing.TB
	nc      net.Conn
	conn    *rtspconn.Conn
	url     string
	cseq    int
	session string
	// got are the packets of each track, in the order of arrival, over TCP.
	got  [4][]received
	rtcp [4][][]byte
}

// received is an RTP packet.
type received struct {
	seq     uint16
	ts      uint32
	ssrc    uint32
	pt      byte
	marker  bool
	ext     []byte // of ONVIF replay, 12 bytes; nil: none
	payload []byte
	at      time.Time
}

func dialRTSP(t testing.TB, s *Server, query string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", s.o.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	return &client{t: t, nc: nc, conn: rtspconn.NewConn(nc), url: fmt.Sprintf("rtsp://%s/gate%s", nc.LocalAddr().(*net.TCPAddr).IP, query)}
}

// ask sends a request and returns the answer; media that comes meanwhile is kept.
func (c *client) ask(method, url string, headers ...string) *base.Response {
	c.t.Helper()
	c.send(method, url, headers...)
	for {
		r, err := c.read(10 * time.Second)
		require.NoError(c.t, err)
		if r != nil {
			require.Equal(c.t, fmt.Sprint(c.cseq), r.Header["CSeq"][0])
			return r
		}
	}
}

func (c *client) send(method, url string, headers ...string) {
	c.t.Helper()
	c.cseq++
	text := fmt.Sprintf("%s %s RTSP/1.0\r\nCSeq: %d\r\n", method, url, c.cseq)
	if c.session != "" {
		text += "Session: " + c.session + "\r\n"
	}
	for i := 0; i < len(headers); i += 2 {
		text += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	_, err := io.WriteString(c.nc, text+"\r\n")
	require.NoError(c.t, err)
}

// read reads a response (returned) or media (kept).
func (c *client) read(limit time.Duration) (*base.Response, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(limit))
	what, err := c.conn.Read()
	if err != nil {
		return nil, err
	}
	switch x := what.(type) {
	case *base.Response:
		return x, nil
	case *base.InterleavedFrame:
		if x.Channel%2 == 1 {
			c.rtcp[x.Channel/2] = append(c.rtcp[x.Channel/2], bytes.Clone(x.Payload))
			return nil, nil
		}
		c.got[x.Channel/2] = append(c.got[x.Channel/2], parsePacket(c.t, x.Payload))
	}
	return nil, nil
}

func parsePacket(t testing.TB, b []byte) received {
	t.Helper()
	require.GreaterOrEqual(t, len(b), 12)
	be := binary.BigEndian
	r := received{seq: be.Uint16(b[2:]), ts: be.Uint32(b[4:]), ssrc: be.Uint32(b[8:]), pt: b[1] & 0x7f, marker: b[1]&0x80 != 0, at: time.Now()}
	require.Equal(t, byte(2), b[0]>>6)
	payload := b[12:]
	if b[0]&0x10 != 0 {
		require.Equal(t, []byte{0xab, 0xac, 0, 3}, payload[:4], "the extension of ONVIF replay")
		r.ext = bytes.Clone(payload[4:16])
		payload = payload[16:]
	}
	r.payload = bytes.Clone(payload)
	return r
}

// setup describes and sets up tracks over TCP.
func (c *client) setup(tracks ...int) {
	c.t.Helper()
	r := c.ask("DESCRIBE", c.url, "Accept", "application/sdp")
	require.Equal(c.t, base.StatusOK, r.StatusCode, r.StatusMessage)
	for _, n := range tracks {
		c.setupTrack(n, fmt.Sprintf("RTP/AVP/TCP;unicast;interleaved=%d-%d", 2*n, 2*n+1))
	}
}

func (c *client) setupTrack(n int, transport string) *base.Response {
	c.t.Helper()
	r := c.ask("SETUP", fmt.Sprintf("%s/trackID=%d", c.url, n), "Transport", transport, "Require", "onvif-replay")
	require.Equal(c.t, base.StatusOK, r.StatusCode, r.StatusMessage)
	c.session, _, _ = strings.Cut(r.Header["Session"][0], ";")
	return r
}

func (c *client) play(headers ...string) *base.Response {
	c.t.Helper()
	r := c.ask("PLAY", c.url, headers...)
	require.Equal(c.t, base.StatusOK, r.StatusCode, r.StatusMessage)
	return r
}

// until reads media until done returns true.
func (c *client) until(done func() bool) {
	c.t.Helper()
	for !done() {
		r, err := c.read(10 * time.Second)
		require.NoError(c.t, err)
		require.Nil(c.t, r)
	}
}

// untilEnd reads until the mark T came on each of the tracks.
func (c *client) untilEnd(tracks ...int) {
	c.t.Helper()
	c.until(func() bool {
		for _, n := range tracks {
			ended := false
			for _, p := range c.got[n] {
				ended = ended || p.marks()&markTerminal != 0
			}
			if !ended || n == 0 && !c.got[n][len(c.got[n])-1].marker {
				return false
			}
		}
		return true
	})
}

// quiet fails when media comes within d.
func (c *client) quiet(d time.Duration) {
	c.t.Helper()
	n := len(c.got[0]) + len(c.got[1])
	_, err := c.read(d)
	require.ErrorContains(c.t, err, "timeout", "%d packets, before %d", len(c.got[0])+len(c.got[1]), n)
	c.conn = rtspconn.NewConn(c.nc)
}

func (r *received) marks() marks {
	if r.ext == nil {
		return 0
	}
	return marks(r.ext[8])
}

// captureNS is the time in the extension, to about 1 ns.
func (r *received) captureNS() int64 {
	ntp := binary.BigEndian.Uint64(r.ext)
	return int64(ntp>>32-ntp1900)*1e9 + int64(((ntp&0xffffffff)*1e9+1<<31)>>32)
}

// got is an access unit as it was received.
type gotUnit struct {
	received // the first packet
	nalus    [][]byte
	data     []byte
}

// units reassembles access units: those of H.264 by RFC 6184, those of audio by the extension.
func units(t testing.TB, packets []received, video bool) []gotUnit {
	t.Helper()
	var out []gotUnit
	var u *gotUnit
	for i := range packets {
		p := &packets[i]
		if i > 0 {
			require.Equal(t, packets[i-1].seq+1, p.seq, "sequence numbers go on")
			require.Equal(t, packets[i-1].ssrc, p.ssrc)
		}
		if p.ext != nil {
			out = append(out, gotUnit{received: *p})
			u = &out[len(out)-1]
		}
		require.NotNil(t, u, "the first packet of an access unit has the extension")
		if !video {
			u.data = append(u.data, p.payload...)
			continue
		}
		switch typ := p.payload[0] & 0x1f; typ {
		case 28:
			if p.payload[1]&0x80 != 0 {
				u.nalus = append(u.nalus, []byte{p.payload[0]&0xe0 | p.payload[1]&0x1f})
			}
			n := &u.nalus[len(u.nalus)-1]
			*n = append(*n, p.payload[2:]...)
		default:
			u.nalus = append(u.nalus, p.payload)
		}
	}
	return out
}

func beU32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

func beU64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

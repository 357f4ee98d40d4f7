package proxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// testCamera is a small RTSP camera: 25 pictures a second, one in ten a key frame.
type testCamera struct {
	t      *testing.T
	server *gortsplib.Server
	stream *gortsplib.ServerStream
	desc   *description.Session
	addr   string

	user, pass string
	sdp        []byte // sent in place of the stream's

	mu       sync.Mutex
	sessions int // open now
	opened   int // ever
	most     int
	torn     int
	paused   bool
	done     chan struct{}
	wait     sync.WaitGroup
}

func newTestCamera(t *testing.T, change func(c *testCamera)) *testCamera {
	t.Helper()
	c := &testCamera{
		t: t, done: make(chan struct{}),
		desc: &description.Session{Medias: []*description.Media{{
			Type:    description.MediaTypeVideo,
			Formats: []format.Format{&format.H264{PayloadTyp: 96, PacketizationMode: 1}},
		}}},
	}
	if change != nil {
		change(c)
	}
	c.server = &gortsplib.Server{Handler: c, AuthMethods: []auth.VerifyMethod{auth.VerifyMethodDigestMD5}}
	for {
		c.addr = freeAddress(t)
		host, _, _ := net.SplitHostPort(c.addr)
		rtpPort := freeEvenPort(t)
		c.server.RTSPAddress = c.addr
		c.server.UDPRTPAddress = net.JoinHostPort(host, itoa(rtpPort))
		c.server.UDPRTCPAddress = net.JoinHostPort(host, itoa(rtpPort+1))
		if c.server.Start() == nil {
			break
		}
	}
	c.stream = &gortsplib.ServerStream{Server: c.server, Desc: c.desc}
	require.NoError(t, c.stream.Initialize())
	c.wait.Go(c.run)
	t.Cleanup(c.close)
	return c
}

func (c *testCamera) close() {
	c.mu.Lock()
	select {
	case <-c.done:
		c.mu.Unlock()
		return
	default:
		close(c.done)
	}
	c.mu.Unlock()
	c.stream.Close()
	c.server.Close()
	c.wait.Wait()
}

func (c *testCamera) run() {
	tick := time.NewTicker(10 * time.Millisecond) // four times real time is near enough
	defer tick.Stop()
	var seq uint16
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-c.done:
			return
		}
		c.mu.Lock()
		paused := c.paused
		c.mu.Unlock()
		if paused {
			continue
		}
		nals := [][]byte{non}
		if i%10 == 0 {
			nals = [][]byte{sps1, pps1, idr}
		}
		for j, n := range nals {
			_ = c.stream.WritePacketRTP(c.desc.Medias[0], &rtp.Packet{
				Header: rtp.Header{
					Version: 2, PayloadType: 96, SequenceNumber: seq,
					Timestamp: uint32(i * 900), Marker: j == len(nals)-1,
				},
				Payload: n,
			})
			seq++
		}
	}
}

func (c *testCamera) allowed(conn *gortsplib.ServerConn, req *base.Request) bool {
	return c.user == "" || conn.VerifyCredentials(req, c.user, c.pass)
}

func (c *testCamera) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	switch {
	case !c.allowed(ctx.Conn, ctx.Request):
		return &base.Response{StatusCode: base.StatusUnauthorized}, nil, liberrors.ErrServerAuth{}
	case strings.Trim(ctx.Path, "/") != "main":
		return &base.Response{StatusCode: base.StatusNotFound}, nil, nil
	case c.sdp != nil:
		return &base.Response{StatusCode: base.StatusOK, Body: c.sdp}, nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, c.stream, nil
}

func (c *testCamera) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if !c.allowed(ctx.Conn, ctx.Request) {
		return &base.Response{StatusCode: base.StatusUnauthorized}, nil, liberrors.ErrServerAuth{}
	}
	return &base.Response{StatusCode: base.StatusOK}, c.stream, nil
}

func (c *testCamera) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (c *testCamera) OnSessionOpen(*gortsplib.ServerHandlerOnSessionOpenCtx) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions++
	c.opened++
	c.most = max(c.most, c.sessions)
}

func (c *testCamera) OnSessionClose(ctx *gortsplib.ServerHandlerOnSessionCloseCtx) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions--
	if _, ok := errors.AsType[liberrors.ErrServerSessionTornDown](ctx.Error); ok {
		c.torn++
	}
}

func (c *testCamera) url(userinfo string) string { return "rtsp://" + userinfo + c.addr + "/main" }

// lockedSink is a memorySink that a test may look into meanwhile.
type lockedSink struct {
	mu sync.Mutex
	memorySink
}

func (s *lockedSink) Append(r *record.Record, p *rtp.Packet) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memorySink.Append(r, p)
}

func (s *lockedSink) Publish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memorySink.Publish()
}

func (s *lockedSink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published
}

func liveConfig(t *testing.T, url string) sessionConfig {
	c := testConfig(nil)
	c.Clock = clock.System()
	c.Pump = newPump(c.Clock)
	t.Cleanup(c.Pump.close)
	c.Camera.Source = url
	return c
}

// start runs a session, and returns a function that waits for its end.
func start(t *testing.T, cfg sessionConfig, sink sessionSink) (stop func(), ended func() *sessionError) {
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- runSession(ctx, cfg, sink) }()
	return cancel, func() *sessionError {
		defer cancel()
		select {
		case err := <-result:
			var se *sessionError
			require.ErrorAs(t, err, &se)
			return se
		case <-time.After(20 * time.Second):
			require.FailNow(t, "the session did not end")
			return nil
		}
	}
}

func TestSessionDeliversOverEveryTransport(t *testing.T) {
	for _, transport := range []string{"tcp", "udp", "auto"} {
		t.Run(transport, func(t *testing.T) {
			cam := newTestCamera(t, func(c *testCamera) { c.user, c.pass = "root", "s3cret" })
			cfg := liveConfig(t, cam.url("root:s3cret@"))
			cfg.Camera.Transport = transport
			sink := &lockedSink{}
			stop, ended := start(t, cfg, sink)
			require.Eventually(t, func() bool { return sink.count() > 60 }, 10*time.Second, 5*time.Millisecond)
			stop()
			require.Equal(t, media.CauseProxy, ended().Cause)

			require.Equal(t, 1, sink.began)
			require.True(t, sink.records[0].Flags.Has(fCut))
			d, err := media.ParseDescription(sink.records[0].Ext)
			require.NoError(t, err)
			require.Equal(t, media.H264, d.Tracks[0].Codec)
			require.Equal(t, [][]byte{sps1, pps1}, d.Tracks[0].Params, "harvested: the SDP has none")
			require.EqualValues(t, 0, sink.lost)
			require.Eventually(t, func() bool {
				cam.mu.Lock()
				defer cam.mu.Unlock()
				return cam.torn == 1 && cam.sessions == 0
			}, 5*time.Second, 5*time.Millisecond, "TEARDOWN")
			require.Equal(t, 1, cam.most, "sessions at a time")
		})
	}
}

func TestStalledCameraIsToldFromOneThatIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(*testCamera)
		cause media.Cause
	}{
		"stalls": {func(c *testCamera) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.paused = true
		}, media.CauseStalled},
		"closes": {func(c *testCamera) { c.close() }, media.CauseConnection},
	} {
		t.Run(name, func(t *testing.T) {
			cam := newTestCamera(t, nil)
			cfg := liveConfig(t, cam.url(""))
			cfg.StallTimeout = 300 * time.Millisecond
			sink := &lockedSink{}
			_, ended := start(t, cfg, sink)
			require.Eventually(t, func() bool { return sink.count() > 10 }, 10*time.Second, 5*time.Millisecond)
			c.fault(cam)
			err := ended()
			require.Equal(t, c.cause, err.Cause, err.Error())
			require.Len(t, sink.records, sink.published)
		})
	}
}

// A camera that takes the connection and says nothing does not hold a session up for ever.
func TestCameraThatDoesNotAnswerIsGivenUp(t *testing.T) {
	t.Parallel() // requestTimeout is in real time
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	for _, scheme := range []string{"rtsp", "rtsps"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, ended := start(t, liveConfig(t, scheme+"://"+l.Addr().String()+"/main"), &lockedSink{})
			err := ended()
			require.ErrorContains(t, err, "timed out")
			require.Equal(t, media.CauseConnection, err.Cause)
			require.InDelta(t, requestTimeout.Seconds(), time.Since(began).Seconds(), 5)
		})
	}
}

func TestErrorsSayWhatToDoAndKeepThePassword(t *testing.T) {
	cam := newTestCamera(t, func(c *testCamera) { c.user, c.pass = "root", "s3cret" })
	free := freeAddress(t)
	for url, want := range map[string]string{
		cam.url("root:wr0ngpass@"): "refuses the user name or the password",
		cam.url(""):                "wants a user name and a password",
		"rtsp://root:s3cret@" + cam.addr + "/other":     "no stream at path /other",
		"rtsp://root:s3cret@" + free + "/main":          "connection refused",
		"rtsp://root:s3cret/x@" + cam.addr + "/main":    "not a valid RTSP URL",
		"http://root:s3cret@" + cam.addr + "/main":      "RTSP URL",
		"rtsp://root:s3cret@no-such-host.invalid:554/a": "",
	} {
		sink := &lockedSink{}
		_, ended := start(t, liveConfig(t, url), sink)
		err := ended()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "s3cret")
		require.NotContains(t, err.Error(), "wr0ngpass")
		require.Equal(t, media.CauseConnection, err.Cause)
		require.Zero(t, sink.began)
	}
}

func TestSDPThatIsPartlyWrongIsMended(t *testing.T) {
	const head = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
	const video = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n"
	for name, sdp := range map[string]string{
		"truncated base64": head + video + "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z2QAKKzZ,aO\r\n",
		"no sets":          head + video,
		"audio without a configuration": head + video +
			"m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/16000/1\r\na=fmtp:97 mode=AAC-hbr\r\na=control:trackID=1\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			cam := newTestCamera(t, func(c *testCamera) { c.sdp = []byte(sdp) })
			sink := &lockedSink{}
			stop, ended := start(t, liveConfig(t, cam.url("")), sink)
			require.Eventually(t, func() bool { return sink.count() > 0 }, 10*time.Second, 5*time.Millisecond)
			stop()
			ended()
			d, err := media.ParseDescription(sink.records[0].Ext)
			require.NoError(t, err)
			require.Len(t, d.Tracks, 1)
			require.Equal(t, [][]byte{sps1, pps1}, d.Tracks[0].Params)
		})
	}
}

func TestCameraWithoutMediaIsAnError(t *testing.T) {
	cam := newTestCamera(t, func(c *testCamera) { c.sdp = []byte("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n") })
	_, ended := start(t, liveConfig(t, cam.url("")), &lockedSink{})
	require.ErrorContains(t, ended(), "no media")
}

func TestEveryFormatSurvivesTheWayThroughATrack(t *testing.T) {
	const head = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
	for codec, m := range map[media.Codec]string{
		media.H264:     "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z2QAKKzZQHgCJ+XARAAAAwAEAAADAPA8YMZY,aOvjyyLA\r\n",
		media.H265:     "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n",
		media.AV1:      "m=video 0 RTP/AVP 96\r\na=rtpmap:96 AV1/90000\r\n",
		media.VP8:      "m=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n",
		media.VP9:      "m=video 0 RTP/AVP 96\r\na=rtpmap:96 VP9/90000\r\n",
		media.MJPEG:    "m=video 0 RTP/AVP 26\r\n",
		media.AAC:      "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/16000/1\r\na=fmtp:97 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408\r\n",
		media.Opus:     "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n",
		media.MP3:      "m=audio 0 RTP/AVP 14\r\n",
		media.AC3:      "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 AC3/48000/6\r\n",
		media.LPCM:     "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 L16/48000/2\r\n",
		media.PCMA:     "m=audio 0 RTP/AVP 8\r\n",
		media.PCMU:     "m=audio 0 RTP/AVP 0\r\n",
		media.Metadata: "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n",
		media.Unknown:  "m=audio 0 RTP/AVP 98\r\na=rtpmap:98 X-MAGIC/8000\r\na=fmtp:98 mode=3\r\n",
		"latm":         "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MP4A-LATM/24000/2\r\na=fmtp:97 cpresent=0; config=400026203fc0\r\n",
	} {
		t.Run(string(codec), func(t *testing.T) {
			read := func(body string) media.Track {
				var d description.Session
				require.NoError(t, unmarshalSDP([]byte(body), &d))
				f, tr := pickFormat(d.Medias[0])
				require.NotNil(t, f)
				return tr
			}
			want := read(head + m)
			if codec != "latm" {
				require.Equal(t, codec, want.Codec)
			}
			back, ok := mediaOf(&want, 99)
			require.True(t, ok)
			d := &description.Session{Medias: []*description.Media{back}}
			body, err := d.Marshal(false)
			require.NoError(t, err)
			require.Equal(t, want, read(string(body)))
		})
	}
}

func FuzzMendSDP(f *testing.F) {
	f.Add([]byte("v=0\r\nm=video 0 RTP/AVP 96\r\na=fmtp:96 sprop-parameter-sets=Z\r\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { mendSDP(b) })
}

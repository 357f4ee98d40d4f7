package camsim

import (
	"context"
	"fmt"
	"net"
	"net/http"
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
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/ledger"
)

// one runs one camera and reads it over TCP.
func one(t *testing.T, o CameraOptions) (*Sim, *Camera, *reading) {
	t.Helper()
	if o.Name == "" {
		o.Name = "cam"
	}
	s := start(t, o)
	c := s.Cameras()[0]
	return s, c, read(t, c, c.URL, gortsplib.TransportTCP)
}

// connect describes a camera with a client of its own.
func connect(t *testing.T, url string) (*gortsplib.Client, *description.Session, error) {
	t.Helper()
	u, err := base.ParseURL(url)
	require.NoError(t, err)
	tcp := gortsplib.TransportTCP
	c := &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Transport: &tcp}
	require.NoError(t, c.Start2())
	t.Cleanup(c.Close)
	d, _, err := c.Describe(u)
	return c, d, err
}

// steps returns how far the timestamps of a track go from one access unit to the next.
func (r *reading) steps(track int) []int32 {
	var out []int32
	list := r.packets[track]
	for i := 1; i < len(list); i++ {
		if d := int32(list[i].Timestamp - list[i-1].Timestamp); d != 0 {
			out = append(out, d)
		}
	}
	return out
}

// holes counts where the sequence numbers of a track do not follow each other.
func (r *reading) holes(track int) int {
	n := 0
	list := r.packets[track]
	for i := 1; i < len(list); i++ {
		if list[i].SequenceNumber != list[i-1].SequenceNumber+1 {
			n++
		}
	}
	return n
}

// unsent returns the numbers of a track that no session got, after the first that one did.
func unsent(l *ledger.Ledger, track int) (list []ledger.Entry) {
	began := false
	for _, e := range l.Entries[track] {
		began = began || len(e.Sent) > 0
		if began && len(e.Sent) == 0 {
			list = append(list, e)
		}
	}
	return list
}

func span(l []ledger.Entry) time.Duration {
	return time.Duration(l[len(l)-1].AtNS - l[0].AtNS)
}

func TestDropClosesTheConnectionAndRefusesForAWhile(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("own port %v", own), func(t *testing.T) {
			s, c, r := one(t, CameraOptions{Video: "h264", OwnPort: own})
			r.wait(t, 5)
			c.Drop(700 * time.Millisecond)
			dropped := time.Now()
			require.Error(t, <-r.ended)
			r.ended <- nil // for stop

			u, err := base.ParseURL(c.URL)
			require.NoError(t, err)
			try := func() error {
				client := &gortsplib.Client{Scheme: u.Scheme, Host: u.Host}
				if err := client.Start2(); err != nil {
					return err
				}
				defer client.Close()
				_, _, err := client.Describe(u)
				return err
			}
			require.Error(t, try())
			require.Eventually(t, func() bool { return try() == nil }, 5*time.Second, 10*time.Millisecond)
			require.Greater(t, time.Since(dropped), 650*time.Millisecond)
			again := read(t, c, c.URL, gortsplib.TransportTCP)
			again.wait(t, 10)
			stop(t, s, r, again)
			r.units = append(r.units, again.units...)
			l, report := r.check(t, ledger.Options{})
			require.Greater(t, report.Count(ledger.Missing), 10, "%s", report)
			require.NotEmpty(t, unsent(l, 0))
			require.Equal(t, "drop", l.Events[1].Event)
			require.Equal(t, len(report.Faults), 1, "nothing but one hole: %s", report)
		})
	}
}

func TestResetEndsTheConnectionInTheMiddleOfANALUnit(t *testing.T) {
	t.Parallel()
	s := start(t, CameraOptions{Name: "cam", Video: "h264"})
	c := s.Cameras()[0]
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(c.URL, "rtsp://"), "/cam"))
	require.NoError(t, err)
	defer conn.Close()
	rtsp := func(method, url, headers string) {
		_, err := fmt.Fprintf(conn, "%s %s RTSP/1.0\r\nCSeq: 1\r\n%s\r\n", method, url, headers)
		require.NoError(t, err)
	}
	var got []byte
	buf := make([]byte, 1<<16)
	until := func(text string) {
		for !strings.Contains(string(got), text) {
			n, err := conn.Read(buf)
			require.NoError(t, err)
			got = append(got, buf[:n]...)
		}
	}
	rtsp("SETUP", c.URL+"/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
	until("Session: ")
	_, rest, _ := strings.Cut(string(got), "Session: ")
	until("\r\n\r\n")
	id, _, _ := strings.Cut(rest, "\r\n")
	rtsp("PLAY", c.URL+"/", "Session: "+id+"\r\n")
	until("$")
	c.Reset(0)
	for err == nil {
		var n int
		n, err = conn.Read(buf)
		got = append(got, buf[:n]...)
	}
	require.ErrorContains(t, err, "connection reset by peer")

	// What came are whole frames and then the beginning of one.
	b := got[strings.Index(string(got), "$"):]
	for len(b) >= 4 && b[0] == '$' && len(b) >= 4+int(b[2])<<8+int(b[3]) {
		b = b[4+int(b[2])<<8+int(b[3]):]
	}
	require.NotEmpty(t, b)
	require.Equal(t, byte('$'), b[0])
	require.InDelta(t, 4+int(b[2])<<8+int(b[3]), 2*len(b), 1)
}

func TestStallKeepsTheConnectionAndSpendsSequenceNumbers(t *testing.T) {
	t.Parallel()
	s, c, r := one(t, CameraOptions{Video: "h264"})
	r.wait(t, 10)
	c.Stall(600 * time.Millisecond)
	n := r.count(0)
	r.wait(t, n+20)
	stop(t, s, r)
	l, report := r.check(t, ledger.Options{})
	lost := unsent(l, 0)
	require.InDelta(t, 0.56, span(lost).Seconds(), 0.3)
	require.Equal(t, len(lost), report.Count(ledger.Missing), "%s", report)
	require.Len(t, report.Faults, 1)
	require.Equal(t, 1, r.holes(0))
}

func TestDriftMakesTimestampsRunFastOrSlow(t *testing.T) {
	t.Parallel()
	for _, drift := range []float64{0.1, -0.1} {
		s, c, r := one(t, CameraOptions{Video: "h264", Audio: "pcma", Drift: drift})
		r.wait(t, 20)
		for _, d := range r.steps(0)[:15] {
			require.InDelta(t, 3600*(1+drift), d, 1)
		}
		for _, d := range r.steps(1)[:10] {
			require.InDelta(t, 320*(1+drift), d, 1)
		}
		c.SetDrift(0)
		r.wait(t, 55)
		stop(t, s, r)
		steps := r.steps(0)
		require.InDelta(t, 3600, steps[len(steps)-1], 1)
		_, report := r.check(t, ledger.Options{})
		require.NoError(t, report.Err())
	}
}

func TestJumpMovesTimestampsForwardAndBackward(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{20 * time.Second, -20 * time.Second} {
		s, c, r := one(t, CameraOptions{Video: "h264"})
		r.wait(t, 5)
		c.Jump(by)
		r.wait(t, 40)
		stop(t, s, r)
		jumps := 0
		for _, d := range r.steps(0) {
			if d != 3600 {
				require.InDelta(t, 3600+90000*by.Seconds(), d, 1)
				jumps++
			}
		}
		require.Equal(t, 1, jumps)
		_, report := r.check(t, ledger.Options{})
		require.NoError(t, report.Err())
		require.Zero(t, r.holes(0))
	}
}

func TestTimestampsWrap(t *testing.T) {
	t.Parallel()
	s, _, r := one(t, CameraOptions{Video: "h264b", FirstRTP: 1<<32 - 90000})
	r.wait(t, 50)
	stop(t, s, r)
	l, report := r.check(t, ledger.Options{})
	require.NoError(t, report.Err())
	e := l.Entries[0]
	require.Greater(t, e[0].RTP, uint32(1<<31))
	require.Less(t, e[len(e)-1].RTP, uint32(1<<31))
	for _, d := range r.steps(0) {
		require.LessOrEqual(t, max(d, -d), int32(5*3600))
	}
}

func TestSequenceNumbersBeginAnew(t *testing.T) {
	t.Parallel()
	s, c, r := one(t, CameraOptions{Video: "h264"})
	r.wait(t, 5)
	c.ResetSequence()
	r.wait(t, 40)
	stop(t, s, r)
	require.Equal(t, 1, r.holes(0))
	_, report := r.check(t, ledger.Options{})
	require.NoError(t, report.Err())
}

// reports collects the sender reports of a camera with one track.
func reports(t *testing.T, o Reports, n int) (list []*rtcp.SenderReport, rtpAt uint32) {
	t.Helper()
	s := start(t, CameraOptions{Name: "cam", Video: "h264", Reports: o})
	cam := s.Cameras()[0]
	client, desc, err := connect(t, cam.URL)
	require.NoError(t, err)
	require.NoError(t, client.SetupAll(desc.BaseURL, desc.Medias))
	var mu sync.Mutex
	var last uint32
	media := desc.Medias[0]
	client.OnPacketRTCP(media, func(p rtcp.Packet) {
		mu.Lock()
		defer mu.Unlock()
		if sr, ok := p.(*rtcp.SenderReport); ok {
			list = append(list, sr)
		}
	})
	frames := 0
	client.OnPacketRTP(media, media.Formats[0], func(p *rtp.Packet) {
		mu.Lock()
		defer mu.Unlock()
		last = p.Timestamp
		if p.Marker {
			frames++
		}
	})
	_, err = client.Play(nil)
	require.NoError(t, err)
	have := 0
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		if len(list) > have { // hurry the next one
			have = len(list)
			_ = cam.SetReports(o)
		}
		return len(list) >= n && frames > 20
	}, 10*time.Second, 5*time.Millisecond)
	client.Close()
	mu.Lock()
	defer mu.Unlock()
	return list, last
}

func TestSenderReportsAreRightUnlessAskedOtherwise(t *testing.T) {
	t.Parallel()
	seconds := func(sr *rtcp.SenderReport) float64 { return float64(sr.NTPTime>>32) - 2208988800 }

	list, last := reports(t, ReportsRight, 2)
	require.InDelta(t, time.Now().Unix(), seconds(list[0]), 3)
	require.InDelta(t, 0, int32(last-list[0].RTPTime), 4*90000)
	took := float64(list[1].NTPTime-list[0].NTPTime) / (1 << 32)
	require.InDelta(t, took*90000, int32(list[1].RTPTime-list[0].RTPTime), 900, "both clocks run alike")
	require.NotZero(t, list[1].PacketCount)

	list, _ = reports(t, ReportsNone, 0)
	require.Empty(t, list)

	list, _ = reports(t, ReportsHours, 1)
	require.InDelta(t, time.Now().Add(3*time.Hour).Unix(), seconds(list[0]), 3)

	list, _ = reports(t, ReportsFrozen, 2)
	require.Equal(t, list[0].NTPTime, list[1].NTPTime)
	require.Equal(t, list[0].RTPTime, list[1].RTPTime)
}

func TestParameterSetsChangeInMidStream(t *testing.T) {
	t.Parallel()
	s, c, r := one(t, CameraOptions{Video: "h264"})
	r.wait(t, 5)
	require.NoError(t, c.ChangeParameters())
	r.wait(t, 60)
	stop(t, s, r)
	l, report := r.check(t, ledger.Options{})
	require.NoError(t, report.Err())
	require.Equal(t, "params", l.Events[1].Event)
	for _, d := range r.steps(0) {
		require.Equal(t, int32(3600), d, "time goes on as before")
	}
	require.Error(t, start(t, CameraOptions{Name: "cam", Video: "mjpeg"}).Cameras()[0].ChangeParameters())
}

func TestParameterSetsCanBeMissing(t *testing.T) {
	t.Parallel()
	s := start(t,
		CameraOptions{Name: "sdp", Video: "h264", NoSDPSets: true},
		CameraOptions{Name: "sdp5", Video: "h265", NoSDPSets: true},
		CameraOptions{Name: "stream", Video: "h264", NoInBandSets: true})
	sets := func(camera string) (sdp bool, band int) {
		c, d, err := connect(t, s.Camera(camera).URL)
		require.NoError(t, err)
		var decode func(*rtp.Packet) ([][]byte, error)
		isParam := func(n []byte) bool { return isSet(ledger.H264, n) }
		switch f := d.Medias[0].Formats[0].(type) {
		case *format.H264:
			sdp = len(f.SPS) > 0
			dec, err := f.CreateDecoder()
			require.NoError(t, err)
			decode = dec.Decode
		case *format.H265:
			sdp = len(f.SPS) > 0
			dec, err := f.CreateDecoder()
			require.NoError(t, err)
			decode = dec.Decode
			isParam = func(n []byte) bool { return isSet(ledger.H265, n) }
		}
		require.NoError(t, c.SetupAll(d.BaseURL, d.Medias))
		frames := make(chan [][]byte, 100)
		c.OnPacketRTPAny(func(_ *description.Media, _ format.Format, p *rtp.Packet) {
			if au, err := decode(p); err == nil {
				select {
				case frames <- au:
				default:
				}
			}
		})
		_, err = c.Play(nil)
		require.NoError(t, err)
		for range 30 {
			for _, n := range <-frames {
				if isParam(n) {
					band++
				}
			}
		}
		c.Close()
		return sdp, band
	}
	sdp, band := sets("sdp")
	require.False(t, sdp)
	require.GreaterOrEqual(t, band, 2)
	sdp, band = sets("sdp5")
	require.False(t, sdp)
	require.GreaterOrEqual(t, band, 3)
	sdp, band = sets("stream")
	require.True(t, sdp)
	require.Zero(t, band)
}

func TestDeliveredRateDiffersFromTheDeclaredOne(t *testing.T) {
	t.Parallel()
	for _, declared := range []bool{true, false} {
		s, _, r := one(t, CameraOptions{Video: "h264", DeliveredFPS: 20, StampDeclaredFPS: declared})
		r.wait(t, 30)
		stop(t, s, r)
		l, report := r.check(t, ledger.Options{})
		require.NoError(t, report.Err())
		e := l.Entries[0]
		require.InDelta(t, 0.05, span(e).Seconds()/float64(len(e)-1), 0.005)
		want := 4500
		if declared {
			want = 3600 // as if there were 25 a second
		}
		for _, d := range r.steps(0) {
			require.InDelta(t, want, d, 1)
		}
	}
}

func TestLongGOPHasOneRandomAccessPointIn30Seconds(t *testing.T) {
	c, err := make(library).embedded("h264long")
	require.NoError(t, err)
	keys := 0
	for _, f := range c.frames {
		if f.key {
			keys++
		}
	}
	require.Equal(t, 1, keys)
	require.Greater(t, c.duration, 30*time.Second)
}

func TestPacketsCanBeBiggerThanADatagram(t *testing.T) {
	t.Parallel()
	s, c, r := one(t, CameraOptions{Video: "mjpeg", MaxPacket: 4000})
	r.wait(t, 20)
	udp := ledger.Capture(context.Background(), header(t, c), ledger.CaptureOptions{
		URL: c.URL, Transport: gortsplib.TransportUDP, OnUnit: func(ledger.AccessUnit, *rtp.Packet) {},
	})
	require.ErrorContains(t, udp, "461")
	stop(t, s, r)
	_, report := r.check(t, ledger.Options{})
	require.NoError(t, report.Err())
	require.Equal(t, 4000, r.biggest)
}

func TestDigestAuthenticationIsDemanded(t *testing.T) {
	t.Parallel()
	for _, sha256 := range []bool{false, true} {
		s := start(t, CameraOptions{Name: "cam", Video: "h264", User: "admin", Pass: "secret", SHA256: sha256})
		c := s.Cameras()[0]
		_, _, err := connect(t, c.URL)
		require.ErrorContains(t, err, "401")
		with := func(pass string) string {
			return strings.Replace(c.URL, "rtsp://", "rtsp://admin:"+pass+"@", 1)
		}
		_, _, err = connect(t, with("wrong"))
		require.Error(t, err)
		r := read(t, c, with("secret"), gortsplib.TransportTCP)
		r.wait(t, 5)
		stop(t, s, r)
	}
}

func TestOneSessionOnlyRefusesTheSecond(t *testing.T) {
	t.Parallel()
	s, c, r := one(t, CameraOptions{Video: "h264", OneSession: true})
	r.wait(t, 5)
	client, desc, err := connect(t, c.URL)
	require.NoError(t, err)
	require.ErrorContains(t, client.SetupAll(desc.BaseURL, desc.Medias), "453")
	client.Close()
	r.cancel()
	require.NoError(t, <-r.ended)
	r.ended <- nil
	require.Eventually(t, func() bool {
		client, desc, err := connect(t, c.URL)
		return err == nil && client.SetupAll(desc.BaseURL, desc.Medias) == nil
	}, 5*time.Second, 20*time.Millisecond)
	stop(t, s, r)
}

func TestLossWithholdsPacketsAndBooksThem(t *testing.T) {
	t.Parallel()
	s, _, r := one(t, CameraOptions{Video: "h264", Loss: 0.2, Seed: 7})
	r.wait(t, 30)
	stop(t, s, r)
	l, report := r.check(t, ledger.Options{})
	require.NoError(t, report.Err())
	require.Positive(t, report.Tracks[0].Damaged, "%s", report)
	require.Positive(t, r.holes(0))
	lost := 0
	for _, e := range l.Entries[0] {
		lost += e.Lost
	}
	require.Positive(t, lost)
}

func TestBitrateIsReachedByPadding(t *testing.T) {
	t.Parallel()
	for _, video := range []string{"h264", "h265"} {
		s, _, r := one(t, CameraOptions{Video: video, BitrateBPS: 4_000_000})
		r.wait(t, 50)
		stop(t, s, r)
		l, report := r.check(t, ledger.Options{})
		require.NoError(t, report.Err())
		e := l.Entries[0]
		bits := 0
		for i := range e[1:] {
			bits += 8 * e[i].Size
		}
		require.InEpsilon(t, 4e6, float64(bits)/span(e).Seconds(), 0.1)
	}
}

func TestFramesArePacedByAbsoluteTimes(t *testing.T) {
	s, _, r := one(t, CameraOptions{Video: "h264"})
	r.wait(t, 60)
	stop(t, s, r)
	l, _ := r.check(t, ledger.Options{})
	e := l.Entries[0]
	// A frame may be late on a busy machine; the next one is not late because of it.
	best := time.Hour
	for i := range e {
		late := time.Duration(e[i].AtNS-e[0].AtNS) - time.Duration(i)*40*time.Millisecond
		if i > len(e)/2 && late < best {
			best = late
		}
	}
	require.Less(t, best.Abs(), 5*time.Millisecond)
}

func TestSessionsGetWholeAccessUnitsFromTheFirstOn(t *testing.T) {
	t.Parallel()
	s := start(t, CameraOptions{Name: "cam", Video: "h264b", BitrateBPS: 8_000_000})
	c := s.Cameras()[0]
	for range 5 {
		r := read(t, c, c.URL, gortsplib.TransportTCP)
		r.wait(t, 3)
		r.cancel()
		require.NoError(t, <-r.ended)
		l, err := ledger.ReadFile(c.Ledger)
		require.NoError(t, err)
		for _, a := range r.units {
			if e := l.Find(0, a.Mark.Number); e != nil { // it may not have been flushed yet
				require.Equal(t, e.Hash, a.Hash)
			}
		}
	}
}

func TestControlAPI(t *testing.T) {
	s, err := New(Options{Control: "127.0.0.1:0", Cameras: DefaultCameras(1)})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	post := func(path string) int {
		res, err := client.Post(s.ControlURL()+path, "", nil)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	for _, path := range []string{
		"drop?for=10ms", "reset?for=10ms", "stall?for=10ms", "jump?by=-5s", "drift?by=0.1", "sequence", "params",
		"reports?as=none", "reports?as=", "loss?p=0.1",
	} {
		require.Equal(t, http.StatusNoContent, post("/cameras/gate/"+path), path)
	}
	for _, path := range []string{"drop", "jump?by=x", "drift?by=2", "reports?as=x", "loss?p=-1", "explode"} {
		require.Equal(t, http.StatusBadRequest, post("/cameras/gate/"+path), path)
	}
	require.Equal(t, http.StatusNotFound, post("/cameras/none/sequence"))
	res, err := client.Get(s.ControlURL() + "/cameras")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.NoError(t, res.Body.Close())
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for want, cameras := range map[string][]CameraOptions{
		"two cameras":    {{Name: "a", Video: "h264"}, {Name: "a", Video: "h264"}},
		"camera name":    {{Name: "a b", Video: "h264"}},
		"neither video":  {{Name: "a"}},
		"is not known":   {{Name: "a", Video: "h266"}},
		"is no video":    {{Name: "a", Video: "aac"}},
		"is no audio":    {{Name: "a", Audio: "h264"}},
		"drift":          {{Name: "a", Video: "h264", Drift: 3}},
		"loss":           {{Name: "a", Video: "h264", Loss: 1}},
		"sender reports": {{Name: "a", Video: "h264", Reports: "x"}},
		"read the clip":  {{Name: "a", File: "/does/not/exist.mp4"}},
	} {
		_, err := New(Options{LedgerDir: t.TempDir(), Cameras: cameras})
		require.ErrorContains(t, err, want)
	}
}

func TestFileOfTheUserIsLooped(t *testing.T) {
	t.Parallel()
	s, _, r := one(t, CameraOptions{File: "../../testdata/h264b.mp4"})
	r.wait(t, 110)
	stop(t, s, r)
	_, report := r.check(t, ledger.Options{})
	require.NoError(t, report.Err())
	require.Greater(t, report.Tracks[0].Matched, 100)
}

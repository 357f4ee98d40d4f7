package replay

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"
)

func TestWhatMakesNoSenseIsAnsweredByTheStandards(t *testing.T) {
	m := makeFootage(t, shape{seconds: 4, audio: true, gaps: map[int]int{2: 3600}})
	s := serve(t, m, func(o *Options) { o.Sessions = 40 })
	start := "?start=" + zeroTime.Format(time.RFC3339Nano)
	tcp := []string{"Transport", "RTP/AVP/TCP;unicast;interleaved=0-1"}
	day := func(n int) string { return zeroTime.AddDate(0, 0, n).Format(time.RFC3339) }
	for name, c := range map[string]struct {
		query, method, path string
		set                 bool // a session is set up first
		headers             []string
		want                base.StatusCode
		says                string
	}{
		"no such camera":             {"", "DESCRIBE", "/yard", false, nil, 404, "No Such Camera"},
		"a camera out of the tree":   {"", "DESCRIBE", "/../gate/x", false, nil, 404, "No Such Camera"},
		"start of words":             {"?start=yesterday", "DESCRIBE", "", false, nil, 400, "start Cannot Be Read"},
		"end of words":               {start + "&end=soon", "DESCRIBE", "", false, nil, 400, "end Cannot Be Read"},
		"end before start":           {start + "&end=" + day(-1), "DESCRIBE", "", false, nil, 457, "end Is Not After start"},
		"end without start":          {"?end=" + day(1), "DESCRIBE", "", false, nil, 400, "No start"},
		"start in the future":        {"?start=2190-01-01T00:00:00Z", "DESCRIBE", "", false, nil, 457, "In The Future"},
		"query of nonsense":          {"?start=%zz", "DESCRIBE", "", false, nil, 400, ""},
		"nothing but a gap":          {"?start=" + zeroTime.Add(10*time.Minute).Format(time.RFC3339) + "&end=" + zeroTime.Add(20*time.Minute).Format(time.RFC3339), "DESCRIBE", "", false, nil, 404, "No Footage"},
		"ten years":                  {"?start=" + day(-1800) + "&end=" + day(1800), "DESCRIBE", "", false, nil, 200, ""},
		"track that there is not":    {"", "SETUP", "/trackID=7", false, tcp, 404, "No Such Track"},
		"track of letters":           {"", "SETUP", "/trackID=x", false, tcp, 404, "No Such Track"},
		"SETUP of all at once":       {"", "SETUP", "", false, tcp, 459, ""},
		"no transport":               {"", "SETUP", "/trackID=0", false, nil, 400, ""},
		"multicast":                  {"", "SETUP", "/trackID=0", false, []string{"Transport", "RTP/AVP;multicast;port=5000-5001"}, 461, ""},
		"secure":                     {"", "SETUP", "/trackID=0", false, []string{"Transport", "RTP/SAVP;unicast;client_port=5000-5001"}, 461, ""},
		"record":                     {"", "SETUP", "/trackID=0", false, []string{"Transport", "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record"}, 461, ""},
		"UDP to port 0":              {"", "SETUP", "/trackID=0", false, []string{"Transport", "RTP/AVP;unicast;client_port=0-1"}, 400, ""},
		"channels that do not fit":   {"", "SETUP", "/trackID=0", false, []string{"Transport", "RTP/AVP/TCP;unicast;interleaved=255-256"}, 400, ""},
		"unknown Require":            {"", "SETUP", "/trackID=0", false, append([]string{"Require", "onvif-replay, org.example.x"}, tcp...), 551, ""},
		"unknown Require of PLAY":    {"", "PLAY", "", true, []string{"Require", "www.onvif.org/ver20/backchannel"}, 551, ""},
		"PLAY without a session":     {"", "PLAY", "", false, nil, 454, ""},
		"PLAY in another session":    {"", "PLAY", "", false, []string{"Session", "0123456789"}, 454, ""},
		"TEARDOWN without a session": {"", "TEARDOWN", "", false, nil, 454, ""},
		"GET_PARAMETER of nobody":    {"", "GET_PARAMETER", "", false, []string{"Session", "0123456789"}, 454, ""},
		"PAUSE before PLAY":          {"", "PAUSE", "", true, nil, 455, ""},
		"RECORD":                     {"", "RECORD", "", true, nil, 405, ""},
		"ANNOUNCE":                   {"", "ANNOUNCE", "", false, nil, 405, ""},
		"inverted range":             {"", "PLAY", "", true, []string{"Range", clockRange(frameAt(50), frameAt(10))}, 457, ""},
		"malformed range":            {"", "PLAY", "", true, []string{"Range", "clock=now-"}, 400, ""},
		"range in the future":        {"", "PLAY", "", true, []string{"Range", "clock=21900101T000000Z-"}, 457, "In The Future"},
		"range of a gap":             {"", "PLAY", "", true, []string{"Range", clockRange(frameAt(1000), frameAt(2000))}, 457, "No Footage"},
		"range of a gap, reverse":    {"", "PLAY", "", true, []string{"Range", clockRange(frameAt(2000), frameAt(1000)), "Scale", "-1"}, 457, "No Footage"},
		"range before everything":    {"", "PLAY", "", true, []string{"Range", clockRange(frameAt(-9), frameAt(-1))}, 457, "No Footage"},
		"scale":                      {"", "PLAY", "", true, []string{"Scale", "0"}, 456, ""},
		"scale without control":      {"", "PLAY", "", true, []string{"Scale", "2", "Rate-Control", "no"}, 456, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cl := dialRTSP(t, s, c.query)
			if c.set {
				cl.setup(0)
			}
			url := cl.url + c.path
			if c.path == "/yard" || strings.HasPrefix(c.path, "/..") {
				url = strings.Replace(cl.url, "/gate", c.path, 1)
			}
			r := cl.ask(c.method, url, c.headers...)
			require.Equal(t, c.want, r.StatusCode, r.StatusMessage)
			require.Contains(t, r.StatusMessage, c.says)
			switch c.want {
			case base.StatusOptionNotSupported:
				require.Len(t, r.Header["Unsupported"], 1)
				require.NotContains(t, r.Header["Unsupported"][0], "onvif-replay")
			case base.StatusMethodNotAllowed:
				require.Contains(t, r.Header["Allow"][0], "PLAY")
			}
			// The connection lives, and so does what was set up.
			require.Equal(t, base.StatusOK, cl.ask("GET_PARAMETER", cl.url).StatusCode)
			if c.set {
				cl.play("Range", clockRange(frameAt(0), frameAt(25)), "Rate-Control", "no")
				cl.untilEnd(0)
			}
		})
	}
	require.Eventually(t, func() bool { return len(s.all()) == 0 }, 5*time.Second, time.Millisecond)
}

func TestPauseAtATimeIsRefusedAndWhatPlaysGoesOn(t *testing.T) {
	m := makeFootage(t, shape{seconds: 4})
	c := dialRTSP(t, serve(t, m, nil), "")
	c.setup(0)
	c.play("Range", clockRange(frameAt(0), frameAt(100)), "Scale", "16", "Frames", "all")
	require.Equal(t, base.StatusNotImplemented, c.ask("PAUSE", c.url, "Range", "npt=3").StatusCode)
	c.untilEnd(0)
	requireVideo(t, all(m.frags, 0), units(t, c.got[0], true))
}

func TestRangeOfTenYearsIsReplayedAsFastAsWhatIsInIt(t *testing.T) {
	m := makeFootage(t, shape{seconds: 4, gaps: map[int]int{2: 4_000_000}})
	c := dialRTSP(t, serve(t, m, nil), "")
	c.setup(0)
	c.play("Range", clockRange(zeroTime.AddDate(-5, 0, 0).UnixNano(), time.Now().UnixNano()), "Rate-Control", "no")
	c.until(func() bool {
		return len(c.got[0]) > 100 && len(units(t, c.got[0], true)) >= 50 && c.got[0][len(c.got[0])-1].marker
	})
	require.Less(t, m.lists, 40)
}

func TestSessionsAreBounded(t *testing.T) {
	m := makeFootage(t, shape{seconds: 1})
	s := serve(t, m, func(o *Options) { o.Sessions = 1 })
	a, b := dialRTSP(t, s, ""), dialRTSP(t, s, "")
	a.setup(0)
	r := b.ask("SETUP", b.url+"/trackID=0", "Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")
	require.Equal(t, base.StatusNotEnoughBandwidth, r.StatusCode)
	require.Equal(t, base.StatusOK, a.ask("TEARDOWN", a.url).StatusCode)
	b.setupTrack(0, "RTP/AVP/TCP;unicast")
}

func TestOnlyUsersMayRead(t *testing.T) {
	m := makeFootage(t, shape{seconds: 1})
	s := serve(t, m, func(o *Options) { o.Users = []User{{"vms", "geheim"}, {"eve", "adam"}} })
	c := dialRTSP(t, s, "?start="+zeroTime.Format(time.RFC3339Nano))
	require.Equal(t, base.StatusOK, c.ask("OPTIONS", c.url).StatusCode)
	r := c.ask("DESCRIBE", c.url)
	require.Equal(t, base.StatusUnauthorized, r.StatusCode)
	challenge := strings.Join(r.Header["WWW-Authenticate"], " ")
	require.NotContains(t, challenge, "Basic")
	nonce := regexp.MustCompile(`nonce="([^"]+)"`).FindStringSubmatch(challenge)[1]
	digest := func(method, user, password string) string {
		h := func(s string) string { x := md5.Sum([]byte(s)); return hex.EncodeToString(x[:]) }
		return fmt.Sprintf(`Digest username="%s", realm="duet", nonce="%s", uri="%s", response="%s"`, user, nonce, c.url,
			h(h(user+":duet:"+password)+":"+nonce+":"+h(method+":"+c.url)))
	}
	for _, u := range [][2]string{{"vms", "geheim"}, {"eve", "adam"}} {
		r = c.ask("DESCRIBE", c.url, "Authorization", digest("DESCRIBE", u[0], u[1]))
		require.Equal(t, base.StatusOK, r.StatusCode)
	}
	for range authTries {
		r = c.ask("DESCRIBE", c.url, "Authorization", digest("DESCRIBE", "vms", "adam"))
		require.Equal(t, base.StatusUnauthorized, r.StatusCode)
	}
	_, err := c.read(5 * time.Second)
	require.ErrorIs(t, err, io.EOF, "after so many wrong passwords the connection is closed")
}

func TestNonsenseOnAConnectionEndsItAlone(t *testing.T) {
	m := makeFootage(t, shape{seconds: 1})
	s := serve(t, m, nil)
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "DESCRIBE rtsp://x/gate RTSP/1.0\r\n\r\n", "PLAY * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", strings.Repeat("x", 100_000), "$\x00\xff\xff" + strings.Repeat("y", 100), "",
	} {
		c := dialRTSP(t, s, "")
		_, _ = io.WriteString(c.nc, text)
		_ = c.nc.Close()
	}
	c := dialRTSP(t, s, "")
	c.setup(0)
}

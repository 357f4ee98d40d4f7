package replay

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"
)

func clockRange(from, to int64) string {
	if to == 0 {
		return "clock=" + formatClock(from) + "-"
	}
	return "clock=" + formatClock(from) + "-" + formatClock(to)
}

func frameAt(i int) int64 { return zeroTime.UnixNano() + int64(i)*frameNS }

// requireVideo compares what was received with what is stored.
func requireVideo(t *testing.T, want []au, got []gotUnit) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		require.Equal(t, want[i].nalus, got[i].nalus, "access unit %d", i)
		require.InDelta(t, want[i].captureNS, got[i].captureNS(), 1e9/90000+2)
		require.Equal(t, want[i].key, got[i].marks()&markClean != 0, "C of access unit %d", i)
	}
	require.Len(t, got, len(want))
}

func requireAudio(t *testing.T, want []au, got []gotUnit) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		require.Equal(t, want[i].data, got[i].data, "access unit %d", i)
	}
	require.Len(t, got, len(want))
}

// marked returns the indexes of the access units with a mark.
func marked(got []gotUnit, m marks) []int {
	var out []int
	for i := range got {
		if got[i].marks()&m != 0 {
			out = append(out, i)
		}
	}
	return out
}

func TestReplayHasEveryAccessUnitOnceInOrderWithItsMarks(t *testing.T) {
	for name, s := range map[string]shape{
		"whole GOPs":           {seconds: 8, audio: true, bframes: true, size: 2000, gaps: map[int]int{4: 600}},
		"GOPs over fragments":  {seconds: 8, gop: 100, cutEvery: 25, audio: true, gaps: map[int]int{4: 600}},
		"several GOPs in each": {seconds: 8, gop: 5, cutEvery: 25, audio: true, gaps: map[int]int{4: 600}},
	} {
		t.Run(name, func(t *testing.T) {
			m := makeFootage(t, s)
			c := dialRTSP(t, serve(t, m, nil), "")
			c.setup(0, 1)
			end := m.frags[len(m.frags)-1].MaxNS + 1
			r := c.play("Range", clockRange(frameAt(0), end), "Rate-Control", "no", "Require", "onvif-replay")
			require.Equal(t, "no", r.Header["Rate-Control"][0])
			c.untilEnd(0, 1)
			video, audio := units(t, c.got[0], true), units(t, c.got[1], false)
			requireVideo(t, all(m.frags, 0), video)
			requireAudio(t, all(m.frags, 1), audio)
			require.Equal(t, []int{0, 100}, marked(video, markDiscontinuity))
			require.Equal(t, []int{99, 199}, marked(video, markLast))
			require.Equal(t, []int{199}, marked(video, markTerminal))
			require.Equal(t, []int{0, 200}, marked(audio, markDiscontinuity))
			require.Equal(t, []int{199, 399}, marked(audio, markLast))
			for i := range video {
				u := &video[i]
				require.Equal(t, byte(c.cseq), u.ext[9], "CSeq of the PLAY")
				// Timestamps are those of sampling.
				ticks := ticksOf(u.captureNS(), 90000) - ticksOf(video[0].captureNS(), 90000)
				require.InDelta(t, ticks, int64(u.ts-video[0].ts), 2)
			}
			require.Empty(t, c.rtcp[0], "no sender reports where the pace is the client's")
		})
	}
}

func TestReplayInReverseSendsGOPsLastFirst(t *testing.T) {
	for name, c := range map[string]struct {
		s    shape
		want [][2]int // access units, from … to
		last []int    // indexes of E in what is received
	}{
		"whole GOPs": {
			shape{seconds: 4, bframes: true, audio: true, gaps: map[int]int{2: 100}},
			[][2]int{{75, 100}, {50, 75}, {25, 50}, {0, 25}},
			[]int{49, 99},
		},
		"two GOPs in each": {
			shape{seconds: 2, gop: 10, cutEvery: 20},
			[][2]int{{40, 50}, {30, 40}, {20, 30}, {10, 20}, {0, 10}},
			[]int{49},
		},
		"GOPs over fragments": {
			shape{seconds: 6, gop: 75, cutEvery: 25, gaps: map[int]int{3: 100}},
			[][2]int{{75, 150}, {0, 75}},
			[]int{74, 149},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := makeFootage(t, c.s)
			stored := all(m.frags, 0)
			cl := dialRTSP(t, serve(t, m, nil), "")
			cl.setup(0, 1)
			cl.play("Range", clockRange(m.frags[len(m.frags)-1].MaxNS, 0), "Rate-Control", "no", "Scale", "-1.0")
			cl.untilEnd(0)
			got := units(t, cl.got[0], true)
			var want []au
			var fresh []int
			for _, w := range c.want {
				fresh = append(fresh, len(want))
				want = append(want, stored[w[0]:w[1]]...)
			}
			requireVideo(t, want, got)
			require.Equal(t, fresh, marked(got, markDiscontinuity), "D at each GOP")
			require.Equal(t, c.last, marked(got, markLast))
			require.Equal(t, []int{len(want) - 1}, marked(got, markTerminal))
			require.Empty(t, cl.got[1], "no audio in reverse")
		})
	}
}

func TestReplayBeginsAtTheCleanPoint(t *testing.T) {
	m := makeFootage(t, shape{seconds: 6, gaps: map[int]int{3: 60}})
	second := int64(time.Second)
	s := serve(t, m, nil)
	for name, c := range map[string]struct {
		from  int64
		scale string
		first int // access unit
	}{
		"at a key frame":     {frameAt(25), "1", 25},
		"behind a key frame": {frameAt(25 + 24), "1", 25},
		"before everything":  {frameAt(0) - 3600*second, "1", 0},
		"in a gap":           {frameAt(75) + 30*second, "1", 75},
		"in a gap, reverse":  {frameAt(75) + 30*second, "-1", 50},
		"in reverse":         {frameAt(30), "-1", 25},
	} {
		t.Run(name, func(t *testing.T) {
			cl := dialRTSP(t, s, "")
			cl.setup(0)
			r := cl.play("Range", clockRange(c.from, 0), "Rate-Control", "no", "Scale", c.scale)
			cl.until(func() bool { return len(cl.got[0]) >= 2 && cl.got[0][1].marker })
			u := units(t, cl.got[0], true)[0]
			want := all(m.frags, 0)[c.first]
			require.Equal(t, want.nalus, u.nalus)
			require.Equal(t, markClean|markDiscontinuity, u.marks())
			from, err := parseClock(r.Header["Range"][0][len("clock=") : len(r.Header["Range"][0])-1])
			require.NoError(t, err)
			require.InDelta(t, want.captureNS, from, 1e9/90000+1, "the answer says where it begins")
			require.Contains(t, r.Header["RTP-Info"][0], fmt.Sprintf("seq=%d;rtptime=%d", u.seq, u.ts))
		})
	}
}

func TestReplayOfKeyFrames(t *testing.T) {
	m := makeFootage(t, shape{seconds: 12, bframes: true, audio: true})
	s := serve(t, m, nil)
	stored := all(m.frags, 0)
	pick := func(keep func(a *au, last *int64) bool) []au {
		last := int64(0)
		var out []au
		for i := range stored {
			if keep(&stored[i], &last) {
				out = append(out, stored[i])
			}
		}
		return out
	}
	for frames, want := range map[string][]au{
		"intra": pick(func(a *au, _ *int64) bool { return a.key }),
		"intra/3000": pick(func(a *au, last *int64) bool {
			ok := a.key && (*last == 0 || a.captureNS-*last >= 3e9)
			if ok {
				*last = a.captureNS
			}
			return ok
		}),
		"predicted": pick(func(a *au, _ *int64) bool { return a.nalus[0][0]&0x60 != 0 }),
	} {
		t.Run(frames, func(t *testing.T) {
			c := dialRTSP(t, s, "")
			c.setup(0, 1)
			m.mu.Lock()
			before := m.reads
			m.mu.Unlock()
			c.play("Range", clockRange(frameAt(0), frameAt(290)), "Rate-Control", "no", "Frames", frames)
			c.untilEnd(0)
			got := units(t, c.got[0], true)
			want = slices.DeleteFunc(want, func(a au) bool { return a.captureNS >= frameAt(290) })
			if frames == "intra/3000" { // the last one of the range, for its mark
				want = append(want, stored[275])
			}
			requireVideo(t, want, got)
			require.Equal(t, []int{0}, marked(got, markDiscontinuity))
			if frames == "intra/3000" {
				m.mu.Lock()
				defer m.mu.Unlock()
				require.LessOrEqual(t, m.reads-before, 6, "fragments without a frame to send are not read")
			}
		})
	}
}

func TestPauseAndResumeLoseNothing(t *testing.T) {
	t.Parallel()
	m := makeFootage(t, shape{seconds: 12, audio: true, bframes: true})
	c := dialRTSP(t, serve(t, m, nil), "")
	c.setup(0, 1)
	// 16 times as fast, so that the test does not last.
	c.play("Range", clockRange(frameAt(0), m.frags[len(m.frags)-1].MaxNS+1), "Scale", "16", "Frames", "all")
	for range 3 {
		n := len(c.got[0]) + 30
		c.until(func() bool { return len(c.got[0]) >= n })
		require.Equal(t, base.StatusOK, c.ask("PAUSE", c.url).StatusCode)
		c.quiet(100 * time.Millisecond)
		require.Equal(t, base.StatusOK, c.ask("GET_PARAMETER", c.url).StatusCode)
		c.play()
	}
	c.untilEnd(0, 1)
	video := units(t, c.got[0], true)
	requireVideo(t, all(m.frags, 0), video)
	requireAudio(t, all(m.frags, 1), units(t, c.got[1], false))
	require.Equal(t, []int{0}, marked(video, markDiscontinuity), "what follows a pause follows what came before it")
	require.Less(t, video[0].ext[9], video[299].ext[9], "CSeq is that of the last PLAY")
	require.InDelta(t, 299*3600/16, int64(video[299].ts-video[0].ts), 4*3600/16, "timestamps are those of playing out")
}

func TestSeekByANewPlay(t *testing.T) {
	m := makeFootage(t, shape{seconds: 30, size: 3000})
	c := dialRTSP(t, serve(t, m, nil), "")
	c.setup(0)
	c.play("Range", clockRange(frameAt(0), frameAt(250)))
	c.until(func() bool { return len(c.got[0]) > 5 })
	c.play("Range", clockRange(frameAt(500), frameAt(600)), "Immediate", "yes", "Rate-Control", "no")
	cseq := byte(c.cseq)
	c.untilEnd(0)
	got := units(t, c.got[0], true) // sequence numbers and SSRC go on
	at := slices.IndexFunc(got, func(u gotUnit) bool { return u.ext[9] == cseq })
	require.Less(t, at, 30, "the first range was cancelled")
	require.NotZero(t, got[at].marks()&markDiscontinuity)
	requireVideo(t, all(m.frags, 0)[500:600], got[at:])
	requireVideo(t, all(m.frags, 0)[:at], got[:at])
}

func TestPlayWithoutImmediateWaitsForTheRangeBeforeIt(t *testing.T) {
	t.Parallel()
	m := makeFootage(t, shape{seconds: 30})
	c := dialRTSP(t, serve(t, m, nil), "")
	c.setup(0)
	c.play("Range", clockRange(frameAt(0), frameAt(50)), "Scale", "16", "Frames", "all")
	first := byte(c.cseq)
	c.play("Range", clockRange(frameAt(500), frameAt(525)), "Rate-Control", "no")
	c.until(func() bool {
		n := 0
		for _, p := range c.got[0] {
			if p.marks()&markTerminal != 0 {
				n++
			}
		}
		return n == 2
	})
	got := units(t, c.got[0], true)
	requireVideo(t, append(slices.Clone(all(m.frags, 0)[:50]), all(m.frags, 0)[500:525]...), got)
	require.Equal(t, []int{0, 50}, marked(got, markDiscontinuity))
	require.Equal(t, first, got[49].ext[9])
	require.Equal(t, first+1, got[50].ext[9])
}

func TestReplayAtRealTimeSkipsGapsAndTellsPlayersTheTime(t *testing.T) {
	t.Parallel()
	m := makeFootage(t, shape{seconds: 3, audio: true, gaps: map[int]int{1: 3600}})
	c := dialRTSP(t, serve(t, m, nil), "?start="+zeroTime.Format(time.RFC3339Nano)+"&end="+zeroTime.Add(2*time.Hour).Format(time.RFC3339))
	r := c.ask("DESCRIBE", c.url)
	require.Contains(t, string(r.Body), "a=range:npt=0-7199.880\r\n")
	require.Contains(t, string(r.Body), "sprop-parameter-sets=Z2QADKw7ULBLQgAAAwACAAADAD0I,aO48gA==")
	require.Contains(t, string(r.Body), "a=x-onvif-track:VIDEO001")
	c.setup(0, 1)
	r = c.play("Range", "npt=0.000-")
	require.Equal(t, "npt=0.000-7199.880", r.Header["Range"][0])
	began := time.Now()
	c.until(func() bool { // BYE
		for _, p := range c.rtcp[0] {
			if p[1] == 201 {
				return true
			}
		}
		return false
	})
	video, audio := units(t, c.got[0], true), units(t, c.got[1], false)
	requireVideo(t, all(m.frags, 0), video)
	requireAudio(t, all(m.frags, 1), audio)
	require.Greater(t, time.Since(began), 2700*time.Millisecond, "the pace is that of real time")
	for i := 1; i < len(video); i++ {
		require.InDelta(t, 3600, int64(int32(video[i].ts-video[i-1].ts)), 8, "picture %d: a gap takes no time", i)
	}
	// Reports say when what has a timestamp was captured, on both sides of the gap alike.
	for track, rate := range []int64{90000, 16000} {
		got := [][]gotUnit{video, audio}[track]
		require.GreaterOrEqual(t, len(c.rtcp[track]), 2)
		for _, p := range c.rtcp[track] {
			if p[1] != 200 {
				continue
			}
			ntp, ts := beU64(p[8:]), beU32(p[16:])
			at := int64(ntp>>32-ntp1900)*1e9 + int64((ntp&0xffffffff)*1e9>>32)
			near := slices.IndexFunc(got, func(u gotUnit) bool { return u.ts == ts })
			require.GreaterOrEqual(t, near, 0)
			require.InDelta(t, got[near].captureNS(), at, 1e9/float64(rate))
		}
	}
}

func TestReplayGoesOnIntoWhatIsBeingRecorded(t *testing.T) {
	t.Parallel()
	m := makeFootage(t, shape{seconds: 6, audio: true})
	later := slices.Clone(m.frags[2:])
	m.frags = m.frags[:2]
	c := dialRTSP(t, serve(t, m, nil), "")
	c.setup(0, 1)
	c.play("Range", clockRange(frameAt(0), 0), "Rate-Control", "no")
	c.until(func() bool { return len(units(t, c.got[0], true)) == 50 })
	for _, f := range later {
		n := len(units(t, c.got[0], true)) + 25
		m.add(f)
		c.until(func() bool { return len(units(t, c.got[0], true)) == n && c.got[0][len(c.got[0])-1].marker })
	}
	got := units(t, c.got[0], true)
	requireVideo(t, all(m.frags, 0), got)
	require.Equal(t, []int{0}, marked(got, markDiscontinuity))
	require.Empty(t, marked(got, markTerminal))
}

func TestReplayWaitsForRecordersThatMayHaveWhatIsMissing(t *testing.T) {
	t.Parallel()
	m := makeFootage(t, shape{seconds: 6})
	missing := m.frags[3]
	m.frags = slices.Delete(slices.Clone(m.frags), 3, 4)
	m.unknown = []Stretch{{missing.StartNS, missing.EndNS}}
	back := time.AfterFunc(700*time.Millisecond, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.frags, m.unknown = slices.Insert(m.frags, 3, missing), nil
	})
	defer back.Stop()
	c := dialRTSP(t, serve(t, m, nil), "")
	c.setup(0)
	c.play("Range", clockRange(frameAt(0), frameAt(150)), "Rate-Control", "no")
	c.untilEnd(0)
	got := units(t, c.got[0], true)
	requireVideo(t, all(m.frags, 0), got)
	require.Empty(t, marked(got, markLast)[:len(marked(got, markLast))-len(marked(got[149:], markLast))])
}

func TestAFragmentThatNobodyHasAnyMoreIsSkippedAndMarked(t *testing.T) {
	m := makeFootage(t, shape{seconds: 4})
	bad := m.frags[1].Hash
	m.onRead = func(_ int, f *Fragment) error {
		if f.Hash == bad {
			return ErrNone
		}
		return nil
	}
	c := dialRTSP(t, serve(t, m, nil), "")
	c.setup(0)
	c.play("Range", clockRange(frameAt(0), frameAt(100)), "Rate-Control", "no")
	c.untilEnd(0)
	got := units(t, c.got[0], true)
	requireVideo(t, append(slices.Clone(all(m.frags, 0)[:25]), all(m.frags, 0)[50:]...), got)
	require.Equal(t, []int{0, 25}, marked(got, markDiscontinuity))
}

func TestNewParameterSetsComeInTheStream(t *testing.T) {
	m := makeFootage(t, shape{seconds: 3, params: func(second int) int { return 0x80 + second/2*0x11 }})
	c := dialRTSP(t, serve(t, m, nil), "?start="+zeroTime.Format(time.RFC3339Nano))
	c.setup(0)
	c.play("Range", clockRange(frameAt(0), frameAt(75)), "Rate-Control", "no")
	c.untilEnd(0)
	got := units(t, c.got[0], true)
	want := all(m.frags, 0)
	require.Equal(t, [][]byte{testSPS, append(slices.Clone(testPPS), 0x91)}, got[50].nalus[:2])
	got[50].nalus = got[50].nalus[2:]
	requireVideo(t, want, got)
}

func TestReplayOverUDP(t *testing.T) {
	t.Parallel()
	m := makeFootage(t, shape{seconds: 2, audio: true, size: 3000})
	s := serve(t, m, nil)
	c := dialRTSP(t, s, "")
	rtp, rtcp := udpPair(t)
	defer rtp.Close()
	defer rtcp.Close()
	r := c.setupTrack(0, fmt.Sprintf("RTP/AVP;unicast;client_port=%d-%d", portOf(rtp), portOf(rtcp)))
	require.Contains(t, r.Header["Transport"][0], fmt.Sprintf("server_port=%d-%d", portOf(s.o.RTP), portOf(s.o.RTCP)))
	c.play("Range", clockRange(frameAt(0), frameAt(50)))
	var got []received
	var from net.Addr
	for len(got) == 0 || got[len(got)-1].marks()&markTerminal == 0 && len(units(t, got, true)) < 50 || !got[len(got)-1].marker {
		b := make([]byte, 2000)
		require.NoError(t, rtp.SetReadDeadline(time.Now().Add(10*time.Second)))
		n, a, err := rtp.ReadFrom(b)
		require.NoError(t, err)
		require.LessOrEqual(t, n, 1472)
		from = a
		got = append(got, parsePacket(t, b[:n]))
	}
	require.Equal(t, portOf(s.o.RTP), from.(*net.UDPAddr).Port)
	requireVideo(t, all(m.frags, 0), units(t, got, true))
	b := make([]byte, 2000)
	require.NoError(t, rtcp.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, _, err := rtcp.ReadFrom(b)
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, 28)
	require.Equal(t, base.StatusOK, c.ask("TEARDOWN", c.url).StatusCode)
	require.Empty(t, s.all())
}

func TestAClientThatStopsReadingIsDroppedAloneAndCleanly(t *testing.T) {
	t.Parallel()
	m := makeFootage(t, shape{seconds: 60, size: 40_000})
	s := serve(t, m, func(o *Options) { o.Stall = 300 * time.Millisecond })
	stuck := dialRTSP(t, s, "")
	require.NoError(t, stuck.nc.(*net.TCPConn).SetReadBuffer(4096))
	stuck.setup(0)
	stuck.send("PLAY", stuck.url, "Range", clockRange(frameAt(0), 0), "Speed", "64")
	require.Eventually(t, func() bool { return len(s.all()) == 1 }, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return len(s.all()) == 0 }, 20*time.Second, 10*time.Millisecond)
	c := dialRTSP(t, s, "")
	c.setup(0)
	c.play("Range", clockRange(frameAt(0), frameAt(25)), "Rate-Control", "no")
	c.untilEnd(0)
	requireVideo(t, all(m.frags, 0)[:25], units(t, c.got[0], true))
}

func TestTeardownOfAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	m := makeFootage(t, shape{seconds: 60, size: 40_000})
	s := serve(t, m, nil)
	c := dialRTSP(t, s, "")
	c.setup(0)
	c.send("PLAY", c.url, "Range", clockRange(frameAt(0), 0), "Rate-Control", "no")
	require.Eventually(t, func() bool { return len(s.all()) == 1 }, 5*time.Second, time.Millisecond)
	c.send("TEARDOWN", c.url)
	require.Eventually(t, func() bool { return len(s.all()) == 0 }, 10*time.Second, 10*time.Millisecond)
}

func TestASessionHoldsTwoFragmentsAtMost(t *testing.T) {
	t.Parallel()
	m := makeFootage(t, shape{seconds: 60, gop: 50})
	var reads atomic.Int64
	m.onRead = func(int, *Fragment) error { reads.Add(1); return nil }
	c := dialRTSP(t, serve(t, m, nil), "")
	c.setup(0)
	c.play("Range", clockRange(frameAt(0), 0))
	c.until(func() bool { return len(c.got[0]) > 3 })
	require.Equal(t, int64(1), reads.Load(), "the next one is read when it is nearly time for it")
	c.until(func() bool { return len(units(t, c.got[0], true)) > 51 })
	require.Equal(t, int64(2), reads.Load())
}

var errBroken = errors.New("broken")

func TestListingsThatFailAreTriedAgain(t *testing.T) {
	t.Parallel()
	m := makeFootage(t, shape{seconds: 4})
	m.onList = func(n int) error {
		if n%2 == 0 {
			return errBroken
		}
		return nil
	}
	c := dialRTSP(t, serve(t, m, nil), "")
	c.setup(0)
	c.play("Range", clockRange(frameAt(0), frameAt(100)), "Rate-Control", "no")
	c.untilEnd(0)
	requireVideo(t, all(m.frags, 0), units(t, c.got[0], true))
}

package playback

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/duet-video/duet/internal/record"

	m3u8 "github.com/bluenviron/gohlslib/v2/pkg/playlist"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
)

func (s *site) hlsURL(from, to int64) string {
	q := url.Values{"start": {at(from).String()}}
	if to != 0 {
		q.Set("end", at(to).String())
	}
	return s.base + "/v1/cameras/gate/index.m3u8?" + q.Encode()
}

// playlistOf parses a playlist with a reader that shares no code with the writer.
func (s *site) playlistOf(u string) (*http.Response, *m3u8.Media, string) {
	s.t.Helper()
	resp, body, err := s.get(u)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, resp.StatusCode, "%s", body)
	require.Equal(s.t, playlistType, resp.Header.Get("Content-Type"))
	pl, err := m3u8.Unmarshal(body)
	require.NoError(s.t, err, "%s", body)
	m, ok := pl.(*m3u8.Media)
	require.True(s.t, ok)
	return resp, m, string(body)
}

func (s *site) follow(base, ref string) []byte {
	s.t.Helper()
	u, err := url.Parse(base)
	require.NoError(s.t, err)
	to, err := u.Parse(ref)
	require.NoError(s.t, err)
	resp, body, err := s.get(to.String())
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, resp.StatusCode, "%s: %s", ref, body)
	require.Equal(s.t, immutable, resp.Header.Get("Cache-Control"))
	return body
}

// hlsUnits downloads all segments of a playlist, as a player does, and returns the access
// units of its video, in order.
func (s *site) hlsUnits(base string, m *m3u8.Media) []shown {
	s.t.Helper()
	require.NotNil(s.t, m.Map)
	init, err := media.ParseInit(s.follow(base, m.Map.URI))
	require.NoError(s.t, err)
	var out []shown
	next := int64(-1)
	for _, seg := range m.Segments {
		if seg.Gap {
			next = -1
			continue
		}
		data := s.follow(base, seg.URI)
		p, err := media.ParseFragment(data, int64(len(data)), init, hlsOriginNS)
		require.NoError(s.t, err)
		for _, t := range p.Tracks {
			if t.Kind != media.KindVideo {
				continue
			}
			if !seg.Discontinuity && next >= 0 {
				require.Equal(s.t, next, t.Samples[0].DTS, "decode times go on where the segment before ended")
			}
			for _, x := range t.Samples {
				out = append(out, shown{x.CaptureNS, string(data[x.At : x.At+int64(x.Size)])})
				next = x.DTS + int64(x.Duration)
			}
		}
		require.WithinDuration(s.t, time.Unix(0, out[len(out)-1].captureNS), seg.DateTime.Add(seg.Duration), 200*time.Millisecond)
	}
	return out
}

func TestHLSIsTheStoredFragments(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	u := s.hlsURL(frameNS(30), frameNS(990))
	resp, m, text := s.playlistOf(u)
	require.True(t, m.Endlist, text)
	require.Equal(t, m3u8.MediaPlaylistTypeVOD, *m.PlaylistType)
	require.True(t, m.IndependentSegments)
	require.Len(t, m.Segments, 39)
	require.Equal(t, "audio (lpcm)", resp.Header.Get(headerLeftOut))
	require.Equal(t, at(frameNS(25)).String(), resp.Header.Get(headerStart))
	require.InDelta(t, 0.2, m.Start.TimeOffset.Seconds(), 0.001)
	require.Equal(t, 1, m.TargetDuration)

	units := s.hlsUnits(u, m)
	require.Len(t, units, 975)
	for i, x := range units {
		require.Equal(t, avcc(f.clip.units[i+25]), x.bytes, "access unit %d", i+25)
	}
}

// movedClock is the machine's clock, moved.
type movedClock struct {
	clock.Clock
	wall, mono atomic.Int64
}

func newMovedClock(now int64) *movedClock {
	c := &movedClock{Clock: clock.System()}
	c.wall.Store(now - time.Now().UnixNano())
	return c
}

func (c *movedClock) Now() time.Time { return time.Unix(0, time.Now().UnixNano()+c.wall.Load()) }
func (c *movedClock) Mono() int64    { return c.Clock.Mono() + c.mono.Load() }

// skip lets time go by.
func (c *movedClock) skip(d time.Duration) {
	c.wall.Add(int64(d))
	c.mono.Add(int64(d))
}

func withClock(c clock.Clock) func(*Options) { return func(o *Options) { o.Clock = c } }

func TestHLSMarksGapsAndSessions(t *testing.T) {
	f := makeFootage(t, footageOptions{breaks: map[int]bool{500: true}})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	// Nobody has fragments 10 to 12; the session broke at 20, without a gap.
	(&footage{inits: f.inits, frags: append(append([]stored{}, f.frags[:10]...), f.frags[13:]...)}).on(r1)
	(&footage{inits: f.inits, frags: append(append([]stored{}, f.frags[:9]...), f.frags[13:]...)}).on(r2)
	s := newSite(t, nil, r1, r2)
	u := s.hlsURL(frameNS(0), clipEnd)
	resp, m, text := s.playlistOf(u)
	require.Equal(t, "1", resp.Header.Get(headerGaps))
	var total, gone time.Duration
	for i, seg := range m.Segments {
		total += seg.Duration
		require.LessOrEqual(t, seg.Duration, time.Duration(m.TargetDuration)*time.Second)
		if seg.Gap {
			gone += seg.Duration
		}
		require.Equal(t, i == 20, seg.Discontinuity, "segment %d\n%s", i, text)
		require.WithinDuration(t, time.Unix(0, frameNS(25*i)), *seg.DateTime, time.Millisecond)
	}
	require.InDelta(t, 40, total.Seconds(), 0.01)
	require.InDelta(t, 3, gone.Seconds(), 0.001)
	require.Len(t, s.hlsUnits(u, m), 925)

	_, m, text = s.playlistOf(u + "&gaps=skip")
	require.Len(t, m.Segments, 37)
	require.True(t, m.Segments[10].Discontinuity, text)
	require.Equal(t, 2, strings.Count(text, "DISCONTINUITY\n"))
	require.NotContains(t, text, "GAP")
}

func TestHLSOfWhatIsUnknownHasNoGap(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	(&footage{inits: f.inits, frags: append(append([]stored{}, f.frags[:10]...), f.frags[13:]...)}).on(r1)
	f.on(r2)
	s := newSite(t, nil, r1, r2)
	r2.freeze(true)
	defer r2.freeze(false)
	resp, m, text := s.playlistOf(s.hlsURL(frameNS(0), clipEnd))
	require.Equal(t, "r2", resp.Header.Get(headerUnknown))
	require.NotContains(t, text, "EXT-X-GAP")
	require.Len(t, m.Segments, 37)
	require.True(t, m.Segments[10].Discontinuity)
	require.WithinDuration(t, time.Unix(0, frameNS(325)), *m.Segments[10].DateTime, time.Millisecond)
}

func TestLiveHLSOnlyGrows(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	c := newMovedClock(frameNS(250))
	part := func(from, to int) *footage { return &footage{inits: f.inits, frags: f.frags[from:to]} }
	part(0, 9).on(r1)
	part(0, 8).on(r2)
	s := newSite(t, withClock(c), r1, r2)
	live := s.base + "/v1/cameras/gate/live/index.m3u8"
	_, m, text := s.playlistOf(live)
	require.False(t, m.Endlist)
	require.Nil(t, m.PlaylistType, text)
	require.Len(t, m.Segments, 9)
	first := m.MediaSequence
	require.EqualValues(t, clipStart/1e9, first)
	require.Len(t, s.hlsUnits(live, m), 225)

	// Nobody has said to have number 9 yet, when 10 is there already.
	part(10, 12).on(r1)
	c.skip(500 * time.Millisecond)
	_, m, _ = s.playlistOf(live)
	require.Len(t, m.Segments, 9)
	part(8, 10).on(r2)
	c.skip(500 * time.Millisecond)
	_, m, text = s.playlistOf(live)
	require.Len(t, m.Segments, 12, text)
	require.NotContains(t, text, "DISCONTINUITY\n")

	// Now 12 is lost. It is a gap after a while, and stays one.
	part(13, 14).on(r1)
	c.skip(time.Second)
	_, m, _ = s.playlistOf(live)
	require.Len(t, m.Segments, 12)
	c.skip(settleFor)
	_, m, text = s.playlistOf(live)
	require.Len(t, m.Segments, 14)
	require.True(t, m.Segments[12].Gap, text)
	part(12, 14).on(r2)
	c.skip(time.Second)
	_, again, _ := s.playlistOf(live)
	require.Equal(t, m, again)

	// The window moves on.
	part(14, 40).on(r1)
	c.skip(26 * time.Second)
	_, m, text = s.playlistOf(live)
	require.GreaterOrEqual(t, len(m.Segments), 30)
	require.LessOrEqual(t, len(m.Segments), 31)
	require.Equal(t, first+40, m.MediaSequence+len(m.Segments))
	require.Equal(t, time.Unix(0, frameNS(25*(m.MediaSequence-first))).UTC().Truncate(time.Millisecond), m.Segments[0].DateTime.UTC())
	require.NotContains(t, text, "DISCONTINUITY\n")

	other := newSite(t, withClock(c), r1, r2)
	_, n, _ := other.playlistOf(other.base + "/v1/cameras/gate/live/index.m3u8")
	require.GreaterOrEqual(t, n.MediaSequence+len(n.Segments), m.MediaSequence+len(m.Segments), "numbers do not go back on another node")

	resp, body, err := s.get(live + "?_HLS_msn=minus")
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%s", body)
}

func TestLiveHLSHoldsBackARequestForWhatIsNext(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1 := newFake(t, "r1")
	(&footage{inits: f.inits, frags: f.frags[:20]}).on(r1)
	s := newSite(t, withClock(newMovedClock(frameNS(510))), r1)
	live := s.base + "/v1/cameras/gate/live/index.m3u8"
	_, m, _ := s.playlistOf(live)
	next := m.MediaSequence + len(m.Segments)
	type answer struct {
		m *m3u8.Media
		b string
	}
	got := make(chan answer, 1)
	go func() {
		resp, err := s.http.Get(live + "?_HLS_msn=" + strconv.Itoa(next))
		if err != nil {
			got <- answer{nil, err.Error()}
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		pl, err := m3u8.Unmarshal(b)
		if err != nil {
			got <- answer{nil, err.Error()}
			return
		}
		got <- answer{pl.(*m3u8.Media), string(b)}
	}()
	_, asked := r1.counts()
	require.Eventually(t, func() bool { _, n := r1.counts(); return n >= asked+2 }, 5*time.Second, 10*time.Millisecond)
	require.Empty(t, got)
	(&footage{inits: f.inits, frags: f.frags[20:21]}).on(r1)
	a := <-got
	require.NotNil(t, a.m, a.b)
	require.Equal(t, next+1, a.m.MediaSequence+len(a.m.Segments))
}

func TestGrowingHLSKeepsWhatItSaid(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	c := newMovedClock(frameNS(250))
	(&footage{inits: f.inits, frags: f.frags[:9]}).on(r1, r2)
	s := newSite(t, withClock(c), r1, r2)
	u := s.hlsURL(frameNS(30), 0)
	_, m, text := s.playlistOf(u)
	require.Equal(t, m3u8.MediaPlaylistTypeEvent, *m.PlaylistType, text)
	require.False(t, m.Endlist)
	require.Zero(t, m.MediaSequence)
	require.Len(t, m.Segments, 8)
	(&footage{inits: f.inits, frags: f.frags[9:30]}).on(r2)
	c.skip(20 * time.Second)
	_, more, _ := s.playlistOf(u)
	require.Len(t, more.Segments, 29)
	require.Equal(t, m.Segments, more.Segments[:8])
	require.Len(t, s.hlsUnits(u, more), 29*25)

	// With an end that is not reached yet, it grows, too, and then ends.
	(&footage{inits: f.inits, frags: f.frags[30:32]}).on(r1)
	u = s.hlsURL(frameNS(30), frameNS(820))
	c.skip(3 * time.Second)
	_, m, _ = s.playlistOf(u)
	require.False(t, m.Endlist)
	(&footage{inits: f.inits, frags: f.frags[32:33]}).on(r1)
	_, m, _ = s.playlistOf(u)
	require.True(t, m.Endlist)
	require.Len(t, m.Segments, 32)
}

func TestHLSSegmentsSurviveRecorders(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	u := s.hlsURL(frameNS(0), clipEnd)
	_, m, _ := s.playlistOf(u)
	for kind, fails := range readFailures {
		if strings.Contains(kind, "dies") {
			continue
		}
		r1.script(func(_ int, frag stored, out readStream) error { return fails(r1, frag, out) })
		s.segments = newCache[segmentKey, []byte](hlsMediaBytes)
		require.Len(t, s.hlsUnits(u, m), clipFrames, kind)
	}
	r1.kill()
	s.segments = newCache[segmentKey, []byte](hlsMediaBytes)
	require.Len(t, s.hlsUnits(u, m), clipFrames)
}

func TestHLSSegmentsAreImmutable(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	u := s.hlsURL(frameNS(0), clipEnd)
	_, m, _ := s.playlistOf(u)
	base, err := url.Parse(u)
	require.NoError(t, err)
	seg, err := base.Parse(m.Segments[3].URI)
	require.NoError(t, err)
	resp, body, err := s.get(seg.String())
	require.NoError(t, err)
	tag := resp.Header.Get("ETag")
	require.Equal(t, `"`+base64.RawURLEncoding.EncodeToString(f.frags[3].ref.Hash[:])+`"`, tag)
	reads, _ := r1.counts()
	resp, _, err = s.get(seg.String(), "If-None-Match", tag)
	require.NoError(t, err)
	require.Equal(t, http.StatusNotModified, resp.StatusCode)
	again, _ := r1.counts()
	require.Equal(t, reads, again)
	resp, part, err := s.get(seg.String(), "Range", "bytes=100-199")
	require.NoError(t, err)
	require.Equal(t, http.StatusPartialContent, resp.StatusCode)
	require.Equal(t, body[100:200], part)
	resp, _, err = s.do(http.MethodHead, seg.String())
	require.NoError(t, err)
	require.EqualValues(t, len(body), resp.ContentLength)

	// What no recorder has any more is said so at once.
	name := appendSegmentName(nil, &hlsItem{hash: media.Hash{1}, first: 3, startNS: clipStart, windowNS: clipStart})
	gone := seg.String()[:strings.LastIndex(seg.String(), "/")+1] + string(name)
	began := time.Now()
	resp, body, err = s.get(gone)
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	require.Contains(t, string(body), problemGone)
	require.Less(t, time.Since(began), s.o.Deadlines.Patience/2)
	for _, bad := range []string{"x.m4s", "1.2.3.4.m4s", "0.-5.0." + strings.Repeat("A", 43) + ".m4s", "../../../x"} {
		resp, _, err = s.get(seg.String()[:strings.LastIndex(seg.String(), "/")+1] + bad)
		require.NoError(t, err)
		require.Equal(t, http.StatusNotFound, resp.StatusCode, bad)
	}
}

func TestHLSAnswersBadRequests(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1 := newFake(t, "r1")
	f.on(r1)
	s := newSite(t, withClock(newMovedClock(clipStart+int64(20*365*24)*int64(time.Hour))), r1)
	for query, want := range map[string]string{
		"":                          problemTime,
		"start=yesterday&end=today": problemTime,
		"start=2026-03-01T12:00:00Z&end=2026-03-01T11:00:00Z":           problemRange,
		"start=2026-03-01T12:00:00Z&end=2036-03-01T12:00:00Z":           problemLong,
		"start=2026-03-01T12:00:00Z":                                    problemLong,
		"start=2026-04-01T12:00:00Z&end=2026-04-01T13:00:00Z":           problemEmpty,
		"start=2026-03-01T12:00:00Z&end=2026-03-01T12:01:00Z&gaps=both": "",
		"start=2100-03-01T12:00:00Z&end=2100-03-01T12:01:00Z":           problemFuture,
		"start=2026-03-01T12:00:00Z&end=2026-03-01T12:01:00Z&speed=2":   "",
	} {
		resp, body, err := s.get(s.base + "/v1/cameras/gate/index.m3u8?" + query)
		require.NoError(t, err)
		require.GreaterOrEqual(t, resp.StatusCode, 400, query)
		require.Less(t, resp.StatusCode, 500, query)
		require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"), query)
		require.Contains(t, string(body), want, query)
	}
	for _, path := range []string{"/v1/cameras/none/index.m3u8?start=2026-03-01T12:00:00Z", "/v1/cameras/none/live/index.m3u8"} {
		resp, body, err := s.get(s.base + path)
		require.NoError(t, err)
		require.Equal(t, http.StatusNotFound, resp.StatusCode)
		require.Contains(t, string(body), problemCamera)
	}
	resp, body, err := s.get(s.base + "/v1/cameras/gate/live/index.m3u8")
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	require.Contains(t, string(body), `"before"`)
}

func TestHLSSaysWhenTheInitHeaderChanges(t *testing.T) {
	with, without := makeFootage(t, footageOptions{audio: true}), makeFootage(t, footageOptions{})
	f := &footage{inits: append(append([][]byte{}, with.inits...), without.inits...), frags: append([]stored{}, with.frags[:20]...)}
	for _, x := range without.frags[20:] { // of the same session
		x.ref.Epoch = with.frags[0].ref.Epoch
		x.ref.First += 1_000_000
		x.ref.End += 1_000_000
		if len(f.frags) == 20 {
			f.frags[19].ref.End = x.ref.First
		}
		f.frags = append(f.frags, x)
	}
	r1 := newFake(t, "r1")
	f.on(r1)
	s := newSite(t, nil, r1)
	u := s.hlsURL(frameNS(0), clipEnd)
	_, m, text := s.playlistOf(u)
	require.Len(t, m.Segments, 40)
	require.Equal(t, 2, strings.Count(text, "#EXT-X-MAP"))
	require.Equal(t, 1, strings.Count(text, "#EXT-X-DISCONTINUITY\n"))
	require.True(t, m.Segments[20].Discontinuity)
	require.Equal(t, "0", s.get2(u).Header.Get(headerGaps))
	require.Less(t, strings.Index(text, "#EXT-X-DISCONTINUITY\n"), strings.LastIndex(text, "#EXT-X-MAP"))
	require.Len(t, s.hlsUnits(u, m), clipFrames)
}

// get2 is get for its header.
func (s *site) get2(u string) *http.Response {
	resp, _, err := s.get(u)
	require.NoError(s.t, err)
	return resp
}

func TestHLSPlaysInFFmpegAcrossWindowsAndSessions(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true, breaks: map[int]bool{500: true}})
	// The second half of each session is in another window: its decode times begin anew.
	for i := range f.frags {
		if i%20 >= 10 {
			f.frags[i] = inWindow(t, f, f.frags[i], clipStart/int64(time.Second)*int64(time.Second)+int64(i/20*20+5)*int64(time.Second))
		}
	}
	r1 := newFake(t, "r1")
	f.on(r1)
	s := newSite(t, nil, r1)
	u := s.hlsURL(frameNS(0), clipEnd)
	_, m, _ := s.playlistOf(u)
	require.Len(t, s.hlsUnits(u, m), clipFrames, "and decode times go on")
	got, err := decoded(u)
	require.NoError(t, err, "without a complaint")
	require.Len(t, got, clipFrames)
	for i, p := range got {
		require.Equal(t, f.clip.frames[i], p.sum)
	}
}

// inWindow moves a fragment to another segment window.
func inWindow(t testing.TB, f *footage, x stored, windowNS int64) stored {
	init, err := media.ParseInit(f.inits[0])
	require.NoError(t, err)
	m, err := media.MergeInits([]*media.Init{init}, media.Edit{})
	require.NoError(t, err)
	x.data = bytes.Clone(x.data)
	require.NoError(t, m.Retime(x.data, media.Retiming{Sequence: uint32(x.ref.First) + 1, WindowNS: x.ref.WindowNS, BaseNS: windowNS}))
	x.ref.WindowNS = windowNS
	x.ref.Hash = sha256.Sum256(x.data)
	return x
}

func TestPlaylistOfADayNeedsBoundedMemory(t *testing.T) {
	const n = 24 * 3600
	long := longArchive(t, footageOptions{}, n)
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	r1.part, r2.part = 1000, 1000
	long.on(r1, r2)
	s := newSite(t, func(o *Options) { o.Deadlines.Answer = 30 * time.Second }, r1, r2) // the fakes are slow at this
	start := long.frags[0].ref.StartNS
	u := s.hlsURL(start, start+n*int64(time.Second))
	before, peak := liveHeap(), uint64(0)
	resp, err := s.http.Get(u)
	require.NoError(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s", b)
	}
	lines, total := 0, 0
	for in := bufio.NewScanner(resp.Body); in.Scan(); total += len(in.Bytes()) + 1 {
		if in.Text()[0] != '#' {
			lines++
		}
		if in.Text()[0] != '#' && lines%10_000 == 0 {
			peak = max(peak, liveHeap())
		}
	}
	require.Equal(t, n, lines)
	t.Logf("%d KB, heap %d MB above what it was", total>>10, (peak-min(peak, before))>>20)
	require.Less(t, peak, before+80<<20, "what the fakes hold of it is in that")
}

func FuzzSegmentName(f *testing.F) {
	e := record.Epoch{1, 2, 3}
	f.Add(e.String(), string(appendSegmentName(nil, &hlsItem{hash: media.Hash{9}, first: 7, startNS: clipStart, windowNS: clipStart - 5e9})))
	f.Add("", "1.2.3.4.m4s")
	f.Fuzz(func(t *testing.T, epoch, name string) {
		it, e, err := parseSegment(epoch, name)
		if err != nil {
			return
		}
		require.Equal(t, epoch, e.String())
		again, _, err := parseSegment(epoch, string(appendSegmentName(nil, &it)))
		require.NoError(t, err)
		require.Equal(t, it, again)
	})
}

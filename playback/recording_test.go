package playback

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/media"
)

// site is a playback service with its HTTP address.
type site struct {
	*Service
	t    testing.TB
	base string
	http *http.Client
}

func newSite(t testing.TB, change func(*Options), fakes ...*fakeRecorder) *site {
	s := testService(t, true, change, fakes...)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	st := &site{s, t, "http://" + s.o.Listener.Addr().String(), &http.Client{Transport: tr}}
	require.Eventually(t, func() bool { return s.ready() == nil }, 5*time.Second, 5*time.Millisecond)
	return st
}

func (s *site) url(from, to int64) string {
	q := url.Values{"start": {at(from).String()}, "end": {at(to).String()}}
	return s.base + "/v1/cameras/gate/recording.mp4?" + q.Encode()
}

// get returns the answer, with the error that broke its body off.
func (s *site) get(u string, header ...string) (*http.Response, []byte, error) {
	return s.do(http.MethodGet, u, header...)
}

func (s *site) do(method, u string, header ...string) (*http.Response, []byte, error) {
	return s.doBody(method, u, http.NoBody, header...)
}

func (s *site) doBody(method, u string, send io.Reader, header ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(method, u, send)
	require.NoError(s.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.http.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func (s *site) export(from, to int64) (*http.Response, []byte) {
	s.t.Helper()
	resp, body, err := s.get(s.url(from, to))
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, resp.StatusCode, "%s", body)
	require.EqualValues(s.t, len(body), resp.ContentLength)
	return resp, body
}

// shown is an access unit of an export, in order of presentation.
type shown struct {
	captureNS int64
	bytes     string
}

// samples parses an export and returns what its edit lists show of each kind.
func samples(t testing.TB, file []byte, startNS int64) map[media.Kind][]shown {
	t.Helper()
	out := make(map[media.Kind][]shown)
	moov, rest := splitFile(t, file)
	show := func(kind media.Kind, trak *mp4.TrakBox, pts int64, b []byte) {
		e, late := &mp4.ElstEntry{}, int64(0)
		if trak.Edts != nil {
			entries := trak.Edts.Elst[0].Entries
			if len(entries) == 2 {
				require.Equal(t, int64(-1), entries[0].MediaTime)
				late = int64(entries[0].SegmentDuration) * 1e6
			}
			e = &entries[len(entries)-1]
		}
		ts := int64(trak.Mdia.Mdhd.Timescale)
		if at := pts - e.MediaTime; at >= 0 && at*1000/ts < int64(e.SegmentDuration) {
			out[kind] = append(out[kind], shown{startNS + late + at*int64(time.Second)/ts, string(b)})
		}
	}
	// Samples that the header describes are in one chunk.
	for _, trak := range moov.Traks {
		st := trak.Mdia.Minf.Stbl
		if st.Stsz.GetNrSamples() == 0 {
			continue
		}
		require.Equal(t, "vide", trak.Mdia.Hdlr.HandlerType)
		at := int64(st.Stco.ChunkOffset[0])
		for i := uint32(1); i <= st.Stsz.GetNrSamples(); i++ {
			dts, _ := st.Stts.GetDecodeTime(i)
			n := int64(st.Stsz.GetSampleSize(int(i)))
			pts := int64(dts)
			if st.Ctts != nil {
				pts += int64(st.Ctts.GetCompositionTimeOffset(i))
			}
			show(media.KindVideo, trak, pts, file[at:at+n])
			at += n
		}
	}
	header := file[:len(file)-len(rest)]
	init, err := media.ParseInit(header[:beU32(header)+uint32(moov.Size())])
	require.NoError(t, err)
	for len(rest) > 0 {
		moof := beU32(rest)
		size := int64(moof) + int64(beU32(rest[moof:]))
		p, err := media.ParseFragment(rest, size, init, 0)
		require.NoError(t, err)
		for i := range p.Tracks {
			tr := &p.Tracks[i]
			trak := moov.Traks[slices.IndexFunc(moov.Traks, func(x *mp4.TrakBox) bool { return x.Tkhd.TrackID == tr.ID })]
			for _, s := range tr.Samples {
				show(tr.Kind, trak, s.PTS, rest[s.At:s.At+int64(s.Size)])
			}
		}
		rest = rest[size:]
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b shown) int { return cmp.Compare(a.captureNS, b.captureNS) })
	}
	return out
}

// splitFile returns the header, and the fragments.
func splitFile(t testing.TB, file []byte) (*mp4.MoovBox, []byte) {
	t.Helper()
	var moov *mp4.MoovBox
	rest := file
	for string(rest[4:8]) != "moof" {
		n := beU32(rest)
		if string(rest[4:8]) == "moov" {
			box, err := mp4.DecodeBox(0, bytes.NewReader(rest[:n]))
			require.NoError(t, err)
			moov = box.(*mp4.MoovBox)
		}
		if rest = rest[n:]; len(rest) == 0 {
			break
		}
	}
	require.NotNil(t, moov)
	return moov, rest
}

// avcc is how an access unit stands in an MP4.
func avcc(units [][]byte) string {
	var b bytes.Buffer
	for _, n := range units {
		b.Write([]byte{byte(len(n) >> 24), byte(len(n) >> 16), byte(len(n) >> 8), byte(len(n))})
		b.Write(n)
	}
	return b.String()
}

// requireVideo checks that exactly the frames of [fromNS, toNS) of the clip are shown, in
// order and bit-identical.
func (f *footage) requireVideo(t testing.TB, got []shown, fromNS, toNS int64) {
	t.Helper()
	var want []string
	byFrame := make(map[int64]string)
	for i, au := range f.clip.units {
		byFrame[(f.clip.pts[i]-clipStart)/clipFrameNS] = avcc(au)
	}
	for i := range int64(clipFrames) {
		if at := frameNS(int(i)); at >= fromNS && at < toNS {
			want = append(want, byFrame[i])
		}
	}
	require.Equal(t, len(want), len(got))
	for i := range got {
		require.Equal(t, want[i], got[i].bytes, "frame %d", i)
		n := (got[i].captureNS - clipStart + clipFrameNS/2) / clipFrameNS
		require.InDelta(t, frameNS(int(n)), got[i].captureNS, 25_000)
		require.Equal(t, want[i], byFrame[n])
	}
}

func TestExportIsExactToTheAccessUnit(t *testing.T) {
	for name, o := range map[string]footageOptions{
		"a fragment is a GOP":                 {audio: true},
		"a GOP has several fragments":         {audio: true, cutEvery: 10},
		"a fragment has two GOPs":             {cutEvery: 50},
		"the camera's session broke":          {audio: true, breaks: map[int]bool{250: true, 500: true}},
		"fragments start without a key frame": {cutEvery: 7},
	} {
		t.Run(name, func(t *testing.T) {
			f := makeFootage(t, o)
			r1, r2 := newFake(t, "r1"), newFake(t, "r2")
			f.on(r1, r2)
			s := newSite(t, nil, r1, r2)
			for _, r := range [][2]int64{
				{frameNS(100), frameNS(200)}, // key frame to key frame
				{frameNS(113), frameNS(113) + 1},
				{frameNS(113), frameNS(114)},
				{frameNS(110) + tickNS, frameNS(340) - tickNS},
				{frameNS(125) - 1, frameNS(126) + tickNS},
				{frameNS(248), frameNS(252)},
				{clipStart - 5e9, frameNS(30)},
				{frameNS(980), frameNS(2000)},
			} {
				resp, body := s.export(r[0], r[1])
				start, err := time.Parse(time.RFC3339Nano, resp.Header.Get(headerStart))
				require.NoError(t, err)
				got := samples(t, body, start.UnixNano())
				f.requireVideo(t, got[media.KindVideo], r[0], r[1])
				if o.audio {
					requireAudio(t, got[media.KindAudio], r[0], r[1])
				}
			}
		})
	}
}

// requireAudio checks that exactly the packets that begin in [fromNS, toNS) are there, in order.
func requireAudio(t testing.TB, got []shown, fromNS, toNS int64) {
	t.Helper()
	const rounding = 126_000 // a tick of 8 kHz, rounded up
	var want []int64
	for at := clipStart + 7_000_000; at < min(toNS, clipEnd-100e6); at += audioNS {
		if at >= fromNS {
			want = append(want, at)
		}
	}
	var have []int64
	for _, s := range got {
		require.Len(t, s.bytes, 320, "160 samples of G.711 are 320 bytes of LPCM")
		have = append(have, s.captureNS)
	}
	require.Len(t, have, len(want), "from %d: want %d, have %d", fromNS, want, have)
	for i := range want {
		require.InDelta(t, want[i], have[i], rounding, "%d of %d", i, len(want))
	}
}

func TestExportIsShownExactlyByFFmpeg(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	for _, r := range [][2]int{{100, 200}, {113, 114}, {113, 163}, {110, 337}, {0, clipFrames}, {124, 126}} {
		t.Run(fmt.Sprintf("%d-%d", r[0], r[1]), func(t *testing.T) {
			resp, body := s.export(frameNS(r[0]), frameNS(r[1]))
			file := filepath.Join(t.TempDir(), "out.mp4")
			require.NoError(t, os.WriteFile(file, body, 0o600))
			got, err := decoded(file)
			require.NoError(t, err)
			require.Equal(t, f.clip.frames[r[0]:r[1]], within(t, got, resp))
			start, err := time.Parse(time.RFC3339Nano, resp.Header.Get(headerStart))
			require.NoError(t, err)
			require.InDelta(t, time.Unix(0, frameNS(r[0])).Sub(start), got[0].at, float64(time.Millisecond),
				"sound that begins before the first picture keeps its distance to it")
		})
	}
}

// within returns the pictures before the end of the edit list, which ffmpeg does not heed
// where the samples are in fragments: it also shows what B-frames before the end refer to.
// At the start there is no such allowance.
func within(t testing.TB, got []picture, resp *http.Response) []string {
	start, err := time.Parse(time.RFC3339Nano, resp.Header.Get(headerStart))
	require.NoError(t, err)
	end, err := time.Parse(time.RFC3339Nano, resp.Header.Get(headerEnd))
	require.NoError(t, err)
	var out []string
	for _, p := range got {
		if p.at < end.Sub(start)-time.Millisecond {
			out = append(out, p.sum)
		}
	}
	return out
}

func TestExportOfEachRecorderAloneIsTheSame(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	resp, both := s.export(frameNS(103), frameNS(777))
	tag := resp.Header.Get("ETag")
	for _, r := range []*fakeRecorder{r1, r2} {
		r.kill()
		resp, one := s.export(frameNS(103), frameNS(777))
		require.True(t, bytes.Equal(both, one))
		require.Equal(t, tag, resp.Header.Get("ETag"))
		require.Equal(t, "0", resp.Header.Get(headerGaps))
		require.Empty(t, resp.Header.Get(headerUnknown), "the other one proves that it is complete")
		r.restart()
		require.Eventually(t, func() bool { return !s.pool.recorders[0].isDown() && !s.pool.recorders[1].isDown() }, 5*time.Second, 10*time.Millisecond)
	}
}

func TestExportGoesOnThroughFailures(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true})
	plain1, plain2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(plain1, plain2)
	undisturbed := newSite(t, nil, plain1, plain2)
	_, want := undisturbed.export(frameNS(60), frameNS(960))

	twice := []uint64{f.frags[8].ref.First, f.frags[30].ref.First}
	for name, fail := range readFailures {
		t.Run(name, func(t *testing.T) {
			r1, r2 := newFake(t, "r1"), newFake(t, "r2")
			f.on(r1, r2)
			s := newSite(t, func(o *Options) { o.Deadlines.ProbeEvery = 100 * time.Millisecond }, r1, r2)
			// Whoever is asked for these fragments first.
			times := int32(2)
			if name == "dies after some bytes" || name == "is frozen" {
				times = 1 // for good
			}
			var failed atomic.Int32
			for _, f := range []*fakeRecorder{r1, r2} {
				f.script(func(_ int, frag stored, out readStream) error {
					if n := failed.Load(); n < times && frag.ref.First == twice[n] && failed.CompareAndSwap(n, n+1) {
						return fail(f, frag, out)
					}
					return sendChunks(out, frag.data)
				})
			}
			_, got := s.export(frameNS(60), frameNS(960))
			require.True(t, bytes.Equal(want, got), "the client must not see the switch")
			require.EqualValues(t, times, failed.Load())
		})
	}
}

func TestExportGoesOnWhenBothRecordersAreKilledOneAfterTheOther(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, func(o *Options) { o.Deadlines.ProbeEvery = 100 * time.Millisecond }, r1, r2)
	_, want := s.export(frameNS(60), frameNS(960))
	half := f.frags[20].ref.First
	restarted := make(chan struct{})
	var once sync.Once
	for _, f := range []*fakeRecorder{r1, r2} {
		f.script(func(_ int, frag stored, out readStream) error {
			if frag.ref.First == half {
				once.Do(func() {
					go func() {
						defer close(restarted)
						r1.kill()
						r2.kill()
						r2.restart()
						r1.restart()
					}()
					<-out.Context().Done()
				})
			}
			return sendChunks(out, frag.data)
		})
	}
	_, got := s.export(frameNS(60), frameNS(960))
	require.True(t, bytes.Equal(want, got))
	<-restarted
}

func TestExportIsBrokenOffRatherThanShortened(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, func(o *Options) { o.Deadlines.Patience = 300 * time.Millisecond }, r1, r2)
	bad := f.frags[20].ref.First
	for _, r := range []*fakeRecorder{r1, r2} {
		r.script(func(_ int, frag stored, out readStream) error {
			if frag.ref.First == bad {
				return status.Error(codes.DataLoss, "input/output error")
			}
			return sendChunks(out, frag.data)
		})
	}
	resp, body, err := s.get(s.url(frameNS(60), frameNS(960)))
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Error(t, err, "the client must be able to tell")
	require.True(t, errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "reset"), "%v", err)
	require.Less(t, int64(len(body)), resp.ContentLength)
}

func TestExportSpansAGapAndDeclaresIt(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true, breaks: map[int]bool{300: true}})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	hole := footage{clip: f.clip, inits: f.inits}
	for _, x := range f.frags { // nobody has 200 … 300
		if x.ref.StartNS < frameNS(200)-1e6 || x.ref.StartNS >= frameNS(300)-1e6 {
			hole.frags = append(hole.frags, x)
		}
	}
	hole.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	resp, body := s.export(frameNS(150), frameNS(350))
	require.Equal(t, "1", resp.Header.Get(headerGaps))
	require.Contains(t, resp.Header.Get("Link"), "/v1/cameras/gate/timeline?")
	got := samples(t, body, tick(frameNS(150)))[media.KindVideo]
	require.Len(t, got, 100)
	require.InDelta(t, frameNS(300), got[50].captureNS, 12_000, "time jumps over the gap")
}

func TestExportMergesWhatOnlyOneRecorderHas(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	for i, x := range f.frags {
		if i%3 != 0 {
			r1.add("gate", f.inits, x)
		}
		if i%3 != 1 {
			r2.add("gate", f.inits, x)
		}
	}
	s := newSite(t, nil, r1, r2)
	resp, body := s.export(frameNS(3), frameNS(996))
	require.Equal(t, "0", resp.Header.Get(headerGaps))
	f.requireVideo(t, samples(t, body, tick(frameNS(3)))[media.KindVideo], frameNS(3), frameNS(996))
}

func TestExportNamesTheRecorderThatMayHaveMore(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	for i, x := range f.frags {
		if i != 10 {
			r1.add("gate", f.inits, x)
		}
		r2.add("gate", f.inits, x)
	}
	s := newSite(t, nil, r1, r2)
	r2.kill()
	resp, _ := s.export(frameNS(150), frameNS(350))
	require.Equal(t, "r2", resp.Header.Get(headerUnknown))
	require.Equal(t, "0", resp.Header.Get(headerGaps), "unknown is not a gap")
}

func TestByteRangesReassembleToTheWholeFile(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	u := s.url(frameNS(63), frameNS(456))
	resp, whole, err := s.get(u)
	require.NoError(t, err)
	tag := resp.Header.Get("ETag")
	require.NotEmpty(t, tag)
	require.Equal(t, "bytes", resp.Header.Get("Accept-Ranges"))
	rapid.Check(t, func(rt *rapid.T) {
		a := rapid.IntRange(0, len(whole)-1).Draw(rt, "from")
		b := rapid.IntRange(a, min(len(whole)-1, a+rapid.SampledFrom([]int{0, 10, 5000, len(whole)}).Draw(rt, "length"))).Draw(rt, "to")
		resp, body, err := s.get(u, "Range", fmt.Sprintf("bytes=%d-%d", a, b), "If-Range", tag)
		require.NoError(rt, err)
		require.Equal(rt, http.StatusPartialContent, resp.StatusCode)
		require.True(rt, bytes.Equal(whole[a:b+1], body))
	})
	t.Run("resumed", func(t *testing.T) {
		var got []byte
		for len(got) < len(whole) {
			resp, part, err := s.get(u, "Range", fmt.Sprintf("bytes=%d-%d", len(got), min(len(got)+100_000, len(whole))-1), "If-Range", tag)
			require.NoError(t, err)
			require.Equal(t, http.StatusPartialContent, resp.StatusCode)
			got = append(got, part...)
		}
		require.True(t, bytes.Equal(whole, got))
	})
	t.Run("HEAD", func(t *testing.T) {
		resp, body, err := s.do(http.MethodHead, u)
		require.NoError(t, err)
		require.Empty(t, body)
		require.EqualValues(t, len(whole), resp.ContentLength)
		require.Equal(t, tag, resp.Header.Get("ETag"))
		require.NotEmpty(t, resp.Header.Get("Last-Modified"))
	})
	t.Run("If-None-Match", func(t *testing.T) {
		resp, body, err := s.get(u, "If-None-Match", tag)
		require.NoError(t, err)
		require.Equal(t, http.StatusNotModified, resp.StatusCode)
		require.Empty(t, body)
	})
	t.Run("If-Range of another file", func(t *testing.T) {
		resp, body, err := s.get(u, "Range", "bytes=5-9", "If-Range", `"other"`)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Len(t, body, len(whole))
	})
	t.Run("several ranges", func(t *testing.T) {
		resp, body, err := s.get(u, "Range", "bytes=0-9,1000-1009,-10")
		require.NoError(t, err)
		require.Equal(t, http.StatusPartialContent, resp.StatusCode)
		require.Contains(t, string(body), string(whole[1000:1010]))
	})
	t.Run("beyond the end", func(t *testing.T) {
		resp, body, err := s.get(u, "Range", fmt.Sprintf("bytes=%d-", len(whole)))
		require.NoError(t, err)
		require.Equal(t, http.StatusRequestedRangeNotSatisfiable, resp.StatusCode)
		require.Equal(t, fmt.Sprintf("bytes */%d", len(whole)), resp.Header.Get("Content-Range"))
		requireProblem(t, resp, body, problemBytes)
	})
}

func requireProblem(t testing.TB, resp *http.Response, body []byte, typ string) Problem {
	t.Helper()
	require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"), "%s", body)
	var p struct {
		Problem
		Nearest *struct{ Before, After *time.Time }
	}
	require.NoError(t, json.Unmarshal(body, &p), "%s", body)
	require.Equal(t, typ, p.Type)
	require.Equal(t, resp.StatusCode, p.Status)
	require.NotEmpty(t, p.Title)
	require.NotEmpty(t, p.Detail)
	if n := p.Nearest; n != nil {
		p.Problem.Nearest = &Nearest{}
		if n.Before != nil {
			p.Problem.Nearest.Before = &stamp{*n.Before}
		}
		if n.After != nil {
			p.Problem.Nearest.After = &stamp{*n.After}
		}
	}
	return p.Problem
}

package playback

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
)

func (s *site) progressive(from, to int64) (*http.Response, []byte) {
	s.t.Helper()
	resp, body, err := s.get(s.url(from, to) + "&layout=progressive")
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, resp.StatusCode, "%s", body)
	require.EqualValues(s.t, len(body), resp.ContentLength)
	return resp, body
}

// tableSamples parses a file that is not fragmented, and returns what its edit lists show
// of each kind.
func tableSamples(t testing.TB, file []byte, startNS int64) map[media.Kind][]shown {
	t.Helper()
	f, err := mp4.DecodeFile(bytes.NewReader(file))
	require.NoError(t, err)
	require.False(t, f.IsFragmented())
	require.Less(t, f.Moov.StartPos, f.Mdat.StartPos, "moov comes first")
	require.EqualValues(t, len(file), f.Mdat.StartPos+f.Mdat.Size(), "nothing comes after the samples")
	out := make(map[media.Kind][]shown)
	scale := int64(f.Moov.Mvhd.Timescale)
	for _, trak := range f.Moov.Traks {
		kind := map[string]media.Kind{"vide": media.KindVideo, "soun": media.KindAudio}[trak.Mdia.Hdlr.HandlerType]
		entries := trak.Edts.Elst[0].Entries
		late := int64(0)
		if len(entries) == 2 {
			require.Equal(t, int64(-1), entries[0].MediaTime)
			late = int64(entries[0].SegmentDuration) * int64(time.Second) / scale
		}
		e := entries[len(entries)-1]
		ts := int64(trak.Mdia.Mdhd.Timescale)
		list, err := trak.GetSampleData(1, trak.GetNrSamples())
		require.NoError(t, err)
		dts, ranges := int64(0), []byte{}
		parts, err := trak.GetRangesForSampleInterval(1, trak.GetNrSamples())
		require.NoError(t, err)
		for _, r := range parts {
			ranges = append(ranges, file[r.Offset:r.Offset+r.Size]...)
		}
		for _, x := range list {
			require.GreaterOrEqual(t, x.CompositionTimeOffset, int32(0), "ffmpeg shows video with negative ones late")
			at := dts + int64(x.CompositionTimeOffset) - e.MediaTime
			if at >= 0 && at*scale/ts < int64(e.SegmentDuration) {
				out[kind] = append(out[kind], shown{startNS + late + at*int64(time.Second)/ts, string(ranges[:x.Size])})
			}
			ranges = ranges[x.Size:]
			dts += int64(x.Dur)
		}
		require.Empty(t, ranges)
		require.EqualValues(t, trak.Mdia.Mdhd.Duration, dts)
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b shown) int { return cmp.Compare(a.captureNS, b.captureNS) })
	}
	return out
}

func TestProgressiveExportIsExactToTheAccessUnit(t *testing.T) {
	for name, o := range map[string]footageOptions{
		"a fragment is a GOP":                 {audio: true},
		"a fragment has two GOPs":             {audio: true, cutEvery: 50},
		"the camera's session broke":          {audio: true, breaks: map[int]bool{250: true, 500: true}},
		"fragments start without a key frame": {cutEvery: 7},
	} {
		t.Run(name, func(t *testing.T) {
			f := makeFootage(t, o)
			r1, r2 := newFake(t, "r1"), newFake(t, "r2")
			f.on(r1, r2)
			s := newSite(t, nil, r1, r2)
			for _, r := range [][2]int64{
				{frameNS(100), frameNS(200)},
				{frameNS(113), frameNS(114)},
				{frameNS(110) + tickNS, frameNS(340) - tickNS},
				{frameNS(248), frameNS(252)},
				{clipStart - 5e9, frameNS(30)},
				{frameNS(980), frameNS(2000)},
			} {
				resp, body := s.progressive(r[0], r[1])
				start, err := time.Parse(time.RFC3339Nano, resp.Header.Get(headerStart))
				require.NoError(t, err)
				got := tableSamples(t, body, start.UnixNano())
				f.requireVideo(t, got[media.KindVideo], r[0], r[1])
				if o.audio {
					requireAudio(t, got[media.KindAudio], r[0], r[1])
				}
			}
		})
	}
}

func TestProgressiveExportIsShownExactlyByFFmpeg(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	for _, r := range [][2]int{{100, 200}, {113, 114}, {113, 163}, {110, 337}, {0, clipFrames}, {124, 126}} {
		t.Run(fmt.Sprintf("%d-%d", r[0], r[1]), func(t *testing.T) {
			resp, body := s.progressive(frameNS(r[0]), frameNS(r[1]))
			file := filepath.Join(t.TempDir(), "out.mp4")
			require.NoError(t, os.WriteFile(file, body, 0o600))
			got, err := decoded(file)
			require.NoError(t, err)
			require.Equal(t, f.clip.frames[r[0]:r[1]], within(t, got, resp))
			require.Len(t, got, r[1]-r[0], "where all samples are in tables, ffmpeg heeds the end of the edit list")
			start, err := time.Parse(time.RFC3339Nano, resp.Header.Get(headerStart))
			require.NoError(t, err)
			require.InDelta(t, time.Unix(0, frameNS(r[0])).Sub(start), got[0].at, float64(time.Millisecond))
		})
	}
}

func TestProgressiveExportIsAFile(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	resp, body := s.progressive(frameNS(110), frameNS(840))
	tag := resp.Header.Get("ETag")
	u := s.url(frameNS(110), frameNS(840)) + "&layout=progressive"
	reads, _ := r1.counts()
	resp, part, err := s.get(u, "Range", "bytes=5000-80000", "If-Range", tag)
	require.NoError(t, err)
	require.Equal(t, http.StatusPartialContent, resp.StatusCode)
	require.Equal(t, body[5000:80001], part)
	again, _ := r1.counts()
	require.Less(t, again-reads, 10, "the tables are not made again")
	for _, r := range []*fakeRecorder{r1, r2} {
		s.progressives = newCache[string, *virtual](progressiveBytes)
		r.kill()
		resp, one := s.progressive(frameNS(110), frameNS(840))
		require.True(t, bytes.Equal(body, one))
		require.Equal(t, tag, resp.Header.Get("ETag"))
		r.restart()
		require.Eventually(t, func() bool { return !s.pool.recorders[0].isDown() && !s.pool.recorders[1].isDown() }, 5*time.Second, 10*time.Millisecond)
	}
	// A recorder that fails does not change it.
	for kind, fails := range readFailures {
		if strings.Contains(kind, "dies") {
			continue
		}
		r1.script(func(_ int, frag stored, out readStream) error { return fails(r1, frag, out) })
		s.progressives = newCache[string, *virtual](progressiveBytes)
		_, one := s.progressive(frameNS(110), frameNS(840))
		require.True(t, bytes.Equal(body, one), kind)
	}
}

func TestProgressiveExportHasLimits(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1 := newFake(t, "r1")
	f.on(r1)
	s := newSite(t, func(o *Options) { o.Limits.Samples = 100 }, r1)
	for query, want := range map[string]string{
		"start=2026-03-01T12:00:00Z&end=2026-03-01T15:00:00Z&layout=progressive": "layout=fragmented has no such limit",
		"start=2026-03-01T12:00:00Z&end=2026-03-01T12:01:00Z&layout=progressive": "more than 100 access units",
		"start=2026-03-01T12:00:00Z&end=2026-03-01T12:01:00Z&layout=matroska":    "layout",
	} {
		resp, body, err := s.get(s.base + "/v1/cameras/gate/recording.mp4?" + query)
		require.NoError(t, err)
		require.GreaterOrEqual(t, resp.StatusCode, 400)
		require.Less(t, resp.StatusCode, 500)
		require.Contains(t, string(body), want)
	}
}

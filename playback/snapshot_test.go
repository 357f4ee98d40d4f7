package playback

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func (s *site) snapshotURL(ns int64, width string) string {
	q := url.Values{"at": {at(ns).String()}}
	if width != "" {
		q.Set("width", width)
	}
	return s.base + "/v1/cameras/gate/snapshot.jpg?" + q.Encode()
}

func (s *site) image(u string) (*http.Response, image.Image) {
	s.t.Helper()
	resp, body, err := s.get(u)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, resp.StatusCode, "%s", body)
	require.Equal(s.t, "image/jpeg", resp.Header.Get("Content-Type"))
	img, err := jpeg.Decode(bytes.NewReader(body))
	require.NoError(s.t, err)
	return resp, img
}

func TestSnapshotIsTheKeyFrameAtOrBefore(t *testing.T) {
	// Two GOPs in a fragment, and fragments without a key frame.
	for _, every := range []int{clipGOP, 2 * clipGOP, 10} {
		f := makeFootage(t, footageOptions{audio: true, cutEvery: every})
		r1, r2 := newFake(t, "r1"), newFake(t, "r2")
		f.on(r1, r2)
		s := newSite(t, nil, r1, r2)
		for at, want := range map[int64]int{
			frameNS(0): 0, frameNS(24): 0, frameNS(25): 25, frameNS(99): 75, frameNS(100): 100, frameNS(149) + 1: 125, clipEnd + int64(time.Minute): 975,
		} {
			resp, img := s.image(s.snapshotURL(at, ""))
			got, err := time.Parse(time.RFC3339Nano, resp.Header.Get(headerStart))
			require.NoError(t, err)
			require.WithinDuration(t, time.Unix(0, frameNS(want)), got, 20*time.Microsecond, "cut every %d frames, at %d", every, at)
			require.Equal(t, image.Pt(160, 90), img.Bounds().Size())
			require.Equal(t, keepFor, resp.Header.Get("Cache-Control"))
		}
	}
}

func TestSnapshotIsMadeOnceAndFits(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	resp, img := s.image(s.snapshotURL(frameNS(30), "80"))
	require.Equal(t, 80, img.Bounds().Dx())
	s.ffmpeg = "/nonexistent" // so it comes from memory
	_, again := s.image(s.snapshotURL(frameNS(31), "80"))
	require.Equal(t, img, again)
	resp, _, err := s.get(s.snapshotURL(frameNS(31), "80"), "If-None-Match", resp.Header.Get("ETag"))
	require.NoError(t, err)
	require.Equal(t, http.StatusNotModified, resp.StatusCode)
	resp, _, err = s.get(s.snapshotURL(frameNS(31), ""))
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
}

func TestSnapshotWithoutFFmpegSaysSo(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1 := newFake(t, "r1")
	f.on(r1)
	s := newSite(t, func(o *Options) { o.FFmpeg = NoFFmpeg }, r1)
	resp, body, err := s.get(s.snapshotURL(frameNS(30), ""))
	require.NoError(t, err)
	require.Equal(t, http.StatusNotImplemented, resp.StatusCode)
	require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
	require.Contains(t, string(body), problemFFmpeg)
}

func TestSnapshotAnswersBadRequests(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1 := newFake(t, "r1")
	f.on(r1)
	s := newSite(t, nil, r1)
	for path, want := range map[string]string{
		"gate/snapshot.jpg?at=noon":                                                       problemTime,
		"gate/snapshot.jpg?at=2199-01-01T00:00:00Z":                                       problemFuture,
		"gate/snapshot.jpg?at=2026-03-01T12:00:00Z&width=9":                               problemOption,
		"gate/snapshot.jpg?at=2026-03-01T11:00:00Z":                                       problemEmpty,
		"none/snapshot.jpg":                                                               problemCamera,
		"gate/strip.jpg?start=2026-03-01T12:00:00Z&end=2026-03-01T11:00:00Z":              problemRange,
		"gate/strip.jpg?start=2026-03-01T12:00:00Z&end=2026-03-01T13:00:00Z&n=0":          problemOption,
		"gate/strip.jpg?start=2016-03-01T12:00:00Z&end=2026-03-01T13:00:00Z":              problemLong,
		"gate/strip.jpg?start=2026-03-01T12:00:00Z&end=2026-03-01T13:00:00Z&width=100000": problemOption,
	} {
		resp, body, err := s.get(s.base + "/v1/cameras/" + path)
		require.NoError(t, err)
		require.GreaterOrEqual(t, resp.StatusCode, 400, path)
		require.Less(t, resp.StatusCode, 500, path)
		require.Contains(t, string(body), want, path)
	}
}

func TestStripHasAPictureOfEachPart(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	(&footage{inits: f.inits, frags: append(append([]stored{}, f.frags[:20]...), f.frags[30:]...)}).on(r1, r2)
	s := newSite(t, nil, r1, r2)
	q := url.Values{"start": {at(frameNS(0)).String()}, "end": {at(clipEnd).String()}, "n": {"8"}, "width": {"96"}}
	resp, img := s.image(s.base + "/v1/cameras/gate/strip.jpg?" + q.Encode())
	require.Equal(t, image.Pt(96*8, 54), img.Bounds().Size())
	require.Equal(t, "96x54", resp.Header.Get(headerTile))
	times := strings.Split(resp.Header.Get(headerTimes), ", ")
	require.Len(t, times, 8)
	for i, text := range times {
		if i == 4 || i == 5 { // 20 s … 30 s
			require.Empty(t, text)
			continue
		}
		got, err := time.Parse(time.RFC3339Nano, text)
		require.NoError(t, err)
		require.InDelta(t, float64(5*i)+2, got.Sub(time.Unix(0, clipStart)).Seconds(), 0.001)
	}
	r, g, b, _ := img.At(96*4+40, 20).RGBA()
	require.Less(t, r+g+b, uint32(3*40<<8), "dark")

	// Each picture of the strip is the one of the snapshot.
	_, one := s.image(s.snapshotURL(frameNS(0)+2.5e9, "96"))
	require.InDelta(t, gray(one, 40, 20), gray(img, 40, 20), 12)
}

func gray(img image.Image, x, y int) float64 {
	return float64(color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y)
}

func TestJPEGOfACameraFits(t *testing.T) {
	img := image.NewRGBA(image.Rect(0, 0, 64, 48))
	for i := range img.Pix {
		img.Pix[i] = byte(i)
	}
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, img, nil))
	same, err := fitJPEG(b.Bytes(), 64)
	require.NoError(t, err)
	require.Equal(t, b.Bytes(), same)
	small, err := fitJPEG(b.Bytes(), 32)
	require.NoError(t, err)
	c, err := jpeg.DecodeConfig(bytes.NewReader(small))
	require.NoError(t, err)
	require.Equal(t, image.Pt(32, 24), image.Pt(c.Width, c.Height))
	_, err = fitJPEG([]byte("no image"), 32)
	require.Error(t, err)
	require.Equal(t, [][]byte{b.Bytes(), small}, splitJPEG(append(bytes.Clone(b.Bytes()), small...)))
}

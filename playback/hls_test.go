package playback

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	m3u8 "github.com/bluenviron/gohlslib/v2/pkg/playlist"
	"github.com/stretchr/testify/require"

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
		parts := strings.Split(seg.URI, "/")
		_, epoch, err := parseSegment(parts[len(parts)-2], parts[len(parts)-1])
		require.NoError(s.t, err)
		p, err := media.ParseFragment(data, int64(len(data)), init, hlsOrigin(epoch))
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

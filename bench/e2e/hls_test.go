package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	m3u8 "github.com/bluenviron/gohlslib/v2/pkg/playlist"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

// hlsClient downloads what a playlist lists, each segment once and in its order, as a
// player does.
type hlsClient struct {
	url  string
	sent int // the number of the next segment; -1: the first one of the playlist

	// media is init header and segments, by epoch, in the order of their first ones.
	media map[string]*bytes.Buffer
	order []string
	inits map[string][]byte

	gaps []ledger.Gap
	// slowest is the longest that a request took.
	slowest time.Duration
	what    string
	count   int
}

func newHLSClient(u string) *hlsClient {
	return &hlsClient{url: u, sent: -1, media: map[string]*bytes.Buffer{}, inits: map[string][]byte{}}
}

func (c *hlsClient) get(ref string) ([]byte, error) {
	base, err := url.Parse(c.url)
	if err != nil {
		return nil, err
	}
	u, err := base.Parse(ref)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", u, resp.Status, b)
	}
	if took := time.Since(began); took > c.slowest {
		c.slowest, c.what = took, path.Base(u.Path)
	}
	return b, err
}

// step reads the playlist and what is new in it. It says whether the playlist has ended.
func (c *hlsClient) step() (ended bool, err error) {
	b, err := c.get("")
	if err != nil {
		return false, err
	}
	parsed, err := m3u8.Unmarshal(b)
	if err != nil {
		return false, fmt.Errorf("%w: %s", err, b)
	}
	list, ok := parsed.(*m3u8.Media)
	if !ok {
		return false, fmt.Errorf("no media playlist: %s", b)
	}
	if c.sent < 0 {
		c.sent = list.MediaSequence
	}
	if list.MediaSequence > c.sent {
		return false, fmt.Errorf("the playlist begins at %d, and %d was not there", list.MediaSequence, c.sent)
	}
	for _, seg := range list.Segments[min(c.sent-list.MediaSequence, len(list.Segments)):] {
		c.sent++
		if seg.Gap {
			start := seg.DateTime.UnixNano()
			c.gaps = append(c.gaps, ledger.Gap{StartNS: start, EndNS: start + int64(seg.Duration), Cause: "gap"})
			continue
		}
		if err := c.segment(seg.URI); err != nil {
			return false, err
		}
	}
	return list.Endlist, nil
}

func (c *hlsClient) segment(uri string) error {
	parts := strings.Split(uri, "/")
	epoch, init := parts[len(parts)-2], path.Dir(path.Dir(uri))+"/init.mp4"
	key := init + " " + epoch
	if c.media[key] == nil {
		if c.inits[init] == nil {
			b, err := c.get(init)
			if err != nil {
				return err
			}
			c.inits[init] = b
		}
		c.media[key] = bytes.NewBuffer(bytes.Clone(c.inits[init]))
		c.order = append(c.order, key)
	}
	b, err := c.get(uri)
	if err != nil {
		return err
	}
	c.count++
	c.media[key].Write(b)
	return nil
}

// follow reads until stop is closed, or the playlist ends.
func (c *hlsClient) follow(stop <-chan struct{}) error {
	for {
		ended, err := c.step()
		if err != nil || ended {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-time.After(500 * time.Millisecond): // as a player does
		}
	}
}

// units returns the access units, with the capture times that decode times tell.
func (c *hlsClient) units(h *ledger.Header) ([]ledger.AccessUnit, error) {
	var all []ledger.AccessUnit
	for _, key := range c.order {
		units, err := ledger.FromMP4(c.media[key], h, 1) // times count from 1970; 0 is that it is not known
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		all = append(all, units...)
	}
	return all, nil
}

// check compares what was downloaded with the ledger. from and to are zero where that is
// what the client has.
func (c *hlsClient) check(t testing.TB, cam *camsim.Camera, from, to int64) {
	t.Helper()
	l, err := ledger.ReadFile(cam.Ledger)
	require.NoError(t, err)
	units, err := c.units(&l.Header)
	require.NoError(t, err)
	if from != 0 { // HLS begins and ends with whole fragments
		kept := units[:0]
		for _, a := range units {
			if a.CaptureNS >= from && a.CaptureNS < to {
				kept = append(kept, a)
			}
		}
		units = kept
	}
	o := ledger.Options{FromNS: from, ToNS: to, Gaps: c.gaps, Tolerance: tolerance, Tracks: c.tracks(l)}
	report := ledger.Check(l, units, o)
	t.Logf("%s: %d segments, the slowest request %v (%s): %s", path.Base(path.Dir(c.url)), c.count, c.slowest, c.what, report)
	require.NoError(t, report.Err())
}

// tracks are those of the ledger that browsers play.
func (c *hlsClient) tracks(l *ledger.Ledger) []int {
	var list []int
	for i, track := range l.Tracks {
		if track.Codec != ledger.PCMA && track.Codec != ledger.PCMU {
			list = append(list, i)
		}
	}
	return list
}

// TestHLSAndExportsThroughFailures: clients of live, growing and complete playlists, of
// progressive files and of archives get every access unit once, in order and bit-identical,
// while recorders are killed and stopped.
func TestHLSAndExportsThroughFailures(t *testing.T) {
	t.Parallel()
	sim, list := cameras(t, []camsim.CameraOptions{
		{Name: "gate", Video: "h264b", Audio: "aac"},
		{Name: "yard", Video: "h265open"},
		{Name: "dock", Video: "h264", Audio: "pcma"},
	})
	// A segment window ends in the middle.
	s := startSite(t, siteOptions{cameras: list, extra: "segment: {duration: 10s}\n"})
	from := time.Now()
	time.Sleep(time.Until(from.Add(4 * time.Second)))
	s.waitDurable(t, from.Add(4*time.Second), 20*time.Second)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	files := &exports{s: s, from: from, to: from.Add(4 * time.Second), cameras: []string{"gate", "dock"}}
	wg.Go(func() { files.run(stop) })
	clients := map[string][]*hlsClient{}
	errs := make(chan error, 16)
	for _, cam := range []string{"gate", "yard", "dock"} {
		base := s.http + "/v1/cameras/" + cam
		for _, u := range []string{base + "/live/index.m3u8", base + "/index.m3u8?start=" + from.UTC().Format(time.RFC3339Nano)} {
			c := newHLSClient(u)
			clients[cam] = append(clients[cam], c)
			wg.Go(func() {
				if err := c.follow(stop); err != nil {
					errs <- fmt.Errorf("%s: %w", c.url, err)
				}
			})
		}
	}
	ffmpeg := startTool(t, "ffmpeg", "-nostdin", "-v", "warning", "-i", s.http+"/v1/cameras/gate/live/index.m3u8", "-t", "14",
		"-map", "0:v", "-c", "copy", "-f", "h264", s.dir+"/live.h264")
	busy := s.pulse()
	s.disturb(t)
	to := time.Now()
	s.waitDurable(t, to, 20*time.Second)
	close(stop)
	wg.Wait()
	slack := busy.end(t)
	t.Logf("playback answers within %v", slack)
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	out, err := ffmpeg.wait(30 * time.Second)
	require.NoError(t, err, out)
	requireConsecutive(t, numbers(t, s.dir+"/live.h264", ledger.H264, "gate"), 12*25)
	for cam, list := range clients {
		for _, c := range list {
			require.GreaterOrEqual(t, c.count, 10)
			c.check(t, sim.Camera(cam), 0, 0)
			require.Less(t, c.slowest, time.Second+2*slack, "playback and a recorder answer") // of each request
			require.Empty(t, c.gaps)
			require.Len(t, c.order, 1, "one session")
		}
		vod := newHLSClient(s.http + "/v1/cameras/" + cam + "/index.m3u8" + rangeQuery(from, to))
		ended, err := vod.step()
		require.NoError(t, err)
		require.True(t, ended)
		vod.check(t, sim.Camera(cam), from.UnixNano(), to.UnixNano())
		require.Empty(t, vod.gaps)
	}
	files.check(t, sim)
	s.noPanics(t)
}

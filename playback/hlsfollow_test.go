package playback

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	m3u8 "github.com/bluenviron/gohlslib/v2/pkg/playlist"
	"github.com/stretchr/testify/require"
)

// TestGrowingPlaylistsSayTheSameToEverybody: a number always stands for the same segment,
// for all clients, however the recorders come by what they have.
func TestGrowingPlaylistsSayTheSameToEverybody(t *testing.T) {
	f := makeFootage(t, footageOptions{breaks: map[int]bool{500: true}})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	part := func(from, to int) *footage { return &footage{inits: f.inits, frags: f.frags[from:to]} }
	part(0, 5).on(r1, r2)
	c := newMovedClock(frameNS(150))
	s := newSite(t, withClock(c), r1, r2)
	var mu sync.Mutex
	said := map[string]map[int]string{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var failed error
	for _, path := range []string{"/v1/cameras/gate/live/index.m3u8", "/v1/cameras/gate/live/index.m3u8", s.hlsURL(frameNS(0), 0)[len(s.base):], "/v1/cameras/gate/live/index.m3u8?gaps=skip"} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := s.http.Get(s.base + path)
				if err != nil {
					return
				}
				b, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					continue
				}
				pl, err := m3u8.Unmarshal(b)
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					m := pl.(*m3u8.Media)
					if said[path] == nil {
						said[path] = map[int]string{}
					}
					for i, seg := range m.Segments {
						n, now := m.MediaSequence+i, seg.URI+" "+seg.DateTime.String()
						if was, ok := said[path][n]; ok && was != now {
							t.Errorf("%s: %d was %s, and is %s", path, n, was, now)
						}
						said[path][n] = now
					}
				}
				mu.Unlock()
			}
		})
	}
	for i := 5; i < 40; i++ {
		switch i % 5 {
		case 0, 1: // one has it, the other has it later
			part(i, i+1).on(r1)
		case 2:
			part(i, i+1).on(r2)
		case 3: // nobody has it for now
		case 4:
			part(i, i+1).on(r1, r2)
			if i > 10 {
				part(i-6, i-5).on(r2)
			}
		}
		c.skip(time.Second)
		_, asked := r1.counts()
		require.Eventually(t, func() bool { _, n := r1.counts(); return n > asked }, 10*time.Second, time.Millisecond)
	}
	c.skip(settleFor)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(said["/v1/cameras/gate/live/index.m3u8"]) >= 40
	}, 10*time.Second, 10*time.Millisecond)
	close(stop)
	wg.Wait()
	require.NoError(t, failed)
	require.Len(t, said, 3)
}

package playback

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
)

// The ends of a range need not be on anybody's tick or millisecond.
func TestExportIsExactAtAnyNanosecond(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	for range 40 {
		// Near a frame, where a millisecond more or less matters.
		from := frameNS(r.IntN(300)) + r.Int64N(2e6) - 1e6
		to := from + 1e6 + r.Int64N(int64(3*time.Second))
		to = to - (to-clipStart)%clipFrameNS + r.Int64N(2e6) - 1e6
		if to <= from+tickNS {
			continue
		}
		resp, body, err := s.get(s.url(from, to))
		require.NoError(t, err)
		if resp.StatusCode == 404 {
			continue
		}
		start, err := time.Parse(time.RFC3339Nano, resp.Header.Get(headerStart))
		require.NoError(t, err)
		got := samples(t, body, start.UnixNano())
		f.requireVideo(t, got[media.KindVideo], tick(from), tick(to))
	}
}

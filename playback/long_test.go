package playback

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/record"
)

// liveHeap is what is in use: garbage, of which there is more the busier the machine is,
// is none of it.
func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// longArchive makes an index of many seconds of which every fragment has the same media.
func longArchive(t testing.TB, o footageOptions, seconds int) *footage {
	f := makeFootage(t, o)
	long := &footage{clip: f.clip, inits: f.inits, frags: make([]stored, 0, seconds)}
	base := f.frags[1].ref
	var epoch record.Epoch
	for i := range seconds {
		x := f.frags[1] // its bytes are shared
		shift := int64(i) * int64(time.Second)
		if i%86400 == 0 {
			epoch = base.Epoch
			epoch[4] += byte(i / 86400)
		}
		x.ref.Epoch = epoch
		x.ref.First = uint64(i%86400) * 1000
		x.ref.End = x.ref.First + 1000
		x.ref.StartNS += shift
		x.ref.EndNS += shift
		x.ref.MinNS += shift
		x.ref.MaxNS += shift
		x.ref.WindowNS += shift
		long.frags = append(long.frags, x)
	}
	return long
}

func TestALongExportNeedsBoundedMemory(t *testing.T) {
	const seconds = 6000
	long := longArchive(t, footageOptions{audio: true}, seconds)
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	long.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	before := liveHeap()

	start := long.frags[0].ref.StartNS
	resp, err := s.http.Get(s.url(start+10e9, start+(seconds-10)*1e9))
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "0", resp.Header.Get(headerGaps))
	const step = 4 << 20
	peak, total := uint64(0), int64(0)
	for {
		n, err := io.CopyN(io.Discard, resp.Body, step)
		total += n
		peak = max(peak, liveHeap())
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
	}
	require.Equal(t, resp.ContentLength, total)
	t.Logf("%d MB, heap %d MB above what it was", total>>20, (peak-min(peak, before))>>20)
	require.Greater(t, total, int64(96<<20))
	require.Less(t, peak, before+32<<20)
}

func TestExportIsTheSameWhateverRecordersDo(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, nil, r1, r2)
	_, want := s.export(frameNS(63), frameNS(263))
	kinds := []string{"refuses", "fails", "fails after some bytes", "sends a wrong byte", "ends too early", "sends too much"}
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		var mu sync.Mutex
		dice := rand.New(rand.NewPCG(seed, 0))
		for _, r := range []*fakeRecorder{r1, r2} {
			r.script(func(_ int, frag stored, out readStream) error {
				mu.Lock()
				roll, kind := dice.IntN(10), kinds[dice.IntN(len(kinds))]
				mu.Unlock()
				if roll < 4 {
					return readFailures[kind](r, frag, out)
				}
				return sendChunks(out, frag.data)
			})
		}
		resp, got, err := s.get(s.url(frameNS(63), frameNS(263)))
		require.NoError(rt, err)
		require.Equal(rt, http.StatusOK, resp.StatusCode)
		require.True(rt, bytes.Equal(want, got))
	})
}

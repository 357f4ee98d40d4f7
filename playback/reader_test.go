package playback

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
)

type readStream = grpc.ServerStreamingServer[nodepb.ReadReply]

func randomFragment(size int) stored {
	data := make([]byte, size)
	r := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	ref := index.Ref{Info: media.Info{
		Camera: "gate", First: 7, End: 90, StartNS: 1e9, EndNS: 2e9, MinNS: 1e9, MaxNS: 2e9,
		Size: int64(size), Hash: sha256.Sum256(data),
	}}
	ref.Epoch[0] = 1
	return stored{ref, data}
}

func wantOf(s stored, holders uint64) *want {
	return &want{
		camera: "gate", epoch: s.ref.Epoch, first: s.ref.First, startNS: s.ref.StartNS,
		size: s.ref.Size, hash: s.ref.Hash, holders: holders,
	}
}

// The ways in which a recorder may fail to deliver a fragment. Each is tried on the one
// that is asked first, whichever that is.
var readFailures = map[string]func(f *fakeRecorder, frag stored, out readStream) error{
	"refuses": func(*fakeRecorder, stored, readStream) error { return status.Error(codes.NotFound, "deleted") },
	"fails": func(*fakeRecorder, stored, readStream) error {
		return status.Error(codes.DataLoss, "input/output error")
	},
	"dies after some bytes": func(f *fakeRecorder, s stored, out readStream) error {
		_ = sendChunks(out, s.data[:len(s.data)/2])
		go f.kill()
		<-out.Context().Done()
		return out.Context().Err()
	},
	"fails after some bytes": func(_ *fakeRecorder, s stored, out readStream) error {
		_ = sendChunks(out, s.data[:len(s.data)/2])
		return status.Error(codes.Unavailable, "shutting down")
	},
	"hangs before the first byte": func(_ *fakeRecorder, _ stored, out readStream) error {
		<-out.Context().Done()
		return nil
	},
	"hangs after some bytes": func(_ *fakeRecorder, s stored, out readStream) error {
		_ = sendChunks(out, s.data[:len(s.data)/2])
		<-out.Context().Done()
		return nil
	},
	"sends a wrong byte": func(_ *fakeRecorder, s stored, out readStream) error {
		wrong := bytes.Clone(s.data)
		wrong[len(wrong)/2] ^= 1
		return sendChunks(out, wrong)
	},
	"ends too early": func(_ *fakeRecorder, s stored, out readStream) error {
		return sendChunks(out, s.data[:len(s.data)-1])
	},
	"sends too much": func(_ *fakeRecorder, s stored, out readStream) error {
		return sendChunks(out, append(bytes.Clone(s.data), 0))
	},
	"is frozen": func(f *fakeRecorder, s stored, out readStream) error {
		f.freeze(true)
		return sendChunks(out, s.data)
	},
}

func TestReadFailsOverToTheOtherCopy(t *testing.T) {
	for name, fail := range readFailures {
		t.Run(name, func(t *testing.T) {
			r1, r2 := newFake(t, "r1"), newFake(t, "r2")
			s := testService(t, false, nil, r1, r2)
			frag := randomFragment(200 << 10)
			r1.add("gate", nil, frag)
			r2.add("gate", nil, frag)
			var first atomic.Pointer[string]
			for _, f := range []*fakeRecorder{r1, r2} {
				f.script(func(_ int, frag stored, out readStream) error {
					if first.CompareAndSwap(nil, &f.name) || *first.Load() == f.name {
						return fail(f, frag, out)
					}
					return sendChunks(out, frag.data)
				})
			}
			began := time.Now()
			data, err := s.reader.read(context.Background(), wantOf(frag, 3))
			require.NoError(t, err)
			require.True(t, bytes.Equal(frag.data, data))
			require.Less(t, time.Since(began), 700*time.Millisecond+slack)
			require.InDelta(t, 1, testutil.ToFloat64(s.m.failovers.WithLabelValues(*first.Load())), 0)

			// The one that failed is not asked first for a while.
			began = time.Now()
			_, err = s.reader.read(context.Background(), wantOf(frag, 3))
			require.NoError(t, err)
			if name != "refuses" { // it is not ill, only lacks this one
				require.Less(t, time.Since(began), 250*time.Millisecond)
			}
		})
	}
}

// A recorder that is not asked to hash what it sends cannot know that it is damaged.
func TestARecorderWhoseBytesAreWrongIsAskedToHashThem(t *testing.T) {
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	s := testService(t, false, nil, r1, r2)
	frag := randomFragment(200 << 10)
	r1.add("gate", nil, frag)
	r2.add("gate", nil, frag)
	for range 4 {
		_, err := s.reader.read(context.Background(), wantOf(frag, 3))
		require.NoError(t, err)
	}
	require.Zero(t, r1.hashed+r2.hashed, "both would hash the same bytes")

	r1.script(func(_ int, frag stored, out readStream) error {
		r1.mu.Lock()
		hashed := r1.hashed > 0
		r1.mu.Unlock()
		if hashed {
			return status.Error(codes.DataLoss, "damaged")
		}
		return readFailures["sends a wrong byte"](r1, frag, out)
	})
	require.Eventually(t, func() bool {
		data, err := s.reader.read(context.Background(), wantOf(frag, 3))
		require.NoError(t, err)
		require.True(t, bytes.Equal(frag.data, data))
		r1.mu.Lock()
		defer r1.mu.Unlock()
		return r1.hashed == 1
	}, 5*time.Second, time.Millisecond)
	require.Zero(t, testutil.ToFloat64(s.m.mismatches.WithLabelValues("r1")), "it says so itself")
}

func TestReadCountsMismatches(t *testing.T) {
	r1 := newFake(t, "r1")
	s := testService(t, false, func(o *Options) { o.Deadlines.Patience = 300 * time.Millisecond }, r1)
	frag := randomFragment(1000)
	r1.add("gate", nil, frag)
	r1.script(func(_ int, s stored, out readStream) error { return sendChunks(out, make([]byte, len(s.data))) })
	_, err := s.reader.read(context.Background(), wantOf(frag, 1))
	require.ErrorContains(t, err, "no copy can be read")
	require.ErrorIs(t, err, errBytes)
	require.GreaterOrEqual(t, testutil.ToFloat64(s.m.mismatches.WithLabelValues("r1")), 1.0)
}

func TestReadWaitsForARecorderThatRestarts(t *testing.T) {
	r1 := newFake(t, "r1")
	s := testService(t, false, nil, r1)
	frag := randomFragment(100_000)
	r1.add("gate", nil, frag)
	r1.kill()
	restarted := make(chan struct{})
	timer := time.AfterFunc(time.Second, func() {
		defer close(restarted)
		r1.restart()
	})
	defer timer.Stop()
	data, err := s.reader.read(context.Background(), wantOf(frag, 1))
	require.NoError(t, err)
	require.True(t, bytes.Equal(frag.data, data))
	<-restarted
}

func TestReadAsksOneThatWasSetAsideWhenNoOtherDelivers(t *testing.T) {
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	s := testService(t, false, nil, r1, r2)
	frag := randomFragment(1000)
	r1.add("gate", nil, frag)
	r2.add("gate", nil, frag)
	s.pool.recorders[0].load.aside(s.clock.Mono() + int64(time.Hour))
	r2.kill()
	data, err := s.reader.read(context.Background(), wantOf(frag, 3))
	require.NoError(t, err)
	require.Equal(t, frag.data, data)
}

func TestReadFindsACopyThatThePlanDidNotKnow(t *testing.T) {
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	s := testService(t, false, nil, r1, r2)
	frag := randomFragment(1000)
	r2.add("gate", nil, frag) // the plan says r1; repair gave it to r2
	data, err := s.reader.read(context.Background(), wantOf(frag, 1))
	require.NoError(t, err)
	require.Equal(t, frag.data, data)
}

func TestReadOfASiteThatIsSlowAsAWholeGetsThere(t *testing.T) {
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	s := testService(t, false, func(o *Options) { o.Deadlines.Stall = 30 * time.Millisecond }, r1, r2)
	frag := randomFragment(1000)
	slow := func(_ int, s stored, out readStream) error {
		wait := time.NewTimer(500 * time.Millisecond)
		defer wait.Stop()
		select {
		case <-wait.C:
			return sendChunks(out, s.data)
		case <-out.Context().Done():
			return nil
		}
	}
	for _, f := range []*fakeRecorder{r1, r2} {
		f.add("gate", nil, frag)
		f.script(slow)
	}
	_, err := s.reader.read(context.Background(), wantOf(frag, 3))
	require.NoError(t, err)
}

func TestReadGivesUpWhenTheClientGoesAway(t *testing.T) {
	r1 := newFake(t, "r1")
	s := testService(t, false, nil, r1)
	frag := randomFragment(1000)
	r1.add("gate", nil, frag)
	ctx, cancel := context.WithCancel(context.Background())
	r1.script(func(_ int, _ stored, out readStream) error {
		cancel()
		<-out.Context().Done()
		return nil
	})
	_, err := s.reader.read(ctx, wantOf(frag, 1))
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, s.pool.recorders[0].isDown())
}

func TestReadUsesBothCopiesInTurn(t *testing.T) {
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	s := testService(t, false, func(o *Options) { o.Deadlines.Stall = time.Minute }, r1, r2)
	frag := randomFragment(1000)
	r1.add("gate", nil, frag)
	r2.add("gate", nil, frag)
	for range 60 {
		_, err := s.reader.read(context.Background(), wantOf(frag, 3))
		require.NoError(t, err)
	}
	n1, _ := r1.counts()
	n2, _ := r2.counts()
	require.Equal(t, 60, n1+n2, "no read twice")
	require.Greater(t, min(n1, n2), 1)
}

func TestReadRefusesAnAbsurdSize(t *testing.T) {
	r1 := newFake(t, "r1")
	s := testService(t, false, nil, r1)
	w := wantOf(randomFragment(10), 1)
	w.size = 1 << 50
	_, err := s.reader.read(context.Background(), w)
	require.ErrorContains(t, err, "over the limit")
}

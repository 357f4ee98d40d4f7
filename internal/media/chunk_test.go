package media

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/record"
)

// bytesOf returns the bytes of all fragments of a stream that starts with a cut.
func bytesOf(t require.TestingT, b *Builder, stream []record.Record) (out []byte) {
	add := func(cut *record.Record) {
		f, err := b.Finish(cut, true)
		require.NoError(t, err)
		out = append(append(append(out, f.Init...), f.Box...), f.Moof...)
		out = append(out, bytes.Join(f.Mdat, nil)...)
		b.Release()
	}
	for i := range stream {
		if stream[i].Flags.Has(record.Cut) {
			if i > 0 {
				add(&stream[i])
			}
			b.Begin(testEpoch, uint64(i))
		}
		require.NoError(t, b.Push(uint64(i), &stream[i]))
	}
	add(nil)
	return out
}

// Where chunks end does not show in what is built, of any codec, with packets lost.
func TestChunksDoNotShow(t *testing.T) {
	usual := minChunk
	defer func() { minChunk = usual }()
	rapid.Check(t, func(t *rapid.T) {
		var stream []record.Record
		for range 3 { // so that they are longer than a chunk
			stream = append(stream, randomStream(t)...)
			for i := range stream {
				if i > 0 {
					stream[i].Flags &^= record.Cut
					stream[i].Ext = nil
				}
			}
		}
		minChunk = 1 << 20
		want := bytesOf(t, NewBuilder("gate"), stream)
		minChunk = 1
		require.Equal(t, want, bytesOf(t, NewBuilder("gate"), stream))
	})
}

// Access units of all sizes are in the fragment as they were in the packets, in few chunks.
func TestChunksOfLargeAccessUnits(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	ext := encodeDescription(t, randomTracks[0])
	b := NewBuilder("gate")
	for range 20 {
		var stream []record.Record
		var want []byte
		total := 0
		for i := range 30 {
			nal := make([]byte, 2+r.IntN(1<<(4+r.IntN(17))))
			for j := range nal {
				nal[j] = byte(r.Uint32()) | 1 // no start codes
			}
			nal[0] = 0x65
			want = append(want, byte(len(nal)>>24), byte(len(nal)>>16), byte(len(nal)>>8), byte(len(nal)))
			want = append(want, nal...)
			for j, p := range fuA(nal, 1400) {
				rec := record.Record{CaptureNS: captureBase + int64(i)*40e6, Packet: rtpBytes(uint16(j), false, p)}
				if j == 0 {
					rec.Flags = record.AccessUnit
					if i == 0 {
						rec.Flags, rec.Ext = record.AccessUnit|record.Cut|record.RandomAccess, ext
					}
				}
				stream = append(stream, rec)
			}
			total += len(nal) + 4
		}
		b.Begin(testEpoch, 0)
		for i := range stream {
			require.NoError(t, b.Push(uint64(i), &stream[i]))
		}
		f, err := b.Finish(nil, true)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, bytes.Join(f.Mdat[1:], nil)))
		held := 0
		for _, c := range f.Mdat[1:] {
			held += cap(c)
		}
		require.Less(t, held, 3*total+1<<20)
	}
}

// Many builders hold no more than what they are building.
func TestBuildersShareChunks(t *testing.T) {
	stream := hotPath(t, H264)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	many := make([]*Builder, 100)
	before := heap()
	for i := range many {
		many[i] = NewBuilder("gate")
		bytesOf(t, many[i], stream)
	}
	require.Less(t, (heap()-before)/int64(len(many)), int64(32<<10), "of a builder that has built 500 kB")
	runtime.KeepAlive(many)
}

// Fragments that have another size than those before take no new memory all the time.
func TestChunksOfAnotherSizeAreKept(t *testing.T) {
	stream := hotPath(t, H264)
	many := make([]*Builder, 20)
	for i := range many {
		many[i] = NewBuilder("gate")
	}
	round := func(part int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, b := range many {
			pushAll(t, b, stream[:len(stream)/part])
		}
		for _, b := range many {
			_, err := b.Finish(nil, true)
			require.NoError(t, err)
			b.Release()
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for _, part := range []int{1, 10, 3, 1, 10, 1} {
		for range 3 {
			round(part)
		}
		require.Less(t, round(part), uint64(len(many)*(60<<10)), "of %d fragments", len(many))
	}
}

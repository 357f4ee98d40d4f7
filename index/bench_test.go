package index

import (
	"fmt"
	"math"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

func openDisk(b *testing.B, write *pebble.WriteOptions) *Store {
	s, err := Open(Options{Dir: b.TempDir(), Log: zerolog.Nop()})
	require.NoError(b, err)
	s.write = write
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

// BenchmarkCommit is of 1,000 fragments: of one camera, and of as many cameras.
func BenchmarkCommit(b *testing.B) {
	for _, cameras := range []int{1, 100, 1000} {
		for name, write := range map[string]*pebble.WriteOptions{"synced": pebble.Sync, "unsynced": pebble.NoSync} {
			b.Run(fmt.Sprintf("cameras=%d/%s", cameras, name), func(b *testing.B) {
				s := openDisk(b, write)
				n := 0
				batch := make([]Ref, 1000)
				for b.Loop() {
					b.StopTimer()
					for i := range batch {
						batch[i] = ref(fmt.Sprintf("camera%d", i%cameras), 0, n+i/cameras)
					}
					n += 1000 / cameras
					b.StartTimer()
					if err := s.Commit(batch, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkThirtyDays reads from an index with 30 days of one camera.
func BenchmarkThirtyDays(b *testing.B) {
	s := openDisk(b, pebble.NoSync)
	const all = 30 * 86400 / 2
	for n := 0; n < all; n += 4000 {
		require.NoError(b, s.Commit(refs("gate", 0, n, n+4000), nil))
	}
	require.NoError(b, s.db.Flush())
	use, err := s.db.EstimateDiskUsage([]byte("a"), []byte("z"))
	require.NoError(b, err)
	b.Run("Spans", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			spans, err := s.Spans("gate", math.MinInt64, math.MaxInt64)
			require.NoError(b, err)
			require.Len(b, spans, 1)
		}
	})
	b.Run("Fragments/one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for r, err := range s.Fragments("gate", t0+1_000_000*second, t0+1_000_001*second) {
				require.NoError(b, err)
				require.EqualValues(b, 50_000_000, r.First)
			}
		}
	})
	b.Run("Fragments/all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for _, err := range s.Fragments("gate", math.MinInt64, math.MaxInt64) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			require.Equal(b, all, n)
		}
		b.ReportMetric(float64(use)/all, "diskB/fragment")
	})
}

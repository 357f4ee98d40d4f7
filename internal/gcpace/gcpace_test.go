package gcpace

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGarbageIsSmallBesideMuchThatIsHeld(t *testing.T) {
	require.Equal(t, 25, percent(0, 0))
	require.Equal(t, 100, percent(0, 1<<30))
	require.Equal(t, 1, percent(100<<30, 0))
	for _, allocated := range []int64{0, 50 << 20, 1 << 30} {
		const held = 1 << 30
		garbage := (held + otherHeap) * percent(held, allocated) / 100
		require.InDelta(t, max(leastGarbage, min(allocated/4, mostGarbage)), garbage, held/100)
	}
	before := allocated()
	_ = bytes.Clone(make([]byte, 1<<20))
	require.GreaterOrEqual(t, allocated()-before, int64(1<<20))
}

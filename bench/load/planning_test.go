package load

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPlanFollowsFromWhatOneCameraCosts(t *testing.T) {
	p := planFor(1000, 4, 0.004, 0.006)
	require.InDelta(t, 4, p.in, 1e-9)
	require.InDelta(t, 8, p.out, 1e-9)
	require.InDelta(t, 500, p.copyMBs, 1e-9)
	require.InDelta(t, 1296, p.copyTB, 1e-6)
	require.InDelta(t, 11.176, p.proxyGB, 1e-6)
	require.Equal(t, 72, p.disksForSpace)
	require.Equal(t, 7, p.disksForWrites)
	require.Equal(t, 2, p.proxies, "8 Gbit/s go out, 6 of a card are used")
	require.Equal(t, 2, p.recorders)

	p = planFor(10000, 4, 0.004, 0.006)
	require.Equal(t, 14, p.proxies)
	require.Equal(t, 14, p.recorders)
	require.Equal(t, 2, planFor(1, 1, 0.004, 0.006).recorders, "a copy is on another machine")
}

package playback

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBuffersOfAResponseAreUsedAgain(t *testing.T) {
	s := spare{most: 4000}
	a := s.take(1000)[:1000]
	require.GreaterOrEqual(t, cap(a), 1000)
	s.give(a)
	b := s.take(900)
	require.Empty(t, b)
	require.Same(t, &a[0], &b[:1][0])
	require.NotSame(t, &a[0], &s.take(900)[:1][0], "it is in use")

	s.give(a)
	require.GreaterOrEqual(t, cap(s.take(2000)), 2000)
	for i := range 3 * maxAhead {
		s.give(make([]byte, 10+i))
		require.LessOrEqual(t, len(s.bufs), maxAhead+1)
	}
	s = spare{most: 4000}
	s.give(make([]byte, 5000))
	require.Empty(t, s.bufs, "one large fragment is not to be held for the rest of a response")
}

func TestWithoutSpareBuffersEachIsNew(t *testing.T) {
	var s *spare
	s.give(make([]byte, 10))
	require.Equal(t, 10, cap(s.take(10)))
}

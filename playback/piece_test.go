package playback

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAClientThatIsSlowIsGivenSmallPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := (&counter{}).pieces()
		for _, want := range []int64{pieceMin, 2 * pieceMin, 4 * pieceMin, pieceMost, pieceMost} {
			require.Equal(t, want, next())
		}
		time.Sleep(pieceSlow + time.Millisecond)
		require.EqualValues(t, pieceMin, next())
		require.EqualValues(t, 2*pieceMin, next(), "it is fast again")
	})
}

package recorder

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/record"
)

func testEpoch(t require.TestingT, at time.Time, n byte) record.Epoch {
	e, err := record.NewEpoch(at, bytes.NewReader(bytes.Repeat([]byte{n}, 10)))
	require.NoError(t, err)
	return e
}

func TestSegmentIsNamedAfterTheUTCTimeOfItsFirstFragment(t *testing.T) {
	at := time.Date(2026, 3, 29, 1, 59, 59, 987654321, time.FixedZone("CET", 3600))
	e := testEpoch(t, at, 7)
	require.Equal(t, "gate/2026-03-29/00-59-59.987Z_"+e.String()+".mp4", segmentPath("gate", at.UnixNano(), e, 0))
	require.Equal(t, "gate/2026-03-29/00-59-59.987Z_"+e.String()+"~2.mp4", segmentPath("gate", at.UnixNano(), e, 2))
}

func TestSegmentPathRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(0, rapid.Int64Range(0, 1<<62).Draw(t, "start"))
		e := testEpoch(t, at, rapid.Byte().Draw(t, "epoch"))
		p := segmentPath("cam-1.x", at.UnixNano(), e, rapid.IntRange(0, 20).Draw(t, "sibling"))
		n, ok := parseSegmentPath(p)
		require.True(t, ok, p)
		require.Equal(t, segmentName{camera: "cam-1.x", startMS: at.UnixMilli(), epoch: e}, n)
	})
}

func TestOtherFilesAreNotSegments(t *testing.T) {
	good := segmentPath("gate", 1e18, testEpoch(t, time.Unix(1, 0), 1), 0)
	_, ok := parseSegmentPath(good)
	require.True(t, ok)
	for _, p := range []string{
		"", "gate", "gate/2026-01-01", "x/" + good, good + ".tmp", good[:len(good)-5] + ".mp4",
		"../2001-09-09/01-46-40.000Z_00000000000000000000000000.mp4",
		"gate/2001-09-31/01-46-40.000Z_00000000000000000000000000.mp4",
		"gate/2001-09-09/01-46-40Z_00000000000000000000000000.mp4",
		"gate/2001-09-09/holiday.mp4",
	} {
		_, ok := parseSegmentPath(p)
		require.False(t, ok, p)
	}
}

package index

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func TestSegmentsGoTogetherAsTheyGoAlone(t *testing.T) {
	one, many := openMem(t, vfs.NewMem()), openMem(t, vfs.NewMem())
	var names []SegmentName
	for _, camera := range []string{"gate", "yard"} {
		for _, s := range []*Store{one, many} {
			require.NoError(t, s.Commit(refs(camera, 0, 0, 1000), nil))
		}
		for i, seg := range collect(t, one.Segments(camera)) {
			if i < 3 {
				names = append(names, SegmentName{camera, seg.Path})
			}
		}
	}
	for _, n := range names {
		_, err := one.DeleteSegment(n.Camera, n.Path)
		require.NoError(t, err)
	}
	segs, err := many.DeleteSegments(append(names, names[0]))
	require.NoError(t, err)
	require.Len(t, segs, 7)
	require.Equal(t, segs[0], segs[6])
	require.Len(t, many.Deleting(), 6)
	require.Equal(t, dump(t, one), dump(t, many))

	for _, n := range names {
		require.NoError(t, one.DropSegment(n.Camera, n.Path))
	}
	require.NoError(t, many.DropSegments(append(names, names[0], SegmentName{"nobody", "x"})))
	require.Equal(t, dump(t, one), dump(t, many))
	require.Empty(t, many.Deleting())

	_, err = many.DeleteSegments([]SegmentName{{"gate", names[4].Path}, {"gate", "gate/none.mp4"}})
	require.ErrorIs(t, err, ErrNotFound)
	require.Equal(t, dump(t, one), dump(t, many), "all of them, or none")
	rest := collect(t, many.Segments("gate"))
	require.Equal(t, rest[1:], collect(t, many.SegmentsFrom("gate", rest[1].Path)))
	require.Empty(t, collect(t, many.SegmentsFrom("gate", "gate/9")))
}

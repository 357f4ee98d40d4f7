package load

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAFileIsLengthenedByItsOwnFragments(t *testing.T) {
	box := func(kind string, body ...byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
		return append(append(b, kind...), body...)
	}
	fragment := func(decode uint64) []byte {
		tfdt := box("tfdt", append([]byte{1, 0, 0, 0}, binary.BigEndian.AppendUint64(nil, decode)...)...)
		return append(box("moof", tfdt...), box("mdat", 1, 2, 3)...)
	}
	head := slices.Concat(box("ftyp", 1), box("moov", 2))
	short := slices.Concat(head, fragment(1000), fragment(91000), fragment(181000))
	long, err := lengthen(short, 6*time.Second)
	require.NoError(t, err)
	want := slices.Clone(head)
	for i := range uint64(6) { // of two seconds, three times
		want = append(want, fragment(1000+i*90000)...)
	}
	require.Equal(t, want, long)
	for _, n := range []int{0, len(head), len(head) + 40, len(short) - 1} {
		_, err := lengthen(short[:n], time.Minute)
		require.Error(t, err, "cut off at %d", n)
	}
}

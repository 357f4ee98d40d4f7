package media

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

func TestQuarantinedFragmentIsSkippedAndStillSaysWhatItWas(t *testing.T) {
	info := Info{Camera: "gate", Epoch: record.Epoch{1}, First: 5, End: 9, StartNS: 10, EndNS: 20, Since: CauseStart}
	fragment := appendBoxHeader(appendBoxHeader(nil, 8, "moof"), 8, "mdat")
	info.Size = int64(len(fragment))
	var file []byte
	var at []int
	for i := range 3 {
		info.First, info.End = uint64(i), uint64(i+1)
		at = append(at, len(file))
		file = append(AppendBox(file, &info), fragment...)
	}
	size := int64(at[1] - at[0])
	h, err := QuarantineHeader(size)
	require.NoError(t, err)
	items := func(b []byte) (out []Item) {
		s := NewScanner(bytes.NewReader(b), int64(len(b)), false)
		for {
			it, err := s.Next()
			if errors.Is(err, io.EOF) {
				return out
			}
			require.NoError(t, err)
			out = append(out, it)
		}
	}
	for i := range at {
		bad := bytes.Clone(file)
		copy(bad[at[i]:], h[:])
		got := items(bad)
		require.Len(t, got, 3)
		for j, it := range got {
			require.Equal(t, int64(at[j]), it.At)
			require.Equal(t, size, it.Len)
			require.Equal(t, uint64(j), it.Info.First)
			if i != j {
				require.Equal(t, ItemFragment, it.Kind)
				continue
			}
			require.Equal(t, ItemQuarantined, it.Kind)
			require.True(t, it.Known)
		}
		bad[at[i]+40] ^= 1 // the box is damaged, too
		require.False(t, items(bad)[i].Known)
		require.Equal(t, ItemQuarantined, items(bad)[i].Kind)
		for torn := 1; torn < 8; torn++ { // a power cut within the write
			bad := bytes.Clone(file)
			copy(bad[at[i]:], h[:torn])
			n := 0
			for _, it := range items(bad) {
				if it.Kind == ItemFragment {
					n++
				}
			}
			require.GreaterOrEqual(t, n, 2, "the others are found whatever was written")
		}
	}
	_, err = QuarantineHeader(1 << 32)
	require.Error(t, err)
}

func FuzzParseQuarantined(f *testing.F) {
	b := AppendBox(nil, &Info{Camera: "gate", First: 1, End: 2, StartNS: 1, EndNS: 2, Size: 100})
	copy(b[4:], "free")
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) { ParseQuarantined(b) })
}

func TestVoidHeaderMakesABoxOfWhatIsNone(t *testing.T) {
	for _, size := range []int64{24, 25, 4096} {
		h, err := VoidHeader(size)
		require.NoError(t, err)
		b := make([]byte, size)
		copy(b, h[:])
		it, err := NewScanner(bytes.NewReader(b), size, true).Next()
		require.NoError(t, err)
		require.Equal(t, Item{Kind: ItemQuarantined, Len: size}, it)
	}
	for _, size := range []int64{-1, 0, 23, 1 << 32} {
		_, err := VoidHeader(size)
		require.Error(t, err, size)
	}
}

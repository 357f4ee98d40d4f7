package ledger

import (
	"bytes"
	"testing"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMarkInNALUnitsReadsBackAndNeedsNoStartCode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		codec := rapid.SampledFrom([]Codec{H264, H265}).Draw(t, "codec")
		m := Mark{Camera: rapid.Uint32().Draw(t, "camera"), Number: rapid.Uint64().Draw(t, "number")}
		if rapid.Bool().Draw(t, "small") {
			m.Number &= 0xff // long runs of zeros
		}
		sei := m.AppendSEI(nil, codec)
		for _, code := range [][]byte{{0, 0, 0}, {0, 0, 1}, {0, 0, 2}} {
			require.NotContains(t, string(sei), string(code))
		}
		slice := []byte{0x65, 1, 2, 3}
		if codec == H265 {
			slice = []byte{19 << 1, 1, 2, 3}
		} else {
			require.Equal(t, unescape(sei), h264.EmulationPreventionRemove(sei))
		}
		got, ok := MarkOfNALUs(codec, [][]byte{sei, slice})
		require.True(t, ok)
		require.Equal(t, m, got)
		_, ok = MarkOfNALUs(codec, [][]byte{slice, sei})
		require.False(t, ok, "a mark after the slices")
	})
}

func TestMarkInAACAndG711ReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z]{1,12}`).Draw(t, "name")
		m := Mark{Camera: CameraID(name), Number: rapid.Uint64Range(0, 1<<48-1).Draw(t, "number")}
		got, ok := MarkOfAAC(m.AppendAAC(nil, []byte{1, 2}))
		require.True(t, ok)
		require.Equal(t, m, got)
		for _, codec := range []Codec{PCMA, PCMU} {
			frame := make([]byte, 160)
			m.PutG711(codec, frame)
			got, ok := MarkOfG711(codec, frame)
			require.True(t, ok)
			require.Equal(t, m.Number, got.Number)
			require.True(t, got.Matches(codec, name))
		}
	})
}

// tables is a JPEG as far as the mark is concerned.
func tables() []byte {
	b := []byte{0xff, 0xd8, 0xff, 0xdb, 0, 2 + 2*65}
	for id := range byte(2) {
		b = append(append(b, id), bytes.Repeat([]byte{16}, 64)...)
	}
	return append(b, 0xff, 0xda, 0, 2)
}

func TestMarkInJPEGReadsBackAndKeepsEntriesAboveZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z]{1,12}`).Draw(t, "name")
		m := Mark{Camera: CameraID(name), Number: rapid.Uint64Range(0, 1<<62).Draw(t, "number")}
		image := tables()
		require.True(t, m.PutJPEG(image))
		got, ok := MarkOfJPEG(image)
		require.True(t, ok)
		require.Equal(t, m.Number, got.Number)
		require.True(t, got.Matches(MJPEG, name))
		t0, t1, _ := jpegTables(image)
		require.NotContains(t, string(t0), "\x00")
		require.NotContains(t, string(t1), "\x00")
	})
}

func FuzzMarks(f *testing.F) {
	f.Add(Mark{1, 2}.AppendSEI(nil, H264))
	f.Add(Mark{1, 2}.AppendAAC(nil, []byte{1}))
	f.Add(tables())
	f.Fuzz(func(_ *testing.T, b []byte) {
		nalus, _ := SplitNALUs(b)
		for _, codec := range []Codec{H264, H265} {
			MarkOfNALUs(codec, append(nalus, b))
		}
		MarkOfAAC(b)
		MarkOfJPEG(b)
		MarkOfG711(PCMU, b)
	})
}

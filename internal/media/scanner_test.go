package media

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/record"
)

// smallSegment is a segment of a few fragments with random content.
func smallSegment(t testing.TB, fragments int) (file []byte, frags []*built) {
	ext := encodeDescription(t, randomTracks[0], randomTracks[13])
	var records []record.Record
	for i := range fragments {
		for j := range 3 {
			at := captureBase + int64(i)*1e9 + int64(j)*4e8
			r := record.Record{CaptureNS: at, Flags: record.AccessUnit, Packet: rtpBytes(uint16(3*i+j), true, []byte{0x65, byte(i), byte(j), 3, 4})}
			if j == 0 {
				r.Flags |= record.Cut | record.RandomAccess
				r.Ext = ext
			}
			records = append(records, r, record.Record{
				Track: 1, CaptureNS: at + 1e6, Flags: record.AccessUnit, Packet: rtpBytes(uint16(3*i+j), true, bytes.Repeat([]byte{byte(i)}, 160)),
			})
		}
	}
	frags = buildAll(t, NewBuilder("gate"), records)
	return segment(frags), frags
}

func scanAll(t require.TestingT, file []byte, verify bool) []Item {
	s := NewScanner(bytes.NewReader(file), int64(len(file)), verify)
	var out []Item
	at := int64(0)
	for {
		it, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Equal(t, at, it.At, "a hole between the items")
		require.Positive(t, it.Len)
		at += it.Len
		out = append(out, it)
	}
	require.EqualValues(t, len(file), at)
	return out
}

func kinds(items []Item) (out []ItemKind) {
	for _, it := range items {
		out = append(out, it.Kind)
	}
	return out
}

func TestScannerFindsEveryFragment(t *testing.T) {
	file, frags := smallSegment(t, 3)
	for _, verify := range []bool{false, true} {
		items := scanAll(t, file, verify)
		require.Equal(t, []ItemKind{ItemInit, ItemFragment, ItemFragment, ItemFragment}, kinds(items))
		require.Equal(t, frags[0].Init, items[0].Init)
		for i, f := range frags {
			it := items[i+1]
			require.Equal(t, f.Info, it.Info)
			require.False(t, it.BadHash)
			require.Equal(t, f.bytes(), file[it.At+it.Len-it.Info.Size:it.At+it.Len])
		}
	}
}

func TestScannerTellsATornTailAtEveryLength(t *testing.T) {
	file, frags := smallSegment(t, 2)
	ends := []int64{int64(len(frags[0].Init))}
	for _, f := range frags {
		ends = append(ends, ends[len(ends)-1]+int64(len(f.Box))+f.Info.Size)
	}
	for n := range len(file) {
		items := scanAll(t, file[:n], true)
		whole := 0
		for whole < len(ends) && ends[whole] <= int64(n) {
			whole++
		}
		if whole > 0 && ends[whole-1] == int64(n) || n == 0 {
			require.Len(t, items, whole, "length %d", n)
			continue
		}
		require.Len(t, items, whole+1, "length %d", n)
		tail := items[whole]
		require.Equal(t, ItemTail, tail.Kind)
		if whole > 0 {
			require.Equal(t, ends[whole-1], tail.At)
		}
	}
	// A file that was made longer, and whose data never reached the disk.
	items := scanAll(t, append(bytes.Clone(file), make([]byte, 5000)...), true)
	require.Equal(t, []ItemKind{ItemInit, ItemFragment, ItemFragment, ItemTail}, kinds(items))
}

func TestScannerGoesOnBehindDamage(t *testing.T) {
	file, frags := smallSegment(t, 4)
	second := len(frags[0].Init) + len(frags[0].Box) + int(frags[0].Info.Size)
	sizeOf := len(frags[1].Box) + int(frags[1].Info.Size)
	for name, damage := range map[string]func([]byte) []byte{
		"box":         func(b []byte) []byte { b[second+100] ^= 1; return b },
		"size":        func(b []byte) []byte { b[second] = 0x7f; return b },
		"moof":        func(b []byte) []byte { b[second+len(frags[1].Box)+5] ^= 1; return b },
		"mdat header": func(b []byte) []byte { b[second+len(frags[1].Box)+len(frags[1].Moof)+1] ^= 1; return b },
		"zeros":       func(b []byte) []byte { clear(b[second : second+sizeOf]); return b },
		"bytes gone":  func(b []byte) []byte { return append(b[:second+50], b[second+60:]...) },
		"bytes put in": func(b []byte) []byte {
			return append(bytes.Clone(b[:second]), append([]byte("uuid"), b[second:]...)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			items := scanAll(t, damage(bytes.Clone(file)), true)
			if name == "bytes put in" {
				require.Equal(t, []ItemKind{ItemInit, ItemFragment, ItemDamage, ItemFragment, ItemFragment, ItemFragment}, kinds(items))
				return
			}
			require.Equal(t, []ItemKind{ItemInit, ItemFragment, ItemDamage, ItemFragment, ItemFragment}, kinds(items))
			require.Equal(t, frags[2].Info, items[3].Info)
		})
	}
}

func TestVerifyingScannerSeesOneWrongBit(t *testing.T) {
	file, frags := smallSegment(t, 3)
	file[len(file)-1] ^= 1
	items := scanAll(t, file, true)
	require.Equal(t, []ItemKind{ItemInit, ItemFragment, ItemFragment, ItemFragment}, kinds(items))
	require.False(t, items[2].BadHash)
	require.True(t, items[3].BadHash)
	require.Equal(t, frags[2].Info, items[3].Info)
	require.False(t, scanAll(t, file, false)[3].BadHash)
}

func TestScannerFindsFragmentsBehindALongStretchOfDamage(t *testing.T) {
	file, frags := smallSegment(t, 2)
	first := len(frags[0].Init)
	for _, n := range []int{scanChunk - 300, scanChunk - 20, scanChunk, scanChunk + 1, 3*scanChunk + 7} {
		b := append(bytes.Clone(file[:first]), bytes.Repeat([]byte{0xee}, n)...)
		items := scanAll(t, append(b, file[first:]...), false)
		require.Equal(t, []ItemKind{ItemInit, ItemDamage, ItemFragment, ItemFragment}, kinds(items))
		require.EqualValues(t, n, items[1].Len)
	}
}

// failingReader fails after some bytes.
type failingReader struct{ from int64 }

var errDisk = errors.New("disk error")

func (r failingReader) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > r.from {
		return 0, errDisk
	}
	clear(b)
	return len(b), nil
}

func TestScannerReportsErrorsOfTheReader(t *testing.T) {
	_, err := NewScanner(failingReader{}, 1000, true).Next()
	require.ErrorIs(t, err, errDisk)
	_, err = NewScanner(failingReader{4000}, 100000, true).Next()
	require.ErrorIs(t, err, errDisk)
}

func TestBoxRoundTripsAndAnyWrongByteIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		info := Info{
			Camera: rapid.StringN(0, 20, 63).Draw(t, "camera"), Since: Cause(rapid.StringN(0, 10, 30).Draw(t, "since")),
			Epoch: testEpoch, First: rapid.Uint64Max(1<<60).Draw(t, "first"),
			StartNS: rapid.Int64Range(0, 1<<60).Draw(t, "start"), MinNS: rapid.Int64().Draw(t, "min"), MaxNS: rapid.Int64().Draw(t, "max"),
			WindowNS: rapid.Int64().Draw(t, "window"), SinceNS: rapid.Int64().Draw(t, "sinceNS"),
			Flags: InfoFlags(rapid.Uint32().Draw(t, "flags")), Size: rapid.Int64Range(8, 1<<40).Draw(t, "size"),
			Hash: Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash")), InitHash: Hash{1, 2, 3},
		}
		info.End = info.First + rapid.Uint64Range(1, 1<<40).Draw(t, "records")
		info.EndNS = info.StartNS + rapid.Int64Range(1, 1<<40).Draw(t, "length")
		b := AppendBox([]byte("x"), &info)[1:]
		got, n, err := ParseBox(append(bytes.Clone(b), 1, 2, 3))
		require.NoError(t, err)
		require.Equal(t, len(b), n)
		require.Equal(t, info, got)

		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "xor"))
		_, _, err = ParseBox(b)
		require.ErrorIs(t, err, ErrBox)
	})
}

func FuzzParseBox(f *testing.F) {
	info := Info{Camera: "gate", Epoch: testEpoch, End: 1, EndNS: 1, Size: 100}
	f.Add(AppendBox(nil, &info))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, n, err := ParseBox(b)
		if err != nil {
			require.ErrorIs(t, err, ErrBox)
			return
		}
		require.Equal(t, b[:n], AppendBox(nil, &info))
	})
}

func FuzzScanner(f *testing.F) {
	file, _ := smallSegment(f, 2)
	f.Add(file, uint16(0), byte(0))
	f.Add(file[:len(file)-3], uint16(700), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, x byte) {
		if len(b) > 0 {
			b[int(at)%len(b)] ^= x
		}
		items := scanAll(t, b, true)
		for i, it := range items {
			require.True(t, it.Kind != ItemTail || i == len(items)-1)
			require.True(t, it.Kind != ItemInit || i == 0)
			if it.Kind == ItemInit {
				_, _ = ParseInit(it.Init)
			}
		}
	})
}

package index

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// FuzzValues: whatever is in the database, a decoder answers ErrCorrupt or what
// encodes to the same bytes again.
func FuzzValues(f *testing.F) {
	r := ref("gate", 0, 3)
	key := appendPlace(nil, kindFragment, "gate", r.StartNS, r.Epoch, r.First)
	f.Add(key, appendRef(nil, key, &r), false)
	s := spanOf(&r)
	f.Add(key, appendSpan(nil, key, &s), false)
	path := appendPath(nil, kindSegment, "gate", r.Segment)
	f.Add(path, appendSegment(nil, path, &Segment{StartNS: 1, EndNS: 2, Bytes: 3, Fragments: 4}), false)
	camera := appendPrefix(nil, kindCamera, "gate")
	f.Add(camera, appendCamera(nil, camera, &cameraRow{position: record.Position{Epoch: r.Epoch, Offset: 7}}), false)
	hour := appendHour(nil, "gate", HourOf(r.StartNS))
	f.Add(hour, appendDigest(nil, hour, &Digest{Fragments: 1, Bytes: 2, Sum: Sum{3}}), false)
	f.Add(key, []byte{valueVersion, 1, 2, 3}, true)
	f.Fuzz(func(t *testing.T, key, value []byte, reseal bool) {
		if reseal { // get past the checksum
			value = seal(append([]byte(nil), value...), 0, key)
		}
		check := func(err error, again func() []byte) {
			if err != nil {
				require.ErrorIs(t, err, ErrCorrupt)
				return
			}
			require.Equal(t, value, again())
		}
		name, _, err := splitKey(key)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			return
		}
		var r Ref
		check(decodeRef(&r, name, len(name)+2, key, value), func() []byte { return appendRef(nil, key, &r) })
		var s Span
		check(decodeSpan(&s, len(name)+2, key, value), func() []byte { return appendSpan(nil, key, &s) })
		g, err := decodeSegment(key, value)
		check(err, func() []byte { return appendSegment(nil, key, &g) })
		c, err := decodeCamera(key, value)
		check(err, func() []byte { return appendCamera(nil, key, &c) })
		d, err := decodeDigest(key, value)
		check(err, func() []byte { return appendDigest(nil, key, &d) })
		b, err := decodeBlob(key, value)
		check(err, func() []byte { return appendBlob(nil, key, b) })
		n, err := decodeCount(key, value)
		check(err, func() []byte { return appendCount(nil, key, n) })
	})
}

func TestAValueIsReadBackOnlyUnderItsOwnKey(t *testing.T) {
	r := ref("gate", 0, 3)
	r.Since, r.Flags, r.InitHash = media.CauseBehind, media.PacketLoss, media.Hash{5}
	key := appendPlace(nil, kindFragment, "gate", r.StartNS, r.Epoch, r.First)
	value := appendRef(nil, key, &r)
	var got Ref
	require.NoError(t, decodeRef(&got, "gate", len(key)-placeLen, key, value))
	require.Equal(t, r, got)
	other := appendPlace(nil, kindFragment, "gate", r.StartNS, r.Epoch, r.First+1)
	require.ErrorIs(t, decodeRef(&got, "gate", len(key)-placeLen, other, value), ErrCorrupt)
	for i := range value {
		bad := append([]byte(nil), value...)
		bad[i] ^= 0x10
		require.ErrorIs(t, decodeRef(&got, "gate", len(key)-placeLen, key, bad), ErrCorrupt, "byte %d", i)
		require.ErrorIs(t, decodeRef(&got, "gate", len(key)-placeLen, key, value[:i]), ErrCorrupt, "length %d", i)
	}
}

func TestKeysSortLikeFragments(t *testing.T) {
	in := []struct {
		ns    int64
		epoch int
		first uint64
	}{{-5, 0, 9}, {-1, 3, 0}, {0, 0, 0}, {0, 0, 1}, {0, 0, 1 << 40}, {0, 1, 0}, {1, 0, 0}, {1 << 60, 0, 0}}
	var last []byte
	for _, p := range in {
		key := appendPlace(nil, kindFragment, "gate", p.ns, epochAt(p.epoch), p.first)
		require.Less(t, string(last), string(key))
		got, err := parsePlace(key, len(key)-placeLen)
		require.NoError(t, err)
		require.Equal(t, place{p.ns, epochAt(p.epoch), p.first}, got)
		last = key
	}
	// No camera's keys are among those of another whose name it begins.
	require.Less(t, string(after(appendPrefix(nil, kindFragment, "a"))), string(appendPrefix(nil, kindFragment, "a-")))
}

// The bytes were made with another program, from docs/FORMAT.md. When this fails, old
// indexes cannot be read any more: then raise formatVersion and change the page.
func TestTheFormOnTheDiskIsTheOneThatIsDocumented(t *testing.T) {
	r := ref("gate", 0, 3)
	r.Segment, r.Flags = "gate/a.mp4", media.PacketLoss
	r.Hash, r.InitHash = media.Hash{0xaa}, media.Hash{0xbb}
	s := spanOf(&r)
	seg := Segment{StartNS: 1, EndNS: 2, Bytes: 3, Fragments: 4}
	camera := cameraRow{position: record.Position{Epoch: r.Epoch, Offset: 7}, bytes: 1, fragments: 2, lead: 3, tail: 4, span: 5}
	place := "9844e96c24383c00" + "01972b5cee0000000000000000000000" + "000000000000012c"
	zeros := strings.Repeat("00", 31)
	for _, c := range []struct {
		key        []byte
		encode     func(key []byte) []byte
		wantKey    string
		wantValues string
	}{
		{
			appendPlace(nil, kindFragment, "gate", r.StartNS, r.Epoch, r.First),
			func(key []byte) []byte { return appendRef(nil, key, &r) },
			"666761746500" + place,
			"01" + "02000000" + "9001000000000000" + "00d06d9b6ce94418" + "000f07236ce94418" + "00d06d9b6ce94418" +
				"008097be6ae94418" + "43420f0000000000" + "84d02d0000000000" + "008097be6ae94418" + "aa" + zeros + "bb" + zeros +
				"0f636f6e6e656374696f6e5f6c6f7374" + "0a00676174652f612e6d7034" + "27bde2a3",
		},
		{
			appendPlace(nil, kindSpan, "gate", s.StartNS, s.Epoch, s.First),
			func(key []byte) []byte { return appendSpan(nil, key, &s) },
			"736761746500" + place,
			"01" + "9001000000000000" + "00d06d9b6ce94418" + "008097be6ae94418" + "0f636f6e6e656374696f6e5f6c6f7374" + "b762c4f7",
		},
		{
			appendPath(nil, kindSegment, "gate", r.Segment),
			func(key []byte) []byte { return appendSegment(nil, key, &seg) },
			"676761746500" + "676174652f612e6d7034",
			"01" + "0100000000000000" + "0200000000000000" + "0300000000000000" + "0400000000000000" + "d8b55278",
		},
		{
			appendPrefix(nil, kindCamera, "gate"),
			func(key []byte) []byte { return appendCamera(nil, key, &camera) },
			"636761746500",
			"01" + "01972b5cee0000000000000000000000" + "0700000000000000" + "0100000000000000" + "0200000000000000" +
				"0300000000000000" + "0400000000000000" + "0500000000000000" + "30caa8b7",
		},
	} {
		require.Equal(t, c.wantKey, fmt.Sprintf("%x", c.key))
		require.Equal(t, c.wantValues, fmt.Sprintf("%x", c.encode(c.key)))
	}
}

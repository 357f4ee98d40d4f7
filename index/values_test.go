package index

import (
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

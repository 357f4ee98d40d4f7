package evidence

import (
	"bytes"
	"crypto/ed25519"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
)

func sample(t testing.TB) (*Box, []Fragment) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)))
	require.NoError(t, err)
	var rows []Fragment
	for i := range 5 {
		rows = append(rows, Fragment{
			At: int64(100 + i*50), Size: 50, Recorded: 50, Hash: media.Hash{byte(i)}, First: uint64(i), End: uint64(i + 1), Epoch: 1,
			StartNS: int64(i), EndNS: int64(i + 1), WindowNS: 3, Source: 2, Recorders: 3, Trimmed: i == 0, Sum: media.Hash{9},
		})
	}
	h := &Head{Camera: "gate", Node: "v1", Made: time.Unix(1, 0).UTC(), Gaps: []Gap{}, Header: Header{Size: 100, Fragment: -1}}
	b, err := NewBox(h, len(rows), func(i int, f *Fragment) { *f = rows[i] }, &Signer{Cert: []byte("certificate"), Key: key})
	require.NoError(t, err)
	return b, rows
}

func all(t testing.TB, b *Box) []byte {
	t.Helper()
	out := make([]byte, b.Size())
	n, err := b.ReadAt(out, 0)
	require.NoError(t, err)
	require.Equal(t, len(out), n)
	return out
}

func TestManifestIsReadBackAsItWasMade(t *testing.T) {
	b, rows := sample(t)
	file := append(bytes.Repeat([]byte{1}, 350), all(t, b)...)
	m, err := Read(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	require.Equal(t, rows, m.Fragments)
	require.Equal(t, "gate", m.Camera)
	require.Equal(t, b.Digest(), m.Digest)
	require.EqualValues(t, 350, m.At)
}

func TestManifestIsTheSameInWhateverPiecesItIsRead(t *testing.T) {
	b, _ := sample(t)
	whole := all(t, b)
	for size := 1; size < 300; size += 7 {
		got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		require.NoError(t, err)
		require.Equal(t, whole, got)
		piece := make([]byte, size)
		for at := int64(0); at+int64(size) <= b.Size(); at += int64(size) {
			_, err := b.ReadAt(piece, at)
			require.NoError(t, err)
			require.Equal(t, whole[at:at+int64(size)], piece)
		}
	}
}

func TestEditedManifestIsToldInWords(t *testing.T) {
	b, _ := sample(t)
	file := append(bytes.Repeat([]byte{1}, 350), all(t, b)...)
	at := bytes.Index(file, []byte("gate"))
	file[at] = 'G'
	r, err := Verify(t.Context(), bytes.NewReader(file), int64(len(file)), VerifyOptions{})
	require.NoError(t, err)
	require.False(t, r.OK())
	require.NotEmpty(t, r.Signature)
	_, err = Verify(t.Context(), bytes.NewReader(file[:len(file)-10]), int64(len(file)-10), VerifyOptions{})
	require.ErrorContains(t, err, "cut short")
	_, err = Verify(t.Context(), bytes.NewReader(nil), 0, VerifyOptions{})
	require.ErrorIs(t, err, ErrNone)
}

func FuzzVerify(f *testing.F) {
	b, _ := sample(f)
	f.Add(append(bytes.Repeat([]byte{1}, 350), all(f, b)...))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := Verify(t.Context(), bytes.NewReader(file), int64(len(file)), VerifyOptions{})
		if err == nil && r.OK() {
			t.Fatal("nothing is proven without a CA")
		}
	})
}

package load

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

func TestAnArchiveIsWhatARecorderWouldHaveWritten(t *testing.T) {
	a, err := newArchive("c0", 1, 0.2, 2*time.Second, time.Now())
	require.NoError(t, err)
	require.Len(t, a.template.refs, 300)
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".duet"), 0o755))
	require.NoError(t, a.store(context.Background(), dir))

	s, err := index.Open(index.Options{Dir: filepath.Join(dir, ".duet", "index"), Log: zerolog.Nop(), MustExist: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	spans, err := s.Spans("c0", a.start, a.end())
	require.NoError(t, err)
	require.Len(t, spans, 1, "it is one stretch without a hole")
	require.Equal(t, a.start, spans[0].StartNS)
	require.Equal(t, a.end(), spans[0].EndNS)

	for _, n := range []int{0, 70, a.windows - 1} {
		for _, r := range a.refs(n)[:3] {
			f, err := os.Open(filepath.Join(dir, r.Segment))
			require.NoError(t, err)
			b := make([]byte, len(media.AppendBox(nil, &r.Info))+int(r.Size))
			_, err = f.ReadAt(b, r.At)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			box, at, err := media.ParseBox(b)
			require.NoError(t, err)
			require.Equal(t, r.Hash, box.Hash)
			require.Equal(t, r.Hash, media.Hash(sha256.Sum256(b[at:])))
			if n != 70 {
				require.Equal(t, r.Info, box)
			}
		}
	}
}

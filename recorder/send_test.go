package recorder

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

func TestDamageThatAReaderFindsIsFoundHereWhenItAsksAgain(t *testing.T) {
	p := newFakeProxy(t)
	dir := filepath.Join(t.TempDir(), "r1")
	gate := newTestLog(t, "gate", testBase, 20, 12*time.Second)
	p.show(gate, 210)
	g := startWith(t, Options{
		Name: "r1", Volumes: []Volume{{Dir: dir}}, Proxies: []Proxy{{Name: "p1", Address: p.address}},
		Cameras: []Camera{{Name: "gate"}}, Scrub: Scrub{Off: true},
	})
	g.wait(gate, 200)
	f := g.list("gate")[1]
	good, err := g.read("gate", f)
	require.NoError(t, err)
	ref, err := g.vol().index.store().Lookup("gate", f.GetStartNs(), index.Key{Epoch: record.Epoch(f.GetEpoch()), First: f.GetFirst()})
	require.NoError(t, err)
	name := filepath.Join(dir, ref.Segment)
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	last := ref.At + boxLen(&ref.Info) + ref.Size - 1
	_, err = file.WriteAt([]byte{good[len(good)-1] ^ 4}, last)
	require.NoError(t, err)
	require.NoError(t, file.Close())

	ask := func(unhashed bool) ([]byte, error) {
		s, err := g.client.Read(t.Context(), &nodepb.ReadRequest{
			Camera: "gate", Epoch: f.GetEpoch(), First: f.GetFirst(), StartNs: f.GetStartNs(), Hash: f.GetHash(), Unhashed: unhashed,
		}, grpc.ForceCodecV2(nodepb.Codec()))
		require.NoError(t, err)
		body := nodepb.Body{Most: len(good)}
		for err == nil {
			err = s.RecvMsg(&body)
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return body.Data, err
	}
	bad, err := ask(true)
	require.NoError(t, err)
	require.Len(t, bad, len(good))
	require.NotEqual(t, good, bad)
	_, err = ask(false)
	require.Equal(t, codes.DataLoss, status.Code(err), "%v", err)
	require.Eventually(t, func() bool {
		damaged := g.vol().index.store().Damaged("gate", math.MinInt64, math.MaxInt64)
		return len(damaged) == 1
	}, patience, 10*time.Millisecond, "the scrubber looks at what is suspect")
}

func TestChunksAreWholeAgainWhenTheyAreTakenAgain(t *testing.T) {
	c := newChunks()
	b := c.get()
	*b = (*b)[:3]
	c.Put(b)
	require.Len(t, *c.get(), readChunk)
}

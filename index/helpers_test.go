package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

const second = int64(time.Second)

// t0 is when all footage of the tests begins.
var t0 = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC).UnixNano()

// epochAt returns an epoch that begins n seconds after t0.
func epochAt(n int) record.Epoch {
	e, err := record.NewEpoch(time.Unix(0, t0+int64(n)*second), bytes.NewReader(make([]byte, 10)))
	if err != nil {
		panic(err)
	}
	return e
}

// ref returns fragment n of an epoch that starts at second from: 100 records and 2 s
// each, 200 fragments to a segment, audio 20 ms ahead of the video.
func ref(camera string, from, n int) Ref {
	r := Ref{
		Info: media.Info{
			Camera: camera, Epoch: epochAt(from),
			First: uint64(n) * 100, End: uint64(n+1) * 100,
			Size: int64(1_000_000 + n), Since: media.CauseConnection, SinceNS: t0,
		},
		At: int64(1000 + n%200*1_000_500),
	}
	r.StartNS = t0 + (int64(from)+2*int64(n))*second
	r.EndNS = r.StartNS + 2*second
	r.MinNS, r.MaxNS = r.StartNS-second/50, r.EndNS
	r.WindowNS = r.StartNS / (600 * second) * (600 * second)
	r.Segment = fmt.Sprintf("%s/%s_%s.mp4", camera,
		time.Unix(0, t0+(int64(from)+int64(n/200)*400)*second).UTC().Format("2006-01-02/15-04-05.000Z"), r.Epoch)
	r.Hash = hashOf(&r)
	return r
}

// hashOf is a hash that two copies of a fragment share.
func hashOf(r *Ref) media.Hash {
	b := append([]byte(r.Camera), r.Epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, r.First)
	b = binary.BigEndian.AppendUint64(b, r.End)
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(r.EndNS)))
}

// refs returns fragments [a, b) of an epoch.
func refs(camera string, from, a, b int) []Ref {
	var all []Ref
	for n := a; n < b; n++ {
		all = append(all, ref(camera, from, n))
	}
	return all
}

// truncate makes r what a recorder has that saw only half of it.
func truncate(r Ref) Ref {
	r.End -= 50
	r.EndNS -= second
	r.MaxNS = r.EndNS
	r.Flags |= media.Truncated
	r.Size /= 2
	r.Hash = hashOf(&r)
	return r
}

func openMem(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(Options{FS: fs, Dir: "index", Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func collect[T any](t testing.TB, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var all []T
	for v, err := range seq {
		require.NoError(t, err)
		all = append(all, v)
	}
	return all
}

func dump(t testing.TB, s *Store) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, s.Dump(&b))
	return b.String()
}

func allOf(t testing.TB, s *Store, camera string) []Ref {
	t.Helper()
	return collect(t, s.Fragments(camera, math.MinInt64, math.MaxInt64))
}

// content is what a media file holds.
type content struct {
	refs  []Ref
	inits []Init
}

// remake makes the index anew of what the media files hold, as a recorder does.
func remake(t require.TestingT, o Options, files []content) *Store {
	require.NoError(t, o.FS.RemoveAll(o.Dir))
	o.MustExist = false
	s, err := Open(o)
	require.NoError(t, err)
	for _, f := range files {
		require.NoError(t, s.Commit(f.refs, f.inits))
	}
	return s
}

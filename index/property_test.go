package index

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/media"
)

// disk is the model of a recorder: the media files, and what is in each of them.
type disk struct {
	files map[string][]Ref
	inits map[string][]Init
	gone  map[string]bool // deleted: never written again
}

func newDisk() *disk {
	return &disk{files: map[string][]Ref{}, inits: map[string][]Init{}, gone: map[string]bool{}}
}

// best is the fragments that the index must hold of a camera, sorted.
func (d *disk) best(camera string) []Ref {
	byKey := map[Key]Ref{}
	for _, file := range d.files {
		for _, r := range file {
			if old, ok := byKey[r.Key()]; r.Camera == camera && (!ok || better(&r, &old)) {
				byKey[r.Key()] = r
			}
		}
	}
	return slices.SortedFunc(maps.Values(byKey), func(a, b Ref) int { return Compare(&a, &b) })
}

// spans is what best amounts to.
func (d *disk) spans(camera string) []Span {
	var out []Span
	all := d.best(camera)
	slices.SortFunc(all, func(a, b Ref) int {
		if c := a.Epoch.Compare(b.Epoch); c != 0 {
			return c
		}
		return int(int64(a.First) - int64(b.First))
	})
	for i := range all {
		s := spanOf(&all[i])
		if n := len(out); n > 0 && out[n-1].Epoch == s.Epoch && out[n-1].End == s.First {
			out[n-1].End, out[n-1].EndNS = s.End, s.EndNS
			continue
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Span) int { return compareSpans(&a, &b) })
	return out
}

func (d *disk) contents(order func([]string)) (out []content) {
	paths := slices.Sorted(maps.Keys(d.files))
	order(paths)
	for _, p := range paths {
		out = append(out, content{d.files[p], d.inits[p]})
	}
	return out
}

// drawRefs draws fragments of two cameras with two interleaved epochs each, of which
// one half may be truncated, in files of four fragments.
func drawRefs(t *rapid.T) ([]Ref, []Init) {
	var out []Ref
	var inits []Init
	for range rapid.IntRange(1, 3).Draw(t, "stretches") {
		camera := rapid.SampledFrom([]string{"gate", "gate-2"}).Draw(t, "camera")
		epoch := rapid.SampledFrom([]int{0, 5, 60}).Draw(t, "epoch")
		a := rapid.IntRange(0, 20).Draw(t, "from")
		for n := a; n < a+rapid.IntRange(1, 8).Draw(t, "count"); n++ {
			r := ref(camera, epoch, n)
			r.Segment = ref(camera, epoch, n/4*200).Segment
			if rapid.IntRange(0, 9).Draw(t, "again") == 0 {
				r.Segment = "z" + r.Segment // recorded once more, elsewhere
			}
			r.InitHash = media.Hash{byte(1 + n/7)}
			if n%4 == 3 && rapid.Bool().Draw(t, "truncated") {
				r = truncate(r)
			}
			out = append(out, r)
			inits = append(inits, Init{Camera: camera, Hash: r.InitHash, Data: []byte{byte(n / 7)}})
		}
	}
	return out, inits
}

func (d *disk) commit(t *rapid.T, s *Store) {
	list, inits := drawRefs(t)
	list = slices.DeleteFunc(list, func(r Ref) bool { return d.gone[r.Segment] })
	require.NoError(t, s.Commit(list, inits))
	for _, r := range list {
		d.files[r.Segment] = append(d.files[r.Segment], r)
		for _, i := range inits {
			if i.Camera == r.Camera && i.Hash == r.InitHash {
				d.inits[r.Segment] = append(d.inits[r.Segment], i)
			}
		}
	}
}

func (d *disk) deleteFile(t *rapid.T, s *Store) {
	if len(d.files) == 0 {
		return
	}
	path := rapid.SampledFrom(slices.Sorted(maps.Keys(d.files))).Draw(t, "file")
	camera := d.files[path][0].Camera
	lost := d.files[path]
	_, err := s.DeleteSegment(camera, path)
	require.NoError(t, err)
	if rapid.Bool().Draw(t, "finish") {
		require.NoError(t, s.DropSegment(camera, path))
	}
	delete(d.files, path)
	d.gone[path] = true
	// What the index did not hold because the deleted file had it as well, or had it
	// longer, is in the other file still: commit it again, as a scan would.
	for _, file := range d.files {
		for _, r := range file {
			for _, l := range lost {
				if l.Camera == r.Camera && l.Key() == r.Key() {
					require.NoError(t, s.Commit([]Ref{r}, d.inits[r.Segment]))
				}
			}
		}
	}
}

func (d *disk) deleteFragments(t *rapid.T, s *Store) {
	camera := rapid.SampledFrom([]string{"gate", "gate-2"}).Draw(t, "camera")
	var lost []Ref
	for _, r := range d.best(camera) {
		if rapid.IntRange(0, 5).Draw(t, "damaged") == 0 {
			lost = append(lost, r, r)
		}
	}
	other := ref(camera, 0, 0)
	other.At++ // is not there
	require.NoError(t, s.DeleteFragments(append(lost, other)))
	for _, l := range lost {
		for p, file := range d.files {
			d.files[p] = slices.DeleteFunc(file, func(r Ref) bool { return r.Camera == l.Camera && r.Key() == l.Key() })
			if len(d.files[p]) == 0 {
				delete(d.files, p)
			}
		}
	}
}

func (d *disk) check(t *rapid.T, s *Store) {
	for _, camera := range []string{"gate", "gate-2"} {
		want := d.best(camera)
		from := t0 + rapid.Int64Range(-10, 110).Draw(t, "from")*second
		to := t0 + rapid.Int64Range(-10, 110).Draw(t, "to")*second
		var part []Ref
		for _, r := range want {
			if r.MinNS < to && r.MaxNS > from && from < to {
				part = append(part, r)
			}
		}
		for _, q := range []struct {
			from, to int64
			want     []Ref
		}{{math.MinInt64, math.MaxInt64, want}, {from, to, part}} {
			var got []Ref
			for r, err := range s.Fragments(camera, q.from, q.to) {
				require.NoError(t, err)
				got = append(got, r)
			}
			require.Equal(t, q.want, got)
		}
		spans, err := s.Spans(camera, math.MinInt64, math.MaxInt64)
		require.NoError(t, err)
		require.Equal(t, d.spans(camera), spans)
		sum := Camera{Name: camera, Position: s.Position(camera)}
		for _, r := range want {
			if sum.StartNS == 0 || r.StartNS < sum.StartNS {
				sum.StartNS = r.StartNS
			}
			sum.EndNS = max(sum.EndNS, r.EndNS)
			sum.Bytes += r.Size
			sum.Fragments++
		}
		got, _ := s.Camera(camera)
		require.Equal(t, sum, got)
	}
	require.NoError(t, s.Err())
}

// After any history of commits, replacements, repairs and deletions the index says
// what the media files say; reopened it says the same; and one that is rebuilt from
// the media files, in any order, equals it.
func TestTheIndexSaysWhatTheMediaFilesSayAndRebuiltEqualsTheOneThatWasLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		o := Options{FS: fs, Dir: "index", Log: zerolog.Nop(), CacheBytes: 1 << 20}
		s, err := Open(o)
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		d := newDisk()
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0:
				d.deleteFile(t, s)
			case 1:
				d.deleteFragments(t, s)
			case 2:
				before := s.Cameras()
				require.NoError(t, s.Close())
				s, err = Open(o)
				require.NoError(t, err)
				require.Equal(t, before, s.Cameras())
			default:
				d.commit(t, s)
			}
			d.check(t, s)
		}
		var lost, rebuilt bytes.Buffer
		require.NoError(t, s.Dump(&lost))
		require.NoError(t, s.Close())
		s = remake(t, o, d.contents(func(p []string) {
			for i := range p {
				j := rapid.IntRange(i, len(p)-1).Draw(t, "swap")
				p[i], p[j] = p[j], p[i]
			}
		}))
		require.NoError(t, s.Dump(&rebuilt))
		require.Equal(t, lost.String(), rebuilt.String())
		d.check(t, s)
	})
}

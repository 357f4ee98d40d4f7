package index

import (
	"math"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatWasCommittedIsThereAfterReopening(t *testing.T) {
	fs := vfs.NewMem()
	init := Init{Camera: "gate", Hash: media.Hash{1}, Data: []byte("ftyp moov")}
	want := refs("gate", 0, 0, 450)
	for i := range want {
		want[i].InitHash = init.Hash
	}
	s, err := Open(Options{FS: fs, Dir: "index", Log: zerolog.Nop()})
	require.NoError(t, err)
	require.NoError(t, s.Commit(want[:300], []Init{init}))
	require.NoError(t, s.Commit(want[300:], []Init{init}))
	require.NoError(t, s.Commit(refs("yard", 7, 0, 3), nil))
	before := dump(t, s)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Commit(want, nil), ErrClosed)
	_, err = s.Spans("gate", 0, math.MaxInt64)
	require.ErrorIs(t, err, ErrClosed)

	s = openMem(t, fs)
	require.Equal(t, before, dump(t, s))
	require.Equal(t, want, allOf(t, s, "gate"))
	require.Equal(t, record.Position{Epoch: epochAt(0), Offset: 45000}, s.Position("gate"))
	require.Equal(t, []Camera{
		{
			Name: "gate", Position: s.Position("gate"), StartNS: t0, EndNS: t0 + 900*second,
			Bytes: 450*1_000_000 + 449*450/2, Fragments: 450,
		},
		{
			Name: "yard", Position: record.Position{Epoch: epochAt(7), Offset: 300},
			StartNS: t0 + 7*second, EndNS: t0 + 13*second, Bytes: 3_000_003, Fragments: 3,
		},
	}, s.Cameras())
	data, err := s.Init("gate", init.Hash)
	require.NoError(t, err)
	require.Equal(t, init.Data, data)
	_, err = s.Init("gate", media.Hash{2})
	require.ErrorIs(t, err, ErrNotFound)
	got, err := s.Lookup("gate", want[7].StartNS, want[7].Key())
	require.NoError(t, err)
	require.Equal(t, want[7], got)
	_, err = s.Lookup("gate", want[7].StartNS+1, want[7].Key())
	require.ErrorIs(t, err, ErrNotFound)
	require.Zero(t, s.Position("nobody"))
	require.Empty(t, allOf(t, s, "nobody"))
}

func TestAListingHasWhatOverlapsByItsSamples(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	all := refs("gate", 0, 0, 100)
	all[40].MaxNS += 30 * second // its audio runs on
	all[50].MinNS -= 20 * second
	require.NoError(t, s.Commit(all, nil))
	for _, q := range [][2]int64{
		{-10, -1},
		{-1, 0},
		{0, 1},
		{0, 2},
		{1, 3},
		{2, 4},
		{81, 82},
		{82, 83},
		{100, 101},
		{111, 112},
		{85, 86},
		{190, 500},
		{200, 300},
		{50, 50},
		{60, 50},
		{0, 200},
	} {
		from, to := t0+q[0]*second, t0+q[1]*second
		var want []Ref
		for _, r := range all {
			if from < to && r.MinNS < to && r.MaxNS > from {
				want = append(want, r)
			}
		}
		require.Equal(t, want, collect(t, s.Fragments("gate", from, to)), "%v", q)
	}
	n := 0
	for range s.Fragments("gate", t0, t0+200*second) {
		if n++; n == 3 {
			break
		}
	}
	require.Equal(t, 3, n)
}

func TestTheSameFragmentTwiceIsOneAndTheLongerOneWins(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	all := refs("gate", 0, 0, 10)
	short := truncate(all[9])
	require.NoError(t, s.Commit(append(refs("gate", 0, 0, 9), short), nil))
	require.Equal(t, short.End, s.Position("gate").Offset)
	once := dump(t, s)
	require.NoError(t, s.Commit(append(refs("gate", 0, 3, 9), short, short), nil))
	require.Equal(t, once, dump(t, s))

	require.NoError(t, s.Commit([]Ref{short, all[9], short}, nil))
	require.Equal(t, all, allOf(t, s, "gate"))
	whole := dump(t, s)
	require.NoError(t, s.Commit([]Ref{short}, nil))
	require.Equal(t, whole, dump(t, s))
	require.Equal(t, all[9].End, s.Position("gate").Offset)

	// Of equal length: the whole one, then the one that was written later.
	cut := all[9]
	cut.Flags |= media.Truncated
	cut.EndNS -= 1000
	later := all[8]
	later.At += 5
	require.NoError(t, s.Commit([]Ref{cut, later}, nil))
	require.Equal(t, append(append([]Ref{}, all[:8]...), later, all[9]), allOf(t, s, "gate"))
}

func TestThirtyDaysAreAHandfulOfSpans(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	require.NoError(t, s.Commit(refs("gate", 0, 0, 3000), nil))
	require.NoError(t, s.Commit(refs("gate", 0, 3001, 6000), nil))  // 3000 was lost
	require.NoError(t, s.Commit(refs("gate", 20000, 0, 2000), nil)) // next epoch
	require.NoError(t, s.Commit(refs("gate", 20001, 0, 2000), nil)) // another proxy at the same time
	require.NoError(t, s.Commit(refs("gate", 20000, 2000, 3000), nil))
	require.NoError(t, s.Commit(refs("gate", 20001, 2000, 3000), nil))
	span := func(from, a, b int) Span {
		s := spanOf(new(ref("gate", from, a)))
		s.End, s.EndNS = uint64(b)*100, s.StartNS+int64(b-a)*2*second
		return s
	}
	spans, err := s.Spans("gate", math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	require.Equal(t, []Span{span(0, 0, 3000), span(0, 3001, 6000), span(20000, 0, 3000), span(20001, 0, 3000)}, spans)

	require.NoError(t, s.Commit(refs("gate", 0, 3000, 3001), nil)) // repaired
	a, b, c := span(0, 0, 6000), span(20000, 0, 3000), span(20001, 0, 3000)
	for _, q := range []struct {
		from, to int64
		want     []Span
	}{
		{8000, 20001, []Span{a, b, c}}, // c is the nearest one after
		{-10, 0, []Span{a}},
		{100, 200, []Span{a, b}},
		{13000, 14000, []Span{a, b}},
		{20500, 20600, []Span{a, b, c}},
		{26000, 26001, []Span{b, c}},
		{30000, 30001, []Span{c}},
		{200, 100, nil},
	} {
		spans, err = s.SpansAround("gate", t0+q.from*second, t0+q.to*second)
		require.NoError(t, err)
		require.Equal(t, q.want, spans, "%d-%d", q.from, q.to)
		var overlap []Span
		for _, p := range q.want {
			if p.StartNS < t0+q.to*second && p.EndNS > t0+q.from*second {
				overlap = append(overlap, p)
			}
		}
		spans, err = s.Spans("gate", t0+q.from*second, t0+q.to*second)
		require.NoError(t, err)
		require.ElementsMatch(t, overlap, spans, "%d-%d", q.from, q.to)
	}
}

func TestAnInvalidReferenceIsRefusedAndLeavesNothing(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	good := ref("gate", 0, 0)
	for name, spoil := range map[string]func(*Ref){
		"camera":    func(r *Ref) { r.Camera = "../etc" },
		"no camera": func(r *Ref) { r.Camera = "" },
		"NUL":       func(r *Ref) { r.Camera = "a\x00b" },
		"path":      func(r *Ref) { r.Segment = "gate/../../x.mp4" },
		"absolute":  func(r *Ref) { r.Segment = "/x.mp4" },
		"offsets":   func(r *Ref) { r.End = r.First },
		"times":     func(r *Ref) { r.EndNS = r.StartNS },
		"samples":   func(r *Ref) { r.MinNS = r.StartNS + 1 },
		"size":      func(r *Ref) { r.Size = -1 },
		"init":      func(r *Ref) { r.InitHash = media.Hash{9} },
	} {
		bad := ref("gate", 0, 1)
		spoil(&bad)
		require.ErrorIs(t, s.Commit([]Ref{good, bad}, nil), ErrInvalid, name)
	}
	require.ErrorIs(t, s.Commit(nil, []Init{{Camera: ".."}}), ErrInvalid)
	require.NoError(t, s.Err())
	require.Empty(t, s.Cameras())
	require.NoError(t, s.Commit([]Ref{good}, nil))
}

func TestDeletionIsMarkedThenUnlinkedThenForgotten(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open(Options{FS: fs, Dir: "index", Log: zerolog.Nop()})
	require.NoError(t, err)
	require.NoError(t, s.Commit(refs("gate", 0, 0, 600), nil)) // three files
	files := collect(t, s.Segments("gate"))
	require.Len(t, files, 3)
	require.Equal(t, Segment{
		Camera: "gate", Path: ref("gate", 0, 200).Segment, StartNS: t0 + 400*second, EndNS: t0 + 800*second,
		Bytes: 200*1_000_000 + (200+399)*100, Fragments: 200,
	}, files[1])

	got, err := s.DeleteSegment("gate", files[0].Path)
	require.NoError(t, err)
	require.Equal(t, files[0], got)
	require.Equal(t, files[1:], collect(t, s.Segments("gate")))
	require.Equal(t, refs("gate", 0, 200, 600), allOf(t, s, "gate"))
	spans, err := s.Spans("gate", math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	require.Len(t, spans, 1)
	require.Equal(t, t0+400*second, spans[0].StartNS)
	require.EqualValues(t, 20000, spans[0].First)
	c, _ := s.Camera("gate")
	require.Equal(t, t0+400*second, c.StartNS)
	require.ErrorIs(t, s.Commit(refs("gate", 0, 0, 1), nil), ErrInvalid) // not adopted again
	require.NoError(t, s.Close())

	s = openMem(t, fs)
	require.Equal(t, files[:1], s.Deleting())
	got, err = s.DeleteSegment("gate", files[0].Path)
	require.NoError(t, err)
	require.Equal(t, files[0], got)
	require.NoError(t, s.DropSegment("gate", files[0].Path))
	require.NoError(t, s.DropSegment("gate", files[0].Path))
	require.NoError(t, s.DropSegment("nobody", "x"))
	require.Empty(t, s.Deleting())
	_, err = s.DeleteSegment("gate", files[0].Path)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.DeleteSegment("nobody", "x")
	require.ErrorIs(t, err, ErrNotFound)

	for _, f := range files[1:] {
		_, err = s.DeleteSegment("gate", f.Path)
		require.NoError(t, err)
	}
	c, _ = s.Camera("gate")
	require.Equal(t, Camera{Name: "gate", Position: record.Position{Epoch: epochAt(0), Offset: 60000}}, c)
	require.Empty(t, dump(t, s))
}

func TestAnInitHeaderLivesAsLongAsAFragmentNeedsIt(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	all := refs("gate", 0, 0, 400)
	old, shared := Init{"gate", media.Hash{1}, []byte("old")}, Init{"gate", media.Hash{2}, []byte("shared")}
	for i := range all {
		all[i].InitHash = old.Hash
		if i >= 100 {
			all[i].InitHash = shared.Hash
		}
	}
	require.NoError(t, s.Commit(all[:200], []Init{old, shared}))
	require.NoError(t, s.Commit(all[200:], nil)) // known by now
	_, err := s.DeleteSegment("gate", all[0].Segment)
	require.NoError(t, err)
	_, err = s.Init("gate", old.Hash)
	require.ErrorIs(t, err, ErrNotFound)
	data, err := s.Init("gate", shared.Hash)
	require.NoError(t, err)
	require.Equal(t, shared.Data, data)
	require.ErrorIs(t, s.Commit([]Ref{func() Ref { r := ref("gate", 0, 500); r.InitHash = old.Hash; return r }()}, nil), ErrInvalid)
}

func TestReadersAndOneWriterDoNotDisturbEachOther(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var last *Ref
				for r, err := range s.Fragments("gate", t0, t0+4000*second) {
					if err != nil || last != nil && Compare(last, &r) >= 0 {
						t.Error("out of order or failed", err)
						return
					}
					last = &r
				}
				if _, err := s.Spans("gate", t0, t0+4000*second); err != nil {
					t.Error(err)
					return
				}
				s.Cameras()
				s.Deleting()
			}
		})
	}
	for n := 0; n < 1600; n += 20 {
		require.NoError(t, s.Commit(refs("gate", 0, n, n+20), nil))
		if n%400 == 380 {
			_, err := s.DeleteSegment("gate", ref("gate", 0, n-200).Segment)
			require.NoError(t, err)
		}
	}
	close(stop)
	wg.Wait()
}

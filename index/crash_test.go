package index

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// script is a history that touches every kind of change. The n-th step is a function.
func script() []func(*Store) error {
	init := Init{Camera: "gate", Hash: [32]byte{1}, Data: []byte("moov")}
	with := func(r []Ref) []Ref {
		for i := range r {
			r[i].InitHash = init.Hash
		}
		return r
	}
	first := ref("gate", 0, 0).Segment
	return []func(*Store) error{
		func(s *Store) error { return s.Commit(with(refs("gate", 0, 0, 100)), []Init{init}) },
		func(s *Store) error {
			return s.Commit(append(refs("yard", 3, 0, 50), with(refs("gate", 0, 100, 250))...), nil)
		},
		func(s *Store) error { return errors.Join(s.db.Flush(), s.Err()) },
		func(s *Store) error { return s.Commit(with(refs("gate", 0, 251, 300)), nil) },
		func(s *Store) error { _, err := s.DeleteSegment("gate", first); return err },
		func(s *Store) error { return s.DropSegment("gate", first) },
		func(s *Store) error { return s.Commit(with(refs("gate", 0, 250, 251)), nil) },
		func(s *Store) error { return errors.Join(s.db.Flush(), s.Err()) },
		func(s *Store) error { return s.DeleteFragments(refs("yard", 3, 10, 12)) },
		func(s *Store) error {
			if err := s.db.Compact(context.Background(), []byte("a"), []byte("z"), false); s.Err() == nil {
				return err
			}
			return s.Err()
		},
		func(s *Store) error { return s.Commit(with(refs("gate", 5000, 0, 10)), []Init{init}) },
	}
}

// stateOf is all that a store says.
func stateOf(t testing.TB, s *Store) string {
	t.Helper()
	out := dump(t, s)
	for _, c := range s.Cameras() {
		out += c.Name + " " + c.Position.String() + "\n"
	}
	for _, d := range s.Deleting() {
		out += "deleting " + d.Path + "\n"
	}
	return out
}

// states are those before and after each step of the script.
func states(t *testing.T) []string {
	s := openMem(t, vfs.NewMem())
	all := []string{stateOf(t, s)}
	for _, step := range script() {
		require.NoError(t, step(s))
		all = append(all, stateOf(t, s))
	}
	return all
}

func isWrite(op errorfs.Op) bool {
	return op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpLock && op.Kind != errorfs.OpFileClose
}

// After a power cut at any write to the disk the index has every change that was
// acknowledged, and of the one that was under way all or nothing.
func TestAPowerCutAtAnyMomentLosesNothingThatWasCommitted(t *testing.T) {
	want := states(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	type cut struct {
		fs   vfs.FS
		done int // -1: the index was still being made
	}
	var mu sync.Mutex
	var cuts []cut
	done := -1
	mem := vfs.NewCrashableMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isWrite(op) {
			mu.Lock()
			defer mu.Unlock()
			cuts = append(cuts, cut{mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}), done})
		}
		return nil
	}))
	s, err := Open(Options{FS: fs, Dir: "index", Log: zerolog.Nop()})
	require.NoError(t, err)
	for i, step := range script() {
		mu.Lock()
		done = i
		mu.Unlock()
		require.NoError(t, step(s))
	}
	mu.Lock()
	done++
	mu.Unlock()
	require.NoError(t, s.Close())
	require.Greater(t, len(cuts), 50)
	for i, c := range cuts {
		s, err := Open(Options{FS: c.fs, Dir: "index", Log: zerolog.Nop()})
		if c.done < 0 && errors.Is(err, ErrCorrupt) {
			continue // it never was one: nothing was acknowledged, and it is made anew
		}
		require.NoError(t, err, "write %d, seed %d", i, seed)
		got := stateOf(t, s)
		c.done = max(c.done, 0)
		allowed := want[c.done:min(c.done+2, len(want))]
		require.True(t, slices.Contains(allowed, got), "write %d, after step %d, seed %d: %s", i, c.done, seed, got)
		require.NoError(t, s.Close())
	}
}

// Whatever write fails: the process lives, nothing is acknowledged that is not safe,
// and opened anew the index has all that was.
func TestAFailedWriteFailsTheStoreAndNotTheProcess(t *testing.T) {
	for name, onlyOnce := range map[string]bool{"once": true, "from then on": false} {
		t.Run(name, func(t *testing.T) { failWrites(t, onlyOnce) })
	}
}

func failWrites(t *testing.T, onlyOnce bool) {
	want := states(t)
	for n, failed := 0, true; failed; n++ {
		mem := vfs.NewMem()
		var mu sync.Mutex
		count := 0
		broken := errors.New("input/output error")
		failed = false
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if !isWrite(op) {
				return nil
			}
			count++
			if count == n+1 || count > n && !onlyOnce {
				failed = true
				return broken
			}
			return nil
		}))
		acknowledged := play(t, fs, want, broken)
		mu.Lock()
		again := failed
		mu.Unlock()
		s, err := Open(Options{FS: mem, Dir: "index", Log: zerolog.Nop()})
		require.NoError(t, err, "write %d", n)
		got := slices.Index(want, stateOf(t, s))
		require.True(t, got >= 0, "write %d", n)
		require.Contains(t, []string{want[acknowledged], want[min(acknowledged+1, len(want)-1)]}, want[got],
			"write %d, after step %d: has the state after step %d", n, acknowledged, got)
		require.NoError(t, s.Close())
		failed = again
	}
}

// play plays the script until it fails and returns how many steps were acknowledged.
func play(t *testing.T, fs vfs.FS, want []string, broken error) int {
	s, err := Open(Options{FS: fs, Dir: "index", Log: zerolog.Nop()})
	if err != nil {
		require.ErrorIs(t, err, broken)
		require.NotErrorIs(t, err, ErrCorrupt)
		return 0
	}
	defer func() { require.NoError(t, s.Close()) }()
	for i, step := range script() {
		if err := step(s); err != nil {
			require.ErrorIs(t, err, ErrFailed)
			require.ErrorIs(t, err, broken)
			<-s.Failed()
			require.ErrorIs(t, s.Err(), broken)
			require.ErrorIs(t, s.Commit(refs("gate", 0, 0, 1), nil), ErrFailed)
			_, err = s.DeleteSegment("gate", "x")
			require.ErrorIs(t, err, ErrFailed)
			for range s.Fragments("gate", t0, t0+1000*second) { // may fail, must end
			}
			return i
		}
	}
	return len(want) - 1
}

func TestADamagedOrMissingIndexIsCorruptAndCanBeRebuilt(t *testing.T) {
	files := []content{{refs: refs("gate", 0, 0, 1000)}, {refs: refs("yard", 0, 0, 10)}}
	fs := vfs.NewMem()
	o := Options{FS: fs, Dir: "data/index", Log: zerolog.Nop(), MustExist: true}
	require.NoError(t, fs.MkdirAll("data", 0o755))
	_, err := Open(o)
	require.ErrorIs(t, err, ErrCorrupt)
	s := remake(t, o, files)
	want := dump(t, s)
	require.NoError(t, s.db.Flush())
	require.NoError(t, s.Close())

	list, err := fs.List(o.Dir)
	require.NoError(t, err)
	damaged := 0
	for _, name := range list {
		for _, how := range []string{"remove", "truncate", "flip"} {
			spoil(t, fs, o.Dir+"/"+name, how)
			s, err := Open(o)
			if err == nil {
				err = readAll(s)
				require.NoError(t, s.Close())
			}
			if err != nil {
				require.ErrorIs(t, err, ErrCorrupt, "%s %s", how, name)
				damaged++
			}
			s = remake(t, o, files)
			require.Equal(t, want, dump(t, s), "%s %s", how, name)
			require.NoError(t, s.Close())
		}
	}
	require.Greater(t, damaged, 3)
}

func readAll(s *Store) error {
	for _, camera := range []string{"gate", "yard"} {
		for _, err := range s.Fragments(camera, t0, t0+10000*second) {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func spoil(t *testing.T, fs *vfs.MemFS, name, how string) {
	f, err := fs.Open(name)
	if err != nil {
		return // an earlier rebuild made others
	}
	st, err := f.Stat()
	require.NoError(t, err)
	b := make([]byte, st.Size())
	_, _ = f.ReadAt(b, 0)
	require.NoError(t, f.Close())
	switch how {
	case "remove":
		require.NoError(t, fs.Remove(name))
		return
	case "truncate":
		b = b[:len(b)/2]
	case "flip":
		for i := range b {
			b[i] ^= 0x55
		}
	}
	w, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

func TestADamagedRowFailsTheStoreSoThatItIsRebuilt(t *testing.T) {
	s := openMem(t, vfs.NewMem())
	all := refs("gate", 0, 0, 10)
	require.NoError(t, s.Commit(all, nil))
	key := appendPlace(nil, kindFragment, "gate", all[5].StartNS, all[5].Epoch, all[5].First)
	value, closer, err := s.db.Get(key)
	require.NoError(t, err)
	bad := append([]byte(nil), value...)
	require.NoError(t, closer.Close())
	bad[7] ^= 1
	require.NoError(t, s.db.Set(key, bad, nil))

	n := 0
	for _, err = range s.Fragments("gate", t0, t0+100*second) {
		n++
	}
	require.ErrorIs(t, err, ErrCorrupt)
	require.LessOrEqual(t, n, 10)
	require.ErrorIs(t, s.Err(), ErrCorrupt)
	_, err = s.Lookup("gate", all[5].StartNS, all[5].Key())
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorIs(t, s.Commit(refs("gate", 0, 10, 11), nil), ErrFailed)
}

func TestAnIndexIsOpenOnlyOnceAtATime(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir, Log: zerolog.Nop()})
	require.NoError(t, err)
	_, err = Open(Options{Dir: dir, Log: zerolog.Nop()})
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrCorrupt)
	require.NoError(t, s.Commit(refs("gate", 0, 0, 3), nil))
	require.NoError(t, s.Close())
}

package recorder

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/nodepb"
)

func aLock(n int) lock.Lock {
	return lock.Lock{
		ID: fmt.Sprintf("evidence%04d", n), Camera: "gate", StartNS: day0 + int64(n)*min1, EndNS: day0 + int64(n+1)*min1,
		Reason: "theft", CreatedNS: 1,
	}
}

// openBook opens a book with data directories a and b.
func openBook(t testing.TB, fsys vfs.FS) *lockbook {
	t.Helper()
	b := newLockbook(fsys, zerolog.Nop())
	b.wait = 100 * time.Millisecond
	for _, dir := range []string{"/a", "/b"} {
		require.NoError(t, fsys.MkdirAll(dir+"/"+metaDir, 0o755))
		require.NoError(t, b.open(dir))
	}
	return b
}

// A power cut at any operation leaves every lock that was answered, and never a file that
// cannot be read.
func TestALockThatWasAnsweredSurvivesAPowerCutAnywhere(t *testing.T) {
	mem := vfs.NewCrashableMem()
	type cut struct {
		fs       *vfs.MemFS
		answered int
	}
	var cuts []cut
	answered := 0
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			cuts = append(cuts, cut{mem.CrashClone(vfs.CrashCloneCfg{}), answered})
		}
		return nil
	}))
	for _, dir := range []string{"/a", "/b"} {
		require.NoError(t, mem.MkdirAll(dir+"/"+metaDir, 0o755))
	}
	for _, dir := range []string{"/", "/a", "/b", "/a/" + metaDir, "/b/" + metaDir} {
		require.NoError(t, syncDir(mem, dir))
	}
	b := newLockbook(fsys, zerolog.Nop())
	require.NoError(t, b.open("/a")) // one directory: the writes of several are side by side
	for i := range 5 {
		require.NoError(t, b.add(t.Context(), aLock(i)))
		answered = i + 1
	}
	b.close()
	require.Greater(t, len(cuts), 10)
	for i, c := range cuts {
		again := newLockbook(c.fs, zerolog.Nop())
		require.NoError(t, again.open("/a"), "cut %d", i)
		require.Empty(t, again.doubts(), "cut %d", i)
		require.GreaterOrEqual(t, again.current().Len(), c.answered, "cut %d", i)
	}
}

func TestLocksAreInEveryDataDirectoryAndOneOfThemIsEnough(t *testing.T) {
	mem := vfs.NewMem()
	fail := ""
	b := openBook(t, errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && fail != "" && strings.HasPrefix(op.Path, fail) {
			return errorfs.ErrInjected
		}
		return nil
	})))
	defer b.close()
	in := func(dir string) int {
		one := newLockbook(mem, zerolog.Nop())
		require.NoError(t, one.open(dir))
		return one.current().Len()
	}
	require.NoError(t, b.add(t.Context(), aLock(1)))
	require.Equal(t, []int{1, 1}, []int{in("/a"), in("/b")})
	fail = "/b"
	require.NoError(t, b.add(t.Context(), aLock(2)))
	require.Equal(t, []int{2, 1}, []int{in("/a"), in("/b")})
	fail = "/"
	require.Error(t, b.add(t.Context(), aLock(3)), "it is durable nowhere")
	require.Equal(t, 2, b.current().Len())
	fail = ""
	require.NoError(t, b.add(t.Context()), "the next exchange makes up for it")
	require.Equal(t, []int{2, 2}, []int{in("/a"), in("/b")})
	b.leave("/a")
	b.leave("/b")
	require.Error(t, b.add(t.Context(), aLock(4)), "no directory is there")
	require.True(t, b.current().Holds("gate", aLock(1).StartNS, aLock(1).EndNS), "what is known is known")
}

func TestADiskThatHangsDelaysALockAndDoesNotPreventIt(t *testing.T) {
	hang := make(chan struct{})
	hung := false
	b := openBook(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if hung && op.Kind == errorfs.OpFileSync && strings.HasPrefix(op.Path, "/b") {
			<-hang
		}
		return nil
	})))
	defer b.close()
	hung = true
	require.NoError(t, b.add(t.Context(), aLock(1)))
	require.NoError(t, b.add(t.Context(), aLock(2)), "another one is not held up by what hangs already")
	require.Equal(t, 2, b.current().Len())
	close(hang)
}

func TestADamagedFileOfLocksStopsDeletionUntilAnotherRecorderTells(t *testing.T) {
	mem := vfs.NewMem()
	b := openBook(t, mem)
	require.NoError(t, b.add(t.Context(), aLock(1)))
	b.close()
	require.NoError(t, replaceBy(mem, strings.NewReader(`{"version":1,"locks":[{"ID"`), "/a/.duet/"+locksFile))
	again := openBook(t, mem)
	defer again.close()
	require.Contains(t, again.doubts(), "/a/.duet")
	require.Equal(t, 1, again.current().Len(), "the other directory has it")
	third := openBook(t, mem)
	defer third.close()
	require.NotEmpty(t, third.doubts(), "a restart does not end the doubt")
	third.trusted()
	require.Empty(t, third.doubts())
	require.NoError(t, third.add(t.Context()))
	last := openBook(t, mem)
	defer last.close()
	require.Empty(t, last.doubts())
	require.Equal(t, 1, last.current().Len())
}

// A recorder that was away learns of a lock, and of a release, before its retention
// deletes anything; and tells what it alone knows.
func TestARecorderThatReturnsLearnsLocksBeforeItDeletes(t *testing.T) {
	proxy := newFakeProxy(t)
	addresses := map[string]net.Listener{}
	for _, n := range []string{"r1", "r2"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addresses[n] = l
	}
	r1At, r2At := addresses["r1"].Addr().String(), addresses["r2"].Addr().String()
	for _, l := range addresses {
		require.NoError(t, l.Close())
	}
	dirs := map[string]vfs.FS{"r1": vfs.NewMem(), "r2": vfs.NewMem()}
	options := func(name, peer, at string) Options {
		return Options{
			Name: name, DataDir: "/data/" + name, FS: dirs[name], Proxies: []Proxy{{Name: "p1", Address: proxy.address}},
			Peers: []Peer{{Name: peer, Address: at}},
		}
	}
	r1 := startAt(t, options("r1", "r2", r2At), r1At)
	require.Contains(t, r1.exchange.hold(r1.slots[0].volume()), "waiting for the locks of other recorders")
	l := aLock(1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.Eventually(t, func() bool {
		_, err := r1.client.ExchangeLocks(ctx, &nodepb.ExchangeLocksRequest{Locks: []*nodepb.Lock{l.ToProto()}})
		return err == nil
	}, patience, 10*time.Millisecond)

	r2 := startAt(t, options("r2", "r1", r1At), r2At)
	require.Eventually(t, func() bool {
		return r2.exchange.hold(r2.slots[0].volume()) == ""
	}, patience, 5*time.Millisecond)
	require.True(t, r2.locks.current().Holds("gate", l.StartNS, l.EndNS), "when it may delete, it knows")
	require.Eventually(t, func() bool { return r1.exchange.hold(r1.slots[0].volume()) == "" }, patience, 5*time.Millisecond)

	r1.stop()
	l.ReleasedNS = 9
	more := aLock(5)
	_, err := r2.client.ExchangeLocks(ctx, &nodepb.ExchangeLocksRequest{Locks: []*nodepb.Lock{l.ToProto(), more.ToProto()}})
	require.NoError(t, err)
	r1 = startAt(t, options("r1", "r2", r2At), r1At)
	require.Eventually(t, func() bool {
		s := r1.locks.current()
		return !s.Holds("gate", l.StartNS, l.EndNS) && s.Holds("gate", more.StartNS, more.EndNS)
	}, patience, 5*time.Millisecond)
	require.Eventually(t, func() bool { // as soon as it has recovered its index
		spans, err := r1.client.Spans(ctx, &nodepb.SpansRequest{Camera: "gate", StartNs: more.StartNS - 1, EndNs: more.EndNS})
		return err == nil && len(spans.GetLocks()) == 1
	}, patience, 5*time.Millisecond)
	_, err = r1.client.ExchangeLocks(ctx, &nodepb.ExchangeLocksRequest{Locks: []*nodepb.Lock{{Id: "x"}}})
	require.ErrorContains(t, err, "is not one")
}

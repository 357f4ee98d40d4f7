package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

// pair is two recorders that repair each other.
type pair struct {
	t     testing.TB
	proxy *fakeProxy
	dir   string
	// options changes what a recorder is started with; nil: nothing.
	options func(name string, o *Options)

	mu        sync.Mutex
	addresses map[string]string
	running   map[string]*running
}

func newPair(t testing.TB) *pair {
	return &pair{t: t, proxy: newFakeProxy(t), dir: t.TempDir(), addresses: map[string]string{}, running: map[string]*running{}}
}

// start starts r1 or r2.
func (p *pair) start(name string) *running {
	p.t.Helper()
	other := map[string]string{"r1": "r2", "r2": "r1"}[name]
	o := Options{
		Name: name, DataDir: filepath.Join(p.dir, name), Proxies: []Proxy{{Name: "p1", Address: p.proxy.address}},
		Cameras: []Camera{{Name: "gate"}}, Peers: []Peer{{Name: other, Address: other}},
	}
	o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		p.mu.Lock()
		to, ok := p.addresses[address]
		p.mu.Unlock()
		switch {
		case ok && to == "":
			return nil, errors.New("it is not running")
		case ok:
			address = to
		case address == other:
			return nil, errors.New("it was never started")
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	if p.options != nil {
		p.options(name, &o)
	}
	g := startWith(p.t, o)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addresses[name], p.running[name] = g.address, g
	require.Eventually(p.t, func() bool { return g.ready() == nil }, patience, 2*time.Millisecond)
	return g
}

func (p *pair) stop(name string) {
	p.mu.Lock()
	g := p.running[name]
	p.addresses[name] = ""
	delete(p.running, name)
	p.mu.Unlock()
	g.stop()
}

// outage stops a recorder while n fragments are recorded that the log then forgets.
func (p *pair) outage(name string, l *testLog, n uint64) {
	p.t.Helper()
	p.stop(name)
	p.record(l, n)
	p.proxy.change(func() { p.proxy.oldest[l] = p.proxy.out[l] - perFragment })
	p.start(name)
}

// record lets n more fragments out, and waits until whoever runs has them.
func (p *pair) record(l *testLog, n uint64) {
	p.t.Helper()
	p.proxy.mu.Lock()
	to := p.proxy.out[l] + n*perFragment
	p.proxy.mu.Unlock()
	require.LessOrEqual(p.t, to, l.end())
	p.proxy.show(l, to)
	for _, g := range p.running {
		g.wait(l, to-perFragment)
	}
}

// converge waits until both hold the same fragments, and returns them.
func (p *pair) converge(want int) []*nodepb.Fragment {
	p.t.Helper()
	var a, b []*nodepb.Fragment
	hashes := func(list []*nodepb.Fragment) (out []string) {
		for _, f := range list {
			out = append(out, fmt.Sprintf("%d-%d %x", f.GetFirst(), f.GetEnd(), f.GetHash()))
		}
		return out
	}
	ok := false
	for deadline := time.Now().Add(3 * patience); !ok && time.Now().Before(deadline); {
		a, b = p.running["r1"].fragments("gate"), p.running["r2"].fragments("gate")
		ok = len(a) == want && fmt.Sprint(hashes(a)) == fmt.Sprint(hashes(b))
		if !ok {
			pause(context.Background(), 20*time.Millisecond)
		}
	}
	require.Equal(p.t, hashes(a), hashes(b), "%s\n%s", p.running["r1"].log, p.running["r2"].log)
	require.Len(p.t, a, want)
	return a
}

func repairedOf(list []*nodepb.Fragment) (n int) {
	for _, f := range list {
		if media.InfoFlags(f.GetFlags())&media.Repaired != 0 {
			n++
		}
	}
	return n
}

func TestTwoRecordersHoldTheSameAfterTenOutagesLongerThanTheLog(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := newPair(t)
	l := newTestLog(t, "gate", testBase, 120, 12*time.Second)
	p.proxy.show(l, 2*perFragment)
	p.start("r1")
	p.start("r2")
	p.record(l, 1)
	for range 10 {
		p.outage([]string{"r1", "r2"}[random.IntN(2)], l, 2+random.Uint64N(6))
		if random.IntN(2) == 0 {
			p.record(l, 1+random.Uint64N(3))
		}
	}
	p.proxy.mu.Lock()
	want := int(p.proxy.out[l]/perFragment) - 1 // the last one has no end yet
	p.proxy.mu.Unlock()
	all := p.converge(want)
	require.EqualValues(t, 0, all[0].GetFirst())

	for _, g := range p.running {
		require.Eventually(t, func() bool {
			s := g.camera("gate").GetRepair()
			return s.GetLackingFragments() == 0 && s.GetCompleteUntilNs() == all[len(all)-1].GetEndNs()
		}, patience, 10*time.Millisecond, "%v", g.camera("gate"))
		spans, err := g.client.Spans(t.Context(), &nodepb.SpansRequest{Camera: "gate", EndNs: time.Now().UnixNano()})
		require.NoError(t, err)
		require.Len(t, spans.GetSpans(), 1, "no gap is left")
		var told int64
		for _, x := range spans.GetRepaired() {
			told += x.GetEndNs() - x.GetStartNs()
		}
		require.EqualValues(t, repairedOf(g.fragments("gate")), told/1e9, "the timeline marks what was repaired")
	}
	total := repairedOf(p.running["r1"].fragments("gate")) + repairedOf(p.running["r2"].fragments("gate"))
	require.Positive(t, total)
}

func TestADirectoryThatWasWipedIsFilledAgain(t *testing.T) {
	p := newPair(t)
	l := newTestLog(t, "gate", testBase, 40, 12*time.Second)
	p.proxy.show(l, 30*perFragment)
	p.start("r1").wait(l, 29*perFragment)
	p.start("r2").wait(l, 29*perFragment)
	before := p.running["r1"].state().GetDisks()[0]
	p.stop("r1")
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "r1")))
	markers, err := filepath.Glob(filepath.Join(p.dir, ".*"))
	require.NoError(t, err)
	for _, m := range markers {
		require.NoError(t, os.Remove(m))
	}
	p.proxy.change(func() { p.proxy.oldest[l] = 20 * perFragment })
	g := p.start("r1")
	require.Eventually(t, func() bool { return g.camera("gate").GetRepair().GetRepairedFragments() > 0 }, 10*time.Second, 5*time.Millisecond,
		"it begins as soon as both are there")
	p.converge(29)
	after := g.state().GetDisks()[0]
	require.NotEmpty(t, before.GetGeneration())
	require.NotEqual(t, before.GetGeneration(), after.GetGeneration(), "it lost what it had")
	require.Equal(t, 20, repairedOf(g.fragments("gate")))
	require.Zero(t, repairedOf(p.running["r2"].fragments("gate")))

	// What was repaired is known as such from the media alone.
	p.stop("r1")
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "r1", metaDir, indexDir)))
	p.start("r1")
	p.converge(29)
	require.Equal(t, 20, repairedOf(p.running["r1"].fragments("gate")))
	require.Zero(t, p.running["r1"].camera("gate").GetRepair().GetRepairedFragments(), "nothing was copied again")
}

func TestRepairGoesOnAfterItWasInterrupted(t *testing.T) {
	p := newPair(t)
	l := newTestLog(t, "gate", testBase, 60, 12*time.Second)
	slow := true
	p.options = func(name string, o *Options) {
		if name == "r1" && slow {
			o.Repair.Rate = 20_000 // a fragment has some 8 kB
		}
	}
	p.proxy.show(l, 2*perFragment)
	p.start("r1")
	p.start("r2")
	p.record(l, 1)
	p.outage("r1", l, 50)
	p.record(l, 1)
	copied := func() uint64 { return p.running["r1"].camera("gate").GetRepair().GetRepairedFragments() }
	require.Eventually(t, func() bool { return copied() >= 2 }, patience, 5*time.Millisecond)
	s := p.running["r1"].camera("gate").GetRepair()
	require.Positive(t, s.GetLackingFragments())
	require.Positive(t, s.GetLackingBytes())
	require.Less(t, s.GetCompleteUntilNs(), testBase.Add(10*time.Second).UnixNano())
	p.stop("r1")
	slow = false
	p.start("r1")
	p.converge(53)
}

func TestWhatIsRecordedIsWrittenBeforeWhatIsCopied(t *testing.T) {
	var g *rig
	waiting := -1 // when the copied one is written
	g = openRig(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && strings.Contains(op.Path, "/gate/") {
			waiting = len(g.disk.queue)
		}
		return nil
	})))
	defer g.close()
	var copied *media.Fragment
	one := func(camera string, emit func(*finished)) {
		l := newTestLog(t, camera, testBase, 2, 12*time.Second)
		l.play(t, testFeed(camera, record.Position{}, emit), perFragment)
	}
	one("gate", func(fin *finished) { copied = fin.fragment })
	for i := range 20 {
		one(fmt.Sprint("cam", i), func(fin *finished) { g.disk.queue <- fin })
	}
	require.Len(t, g.disk.queue, 20)
	f := newFeed("gate", "repair")
	way := &lane{feed: f, free: make(chan *media.Builder, 1)}
	f.attach(way, progress{})
	fin := &finished{lane: way, fragment: copied, generation: f.current(), once: true}
	g.disk.repairs = make(chan *finished, 1)
	g.disk.repairs <- fin
	last := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { g.disk.runWriter(t.Context(), last) })
	<-way.free
	require.NoError(t, fin.err)
	close(last)
	writer.Wait()
	require.Zero(t, waiting)
}

func TestWhatRetentionHasDeletedDoesNotComeBack(t *testing.T) {
	p := newPair(t)
	l := newTestLog(t, "gate", testBase, 60, 12*time.Second)
	p.proxy.show(l, 40*perFragment)
	p.start("r1").wait(l, 39*perFragment)
	p.start("r2").wait(l, 39*perFragment)
	g := p.running["r1"]
	st := g.vol().index.store()
	gone, deleted := "", int64(0)
	for seg, err := range st.Segments("gate") {
		require.NoError(t, err)
		gone, deleted = seg.Path, seg.Fragments
		break
	}
	expired, err := st.ExpireSegments([]index.SegmentName{{Camera: "gate", Path: gone}})
	require.NoError(t, err)
	told, err := g.client.Spans(t.Context(), &nodepb.SpansRequest{Camera: "gate", EndNs: time.Now().UnixNano()})
	require.NoError(t, err)
	require.Equal(t, expired[0].EndNS, told.GetHorizonNs(), "and it says so")
	p.outage("r1", l, 9) // something to repair, so that it is seen to have looked
	p.record(l, 1)
	require.Eventually(t, func() bool {
		s := p.running["r1"].camera("gate").GetRepair()
		return s.GetRepairedFragments() > 0 && s.GetLackingFragments() == 0 && s.GetCompleteUntilNs() > testBase.Add(47*time.Second).UnixNano()
	}, 2*patience, 10*time.Millisecond)
	require.Len(t, p.running["r1"].fragments("gate"), 49-int(deleted))
	require.Len(t, p.running["r2"].fragments("gate"), 49)
}

func TestWhatWasFoundDamagedIsCopiedFromTheOther(t *testing.T) {
	p := newPair(t)
	l := newTestLog(t, "gate", testBase, 40, 12*time.Second)
	p.proxy.show(l, 30*perFragment)
	p.start("r1").wait(l, 29*perFragment)
	p.start("r2").wait(l, 29*perFragment)
	p.converge(29)
	g := p.running["r1"]
	require.Eventually(t, func() bool { // it has compared everything
		return g.camera("gate").GetRepair().GetCompleteUntilNs() >= testBase.Add(28*time.Second).UnixNano()
	}, patience, 10*time.Millisecond)
	st := g.vol().index.store()
	var bad []index.Damage
	for ref, err := range st.Fragments("gate", testBase.Add(5*time.Second).UnixNano(), testBase.Add(8*time.Second).UnixNano()-1) {
		require.NoError(t, err)
		bad = append(bad, index.Damage{Ref: ref, FoundNS: 1, Why: "a bit is wrong"})
	}
	require.NotEmpty(t, bad)
	require.NoError(t, st.MarkDamaged(bad))
	p.converge(29)
	require.Equal(t, len(bad), repairedOf(g.fragments("gate")))
	require.Empty(t, st.Damaged("gate", 0, time.Now().UnixNano()), "a whole copy has taken its place")
}

func TestASpareAndARecorderWithoutTheCameraCopyNothing(t *testing.T) {
	p := newPair(t)
	p.options = func(name string, o *Options) {
		if name == "r1" {
			o.Cameras[0].Spare = true
			o.Cameras = append(o.Cameras, Camera{Name: "yard"})
			return
		}
		o.Cameras = append(o.Cameras, Camera{Name: "hall"})
	}
	gate, yard, hall := newTestLog(t, "gate", testBase, 20, 12*time.Second), newTestLog(t, "yard", testBase, 20, 12*time.Second), newTestLog(t, "hall", testBase, 20, 12*time.Second)
	p.proxy.show(gate, 10*perFragment)
	p.start("r2").wait(gate, 9*perFragment)
	p.proxy.show(yard, 10*perFragment)
	p.proxy.show(hall, 10*perFragment)
	p.running["r2"].wait(hall, 9*perFragment)
	p.proxy.change(func() { p.proxy.oldest[gate] = 9 * perFragment })
	g := p.start("r1")
	g.wait(yard, 9*perFragment)
	seen := map[string]bool{}
	require.Eventually(t, func() bool { // it has compared: hall is known to nobody's copying
		for _, s := range g.repair.sources {
			seen["up"] = len(s.heard()) == 2
		}
		return seen["up"] && g.camera("yard").GetRepair().GetCompleteUntilNs() > 0
	}, patience, 10*time.Millisecond)
	require.Empty(t, g.fragments("gate"))
	require.Empty(t, g.fragments("hall"))
	require.Empty(t, p.running["r2"].fragments("yard"))
}

// liar is a recorder that answers reads as it likes.
type liar struct {
	nodepb.UnimplementedRecorderServer
	chunks [][]byte
	err    error
}

func (s *liar) Read(_ *nodepb.ReadRequest, out grpc.ServerStreamingServer[nodepb.ReadReply]) error {
	for _, c := range s.chunks {
		if err := out.Send(&nodepb.ReadReply{Data: c}); err != nil {
			return err
		}
	}
	return s.err
}

func TestBytesThatAreNotThoseOfTheFragmentAreNeverTaken(t *testing.T) {
	good := append([]byte("\x00\x00\x00\x0cmoofabcd\x00\x00\x00\x10mdat"), "12345678"...)
	bad := bytes.Clone(good)
	bad[20] ^= 1
	noMoof := bytes.Clone(good)
	copy(noMoof[4:], "free")
	for name, c := range map[string]struct {
		what   []byte // the hash is that of it
		chunks [][]byte
		err    error
		want   error
		code   codes.Code
	}{
		"as announced":        {good, [][]byte{good}, nil, nil, 0},
		"in parts":            {good, [][]byte{good[:3], good[3:20], good[20:]}, nil, nil, 0},
		"a bit is wrong":      {good, [][]byte{bad}, nil, errWrongBytes, 0},
		"too short":           {good, [][]byte{good[:20]}, nil, errWrongBytes, 0},
		"too long":            {good, [][]byte{good, {0}}, nil, errWrongBytes, 0},
		"nothing":             {good, nil, nil, errWrongBytes, 0},
		"no fragment at all":  {noMoof, [][]byte{noMoof}, nil, errWrongBytes, 0},
		"an error at the end": {good, [][]byte{good}, status.Error(codes.DataLoss, "x"), nil, codes.DataLoss},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			srv := grpc.NewServer()
			nodepb.RegisterRecorderServer(srv, &liar{chunks: c.chunks, err: c.err})
			var serving sync.WaitGroup
			serving.Go(func() { _ = srv.Serve(l) })
			defer serving.Wait()
			defer srv.Stop()
			conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			defer conn.Close()
			info := media.Info{Camera: "gate", End: 1, EndNS: 1, Size: int64(len(good)), Hash: hashOf(c.what)}
			got, err := fetch(t.Context(), nodepb.NewRecorderClient(conn), &info, newPace(clock.System(), 1<<30))
			switch {
			case c.want != nil:
				require.ErrorIs(t, err, c.want)
				require.Nil(t, got)
			case c.code != 0:
				require.Equal(t, c.code, status.Code(err))
				require.Nil(t, got)
			default:
				require.NoError(t, err)
				require.Equal(t, good, got)
			}
		})
	}
}

package recorder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

const patience = 20 * time.Second

// running is a recorder that runs, and a client of it.
type running struct {
	*Recorder
	t       testing.TB
	address string
	client  nodepb.RecorderClient
	stop    func()
	log     *syncBuffer
}

// syncBuffer takes the log.
type syncBuffer struct{ lines atomic.Pointer[string] }

func (b *syncBuffer) Write(p []byte) (int, error) {
	for {
		old := b.lines.Load()
		s := string(p)
		if old != nil {
			s = *old + s
		}
		if b.lines.CompareAndSwap(old, &s) {
			return len(p), nil
		}
	}
}

func (b *syncBuffer) String() string {
	if s := b.lines.Load(); s != nil {
		return *s
	}
	return ""
}

func start(t testing.TB, name, dir string, fsys vfs.FS, proxy string, cameras ...Camera) *running {
	t.Helper()
	return startOn(t, name, []Volume{{Dir: dir}}, fsys, proxy, cameras...)
}

// startOn starts a recorder with several volumes.
func startOn(t testing.TB, name string, volumes []Volume, fsys vfs.FS, proxy string, cameras ...Camera) *running {
	t.Helper()
	return startWith(t, Options{Name: name, Volumes: volumes, FS: fsys, Proxies: []Proxy{{Name: "p1", Address: proxy}}, Cameras: cameras})
}

func startWith(t testing.TB, o Options) *running {
	t.Helper()
	return startAt(t, o, "127.0.0.1:0")
}

func startAt(t testing.TB, o Options, address string) *running {
	t.Helper()
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	log := &syncBuffer{}
	o.Role, o.SyncInterval, o.Listener = "primary", 10*time.Millisecond, l
	o.Log = zerolog.New(log).Level(zerolog.InfoLevel)
	r, err := New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	stopped := false
	g := &running{Recorder: r, t: t, address: l.Addr().String(), client: nodepb.NewRecorderClient(conn), log: log}
	g.stop = func() {
		if stopped {
			return
		}
		stopped = true
		require.NoError(t, conn.Close())
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(patience):
			require.FailNow(t, "the recorder does not stop", log.String())
		}
		if t.Failed() {
			t.Log(log.String())
		}
	}
	t.Cleanup(g.stop)
	return g
}

// vol is the first volume.
func (g *running) vol() *volume { return g.slots[0].volume() }

func (g *running) state() *nodepb.RecorderStatus {
	s, err := g.client.Status(context.Background(), &nodepb.StatusRequest{})
	require.NoError(g.t, err)
	return s
}

func (g *running) camera(name string) *nodepb.RecorderCamera {
	for _, c := range g.state().GetCameras() {
		if c.GetCamera() == name {
			return c
		}
	}
	return &nodepb.RecorderCamera{}
}

// wait waits until everything before an offset of the log is durable.
func (g *running) wait(l *testLog, offset uint64) {
	g.t.Helper()
	require.Eventually(g.t, func() bool {
		d := g.camera(l.camera).GetDurable()
		return bytes.Equal(d.GetEpoch(), l.epoch[:]) && d.GetOffset() >= offset
	}, patience, 2*time.Millisecond, "durable is %v of camera %s", g.camera(l.camera).GetDurable(), l.camera)
}

// list lists a camera.
func (g *running) list(camera string) []*nodepb.Fragment {
	g.t.Helper()
	list, err := g.client.Fragments(context.Background(), &nodepb.FragmentsRequest{Camera: camera, EndNs: math.MaxInt64})
	require.NoError(g.t, err)
	var out []*nodepb.Fragment
	for {
		m, err := list.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(g.t, err)
		out = append(out, m.GetFragments()...)
	}
}

// fragments lists a camera and checks each fragment against its hash. Nothing may be
// deleted meanwhile.
func (g *running) fragments(camera string) []*nodepb.Fragment {
	g.t.Helper()
	out := g.list(camera)
	for _, f := range out {
		data, err := g.read(camera, f)
		require.NoError(g.t, err)
		require.Equal(g.t, f.GetHash(), sum(data))
		init, err := g.client.Init(context.Background(), &nodepb.InitRequest{Camera: camera, Hash: f.GetInitHash()})
		require.NoError(g.t, err)
		require.Equal(g.t, f.GetInitHash(), sum(init.GetData()))
	}
	return out
}

func (g *running) read(camera string, f *nodepb.Fragment) ([]byte, error) {
	s, err := g.client.Read(context.Background(), &nodepb.ReadRequest{
		Camera: camera, Epoch: f.GetEpoch(), First: f.GetFirst(), StartNs: f.GetStartNs(), Hash: f.GetHash(),
	})
	require.NoError(g.t, err)
	var data []byte
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		require.LessOrEqual(g.t, len(m.GetData()), readChunk)
		data = append(data, m.GetData()...)
	}
}

func sum(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:]
}

func rangesOf(list []*nodepb.Fragment) [][2]uint64 {
	var out [][2]uint64
	for _, f := range list {
		out = append(out, [2]uint64{f.GetFirst(), f.GetEnd()})
	}
	return out
}

func (g *running) get(path string) (int, string) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Get("http://" + g.address + path)
	require.NoError(g.t, err)
	b, err := io.ReadAll(resp.Body)
	require.NoError(g.t, err)
	require.NoError(g.t, resp.Body.Close())
	return resp.StatusCode, string(b)
}

func TestRecorderRecordsServesAndGoesOnAfterARestart(t *testing.T) {
	p := newFakeProxy(t)
	dir := filepath.Join(t.TempDir(), "r1")
	gate := newTestLog(t, "gate", testBase, 20, 12*time.Second)
	yard := newTestLog(t, "yard", testBase, 20, 12*time.Second)
	p.show(gate, 510)
	p.show(yard, 510)
	cameras := []Camera{{Name: "gate"}, {Name: "yard"}}
	g := start(t, "r1", dir, nil, p.address, cameras...)
	g.wait(gate, 500)
	g.wait(yard, 500)
	require.Len(t, g.fragments("gate"), 10)
	require.Eventually(t, func() bool { return p.acked("gate") == record.Position{Epoch: gate.epoch, Offset: 500} },
		patience, time.Millisecond, "what is durable is acknowledged")

	s := g.state()
	require.Equal(t, "r1", s.GetName())
	require.Empty(t, s.GetAlarms())
	require.Equal(t, diskGood, s.GetDisks()[0].GetState())
	require.Positive(t, s.GetDisks()[0].GetUsedBytes())
	cam := g.camera("gate")
	require.EqualValues(t, 510, cam.GetRecordsIn())
	require.EqualValues(t, 10, cam.GetFragmentsStored())
	require.True(t, cam.GetLinked())
	require.Positive(t, cam.GetDurableAtNs())
	spans, err := g.client.Spans(t.Context(), &nodepb.SpansRequest{Camera: "gate", EndNs: math.MaxInt64})
	require.NoError(t, err)
	require.Len(t, spans.GetSpans(), 1)
	require.EqualValues(t, 500, spans.GetSpans()[0].GetEnd())

	code, body := g.get("/healthz")
	require.Equal(t, 200, code, body)
	require.Eventually(t, func() bool { code, _ = g.get("/readyz"); return code == 200 }, patience, 10*time.Millisecond)
	_, body = g.get("/metrics")
	for _, want := range []string{
		`duet_recorder_records_total{camera="gate",proxy="p1"} 510`,
		`duet_recorder_fragments_written_total{camera="yard",proxy="p1"} 10`,
		`duet_recorder_offsets_lost_total{camera="gate",cause="evicted",proxy="p1"} 0`,
		`state="good"} 1`,
		"duet_recorder_durable_age_seconds", "duet_recorder_fsync_seconds_count", "duet_recorder_disk_free_bytes",
	} {
		require.Contains(t, body, want)
	}

	f := g.fragments("gate")[0]
	f.Hash = make([]byte, 32)
	_, err = g.read("gate", f)
	require.Equal(t, codes.NotFound, status.Code(err), "another hash is expected")
	f.First = 7
	_, err = g.read("gate", f)
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = g.client.Spans(t.Context(), &nodepb.SpansRequest{Camera: "gate", StartNs: 2, EndNs: 1})
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	g.stop()
	require.Contains(t, g.log.String(), `"madeDurable":0,"unfinished":2`, "the end says what it leaves behind")
	p.show(gate, gate.end())
	p.show(yard, yard.end())
	g = start(t, "r1", dir, nil, p.address, cameras...)
	g.wait(gate, 950)
	g.wait(yard, 950)
	require.Len(t, g.fragments("gate"), 19)
	require.Zero(t, g.camera("gate").GetOffsetsLost())

	v, err := g.client.Verify(t.Context(), &nodepb.FragmentsRequest{Camera: "yard", EndNs: math.MaxInt64})
	require.NoError(t, err)
	n := 0
	for ; ; n++ {
		m, err := v.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Empty(t, m.GetError())
		require.Equal(t, m.GetFragment().GetHash(), m.GetFoundHash())
	}
	require.Equal(t, 19, n)
}

func TestTwoRecordersOfTheSameOffsetsHoldTheSameFiles(t *testing.T) {
	p := newFakeProxy(t)
	var logs []*testLog
	for i := range 4 {
		logs = append(logs, newTestLog(t, fmt.Sprintf("cam%d%s", i, strings.Repeat("x", i)), testBase, 15, 12*time.Second))
	}
	var cameras []Camera
	for _, l := range logs {
		cameras = append(cameras, Camera{Name: l.camera})
	}
	var drops atomic.Int64
	p.bend = func(_ string, f link.Frame) link.Frame { // now and then a stream breaks
		if b, ok := f.(link.Batch); ok && drops.Add(1)%67 == 0 {
			b.Records = b.Records[:len(b.Records)-1]
			return b
		}
		return f
	}
	a, b := openDir(t), openDir(t)
	one := start(t, "r1", a.dir, a.fs, p.address, cameras...)
	for at := uint64(13); at < logs[0].end(); at += 13 {
		for i, l := range logs {
			p.show(l, min(at*uint64(i+1), l.end()))
		}
	}
	two := start(t, "r2", b.dir, b.fs, p.address, cameras...)
	for _, l := range logs {
		p.show(l, l.end())
	}
	for _, l := range logs {
		for _, g := range []*running{one, two} {
			g.wait(l, l.end()-perFragment)
		}
		x, y := one.fragments(l.camera), two.fragments(l.camera)
		require.Len(t, x, 14)
		for i := range x {
			require.Equal(t, x[i].String(), y[i].String())
		}
	}
	one.stop()
	two.stop()
	require.Positive(t, drops.Load()/67, "streams did break")
	x, y := a.media(t), b.media(t)
	require.Equal(t, len(x), len(y))
	require.GreaterOrEqual(t, len(x), 8, "segments changed")
	for name := range x {
		require.True(t, bytes.Equal(x[name], y[name]), name)
	}
}

type dataDir struct {
	fs  *vfs.MemFS
	dir string
}

func openDir(t testing.TB) dataDir {
	d := dataDir{fs: vfs.NewMem(), dir: "/srv/data"}
	require.NoError(t, d.fs.MkdirAll("/srv", 0o755))
	return d
}

func (d dataDir) media(t testing.TB) map[string][]byte {
	a := archive{fs: d.fs, dir: d.dir}
	all, err := a.all()
	require.NoError(t, err)
	out := map[string][]byte{}
	for _, paths := range all {
		for _, p := range paths {
			b, err := readFile(d.fs, d.fs.PathJoin(d.dir, p), math.MaxInt64)
			require.NoError(t, err)
			out[p] = b
		}
	}
	return out
}

func TestProxyThatDiesAndComesBackCostsTheUnfinishedFragmentOnly(t *testing.T) {
	p := newFakeProxy(t)
	d := openDir(t)
	l := newTestLog(t, "gate", testBase, 4, time.Hour)
	p.show(l, 120)
	g := start(t, "r1", d.dir, d.fs, p.address, Camera{Name: "gate"})
	g.wait(l, 100)
	require.Eventually(t, func() bool { return g.camera("gate").GetRecordsIn() == 120 }, patience, time.Millisecond)
	p.stop()
	require.Eventually(t, func() bool { return !g.camera("gate").GetLinked() }, patience, time.Millisecond)
	next := newTestLog(t, "gate", testBase.Add(30*time.Second), 3, time.Hour)
	p.logs, p.out = map[string][]*testLog{}, map[*testLog]uint64{}
	p.start()
	p.show(next, 110)
	g.wait(next, 100)
	list := g.fragments("gate")
	require.Equal(t, [][2]uint64{{0, 50}, {50, 100}, {100, 120}, {0, 50}, {50, 100}}, rangesOf(list))
	require.Equal(t, uint32(media.Truncated), list[2].GetFlags())
	require.Len(t, d.media(t), 2, "an epoch has files of its own")
}

func TestWhatHasLeftTheLogIsCountedAndRecordingGoesOn(t *testing.T) {
	p := newFakeProxy(t)
	d := openDir(t)
	l := newTestLog(t, "gate", testBase, 10, time.Hour)
	p.show(l, 110)
	g := start(t, "r1", d.dir, d.fs, p.address, Camera{Name: "gate"})
	g.wait(l, 100)
	g.stop()
	p.change(func() { p.oldest[l] = 250 })
	p.show(l, 410)
	g = start(t, "r1", d.dir, d.fs, p.address, Camera{Name: "gate"})
	g.wait(l, 400)
	require.Equal(t, [][2]uint64{{0, 50}, {50, 100}, {250, 300}, {300, 350}, {350, 400}}, rangesOf(g.fragments("gate")))
	require.EqualValues(t, 150, g.camera("gate").GetOffsetsLost())
	_, body := g.get("/metrics")
	require.Contains(t, body, `duet_recorder_offsets_lost_total{camera="gate",cause="evicted",proxy="p1"} 150`)
	spans, err := g.client.Spans(t.Context(), &nodepb.SpansRequest{Camera: "gate", EndNs: math.MaxInt64})
	require.NoError(t, err)
	require.Len(t, spans.GetSpans(), 2)
}

func TestEndOfAnEpochClosesItsLastFragmentWhole(t *testing.T) {
	p := newFakeProxy(t)
	d := openDir(t)
	l := newTestLog(t, "gate", testBase, 2, time.Hour)
	next := newTestLog(t, "gate", testBase.Add(time.Minute), 2, time.Hour)
	l.ended = true
	p.show(l, l.end())
	p.show(next, 60)
	g := start(t, "r1", d.dir, d.fs, p.address, Camera{Name: "gate"})
	g.wait(next, 50)
	list := g.fragments("gate")
	require.Equal(t, [][2]uint64{{0, 50}, {50, 100}, {0, 50}}, rangesOf(list))
	for _, f := range list {
		require.Zero(t, f.GetFlags())
	}
}

func TestGarbageFromAProxyIsRefusedAndRecordingGoesOn(t *testing.T) {
	for name, bend := range map[string]func(link.Batch) link.Frame{
		"bytes": func(b link.Batch) link.Frame {
			b.Records = bytes.Repeat([]byte{0xff}, len(b.Records))
			return b
		},
		"a hole":       func(b link.Batch) link.Frame { b.First += 3; return b },
		"a channel":    func(b link.Batch) link.Frame { b.Channel = 99; return b },
		"another open": func(b link.Batch) link.Frame { return link.Open{Channel: b.Channel, Epoch: record.Epoch{1}, Offset: 5} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakeProxy(t)
			d := openDir(t)
			bad := newTestLog(t, "bad", testBase, 4, time.Hour)
			good := newTestLog(t, "good", testBase, 4, time.Hour)
			var n atomic.Int64
			p.bend = func(camera string, f link.Frame) link.Frame {
				if b, ok := f.(link.Batch); ok && camera == "bad" && b.First == 60 && n.Add(1) <= 2 {
					return bend(b)
				}
				return f
			}
			p.show(bad, bad.end())
			p.show(good, good.end())
			g := start(t, "r1", d.dir, d.fs, p.address, Camera{Name: "bad"}, Camera{Name: "good"})
			g.wait(good, 150)
			g.wait(bad, 150)
			require.Len(t, g.fragments("bad"), 3)
			require.Len(t, g.fragments("good"), 3)
			require.Contains(t, g.log.String(), "link lost")
			require.NotContains(t, g.log.String(), "panic")
		})
	}
}

func TestRejectedCameraIsAnAlarmAndHoldsNobodyBack(t *testing.T) {
	p := newFakeProxy(t)
	d := openDir(t)
	good := newTestLog(t, "good", testBase, 2, time.Hour)
	p.rejects["odd"] = "no such camera"
	p.show(good, good.end())
	g := start(t, "r1", d.dir, d.fs, p.address, Camera{Name: "odd"}, Camera{Name: "good"})
	g.wait(good, 50)
	require.Eventually(t, func() bool { return len(g.state().GetAlarms()) == 1 }, patience, time.Millisecond)
	a := g.state().GetAlarms()[0]
	require.Equal(t, alarmRejected, a.GetCode())
	require.Equal(t, "odd", a.GetCamera())
	require.Contains(t, a.GetMessage(), "no such camera")
	require.False(t, g.camera("odd").GetLinked())
}

func TestFsyncErrorWhileRecordingLosesNothing(t *testing.T) {
	p := newFakeProxy(t)
	d := openDir(t)
	gate := newTestLog(t, "gate", testBase, 12, time.Hour)
	yard := newTestLog(t, "yard", testBase, 12, time.Hour)
	p.show(gate, gate.end())
	p.show(yard, yard.end())
	var syncs atomic.Int64
	fault := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && isMedia(op) {
			if n := syncs.Add(1); n == 1 || n == 4 {
				return syscall.EIO
			}
		}
		return nil
	})
	g := start(t, "r1", d.dir, errorfs.Wrap(d.fs, fault), p.address, Camera{Name: "gate"}, Camera{Name: "yard"})
	g.wait(gate, 550)
	g.wait(yard, 550)
	require.Len(t, g.fragments("gate"), 11)
	require.Len(t, g.fragments("yard"), 11)
	require.GreaterOrEqual(t, syncs.Load(), int64(2))
	require.Contains(t, g.log.String(), "sync segment")
	g.stop()
	again := openRigAt(t, d)
	again.check()
	again.close()
}

func openRigAt(t *testing.T, d dataDir) *rig {
	mem := vfs.NewMem()
	_, err := vfs.Clone(d.fs, mem, d.dir, rigDir)
	require.NoError(t, err)
	return openRig(t, mem)
}

// stuckFS is a disk that stops answering.
type stuckFS struct {
	vfs.FS
	stuck *atomic.Pointer[chan struct{}]
}

type stuckFile struct {
	vfs.File
	stuck *atomic.Pointer[chan struct{}]
}

func (f stuckFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	if err != nil || !strings.HasSuffix(name, segmentExt) {
		return file, err
	}
	return stuckFile{file, f.stuck}, nil
}

func (f stuckFile) wait() {
	if c := f.stuck.Load(); c != nil {
		<-*c
	}
}

func (f stuckFile) SyncData() error { f.wait(); return f.File.SyncData() }

func (f stuckFile) WriteAt(b []byte, at int64) (int, error) { f.wait(); return f.File.WriteAt(b, at) }

func TestHungDiskHangsNeitherStatusNorHealthAndHealsByItself(t *testing.T) {
	p := newFakeProxy(t)
	d := openDir(t)
	l := newTestLog(t, "gate", testBase, 40, time.Hour)
	p.show(l, 110)
	var stuck atomic.Pointer[chan struct{}]
	g := start(t, "r1", d.dir, stuckFS{d.fs, &stuck}, p.address, Camera{Name: "gate"})
	g.wait(l, 100)
	thaw := make(chan struct{})
	stuck.Store(&thaw)
	release := sync.OnceFunc(func() { stuck.Store(nil); close(thaw) })
	t.Cleanup(release)
	p.show(l, l.end())
	require.Eventually(t, func() bool { return g.vol().disk.writing.long() > 0 || g.vol().disk.committing.long() > 0 }, patience, time.Millisecond)
	code, _ := g.get("/healthz")
	require.Equal(t, 200, code)
	require.Len(t, g.fragments("gate"), 2, "what is durable is served")
	require.Eventually(t, func() bool {
		in := g.camera("gate").GetRecordsIn()
		return in >= 150 && in <= 110+4*perFragment
	}, patience, time.Millisecond)
	require.Less(t, g.camera("gate").GetRecordsIn(), uint64(110+4*perFragment), "and what is not read stays in the log")
	release()
	g.wait(l, l.end()-perFragment)
	require.Len(t, g.fragments("gate"), 39)
	require.Zero(t, g.camera("gate").GetOffsetsLost())
}

func TestRetentionDeletesWhatIsOldAndKeepsTheIndexAndTheFilesAlike(t *testing.T) {
	p := newFakeProxy(t)
	d := openDir(t)
	old := newTestLog(t, "gate", testBase, 60, 10*time.Second)
	p.show(old, old.end())
	g := start(t, "r1", d.dir, d.fs, p.address, Camera{Name: "gate", Retention: Retention{Bytes: 500_000}})
	g.wait(old, old.end()-perFragment)
	g.vol().sweepSoon()
	require.Eventually(t, func() bool {
		g.vol().sweepSoon()
		return g.camera("gate").GetBytesStored() <= 500_000
	}, patience, 5*time.Millisecond)
	list := g.fragments("gate")
	require.Greater(t, len(list), 10)
	require.Equal(t, uint64(59*perFragment), list[len(list)-1].GetEnd(), "the newest stay")
	g.stop()
	again := openRigAt(t, d)
	again.check()
	require.Equal(t, recoveryReport{}, again.rec.report)
	again.close()
}

func TestRecorderWithoutAProxySaysSo(t *testing.T) {
	d := openDir(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	g := start(t, "r1", d.dir, d.fs, l.Addr().String(), Camera{Name: "gate"})
	require.Eventually(t, func() bool {
		for _, s := range g.streams {
			if _, why := s.down(); strings.Contains(why, "refused") {
				return true
			}
		}
		return false
	}, patience, time.Millisecond)
	require.False(t, g.camera("gate").GetLinked())
}

func TestDeletionThatAFailureInterruptedIsFinishedWhileRecording(t *testing.T) {
	p := newFakeProxy(t)
	d := openDir(t)
	l := newTestLog(t, "gate", testBase, 25, 10*time.Second)
	p.show(l, l.end())
	g := start(t, "r1", d.dir, d.fs, p.address, Camera{Name: "gate"})
	g.wait(l, l.end()-perFragment)
	var oldest string
	for s, err := range g.vol().index.store().Segments("gate") {
		require.NoError(t, err)
		oldest = s.Path
		break
	}
	_, err := g.vol().index.store().DeleteSegment("gate", oldest)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		g.vol().sweepSoon()
		_, err := d.fs.Stat(g.vol().disk.name(oldest))
		return errors.Is(err, fs.ErrNotExist) && len(g.vol().index.store().Deleting()) == 0
	}, patience, 5*time.Millisecond)
}

func TestRetentionBeginsBeforeTheWriterStops(t *testing.T) {
	for _, minFree := range []int64{0, 1, 1 << 40} {
		r := &volume{place: Volume{MinFree: minFree}}
		for _, total := range []uint64{1 << 20, 64 << 20, 1 << 30, 1 << 34, 1 << 44} {
			u := &vfs.DiskUsage{TotalBytes: total}
			require.Greater(t, r.minFree(u), int64(reserve(u)), "%d of %d", minFree, total)
		}
	}
}

package playback

import (
	"context"
	"crypto/sha256"
	"net"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
)

// gate stops the bytes of connections, as SIGSTOP does: the kernel still takes
// connections and data, and nobody answers.
type gate struct {
	mu     sync.Mutex
	open   *sync.Cond
	closed bool // frozen
	ended  bool
}

func newGate() *gate {
	g := &gate{}
	g.open = sync.NewCond(&g.mu)
	return g
}

func (g *gate) freeze(yes bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = yes
	g.open.Broadcast()
}

func (g *gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	g.open.Broadcast()
}

func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.closed && !g.ended {
		g.open.Wait()
	}
}

type gatedListener struct {
	net.Listener
	g *gate
}

func (l gatedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return gatedConn{c, l.g}, nil
}

type gatedConn struct {
	net.Conn
	g *gate
}

func (c gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.g.wait()
	return n, err
}

func (c gatedConn) Write(b []byte) (int, error) {
	c.g.wait()
	return c.Conn.Write(b)
}

// stored is a fragment of a fake recorder.
type stored struct {
	ref  index.Ref
	data []byte
}

// fakeRecorder is a recorder whose failures are scripted.
type fakeRecorder struct {
	nodepb.UnimplementedRecorderServer
	t    testing.TB
	name string
	addr string

	mu     sync.Mutex
	srv    *grpc.Server
	gate   *gate
	served chan struct{}
	frags  map[string][]stored
	inits  map[media.Hash][]byte
	status *nodepb.RecorderStatus
	reads  int // Read calls so far
	hashed int // those in which it was to hash what it sends
	// lacking says which disks cannot be asked, for what starts before lackingNS.
	lacking   string
	lackingNS int64
	asked     int // Fragments and Spans calls so far
	// onRead, if set, answers a Read in place of the default; n counts from 1.
	onRead func(n int, frag stored, out grpc.ServerStreamingServer[nodepb.ReadReply]) error
	// onList, if set, runs before each part of a listing; an error ends it.
	onList func(call, part int) error
	part   int // fragments per part of a listing
	locks  lock.Set
	room   *nodepb.LockRoomReply // what LockRoom answers; nil: there is room
}

var errUnavailable = status.Error(codes.Unavailable, "the connection broke")

const fakeChunk = 16 << 10

func newFake(t testing.TB, name string) *fakeRecorder {
	f := &fakeRecorder{
		t: t, name: name, frags: make(map[string][]stored), inits: make(map[media.Hash][]byte), part: 50,
		status: &nodepb.RecorderStatus{Name: name, Version: "test", StartedNs: 1},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.addr = l.Addr().String()
	f.serve(l)
	t.Cleanup(f.kill)
	return f
}

func (f *fakeRecorder) serve(l net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gate = newGate()
	f.srv = grpc.NewServer()
	nodepb.RegisterRecorderServer(f.srv, f)
	served := make(chan struct{})
	f.served = served
	srv, gl := f.srv, gatedListener{l, f.gate}
	go func() {
		defer close(served)
		_ = srv.Serve(gl)
	}()
}

// kill is kill -9: connections are reset, the port is closed.
func (f *fakeRecorder) kill() {
	f.mu.Lock()
	srv, g, served := f.srv, f.gate, f.served
	f.srv = nil
	f.mu.Unlock()
	if srv == nil {
		return
	}
	g.end()
	srv.Stop()
	<-served
}

// restart listens on the same port again.
func (f *fakeRecorder) restart() {
	var l net.Listener
	require.Eventually(f.t, func() bool {
		var err error
		l, err = net.Listen("tcp", f.addr)
		return err == nil
	}, 5*time.Second, 10*time.Millisecond)
	f.serve(l)
}

func (f *fakeRecorder) freeze(yes bool) {
	f.mu.Lock()
	g := f.gate
	f.mu.Unlock()
	g.freeze(yes)
}

// add puts fragments and the init headers that they need on the recorder.
func (f *fakeRecorder) add(camera string, inits [][]byte, frags ...stored) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range inits {
		f.inits[sha256.Sum256(b)] = b
	}
	f.frags[camera] = append(f.frags[camera], frags...)
	slices.SortStableFunc(f.frags[camera], func(a, b stored) int { return index.Compare(&a.ref, &b.ref) })
	for _, c := range f.status.Cameras {
		if c.Camera == camera {
			return
		}
	}
	st := &nodepb.RecorderStatus{Name: f.name, Version: "test", StartedNs: 1, Cameras: f.status.Cameras}
	st.Cameras = append(st.Cameras, &nodepb.RecorderCamera{Camera: camera, FragmentsStored: 1})
	f.status = st
}

func (f *fakeRecorder) script(read func(n int, frag stored, out grpc.ServerStreamingServer[nodepb.ReadReply]) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onRead = read
}

func (f *fakeRecorder) counts() (reads, asked int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads, f.asked
}

func (f *fakeRecorder) Status(context.Context, *nodepb.StatusRequest) (*nodepb.RecorderStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, nil
}

func (f *fakeRecorder) overlapping(camera string, start, end int64) []stored {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	var out []stored
	frags := f.frags[camera]
	if len(frags) > manyFragments { // in order
		i := sort.Search(len(frags), func(i int) bool { return frags[i].ref.EndNS > start })
		frags = frags[i : i+sort.Search(len(frags)-i, func(k int) bool { return frags[i+k].ref.StartNS >= end })]
	}
	for _, s := range frags {
		if s.ref.EndNS > start && s.ref.StartNS < end {
			out = append(out, s)
		}
	}
	return out
}

func (f *fakeRecorder) Fragments(r *nodepb.FragmentsRequest, out grpc.ServerStreamingServer[nodepb.FragmentsReply]) error {
	frags := f.overlapping(r.Camera, r.StartNs, r.EndNs)
	f.mu.Lock()
	onList, call, lacking, lackingNS := f.onList, f.asked, f.lacking, f.lackingNS
	f.mu.Unlock()
	for part := 0; len(frags) > 0 || part == 0; part++ {
		if onList != nil {
			if err := onList(call, part); err != nil {
				return err
			}
		}
		n := min(f.part, len(frags))
		reply := &nodepb.FragmentsReply{}
		if part == 0 {
			reply.Lacking, reply.LackingBeforeNs = lacking, lackingNS
		}
		for _, s := range frags[:n] {
			reply.Fragments = append(reply.Fragments, toProto(&s.ref))
		}
		frags = frags[n:]
		if err := out.Send(reply); err != nil {
			return err
		}
	}
	return nil
}

func toProto(r *index.Ref) *nodepb.Fragment {
	return &nodepb.Fragment{
		Epoch: r.Epoch[:], First: r.First, End: r.End, StartNs: r.StartNS, EndNs: r.EndNS, WindowNs: r.WindowNS,
		Flags: uint32(r.Flags), Size: r.Size, Hash: r.Hash[:], InitHash: r.InitHash[:],
		Since: string(r.Since), SinceNs: r.SinceNS, MinNs: r.MinNS, MaxNs: r.MaxNS,
	}
}

func (f *fakeRecorder) Spans(_ context.Context, r *nodepb.SpansRequest) (*nodepb.SpansReply, error) {
	reply := &nodepb.SpansReply{}
	for _, s := range f.overlapping(r.Camera, r.StartNs, r.EndNs) {
		if n := len(reply.Spans); n > 0 {
			last := reply.Spans[n-1]
			if string(last.Epoch) == string(s.ref.Epoch[:]) && last.End == s.ref.First {
				last.End, last.EndNs = s.ref.End, s.ref.EndNS
				continue
			}
		}
		reply.Spans = append(reply.Spans, &nodepb.Span{
			Epoch: s.ref.Epoch[:], First: s.ref.First, End: s.ref.End, StartNs: s.ref.StartNS, EndNs: s.ref.EndNS,
			Since: string(s.ref.Since), SinceNs: s.ref.SinceNS,
		})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	reply.Lacking, reply.LackingBeforeNs = f.lacking, f.lackingNS
	for _, l := range f.locks.Active(r.Camera) {
		reply.Locks = append(reply.Locks, l.ToProto())
	}
	return reply, nil
}

func (f *fakeRecorder) ExchangeLocks(_ context.Context, r *nodepb.ExchangeLocksRequest) (*nodepb.ExchangeLocksReply, error) {
	locks, err := lock.FromProto(r.Locks)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locks, _ = f.locks.With(locks...)
	out := &nodepb.ExchangeLocksReply{}
	for _, l := range f.locks.All() {
		out.Locks = append(out.Locks, l.ToProto())
	}
	return out, nil
}

func (f *fakeRecorder) LockRoom(context.Context, *nodepb.LockRoomRequest) (*nodepb.LockRoomReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.room == nil {
		return &nodepb.LockRoomReply{}, nil
	}
	return f.room, nil
}

// manyFragments is from when on those of a fake are to be in order, and are looked up.
const manyFragments = 50_000

func (f *fakeRecorder) find(camera string, epoch []byte, first uint64, startNS int64) (stored, bool) {
	frags := f.frags[camera]
	if len(frags) > manyFragments {
		frags = frags[sort.Search(len(frags), func(i int) bool { return frags[i].ref.StartNS >= startNS }):]
	}
	for _, s := range frags {
		if s.ref.First == first && string(s.ref.Epoch[:]) == string(epoch) {
			return s, true
		}
	}
	return stored{}, false
}

func (f *fakeRecorder) Read(r *nodepb.ReadRequest, out grpc.ServerStreamingServer[nodepb.ReadReply]) error {
	f.mu.Lock()
	f.reads++
	if !r.GetUnhashed() {
		f.hashed++
	}
	n, hook := f.reads, f.onRead
	s, ok := f.find(r.Camera, r.Epoch, r.First, r.StartNs)
	f.mu.Unlock()
	if !ok || string(s.ref.Hash[:]) != string(r.Hash) {
		return status.Error(codes.NotFound, "no such fragment")
	}
	if hook != nil {
		return hook(n, s, out)
	}
	return sendChunks(out, s.data)
}

func sendChunks(out grpc.ServerStreamingServer[nodepb.ReadReply], data []byte) error {
	for len(data) > 0 {
		n := min(fakeChunk, len(data))
		if err := out.Send(&nodepb.ReadReply{Data: data[:n]}); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (f *fakeRecorder) Init(_ context.Context, r *nodepb.InitRequest) (*nodepb.InitReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b, ok := f.inits[media.Hash(r.Hash)]; ok {
		return &nodepb.InitReply{Data: b}, nil
	}
	return nil, status.Error(codes.NotFound, "no such init header")
}

func (f *fakeRecorder) Verify(r *nodepb.FragmentsRequest, out grpc.ServerStreamingServer[nodepb.VerifyReply]) error {
	for _, s := range f.overlapping(r.Camera, r.StartNs, r.EndNs) {
		reply := &nodepb.VerifyReply{Fragment: toProto(&s.ref), Segment: "gate/1.mp4", At: int64(s.ref.First), Path: "/data/" + f.name}
		if s.data == nil {
			reply.Error = "read: input/output error"
		} else {
			h := sha256.Sum256(s.data)
			reply.FoundHash = h[:]
		}
		if err := out.Send(reply); err != nil {
			return err
		}
	}
	return nil
}

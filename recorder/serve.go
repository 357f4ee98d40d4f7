package recorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

const (
	listChunk = 512
	// maxReads bounds the media reads that are under way at once at a volume, maxVerifies those of
	// whole ranges: writing comes first.
	maxReads    = 16
	maxVerifies = 1

	maxRequest     = 64 << 10
	maxStreams     = 128
	handshakeLimit = 5 * time.Second
	stopGrace      = 2 * time.Second
)

// serve answers gRPC and plain HTTP on the listener until ctx ends, and closes it.
func (r *Recorder) serve(ctx context.Context) error {
	secure, plain := node.SplitListener(r.opts.Listener)
	o := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeLimit),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		grpc.ForceServerCodecV2(nodepb.Codec()),
	}
	if r.opts.ServerTLS != nil {
		o = append(o, grpc.Creds(credentials.NewTLS(r.opts.ServerTLS)))
	}
	srv := grpc.NewServer(o...)
	nodepb.RegisterRecorderServer(srv, &server{
		r: r, verifies: semaphore.NewWeighted(maxVerifies), chunks: newChunks(),
	})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(secure); err != nil {
			return fmt.Errorf("serve gRPC on %s: %w", r.opts.Listener.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		return node.RunHTTP(ctx, plain, node.HTTPHandler(r.opts.Registry, nil, r.ready))
	})
	g.Go(func() error {
		<-ctx.Done()
		hard := time.AfterFunc(stopGrace, srv.Stop)
		defer hard.Stop()
		srv.GracefulStop()
		return nil
	})
	return g.Wait()
}

// server implements nodepb.Recorder.
type server struct {
	nodepb.UnimplementedRecorderServer
	r        *Recorder
	verifies *semaphore.Weighted
	chunks   *chunks
}

// Status implements nodepb.RecorderServer.
func (s *server) Status(context.Context, *nodepb.StatusRequest) (*nodepb.RecorderStatus, error) {
	return s.r.status(), nil
}

// Fragments implements nodepb.RecorderServer.
func (s *server) Fragments(q *nodepb.FragmentsRequest, out grpc.ServerStreamingServer[nodepb.FragmentsReply]) error {
	vols, err := s.volumes()
	if err != nil {
		return err
	}
	if err := checkRange(q.GetStartNs(), q.GetEndNs()); err != nil {
		return err
	}
	reply := &nodepb.FragmentsReply{}
	reply.Lacking, reply.LackingBeforeNs = s.r.lacking(q.GetCamera())
	n := uint32(0)
	for ref, err := range vols.fragments(q.GetCamera(), q.GetStartNs(), q.GetEndNs()) {
		if err != nil {
			return s.fail("list fragments of camera "+q.GetCamera(), err)
		}
		reply.Fragments = append(reply.Fragments, fragmentOf(&ref.Info))
		n++
		if len(reply.Fragments) == listChunk {
			if err := out.Send(reply); err != nil {
				return err
			}
			reply = &nodepb.FragmentsReply{}
		}
		if n == q.GetLimit() || out.Context().Err() != nil {
			break
		}
	}
	if len(reply.Fragments) > 0 || reply.GetLacking() != "" {
		return out.Send(reply)
	}
	return nil
}

// Spans implements nodepb.RecorderServer.
func (s *server) Spans(_ context.Context, q *nodepb.SpansRequest) (*nodepb.SpansReply, error) {
	vols, err := s.volumes()
	if err != nil {
		return nil, err
	}
	if err := checkRange(q.GetStartNs(), q.GetEndNs()); err != nil {
		return nil, err
	}
	lacking, before := s.r.lacking(q.GetCamera()) // before what is told: what is adopted meanwhile is told, too
	spans, err := vols.spans(q.GetCamera(), q.GetStartNs(), q.GetEndNs())
	if err != nil {
		return nil, s.fail("list spans of camera "+q.GetCamera(), err)
	}
	out := &nodepb.SpansReply{
		Spans: make([]*nodepb.Span, len(spans)), Damaged: vols.damaged(q.GetCamera(), q.GetStartNs(), q.GetEndNs()),
	}
	out.Lacking, out.LackingBeforeNs, out.HorizonNs = lacking, before, vols.horizon(q.GetCamera())
	for i, sp := range spans {
		out.Spans[i] = &nodepb.Span{
			Epoch: sp.Epoch[:], First: sp.First, End: sp.End, StartNs: sp.StartNS, EndNs: sp.EndNS,
			Since: string(sp.Since), SinceNs: sp.SinceNS,
		}
	}
	for _, l := range s.r.locks.current().Active(q.GetCamera()) {
		if l.Overlaps(q.GetStartNs(), q.GetEndNs()) {
			out.Locks = append(out.Locks, l.ToProto())
		}
	}
	repaired, err := vols.repaired(q.GetCamera(), q.GetStartNs(), q.GetEndNs())
	if err != nil {
		return nil, s.fail("list what was repaired of camera "+q.GetCamera(), err)
	}
	for _, x := range repaired {
		out.Repaired = append(out.Repaired, &nodepb.Stretch{StartNs: x.StartNS, EndNs: x.EndNS})
	}
	return out, nil
}

// Digests implements nodepb.RecorderServer.
func (s *server) Digests(_ context.Context, q *nodepb.FragmentsRequest) (*nodepb.DigestsReply, error) {
	vols, err := s.volumes()
	if err != nil {
		return nil, err
	}
	if err := checkRange(q.GetStartNs(), q.GetEndNs()); err != nil {
		return nil, err
	}
	digests, err := vols.digests(q.GetCamera(), q.GetStartNs(), q.GetEndNs())
	if err != nil {
		return nil, s.fail("digests of camera "+q.GetCamera(), err)
	}
	out := &nodepb.DigestsReply{Digests: make([]*nodepb.Digest, len(digests))}
	for i := range digests {
		d := &digests[i]
		out.Digests[i] = &nodepb.Digest{HourNs: d.HourNS, Fragments: d.Fragments, Bytes: d.Bytes, Sum: d.Sum[:]}
	}
	return out, nil
}

// Init implements nodepb.RecorderServer.
func (s *server) Init(_ context.Context, q *nodepb.InitRequest) (*nodepb.InitReply, error) {
	vols, err := s.volumes()
	if err != nil {
		return nil, err
	}
	if len(q.GetHash()) != len(media.Hash{}) {
		return nil, status.Errorf(codes.InvalidArgument, "hash of %d bytes", len(q.GetHash()))
	}
	data, err := vols.init(q.GetCamera(), media.Hash(q.GetHash()))
	if err != nil {
		return nil, s.fail("init header of camera "+q.GetCamera(), err)
	}
	return &nodepb.InitReply{Data: data}, nil
}

// Read implements nodepb.RecorderServer.
func (s *server) Read(q *nodepb.ReadRequest, out grpc.ServerStreamingServer[nodepb.ReadReply]) error {
	vols, err := s.volumes()
	if err != nil {
		return err
	}
	if len(q.GetEpoch()) != len(record.Epoch{}) {
		return status.Errorf(codes.InvalidArgument, "epoch of %d bytes", len(q.GetEpoch()))
	}
	key := index.Key{Epoch: record.Epoch(q.GetEpoch()), First: q.GetFirst()}
	err = fmt.Errorf("fragment %d: %w", key.First, index.ErrNotFound)
	for _, v := range vols {
		var ref index.Ref
		if ref, err = v.index.store().Lookup(q.GetCamera(), q.GetStartNs(), key); errors.Is(err, index.ErrNotFound) {
			continue
		}
		if h := q.GetHash(); err == nil && len(h) > 0 && string(h) != string(ref.Hash[:]) {
			err = status.Errorf(codes.NotFound, "fragment %d of camera %s has another hash here", ref.First, ref.Camera)
			continue
		}
		sent := false
		if err == nil {
			err = s.send(v, &ref, q, out, &sent)
		}
		if err == nil || sent || out.Context().Err() != nil {
			return err
		}
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return s.fail("read a fragment of camera "+q.GetCamera(), err)
}

// unreadable says that a fragment which the index names cannot be read, or that it was
// deleted meanwhile.
func (s *server) unreadable(v *volume, ref *index.Ref, err error) error {
	if st := v.index.store(); errors.Is(err, fs.ErrNotExist) && st != nil {
		if _, lookup := st.Lookup(ref.Camera, ref.StartNS, ref.Key()); errors.Is(lookup, index.ErrNotFound) {
			return status.Errorf(codes.NotFound, "fragment %d of camera %s was deleted", ref.First, ref.Camera)
		}
	}
	v.scrub.suspect(ref)
	if n, ok := s.r.every.Allow("read " + ref.Segment); ok {
		s.r.opts.Log.Error().Err(err).Str("camera", ref.Camera).Str("segment", ref.Segment).Uint64("offset", ref.First).
			Int("suppressed", n).Msg("cannot read a fragment that the index names")
	}
	return status.Errorf(codes.DataLoss, "recorder %s: fragment %d in segment %s: %v", s.r.opts.Name, ref.First, ref.Segment, err)
}

// Verify implements nodepb.RecorderServer.
func (s *server) Verify(q *nodepb.FragmentsRequest, out grpc.ServerStreamingServer[nodepb.VerifyReply]) error {
	vols, err := s.volumes()
	if err != nil {
		return err
	}
	if err := checkRange(q.GetStartNs(), q.GetEndNs()); err != nil {
		return err
	}
	if err := s.verifies.Acquire(out.Context(), 1); err != nil {
		return status.FromContextError(err).Err()
	}
	defer s.verifies.Release(1)
	level := cmp.Or(q.GetLevel(), LevelHash)
	if level != LevelPresent && level != LevelSize && level != LevelHash {
		return status.Errorf(codes.InvalidArgument, "level %q is not one of %s, %s, %s", level, LevelPresent, LevelSize, LevelHash)
	}
	n := uint32(0)
	for ref, err := range vols.fragments(q.GetCamera(), q.GetStartNs(), q.GetEndNs()) {
		if err != nil {
			return s.fail("verify camera "+q.GetCamera(), err)
		}
		if err := out.Send(s.verify(vols[ref.Holders[0]], &ref.Ref, level)); err != nil {
			return err
		}
		if n++; n == q.GetLimit() {
			break
		}
	}
	return nil
}

// verify checks one fragment. Below LevelHash the hash that is found is the one that the
// index has.
func (s *server) verify(v *volume, ref *index.Ref, level string) *nodepb.VerifyReply {
	reply := &nodepb.VerifyReply{Fragment: fragmentOf(&ref.Info), Segment: ref.Segment, At: ref.At, Path: v.place.Dir}
	if level != LevelHash {
		if why := v.archive.looksWhole(ref, level); why != "" {
			v.scrub.suspect(ref)
			reply.Error = why
			return reply
		}
		reply.FoundHash = ref.Hash[:]
		return reply
	}
	h := newHash()
	b := s.chunks.get()
	defer s.chunks.Put(b)
	err := s.eachChunk(v, ref, ref.Size, func() []byte { return *b }, func(b []byte) error {
		_, err := h.Write(b)
		return err
	})
	if err != nil {
		reply.Error = status.Convert(err).Message()
		return reply
	}
	if reply.FoundHash = h.Sum(nil); media.Hash(reply.FoundHash) != ref.Hash {
		v.scrub.suspect(ref)
	}
	return reply
}

// fail turns an error of the index into one of gRPC.
func (s *server) fail(what string, err error) error {
	code := codes.Internal
	switch {
	case errors.Is(err, index.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, index.ErrFailed), errors.Is(err, index.ErrClosed):
		code = codes.FailedPrecondition // it is the disk; the recorder answers
	}
	return status.Errorf(code, "recorder %s: %s: %v", s.r.opts.Name, what, err)
}

func checkRange(startNS, endNS int64) error {
	if startNS >= endNS {
		return status.Errorf(codes.InvalidArgument, "the range ends at %d, before it starts at %d", endNS, startNS)
	}
	return nil
}

func fragmentOf(i *media.Info) *nodepb.Fragment {
	return &nodepb.Fragment{
		Epoch: i.Epoch[:], First: i.First, End: i.End, StartNs: i.StartNS, EndNs: i.EndNS, WindowNs: i.WindowNS,
		Flags: uint32(i.Flags), Size: i.Size, Hash: i.Hash[:], InitHash: i.InitHash[:],
		Since: string(i.Since), SinceNs: i.SinceNS, MinNs: i.MinNS, MaxNs: i.MaxNS,
	}
}

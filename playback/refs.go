package playback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

// refStream is a recorder's listing of a camera, read as it is consumed: the transport's
// flow control holds the recorder back. Used by one goroutine; Close it.
type refStream struct {
	peer     *peer
	camera   string
	endNS    int64
	deadline time.Duration
	ctx      context.Context // of the request

	cancel context.CancelFunc
	stream grpc.ServerStreamingClient[nodepb.FragmentsReply]
	batch  []*nodepb.Fragment
	ended  bool // the stream is at its end
	// lacking says which disks of the recorder could not be asked, for what starts before
	// lackingNS; 0: for anything.
	lacking   string
	lackingNS int64

	last     index.Ref // the last one that was given
	any      bool      // last is set
	resuming bool      // what follows may have been given before
}

// openRefs begins the listing of the fragments that overlap [startNS, endNS), and waits
// for its first part until first ends. After that, each part may take the deadline. The
// listing lives until ctx ends or it is closed.
func openRefs(ctx, first context.Context, p *peer, camera string, startNS, endNS int64, deadline time.Duration) (*refStream, error) {
	s := &refStream{peer: p, camera: camera, endNS: endNS, deadline: deadline, ctx: ctx}
	if err := p.call(first, func(first context.Context) error { return s.open(first, startNS) }); err != nil {
		s.Close()
		return nil, fmt.Errorf("list the fragments of %s on %s: %w", camera, p.Name, err)
	}
	return s, nil
}

// open (re)starts the stream and takes its first part, until limit ends.
func (s *refStream) open(limit context.Context, startNS int64) error {
	s.Close()
	ctx, cancel := context.WithCancel(s.ctx)
	s.cancel, s.ended, s.batch = cancel, false, nil
	stop := context.AfterFunc(limit, cancel)
	defer stop()
	stream, err := s.peer.recorder.Fragments(ctx,
		&nodepb.FragmentsRequest{Camera: s.camera, StartNs: startNS, EndNs: s.endNS}, grpc.WaitForReady(true))
	if err == nil {
		s.stream = stream
		err = s.recv()
	}
	if err != nil && limit.Err() != nil {
		return status.FromContextError(limit.Err()).Err()
	}
	return err
}

func (s *refStream) recv() error {
	reply, err := s.stream.Recv()
	switch {
	case errors.Is(err, io.EOF):
		s.ended = true
		return nil
	case err != nil:
		return err
	}
	s.batch = reply.GetFragments()
	if reply.GetLacking() != "" {
		s.lacking, s.lackingNS = reply.GetLacking(), reply.GetLackingBeforeNs()
	}
	return nil
}

// more takes the next part. A connection that breaks in the middle is taken up again
// once, behind the last fragment that was given.
func (s *refStream) more() error {
	began := s.peer.clock.Mono()
	limit, cancel := context.WithTimeout(s.ctx, s.deadline)
	defer cancel()
	stop := context.AfterFunc(limit, s.cancel)
	err := s.recv()
	stop()
	if status.Code(err) == codes.Unavailable && limit.Err() == nil && s.any {
		s.resuming = true
		err = s.peer.call(limit, func(ctx context.Context) error { return s.open(ctx, s.last.StartNS) })
	}
	if err != nil && limit.Err() != nil && s.ctx.Err() == nil {
		err = status.FromContextError(limit.Err()).Err()
		s.peer.silent(began, err)
	}
	return err
}

// all yields the listing, in order. It yields an error at most once, at the end.
func (s *refStream) all() iter.Seq2[index.Ref, error] {
	return func(yield func(index.Ref, error) bool) {
		fail := func(err error) {
			yield(index.Ref{}, fmt.Errorf("list the fragments of %s on %s: %w", s.camera, s.peer.Name, err))
		}
		for {
			for len(s.batch) > 0 {
				ref, err := refFromProto(s.camera, s.batch[0])
				if err != nil {
					fail(err)
					return
				}
				s.batch = s.batch[1:]
				if s.any && index.Compare(&ref, &s.last) <= 0 {
					if s.resuming {
						continue
					}
					fail(fmt.Errorf("fragment %s+%d comes after %s+%d, but does not sort after it",
						ref.Epoch, ref.First, s.last.Epoch, s.last.First))
					return
				}
				s.last, s.any, s.resuming = ref, true, false
				if !yield(ref, nil) {
					return
				}
			}
			if s.ended {
				return
			}
			if err := s.more(); err != nil {
				fail(err)
				return
			}
		}
	}
}

// Close may be called more than once.
func (s *refStream) Close() {
	if s.cancel != nil {
		s.cancel()
	}
}

// refFromProto checks what a recorder says of a fragment.
func refFromProto(camera string, f *nodepb.Fragment) (index.Ref, error) {
	ref := index.Ref{Info: media.Info{
		Camera:   camera,
		First:    f.GetFirst(),
		End:      f.GetEnd(),
		StartNS:  f.GetStartNs(),
		EndNS:    f.GetEndNs(),
		MinNS:    f.GetMinNs(),
		MaxNS:    f.GetMaxNs(),
		WindowNS: f.GetWindowNs(),
		Flags:    media.InfoFlags(f.GetFlags()),
		Size:     f.GetSize(),
		Since:    media.Cause(f.GetSince()),
		SinceNS:  f.GetSinceNs(),
	}}
	switch {
	case len(f.GetEpoch()) != len(record.Epoch{}) || len(f.GetHash()) != len(media.Hash{}) || len(f.GetInitHash()) != len(media.Hash{}):
		return ref, fmt.Errorf("a fragment with an epoch of %d, a hash of %d and an init hash of %d bytes",
			len(f.GetEpoch()), len(f.GetHash()), len(f.GetInitHash()))
	case ref.First >= ref.End || ref.StartNS >= ref.EndNS || ref.MinNS > ref.StartNS || ref.MaxNS <= ref.MinNS || ref.Size <= 0:
		return ref, fmt.Errorf("a fragment of offsets %d … %d, times %d … %d (%d … %d), %d bytes",
			ref.First, ref.End, ref.StartNS, ref.EndNS, ref.MinNS, ref.MaxNS, ref.Size)
	}
	copy(ref.Epoch[:], f.GetEpoch())
	copy(ref.Hash[:], f.GetHash())
	copy(ref.InitHash[:], f.GetInitHash())
	return ref, nil
}

// errLacking is why a recorder that answered may have more.
var errLacking = errors.New("some of its disks could not be asked")

// listing is what the recorders list of a camera.
type listing struct {
	streams []*refStream
	silent  []silence
}

// list asks the recorders that may have footage of the camera for their fragments that
// overlap [startNS, endNS). Close the listing.
func (p *pool) list(ctx context.Context, camera string, startNS, endNS int64) *listing {
	got, silent := ask(ctx, p.d.Answer, p.holders(camera), func(first context.Context, r *peer) (*refStream, error) {
		return openRefs(ctx, first, r, camera, startNS, endNS, p.d.Answer)
	})
	l := &listing{silent: silent}
	for _, a := range got {
		l.streams = append(l.streams, a.value)
		if a.value.lacking != "" {
			l.silent = append(l.silent, silence{a.peer, fmt.Errorf("%w: %s", errLacking, a.value.lacking), a.value.lackingNS})
		}
	}
	return l
}

// sources returns what a merge takes, and the recorder behind each.
func (l *listing) sources() ([]iter.Seq2[index.Ref, error], []*peer) {
	sources := make([]iter.Seq2[index.Ref, error], len(l.streams))
	peers := make([]*peer, len(l.streams))
	for i, s := range l.streams {
		sources[i], peers[i] = s.all(), s.peer
	}
	return sources, peers
}

func (l *listing) close() {
	for _, s := range l.streams {
		s.Close()
	}
}

package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
)

const (
	serviceName   = "duet.link.v1.Link"
	subscribePath = "/" + serviceName + "/Subscribe"
)

// ErrSilent is returned by a client's Recv when the proxy, heartbeats included, was not
// heard for SilenceLimit.
var ErrSilent = errors.New("link: the proxy is silent")

// Handler serves the streams of recorders. Subscribe is called in a goroutine of its
// own for each; the stream ends when it returns, with the status of its error.
type Handler interface {
	Subscribe(*ServerStream) error
}

// RegisterServer adds the link to a server that was created with ServerOptions.
func RegisterServer(r grpc.ServiceRegistrar, h Handler) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*Handler)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName:    "Subscribe",
			ServerStreams: true,
			ClientStreams: true,
			Handler: func(srv any, s grpc.ServerStream) error {
				return srv.(Handler).Subscribe(&ServerStream{s: s, in: reader{from: s, dir: toProxy}})
			},
		}},
	}, h)
}

// messageStream is what client and server streams of gRPC have in common.
type messageStream interface {
	RecvMsg(m any) error
	SendMsg(m any) error
}

// maxKept bounds the buffer for messages that is kept after a large one, in bytes.
const maxKept = 1 << 20

// reader splits messages into frames.
type reader struct {
	from messageStream
	dir  direction
	last received
	rest []byte
	err  error
}

// next returns the next frame. recvMsg fetches a message.
func (r *reader) next(recvMsg func(*received) error) (Frame, error) {
	for r.err == nil && len(r.rest) == 0 {
		if cap(r.last.b) > maxKept && len(r.last.b) < maxKept {
			r.last.b = nil
		}
		if r.err = recvMsg(&r.last); r.err == nil {
			r.rest = r.last.b
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	f, rest, err := next(r.rest, r.dir)
	if err != nil {
		r.err = err
		return nil, err
	}
	r.rest = rest
	return f, nil
}

// ServerStream is a proxy's end of the stream.
type ServerStream struct {
	s  grpc.ServerStream
	in reader
}

// Context is done when the stream is. It carries the peer's address and certificate
// (google.golang.org/grpc/peer).
func (s *ServerStream) Context() context.Context { return s.s.Context() }

// Recv waits for the recorder's next frame. An error is final; io.EOF says that the
// recorder has closed its side.
func (s *ServerStream) Recv() (Frame, error) {
	return s.in.next(func(m *received) error { return s.s.RecvMsg(m) })
}

// Send sends a message and waits while the recorder does not take it. m is not to be
// used again.
func (s *ServerStream) Send(m *Message) error { return s.s.SendMsg(m) }

// Client opens streams to one proxy.
type Client struct {
	conn    grpc.ClientConnInterface
	silence time.Duration
}

// NewClient returns a client on a connection that was made with DialOptions.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{conn: conn, silence: SilenceLimit}
}

// Subscribe opens a stream and sends Hello as recorder. The stream lives until ctx is
// done or Close is called, one of which must happen.
func (c *Client) Subscribe(ctx context.Context, recorder string) (*ClientStream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	desc := &grpc.StreamDesc{StreamName: "Subscribe", ServerStreams: true, ClientStreams: true}
	cs, err := c.conn.NewStream(ctx, desc, subscribePath, grpc.ForceCodecV2(newCodec()),
		grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage))
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("open a link stream: %w", err)
	}
	s := &ClientStream{s: cs, ctx: ctx, cancel: cancel, silence: c.silence, in: reader{from: cs, dir: toRecorder}}
	s.watch = time.AfterFunc(c.silence, func() { cancel(ErrSilent) })
	s.watch.Stop()
	var m Message
	m.Add(Hello{Recorder: recorder})
	if err := s.Send(&m); err != nil {
		s.Close()
		return nil, fmt.Errorf("say hello on a link stream: %w", err)
	}
	return s, nil
}

// ClientStream is a recorder's end of the stream.
type ClientStream struct {
	s       grpc.ClientStream
	ctx     context.Context
	cancel  context.CancelCauseFunc
	silence time.Duration
	watch   *time.Timer
	in      reader
}

// Recv waits for the proxy's next frame, and makes the records of the ones before
// invalid. An error is final: ErrSilent, one that wraps
// ErrCorrupt, or a status of gRPC.
func (s *ClientStream) Recv() (Frame, error) {
	return s.in.next(func(m *received) error {
		// The watch runs only in here: a recorder that is slow to call Recv must not
		// take the proxy for dead.
		s.watch.Reset(s.silence)
		err := s.s.RecvMsg(m)
		s.watch.Stop()
		if err != nil && errors.Is(context.Cause(s.ctx), ErrSilent) {
			return fmt.Errorf("%w for %v", ErrSilent, s.silence)
		}
		return err
	})
}

// Send sends a message and waits while the proxy does not take it. m is not to be used
// again.
func (s *ClientStream) Send(m *Message) error {
	err := s.s.SendMsg(m)
	if errors.Is(err, io.EOF) {
		return errors.New("link: the stream is closed; Recv says why")
	}
	return err
}

// Close ends the stream at once. It may be called at any time, more than once, and
// while Recv or Send wait.
func (s *ClientStream) Close() { s.cancel(context.Canceled) }

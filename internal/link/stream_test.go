package link

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type handlerFunc func(*ServerStream) error

func (f handlerFunc) Subscribe(s *ServerStream) error { return f(s) }

type statusServer struct {
	nodepb.UnimplementedProxyServer
}

func (statusServer) Status(context.Context, *nodepb.StatusRequest) (*nodepb.ProxyStatus, error) {
	return &nodepb.ProxyStatus{Name: "p1"}, nil
}

// serve returns a connection to a server with h.
func serve(t *testing.T, h handlerFunc) *grpc.ClientConn {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := grpc.NewServer(ServerOptions()...)
	RegisterServer(srv, h)
	nodepb.RegisterProxyServer(srv, statusServer{})
	done := make(chan error)
	go func() { done <- srv.Serve(lis) }()
	conn, err := grpc.NewClient(lis.Addr().String(),
		append(DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		srv.Stop()
		require.NoError(t, <-done)
	})
	return conn
}

func TestStreamCarriesFramesBothWays(t *testing.T) {
	big := record.Append(nil, &record.Record{Packet: make([]byte, 900_000)})
	conn := serve(t, func(s *ServerStream) error {
		for {
			f, err := s.Recv()
			if err != nil {
				return err
			}
			var m Message
			switch f := f.(type) {
			case Hello:
				m.Add(Reject{Reason: f.Recorder})
			case Subscribe:
				m.Add(Open{Channel: f.Channel, Epoch: f.From.Epoch, Offset: f.From.Offset})
				m.Add(Batch{Channel: f.Channel, First: f.From.Offset, Count: 1, Records: big})
			}
			if err := s.Send(&Message{}); err != nil { // a heartbeat in between
				return err
			}
			if err := s.Send(&m); err != nil {
				return err
			}
		}
	})
	s, err := NewClient(conn).Subscribe(t.Context(), "r1")
	require.NoError(t, err)
	defer s.Close()
	f, err := s.Recv()
	require.NoError(t, err)
	require.Equal(t, Reject{Reason: "r1"}, f)

	var m Message
	m.Add(Subscribe{Channel: 7, Camera: "gate", From: record.Position{Offset: 3}})
	require.NoError(t, s.Send(&m))
	f, err = s.Recv()
	require.NoError(t, err)
	require.Equal(t, Open{Channel: 7, Offset: 3}, f)
	f, err = s.Recv()
	require.NoError(t, err)
	require.Equal(t, Batch{Channel: 7, First: 3, Count: 1, Records: big}, f)

	st, err := nodepb.NewProxyClient(conn).Status(t.Context(), &nodepb.StatusRequest{})
	require.NoError(t, err, "protobuf services work on the same server")
	require.Equal(t, "p1", st.GetName())
}

func TestRecvFindsAProxyThatIsSilent(t *testing.T) {
	conn := serve(t, func(s *ServerStream) error {
		<-s.Context().Done()
		return nil
	})
	c := NewClient(conn)
	c.silence = 50 * time.Millisecond
	s, err := c.Subscribe(t.Context(), "r1")
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Recv()
	require.ErrorIs(t, err, ErrSilent)
	_, again := s.Recv()
	require.Equal(t, err, again, "an error is final")
}

func TestHeartbeatsKeepAStreamAlive(t *testing.T) {
	conn := serve(t, func(s *ServerStream) error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range 20 {
			<-tick.C
			if err := s.Send(&Message{}); err != nil {
				return err
			}
		}
		return status.Error(codes.NotFound, "over")
	})
	c := NewClient(conn)
	c.silence = 200 * time.Millisecond
	s, err := c.Subscribe(t.Context(), "r1")
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Recv()
	require.Equal(t, codes.NotFound, status.Code(err))
}

func TestGarbageInAMessageEndsTheStreamOfItsSenderOnly(t *testing.T) {
	errs := make(chan error, 2)
	conn := serve(t, func(s *ServerStream) error {
		for {
			if _, err := s.Recv(); err != nil {
				errs <- err
				return status.Error(codes.InvalidArgument, err.Error())
			}
		}
	})
	good, err := NewClient(conn).Subscribe(t.Context(), "good")
	require.NoError(t, err)
	bad, err := NewClient(conn).Subscribe(t.Context(), "bad")
	require.NoError(t, err)
	defer bad.Close()
	var m Message
	m.Add(Open{}) // of the other direction
	require.NoError(t, bad.Send(&m))
	require.ErrorIs(t, <-errs, ErrCorrupt)
	_, err = bad.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	m = Message{}
	m.Add(Ack{Channel: 1})
	require.NoError(t, good.Send(&m))
	require.NoError(t, good.s.CloseSend())
	require.ErrorIs(t, <-errs, io.EOF)
	good.Close()
}

func TestCloseWakesRecv(t *testing.T) {
	conn := serve(t, func(s *ServerStream) error {
		<-s.Context().Done()
		return nil
	})
	s, err := NewClient(conn).Subscribe(t.Context(), "r1")
	require.NoError(t, err)
	got := make(chan error)
	go func() {
		_, err := s.Recv()
		got <- err
	}()
	s.Close()
	s.Close()
	require.Equal(t, codes.Canceled, status.Code(<-got))
	require.False(t, errors.Is(context.Cause(s.ctx), ErrSilent))
}

func BenchmarkBatches(b *testing.B) {
	packet := record.Record{Packet: make([]byte, 1400)}
	var recs []byte
	for range 40 {
		recs = record.Append(recs, &packet)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	srv := grpc.NewServer(ServerOptions()...)
	RegisterServer(srv, handlerFunc(func(s *ServerStream) error {
		for {
			var m Message
			for i := range 5 {
				m.Add(Batch{Channel: uint32(i), Count: 40, Records: recs})
			}
			if err := s.Send(&m); err != nil {
				return err
			}
		}
	}))
	done := make(chan error)
	go func() { done <- srv.Serve(lis) }()
	conn, err := grpc.NewClient(lis.Addr().String(), append(DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(b, err)
	s, err := NewClient(conn).Subscribe(b.Context(), "r1")
	require.NoError(b, err)
	b.SetBytes(int64(len(recs)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Recv(); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
	_ = conn.Close()
	srv.Stop()
	<-done
}

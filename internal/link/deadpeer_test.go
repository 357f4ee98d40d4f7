package link

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// relay passes one connection on until it is frozen: then both ends stay connected and
// nothing passes, as with a cable that is pulled.
type relay struct {
	lis  net.Listener
	mu   sync.Mutex
	ice  bool
	ends []net.Conn
	wait sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{lis: lis}
	r.wait.Go(func() {
		for {
			a, err := lis.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				_ = a.Close()
				return
			}
			r.mu.Lock()
			r.ends = append(r.ends, a, b)
			r.mu.Unlock()
			r.wait.Go(func() { r.pass(a, b) })
			r.wait.Go(func() { r.pass(b, a) })
		}
	})
	t.Cleanup(func() {
		_ = lis.Close()
		r.mu.Lock()
		for _, c := range r.ends {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.wait.Wait()
	})
	return r
}

func (r *relay) pass(from, to net.Conn) {
	_, _ = io.Copy(writerFunc(func(b []byte) (int, error) {
		r.mu.Lock()
		ice := r.ice
		r.mu.Unlock()
		if ice {
			return len(b), nil // swallowed
		}
		return to.Write(b)
	}), from)
}

func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ice = true
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestBothEndsFindADeadPeerInTime(t *testing.T) {
	t.Parallel()
	served := make(chan time.Time, 1)
	ready := make(chan struct{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := grpc.NewServer(ServerOptions()...)
	RegisterServer(srv, handlerFunc(func(s *ServerStream) error {
		if _, err := s.Recv(); err != nil {
			return err
		}
		close(ready)
		<-s.Context().Done()
		served <- time.Now()
		return nil
	}))
	done := make(chan error)
	go func() { done <- srv.Serve(lis) }()
	defer func() { srv.Stop(); require.NoError(t, <-done) }()

	r := newRelay(t, lis.Addr().String())
	conn, err := grpc.NewClient(r.lis.Addr().String(), append(DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	defer conn.Close()
	s, err := NewClient(conn).Subscribe(t.Context(), "r1")
	require.NoError(t, err)
	defer s.Close()
	<-ready
	r.freeze()
	frozen := time.Now()
	_, err = s.Recv()
	require.Error(t, err)
	require.Less(t, time.Since(frozen), SilenceLimit+time.Second)
	require.Less(t, (<-served).Sub(frozen), SilenceLimit+time.Second)
}

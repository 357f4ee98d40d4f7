package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"

	"github.com/duet-video/duet/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counting counts system calls.
type counting struct {
	net.Conn
	writes int
}

func (c *counting) Write(b []byte) (int, error) {
	c.writes++
	return c.Conn.Write(b)
}

// pair returns both ends of a connection, and what is below the server's.
func pair(t *testing.T, client func(*tls.Config) credentials.TransportCredentials) (c, s net.Conn, below *counting) {
	dir := filepath.Join(t.TempDir(), "tls")
	_, err := pki.EnsureCA(dir)
	require.NoError(t, err)
	configs := map[string]*pki.Credentials{}
	for _, n := range []string{"r1", "v1"} {
		_, err := pki.EnsureNode(dir, n)
		require.NoError(t, err)
		configs[n], err = pki.Load(dir, n)
		require.NoError(t, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	ready := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err == nil {
			below = &counting{Conn: raw}
			s, _, err = NewTLS(configs["r1"].ServerConfig()).ServerHandshake(below)
		}
		ready <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	c, _, err = client(configs["v1"].ClientConfig("r1")).ClientHandshake(context.Background(), "r1", raw)
	require.NoError(t, err)
	require.NoError(t, <-ready)
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.Close()
	})
	return c, s, below
}

func TestWhatIsWrittenAtOnceLeavesAtOnceAndArrivesWhole(t *testing.T) {
	for name, client := range map[string]func(*tls.Config) credentials.TransportCredentials{
		"alike":     NewTLS,
		"plain TLS": credentials.NewTLS,
	} {
		t.Run(name, func(t *testing.T) {
			c, s, below := pair(t, client)
			data := make([]byte, 1<<20)
			r := rand.New(rand.NewPCG(1, 2))
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			sent := make(chan error, 1)
			before := below.writes
			go func() {
				var err error
				for at := 0; at < len(data) && err == nil; at += IOBuffer {
					_, err = s.Write(data[at : at+IOBuffer])
				}
				sent <- err
			}()
			got := make([]byte, len(data))
			_, err := io.ReadFull(c, got)
			require.NoError(t, err)
			require.NoError(t, <-sent)
			require.True(t, bytes.Equal(data, got))
			require.LessOrEqual(t, below.writes-before, len(data)/IOBuffer)

			_, err = c.Write([]byte("and back"))
			require.NoError(t, err)
			_, err = io.ReadFull(s, got[:8])
			require.NoError(t, err)
			require.Equal(t, "and back", string(got[:8]))
		})
	}
}

func TestFramesAreReadIntoBuffersThatAreUsedAgain(t *testing.T) {
	p := NewFramePool()
	for _, n := range []int{0, 1, maxFrame, maxFrame + 1} {
		b := p.Get(n)
		require.Len(t, *b, n)
		p.Put(b)
	}
}

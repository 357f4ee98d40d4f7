package node

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pipeListener hands out in-memory connections, so that time can be synctest's.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

func TestEachProtocolReachesItsListenerWithEveryByte(t *testing.T) {
	for name, tc := range map[string]struct {
		sent  string
		toTLS bool
	}{
		"TLS":                    {"\x16\x03\x01hello", true},
		"HTTP/2":                 {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true},
		"GET":                    {"GET /healthz HTTP/1.1\r\n\r\n", false},
		"POST":                   {"POST / HTTP/1.1\r\n\r\n", false},
		"PUT":                    {"PUT / HTTP/1.1\r\n\r\n", false},
		"garbage":                {"\x00\xff\x00", false},
		"a start of the preface": {"PR", false},
		"a single byte":          {"G", false},
	} {
		t.Run(name, func(t *testing.T) {
			base := listen(t)
			tlsConns, plain := SplitListener(base)
			c, err := net.Dial("tcp", base.Addr().String())
			require.NoError(t, err)
			_, err = io.WriteString(c, tc.sent)
			require.NoError(t, err)
			require.NoError(t, c.(*net.TCPConn).CloseWrite())

			l := plain
			if tc.toTLS {
				l = tlsConns
			}
			got, err := l.Accept()
			require.NoError(t, err)
			all, err := io.ReadAll(got)
			require.NoError(t, err)
			require.Equal(t, tc.sent, string(all))
			require.NoError(t, got.Close())
			require.NoError(t, c.Close())
			require.NoError(t, tlsConns.Close())
			require.NoError(t, plain.Close())
		})
	}
}

func TestPrefaceThatDribblesInIsRecognised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPipeListener()
		tlsConns, plain := SplitListener(base)
		c := base.dial()
		go func() {
			for _, b := range []byte(http2Preface) {
				time.Sleep(time.Second)
				_, _ = c.Write([]byte{b})
			}
		}()
		got, err := tlsConns.Accept()
		require.NoError(t, err)
		require.NoError(t, got.Close())
		require.NoError(t, tlsConns.Close())
		require.NoError(t, plain.Close())
	})
}

func TestSilentClientsDelayNobodyAndAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPipeListener()
		tlsConns, plain := SplitListener(base)
		var silent []net.Conn
		for range 50 {
			silent = append(silent, base.dial())
		}
		began := time.Now()
		c := base.dial()
		go func() { _, _ = c.Write([]byte("GET /")) }()
		got, err := plain.Accept()
		require.NoError(t, err)
		require.Zero(t, time.Since(began))
		buf := make([]byte, 5)
		_, err = io.ReadFull(got, buf)
		require.NoError(t, err)

		for _, s := range silent {
			_, err := s.Read(buf)
			require.ErrorIs(t, err, io.EOF)
		}
		require.Equal(t, peekTimeout, time.Since(began))

		// The one that was handed over has no deadline left.
		time.Sleep(2 * peekTimeout)
		go func() { _, _ = c.Write([]byte("later")) }()
		_, err = io.ReadFull(got, buf)
		require.NoError(t, err)
		require.Equal(t, "later", string(buf))
		require.NoError(t, got.Close())
		require.NoError(t, tlsConns.Close())
		require.NoError(t, plain.Close())
	})
}

func TestFloodOfSilentClientsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPipeListener()
		tlsConns, plain := SplitListener(base)
		var all []net.Conn
		for range maxPeeking + 10 {
			all = append(all, base.dial())
		}
		synctest.Wait()
		closed := 0
		for _, c := range all {
			if c.SetReadDeadline(time.Now().Add(time.Minute)) != nil { // the other end is closed
				closed++
			}
		}
		require.Equal(t, 10, closed)
		require.NoError(t, tlsConns.Close())
		require.NoError(t, plain.Close())
	})
}

func TestClosedSideRefusesAndTheOtherGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPipeListener()
		tlsConns, plain := SplitListener(base)
		require.NoError(t, plain.Close())
		require.NoError(t, plain.Close())
		_, err := plain.Accept()
		require.ErrorIs(t, err, net.ErrClosed)

		c := base.dial()
		_, err = c.Write([]byte("G"))
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)

		c = base.dial()
		go func() { _, _ = c.Write([]byte{tlsHandshake}) }()
		got, err := tlsConns.Accept()
		require.NoError(t, err)
		require.NoError(t, got.Close())
		require.NoError(t, tlsConns.Close())
	})
}

func TestListenerClosedFromElsewhereEndsBothSides(t *testing.T) {
	base := listen(t)
	tlsConns, plain := SplitListener(base)
	require.NoError(t, base.Close())
	_, err := tlsConns.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = plain.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, tlsConns.Close())
	require.NoError(t, plain.Close())
}

type flakyListener struct {
	net.Listener
	failures int
}

type temporaryError struct{ error }

func (temporaryError) Temporary() bool { return true }

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, temporaryError{errors.New("too many open files")}
	}
	return l.Listener.Accept()
}

func TestOutOfDescriptorsIsSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPipeListener()
		tlsConns, plain := SplitListener(&flakyListener{Listener: base, failures: 10})
		c := base.dial()
		go func() { _, _ = c.Write([]byte("G")) }()
		got, err := plain.Accept()
		require.NoError(t, err)
		require.NoError(t, got.Close())
		require.NoError(t, tlsConns.Close())
		require.NoError(t, plain.Close())
	})
}

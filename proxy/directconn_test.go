package proxy

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tcpPair returns both ends of a connection.
func tcpPair(t *testing.T) (here, there *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(); _ = s.Close() })
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

func numbered(n uint32, size int) []byte {
	return interleaved(nil, 0, rtpBytes(uint16(n), n, false, make([]byte, size)))
}

func TestWhatASlowReaderIsSentIsWholeAndInOrderAndBounded(t *testing.T) {
	here, there := tcpPair(t)
	require.NoError(t, here.SetWriteBuffer(16<<10))
	var flushers sync.WaitGroup
	c := &batchConn{Conn: here, marks: &flushMarks{}, flushers: &flushers}
	c.direct()
	require.True(t, c.send(numbered(0, 10)), "before the answer to PLAY it waits")

	answer := []byte("RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")
	burst := numbered(100, 10)
	c.follow(burst, nil)
	_, err := c.Write(answer)
	require.NoError(t, err)
	// gortsplib's own packets are left out, its reports are not.
	_, err = c.Write(numbered(7, 10))
	require.NoError(t, err)
	report := interleaved(nil, 1, append([]byte{0x80, 200}, make([]byte, 26)...))

	n := uint32(1)
	for ; c.send(numbered(n, 30000)); n++ { // nobody reads
		require.Less(t, n, uint32(10000))
	}
	require.Greater(t, int(n)*30000, maxBacklog)
	require.Less(t, int(n)*30000, maxBacklog+64<<20)
	require.NoError(t, c.sendMessage(report, nil))

	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(there)
		got <- b
	}()
	flushers.Wait()
	require.NoError(t, here.CloseWrite())
	b := <-got
	require.True(t, bytes.HasPrefix(b, answer))
	b = b[len(answer):]
	require.True(t, bytes.HasPrefix(b, burst))
	b = b[len(burst):]
	for i := range n {
		size := 4 + int(binary.BigEndian.Uint16(b[2:]))
		require.Equal(t, i, binary.BigEndian.Uint32(b[8:]))
		b = b[size:]
	}
	require.Equal(t, report, b)
}

func TestAReaderThatIsGoneIsNotSentAnything(t *testing.T) {
	here, there := tcpPair(t)
	var flushers sync.WaitGroup
	c := &batchConn{Conn: here, marks: &flushMarks{}, flushers: &flushers}
	c.direct()
	_, err := c.Write([]byte("RTSP/1.0 200 OK\r\n\r\n"))
	require.NoError(t, err)
	require.NoError(t, there.Close())
	require.Eventually(t, func() bool {
		require.True(t, c.send(numbered(1, 1000)), "it is not too slow")
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		return c.out.err != nil
	}, 20*time.Second, time.Millisecond)
	flushers.Wait()
}

// shortLived is a connection whose write deadlines can be made to have passed.
type shortLived struct {
	*net.TCPConn
	deadline time.Time
}

func (c *shortLived) SetWriteDeadline(t time.Time) error {
	c.deadline = t
	return c.TCPConn.SetWriteDeadline(t)
}

// later is how it is when more time has gone by than a write may take.
func (c *shortLived) later() error {
	if c.deadline.IsZero() {
		return nil
	}
	return c.TCPConn.SetWriteDeadline(time.Unix(1, 0))
}

func TestAReaderOfACameraThatWasAwayForLongIsStillThere(t *testing.T) {
	here, there := tcpPair(t)
	conn := &shortLived{TCPConn: here}
	var flushers sync.WaitGroup
	c := &batchConn{Conn: conn, marks: &flushMarks{}, flushers: &flushers}
	c.direct()
	_, err := c.Write([]byte("RTSP/1.0 200 OK\r\n\r\n"))
	require.NoError(t, err)
	require.NoError(t, conn.later())
	require.True(t, c.send(numbered(1, 1000)))
	flushers.Wait()
	require.NoError(t, here.CloseWrite())
	b, err := io.ReadAll(there)
	require.NoError(t, err)
	require.True(t, bytes.HasSuffix(b, numbered(1, 1000)), "it is sent what comes then")
}

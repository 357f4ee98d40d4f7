package playback

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestClientThatStopsReadingIsLeft: what it was given is taken back, so that it holds no
// memory and no reader of a recorder for ever.
func TestClientThatStopsReadingIsLeft(t *testing.T) {
	f := makeFootage(t, footageOptions{audio: true})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, func(o *Options) {
		o.Deadlines.Client = 300 * time.Millisecond
		o.Listener = narrow{o.Listener}
	}, r1, r2)
	_, whole := s.export(frameNS(0), clipEnd)
	for _, u := range []string{s.url(frameNS(0), clipEnd), s.url(frameNS(0), clipEnd) + "&layout=progressive", s.archiveURL("zip", frameNS(0), clipEnd, "gate")} {
		to, err := url.Parse(u)
		require.NoError(t, err)
		conn, err := net.Dial("tcp", to.Host)
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4<<10))
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", to.RequestURI(), to.Host)
		require.NoError(t, err)
		r := bufio.NewReaderSize(conn, 4<<10)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		// The handler ends although nobody reads; only then the lock can be had.
		require.Eventually(t, func() bool {
			if !s.answering.TryLock() {
				return false
			}
			s.answering.Unlock()
			return true
		}, 20*time.Second, 20*time.Millisecond)
		n, err := io.Copy(io.Discard, resp.Body)
		require.Error(t, err)
		require.Less(t, n, int64(len(whole)))
		require.NoError(t, conn.Close())
	}
	_, again := s.export(frameNS(0), clipEnd)
	require.Equal(t, whole, again)
}

// narrow gives connections little room for what is not read yet.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
	}
	return c, err
}

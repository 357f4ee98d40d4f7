package proxy

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func itoa(n int) string { return strconv.Itoa(n) }

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// freeEvenPort returns an even UDP port that is free together with the next one.
func freeEvenPort(t *testing.T) int {
	for range 100 {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		port := c.LocalAddr().(*net.UDPAddr).Port
		_ = c.Close()
		if port%2 != 0 {
			continue
		}
		if c, err = net.ListenPacket("udp", net.JoinHostPort("127.0.0.1", itoa(port+1))); err == nil {
			_ = c.Close()
			return port
		}
	}
	require.FailNow(t, "no two free ports")
	return 0
}

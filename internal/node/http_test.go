package node

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(body)
}

func TestProbesSayWhatIsWrong(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "duet_test"}, func() float64 { return 7 }))
	var ready error
	s := httptest.NewServer(HTTPHandler(reg, nil, func() error { return ready }))
	defer s.Close()

	code, body := get(t, s.URL+"/healthz")
	require.Equal(t, 200, code)
	require.Equal(t, "ok\n", body)
	code, _ = get(t, s.URL+"/readyz")
	require.Equal(t, 200, code)

	ready = errors.New("camera gate: no packet for 10s")
	code, body = get(t, s.URL+"/readyz")
	require.Equal(t, 503, code)
	require.Equal(t, "camera gate: no packet for 10s\n", body)

	code, body = get(t, s.URL+"/metrics")
	require.Equal(t, 200, code)
	require.Contains(t, body, "duet_test 7")
}

func TestHTTPEndsWithItsContextAndCancelsWhatHangs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := listen(t)
	entered, left := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	})
	ran := make(chan error, 1)
	go func() { ran <- RunHTTP(ctx, l, h) }()

	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	<-entered
	cancel()
	select {
	case err := <-ran:
		require.NoError(t, err)
	case <-time.After(3 * shutdownGrace):
		t.Fatal("RunHTTP hangs on a request that does not end")
	}
	<-left
	_, err = net.Dial("tcp", l.Addr().String())
	require.Error(t, err)
}

func TestHTTPReportsAListenerThatFails(t *testing.T) {
	l := listen(t)
	require.NoError(t, l.Close())
	err := RunHTTP(t.Context(), l, http.NotFoundHandler())
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorContains(t, err, l.Addr().String())
}

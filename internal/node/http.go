package node

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// Limits on plain HTTP clients. There is none on the time that an answer takes: an
// export runs for as long as its reader reads.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	shutdownGrace  = 3 * time.Second
)

// HTTPHandler serves /healthz, /readyz and /metrics. live says what is wrong with the
// process, so that restarting it may help; ready says why it does not do its job now.
// A nil error, or a nil function, means that all is well (200 "ok"); otherwise the
// answer is 503 with the error as text. Both are called for each request, concurrently,
// and must not wait for anything. They must not name credentials.
func HTTPHandler(reg prometheus.Gatherer, live, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", probe(live))
	mux.HandleFunc("GET /readyz", probe(ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	return mux
}

func probe(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if check != nil {
			if err := check(); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = fmt.Fprintln(w, err)
				return
			}
		}
		_, _ = fmt.Fprintln(w, "ok")
	}
}

// RunHTTP serves h on l until ctx ends, then lets requests finish for 3 s, cancels the
// contexts of the others, and closes them. It closes l. The error is nil when ctx ended
// it. Complaints of the server (a client's broken request, a handler's panic) go to the
// logger that ctx carries (zerolog.Ctx), if any.
func RunHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          stdlog.New(zerolog.Ctx(ctx).With().Str("component", "http").Logger(), "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		_ = srv.Close()
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(requests, shutdownGrace)
	defer stop()
	if err := srv.Shutdown(grace); err != nil {
		cancel()
		_ = srv.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}

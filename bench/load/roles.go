package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/bench/relay"
	"github.com/duet-video/duet/bench/source"
)

// CamerasRole plays cameras until ctx ends, and answers questions about them at control.
func CamerasRole(ctx context.Context, n int, video string, mbit float64, listen, control string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer l.Close()
	s, err := source.New(source.Options{Listener: l, Cameras: n, Video: video, Bitrate: int(mbit * 1e6)})
	if err != nil {
		return err
	}
	srv := &http.Server{Addr: control, Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.Run(ctx) })
	group.Go(func() error {
		if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return srv.Close()
	})
	return group.Wait()
}

// RelayRole relays n cameras at the address to sinks until ctx ends.
func RelayRole(ctx context.Context, n int, cameras string, sinks []string, secure bool) error {
	var urls []string
	for i := range n {
		urls = append(urls, "rtsp://"+cameras+"/"+source.Name(i))
	}
	return relay.Run(ctx, urls, sinks, secure)
}

// SinkRole writes what a relay sends into dir until ctx ends.
func SinkRole(ctx context.Context, listen, dir string, secure bool) error {
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return fmt.Errorf("sink: %s is no directory", dir)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return relay.Sink(ctx, l, dir, secure)
}

// CatRole serves as many bytes of a file as ?bytes= asks for (it begins anew at the end of
// the file), read and written in pieces of 128 KiB, until ctx ends: what an HTTP server of
// Go reaches that does nothing but to copy.
func CatRole(ctx context.Context, listen, file string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		left, err := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
		if err != nil {
			http.Error(w, "want ?bytes=", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(left, 10))
		buf := make([]byte, 128<<10)
		for left > 0 {
			n, err := catOnce(w, file, buf, left)
			if left -= n; err != nil || n == 0 {
				return // the client sees that it is too short
			}
		}
	})
	srv := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// catOnce copies the file once, or as much of it as is left.
func catOnce(w io.Writer, file string, buf []byte, left int64) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	// Neither has a shortcut here: bytes are read and written.
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.LimitReader(f, left)}, buf)
}

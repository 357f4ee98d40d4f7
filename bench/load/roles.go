package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
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
func RelayRole(ctx context.Context, n int, cameras string, sinks []string) error {
	var urls []string
	for i := range n {
		urls = append(urls, "rtsp://"+cameras+"/"+source.Name(i))
	}
	return relay.Run(ctx, urls, sinks)
}

// SinkRole writes what a relay sends into dir until ctx ends.
func SinkRole(ctx context.Context, listen, dir string) error {
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return fmt.Errorf("sink: %s is no directory", dir)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return relay.Sink(ctx, l, dir)
}

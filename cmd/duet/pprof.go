package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"
)

// serveProfiles serves /debug/pprof/ on an address until the function that it returns is
// called. An empty address: it does nothing.
func serveProfiles(ctx context.Context, addr string) (stop func(), err error) {
	if addr == "" {
		runtime.MemProfileRate = 0 // nobody asks where memory was allocated
		return func() {}, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve profiles: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l) // whatever it says: the node does its work without
	}()
	return func() {
		_ = srv.Close()
		<-served
	}, nil
}

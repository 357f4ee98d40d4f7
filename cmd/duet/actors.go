package main

import (
	"context"
	"net"
	"net/http"

	"github.com/oklog/run"

	"github.com/duet-video/duet/internal/node"
)

// addActor adds something that runs until its context ends. When one actor of a group
// ends, for whatever reason, all do.
func addActor(ctx context.Context, g *run.Group, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	g.Add(func() error { return f(ctx) }, func(error) { cancel() })
}

func addHTTP(ctx context.Context, g *run.Group, l net.Listener, h http.Handler) {
	addActor(ctx, g, func(ctx context.Context) error { return node.RunHTTP(ctx, l, h) })
}

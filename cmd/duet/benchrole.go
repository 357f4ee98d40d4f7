package main

import (
	"os"
	"strings"

	"github.com/duet-video/duet/bench/load"
)

// benchRoleCmd are the processes that duet bench starts beside nodes.
type benchRoleCmd struct {
	Cameras benchCamerasCmd `cmd:"" help:"Cameras that cost little."`
	Relay   benchRelayCmd   `cmd:"" help:"Pass the bytes of cameras on to sinks."`
	Sink    benchSinkCmd    `cmd:"" help:"Write what a relay sends to files."`
	Readers benchReadersCmd `cmd:"" help:"Read live streams and tell what came."`
	Cat     benchCatCmd     `cmd:"" help:"Serve the bytes of a file over HTTP."`
}

type benchCamerasCmd struct {
	N       int     `short:"n" default:"1" help:"How many."`
	Video   string  `default:"h264" help:"Clip."`
	Mbit    float64 `default:"4" help:"What each sends, in Mbit/s."`
	Listen  string  `required:"" help:"Address of the RTSP server."`
	Control string  `required:"" help:"Address of an HTTP server that tells what they have sent."`
}

// Run plays cameras until it is told to end.
func (c *benchCamerasCmd) Run(a *app) error {
	return load.CamerasRole(a.ctx, c.N, c.Video, c.Mbit, c.Listen, c.Control)
}

type benchRelayCmd struct {
	N       int      `short:"n" default:"1" help:"How many cameras."`
	Cameras string   `required:"" help:"Address of the cameras."`
	Sink    []string `required:"" help:"Address of each sink."`
	Secure  bool     `help:"With TLS to sinks."`
}

// Run relays until it is told to end.
func (c *benchRelayCmd) Run(a *app) error {
	return load.RelayRole(a.ctx, c.N, c.Cameras, c.Sink, c.Secure)
}

type benchSinkCmd struct {
	Listen string `required:"" help:"Address for relays."`
	Data   string `required:"" type:"path" help:"Directory of the files."`
	Secure bool   `help:"With TLS from relays, and SHA-256."`
}

// Run writes files until it is told to end.
func (c *benchSinkCmd) Run(a *app) error { return load.SinkRole(a.ctx, c.Listen, c.Data, c.Secure) }

type benchReadersCmd struct {
	Urls      string `required:"" type:"existingfile" help:"File with a URL in each line."`
	Control   string `required:"" help:"Address of an HTTP server that tells what was read."`
	Reordered bool   `help:"The cameras send B-frames."`
}

// Run reads until it is told to end.
func (c *benchReadersCmd) Run(a *app) error {
	b, err := os.ReadFile(c.Urls)
	if err != nil {
		return err
	}
	return load.ReadersRole(a.ctx, strings.Fields(string(b)), c.Control, c.Reordered)
}

type benchCatCmd struct {
	Listen string `required:"" help:"Address of the HTTP server."`
	File   string `required:"" type:"existingfile" help:"What to serve."`
}

// Run serves until it is told to end.
func (c *benchCatCmd) Run(a *app) error { return load.CatRole(a.ctx, c.Listen, c.File) }

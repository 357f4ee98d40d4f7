package main

import (
	"fmt"
	"os"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/internal/node"
)

type camsimCmd struct {
	N       int    `short:"n" default:"6" help:"How many cameras (${default}), of all kinds."`
	File    string `type:"existingfile" help:"MP4 file that all of them loop, instead of the built-in clips."`
	Listen  string `default:"127.0.0.1:8654" help:"Address of the RTSP server (${default})."`
	Ledger  string `type:"path" placeholder:"DIR" help:"Where each camera writes NAME.jsonl, a line for each access unit."`
	Control string `placeholder:"ADDR" help:"Address of an HTTP API that drops, stalls and disturbs cameras."`
	logFlags
}

// Run simulates cameras until it is told to end.
func (c *camsimCmd) Run(a *app) error {
	if c.N < 1 || c.N > 10_000 {
		return usagef("-n %d: want 1 … 10000 cameras", c.N)
	}
	log, err := node.NewLogger(a.stderr, c.LogLevel, c.LogFormat)
	if err != nil {
		return err
	}
	if c.Ledger != "" {
		if err := os.MkdirAll(c.Ledger, 0o755); err != nil {
			return fmt.Errorf("make the ledger's directory: %w", err)
		}
	}
	cameras := camsim.DefaultCameras(c.N)
	for i := range cameras {
		if c.File != "" {
			cameras[i].File, cameras[i].Video, cameras[i].Audio = c.File, "", ""
		}
	}
	sim, err := camsim.New(camsim.Options{Listen: c.Listen, Control: c.Control, LedgerDir: c.Ledger, Cameras: cameras, Log: log})
	if err != nil {
		return err
	}
	for _, cam := range sim.Cameras() {
		if _, err := fmt.Fprintln(a.stdout, cam.URL); err != nil {
			_ = sim.Close()
			return err
		}
	}
	<-a.ctx.Done()
	return sim.Close()
}

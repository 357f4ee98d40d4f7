package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/oklog/run"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/supervise"
)

type demoCmd struct {
	Dir     string        `default:"duet-demo" type:"path" placeholder:"DIR" help:"Where recordings, certificates and the log go (${default})."`
	Cameras int           `short:"n" default:"6" help:"How many simulated cameras (${default}), of all kinds."`
	File    string        `type:"existingfile" placeholder:"FILE" help:"MP4 file that all cameras loop, instead of the built-in clips."`
	For     time.Duration `placeholder:"DURATION" help:"End after this time."`
}

// A dead recorder stays away long enough for a look at the table, and at playback
// without it.
const demoRestart = 6 * time.Second

// Run runs a whole site on this machine until it is told to end.
func (c *demoCmd) Run(a *app) error {
	if c.Cameras < 1 || c.Cameras > 200 {
		return usagef("--cameras %d: want 1 … 200", c.Cameras)
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	unlock, err := lockDir(c.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	d, err := c.prepare(a.ctx)
	if err != nil {
		return err
	}
	defer d.text.Close()
	logFile, err := os.Create(filepath.Join(c.Dir, "duet.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	log, err := node.NewLogger(logFile, "info", node.FormatConsole)
	if err != nil {
		return err
	}
	d.sup, err = supervise.New(supervise.Options{
		Children: d.children, Output: logFile, Log: log, FirstWait: demoRestart, MaxWait: 2 * demoRestart,
	})
	if err != nil {
		return err
	}
	ctx := a.ctx
	if c.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.For)
		defer cancel()
	}
	var g run.Group
	addActor(ctx, &g, d.sup.Run)
	addActor(ctx, &g, func(ctx context.Context) error { return d.show(ctx, a.stdout) })
	err = g.Run()
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		_, err = fmt.Fprintf(a.stdout, "All processes have ended. Recordings stay in %s; `rm -r` it, or run the demo again to go on.\n", c.Dir)
	}
	return err
}

// demo is a prepared site.
type demo struct {
	dir, file string // of the configuration
	text      *os.File
	ports     demoPorts
	site      *site
	children  []supervise.Child
	sup       *supervise.Supervisor
}

// demoPorts are those of design and documents, as far as they are free.
type demoPorts struct{ cameras, link, rtsp, proxyHTTP, r1, r2, r3, playback, replay int }

func (c *demoCmd) prepare(ctx context.Context) (*demo, error) {
	d := &demo{dir: c.Dir, file: filepath.Join(c.Dir, "duet.yaml")}
	var taken portPicker
	d.ports = demoPorts{
		cameras: taken.pick(8654), link: taken.pick(7400), rtsp: taken.pick(8554), proxyHTTP: taken.pick(9101),
		r1: taken.pick(9102), r2: taken.pick(9103), r3: taken.pick(9104), playback: taken.pick(8080),
		replay: taken.pick(8555),
	}
	if taken.err != nil {
		return nil, taken.err
	}
	cameras := camsim.DefaultCameras(c.Cameras)
	if err := os.WriteFile(d.file, []byte(d.config(cameras)), 0o644); err != nil {
		return nil, err
	}
	var err error
	if d.site, err = loadSite(d.file); err != nil {
		return nil, err
	}
	nodes := d.site.nodes(anyAddress)
	if err := d.site.ensureCertificates(nodes); err != nil {
		return nil, err
	}
	if d.text, err = takeSnapshot(d.file); err != nil {
		return nil, err
	}
	if d.children, err = childrenOf(nodes, d.file, d.text, "info", node.FormatConsole); err != nil {
		return nil, errors.Join(err, d.text.Close())
	}
	sim := supervise.Child{Name: "cameras", Path: d.children[0].Path, Args: []string{
		"camsim", "-n", fmt.Sprint(c.Cameras), "--listen", fmt.Sprintf("127.0.0.1:%d", d.ports.cameras),
		"--log-format", node.FormatConsole, "--log-level", "warn",
	}}
	if c.File != "" {
		sim.Args = append(sim.Args, "--file", c.File)
	}
	d.children = append([]supervise.Child{sim}, d.children...)
	return d, ctx.Err()
}

// config writes the file as a user would. It keeps little: the disk is the user's.
func (d *demo) config(cameras []camsim.CameraOptions) string {
	text := "# Written by `duet demo`, anew each time it starts. `duet config` prints a file with every key.\ncameras:\n"
	for _, c := range cameras {
		text += fmt.Sprintf("  - {name: %s, source: \"rtsp://127.0.0.1:%d/%s\", bitrate: 1Mbit/s}\n", c.Name, d.ports.cameras, c.Name)
	}
	return text + fmt.Sprintf(`proxies:
  - {name: p1, link: "127.0.0.1:%d", rtsp: "127.0.0.1:%d", http: "127.0.0.1:%d"}
recorders:
  - {name: r1, role: primary,   http: "127.0.0.1:%d", data: r1, quota: 1GB}
  - {name: r2, role: primary,   http: "127.0.0.1:%d", data: r2, quota: 1GB}
  - {name: r3, role: redundant, http: "127.0.0.1:%d", data: r3, quota: 2GB}
playback:
  - {name: v1, http: "127.0.0.1:%d", rtsp: "127.0.0.1:%d"}
retention: {age: 6h}
`, d.ports.link, d.ports.rtsp, d.ports.proxyHTTP, d.ports.r1, d.ports.r2, d.ports.r3, d.ports.playback, d.ports.replay)
}

// portPicker finds free ports.
type portPicker struct {
	used map[int]bool
	err  error
}

func (p *portPicker) pick(want int) int {
	port, err := freePort(want)
	for err == nil && p.used[port] {
		port, err = freePort(0)
	}
	if err != nil {
		p.err = err
		return 0
	}
	if p.used == nil {
		p.used = make(map[int]bool)
	}
	p.used[port] = true
	return port
}

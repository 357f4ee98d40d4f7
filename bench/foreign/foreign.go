// Package foreign runs cameras that share no code with duet: those of GStreamer's RTSP
// server (gstcamera.py), which keep ledgers of the same form as those of bench/camsim.
package foreign

import (
	"bufio"
	"context"
	_ "embed" // the script
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

//go:embed gstcamera.py
var script string

// python is Debian's own: it has the bindings.
const python = "/usr/bin/python3"

// Camera is a camera that runs.
type Camera struct {
	Name   string `json:"name"`
	URL    string `json:"url"`
	Ledger string `json:"ledger"` // path of its ledger
}

// GStreamer is the process that serves the cameras.
type GStreamer struct {
	Cameras []Camera

	cmd   *exec.Cmd
	stdin io.Closer
	tail  *tail
}

// Available returns nil when GStreamer's RTSP server can be run here, and otherwise what
// is missing.
func Available(ctx context.Context) error {
	check := exec.CommandContext(ctx, python, "-c",
		"import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; Gst.init(None); "+
			"assert all(Gst.ElementFactory.find(e) for e in ('x264enc', 'x265enc', 'rtph264pay'))")
	if out, err := check.CombinedOutput(); err != nil {
		return fmt.Errorf("GStreamer's RTSP server (python3-gi, gir1.2-gst-rtsp-server-1.0, "+
			"gstreamer1.0-plugins-{good,bad,ugly}): %w: %s", err, out)
	}
	return nil
}

// Start runs the cameras on a free port of the loopback; their ledgers are made in
// ledgerDir. Close ends them.
func Start(ctx context.Context, ledgerDir string) (*GStreamer, error) {
	g := &GStreamer{cmd: exec.Command(python, "-c", script, ledgerDir), tail: &tail{}}
	g.cmd.Stderr = g.tail
	stdin, err := g.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("run GStreamer cameras: %w", err)
	}
	g.stdin = stdin
	stdout, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("run GStreamer cameras: %w", err)
	}
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("run GStreamer cameras: %w", err)
	}
	line := make(chan []byte, 1)
	go func() {
		b, _ := bufio.NewReader(stdout).ReadBytes('\n')
		line <- b
	}()
	select {
	case b := <-line:
		if err := json.Unmarshal(b, g); err == nil && len(g.Cameras) > 0 {
			return g, nil
		}
	case <-ctx.Done():
		_ = g.cmd.Process.Kill() // Close waits for it
		<-line
	}
	return nil, fmt.Errorf("run GStreamer cameras: they did not start: %w", errors.Join(ctx.Err(), g.Close(), g.tail))
}

// Close ends the cameras and waits for their process.
func (g *GStreamer) Close() error {
	_ = g.stdin.Close() // it ends by that
	kill := time.AfterFunc(5*time.Second, func() { _ = g.cmd.Process.Kill() })
	defer kill.Stop()
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("GStreamer cameras: %w", err)
	}
	return nil
}

// tail keeps the end of what is written to it, for error messages.
type tail struct{ b []byte }

const tailSize = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > tailSize {
		t.b = t.b[len(t.b)-tailSize:]
	}
	return len(p), nil
}

func (t *tail) Error() string { return string(t.b) }

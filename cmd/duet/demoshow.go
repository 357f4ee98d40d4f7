package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/duet-video/duet/internal/supervise"
)

// plainEvery is how often a demo without a terminal says how it is.
const plainEvery = 5 * time.Second

// show draws the state of the site each second.
func (d *demo) show(ctx context.Context, w io.Writer) error {
	creds, err := loadAnyCredentials(d.site)
	if err != nil {
		return err
	}
	m, err := newMonitor(d.site, creds)
	if err != nil {
		return err
	}
	defer m.close()
	fd, tty := terminal(w)
	scr := &screen{w: w, fd: fd}
	if !tty {
		_, _ = fmt.Fprintln(w, d.head(false))
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	began := time.Now()
	var said time.Time
	recording := false
	for ctx.Err() == nil {
		v := m.view(m.ask(ctx), time.Now())
		switch {
		case ctx.Err() != nil:
			return nil
		case tty:
			top, next := d.head(true)+"\n"+v.tables(true), d.next(v, true)
			if all := top + d.processes(true) + next; scr.fits(all) {
				scr.draw(all)
			} else { // the recorders' table says who is down
				scr.draw(top + next)
			}
		default:
			if all := v.allRecording(); all && !recording {
				recording = true
				_, _ = fmt.Fprintf(w, "all %d cameras are recorded twice, %.1f s after the start\n%s\n",
					len(v.Cameras), time.Since(began).Seconds(), d.next(v, false))
			}
			if time.Since(said) >= plainEvery {
				said = time.Now()
				_, _ = fmt.Fprintln(w, v.line(d.sup.States()))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}

func (v *siteView) allRecording() bool {
	for _, c := range v.Cameras {
		if c.Healthy < len(c.Copies) && !c.spared() {
			return false
		}
	}
	return true
}

// line is the view in one line, for logs.
func (v *siteView) line(states []supervise.State) string {
	var live, copies, want int
	for _, c := range v.Cameras {
		if c.State == "live" {
			live++
		}
		copies += c.Healthy
		want += len(c.Copies)
	}
	text := fmt.Sprintf("%s cameras live %d/%d, copies recording %d/%d", v.Time.Local().Format("15:04:05"), live, len(v.Cameras), copies, want)
	for _, s := range states {
		if s.PID == 0 && s.LastExit != "" {
			text += fmt.Sprintf(", %s is down (%s)", s.Name, s.LastExit)
		}
	}
	return text
}

func (d *demo) head(colours bool) string {
	p := painter(colours)
	return p.by(bold, "duet demo") + "   live    rtsp://127.0.0.1:" + fmt.Sprint(d.ports.rtsp) + "/" + d.site.Cameras[0].Name +
		fmt.Sprintf("   page http://127.0.0.1:%d/", d.ports.playback) +
		"   log " + shortPath(filepath.Join(d.dir, "duet.log")) + "   Ctrl-C ends\n"
}

func (d *demo) processes(colours bool) string {
	p := painter(colours)
	t := newTable("PROCESS", ">PID", ">FOR", ">RESTARTS", "LAST EXIT")
	for _, s := range d.sup.States() {
		pid, since := p.by(red, "dead"), time.Since(s.Since)
		if s.PID != 0 {
			pid = fmt.Sprint(s.PID)
		}
		t.row(s.Name, pid, since.Round(time.Second).String(), fmt.Sprint(s.Restarts), s.LastExit)
	}
	return "\n" + t.String()
}

// next says what to try, with commands that work as they stand.
func (d *demo) next(v *siteView, colours bool) string {
	cam := d.site.Cameras[0].Name
	pid := "PID (r1 is dead, and back in a moment)"
	for _, s := range d.sup.States() {
		if s.Name == "r1" && s.PID != 0 {
			pid = fmt.Sprint(s.PID)
		}
	}
	exe := "duet"
	if len(d.children) > 0 {
		exe = shortPath(d.children[0].Path)
	}
	end := "now"
	if c := v.Cameras[0]; c.Protected != nil {
		end = c.Protected.UTC().Format(time.RFC3339)
	}
	start := v.Time.Add(-time.Minute).UTC().Format(time.RFC3339)
	return "\n" + painter(colours).by(bold, "What to try next") + "\n" + strings.Join([]string{
		fmt.Sprintf("  kill -9 %-40s  a recorder dies: see the table, then export across it", pid),
		fmt.Sprintf("  ffplay -rtsp_transport tcp rtsp://127.0.0.1:%d/%s", d.ports.rtsp, cam),
		fmt.Sprintf("  ffplay -rtsp_transport tcp 'rtsp://127.0.0.1:%d/%s?start=%s'", d.ports.replay, cam, start),
		fmt.Sprintf("  curl 'http://127.0.0.1:%d/v1/cameras/%s/timeline?start=%s&end=%s'", d.ports.playback, cam, start, endOr(end, v.Time)),
		fmt.Sprintf("  %s export %s --from -1m -o %s.mp4 -c %s", exe, cam, cam, shortPath(d.file)),
		fmt.Sprintf("  %s verify --site -c %s", exe, shortPath(d.file)),
	}, "\n") + "\n"
}

func endOr(end string, now time.Time) string {
	if end == "now" {
		return now.UTC().Format(time.RFC3339)
	}
	return end
}

// shortPath is relative to the working directory where that is shorter.
func shortPath(p string) string {
	wd, err := os.Getwd()
	if err != nil {
		return p
	}
	rel, err := filepath.Rel(wd, p)
	if err != nil || len(rel) >= len(p) {
		return p
	}
	if !strings.Contains(rel, "/") {
		return rel
	}
	return "./" + strings.TrimPrefix(rel, "./")
}

// freePort returns want when it is free on the loopback, or else a free one.
func freePort(want int) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(want)))
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// lockDir keeps a second demo out of the directory. The lock goes with the process.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another demo runs in %s: end it, or use --dir", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/duet-video/duet/bench/load"
)

// benchCmd are the works of duet bench.
type benchCmd struct {
	All      benchAllCmd      `cmd:"" help:"All works, one after the other."`
	Record   benchRecordCmd   `cmd:"" help:"Cameras, each pulled once and recorded twice: processor time, memory, losses, time until durable."`
	Live     benchLiveCmd     `cmd:"" help:"Cameras and live readers: processor time, added latency, losses."`
	Failover benchFailoverCmd `cmd:"" help:"Kill, stop and cut off recorders, links, cameras and the proxy: what is lost, when it is said, when it is mended."`
	Playback benchPlaybackCmd `cmd:"" help:"An archive of 30 days: timelines, seeks, exports, and all of it while a recorder is killed."`
}

// benchPlaces are the peers, and where to write.
type benchPlaces struct {
	Mediamtx string `name:"mediamtx" type:"existingfile" placeholder:"PATH" help:"Measure this program of MediaMTX too."`
	Go2rtc   string `name:"go2rtc" type:"existingfile" placeholder:"PATH" help:"Measure this program of go2rtc too."`
	Ffmpeg   string `name:"ffmpeg" type:"existingfile" placeholder:"PATH" help:"Measure this program of ffmpeg too."`
	Data     string `type:"path" placeholder:"DIR" help:"Where recordings are made, and removed (the system's directory for temporary files). tmpfs measures no disk."`
	Out      string `short:"o" type:"path" placeholder:"DIR" help:"Where to write WORK.json, WORK.md and plots."`
	Into     string `type:"existingfile" placeholder:"FILE" help:"Markdown document in which to replace what is between <!-- bench: WORK --> and <!-- bench end -->."`
}

// benchFlags are shared by all works.
type benchFlags struct {
	benchPlaces
	Rounds int           `default:"3" help:"How often everything is measured, in turns (${default})."`
	For    time.Duration `default:"10s" help:"How long each measurement takes (${default})."`
	Warm   time.Duration `default:"8s" help:"How long a system runs before it is measured (${default})."`
	Keep   bool          `help:"Leave recordings and logs there."`
}

func (f *benchFlags) options(a *app) (load.Options, error) {
	exe, err := os.Executable()
	if err != nil {
		return load.Options{}, fmt.Errorf("find this program: %w", err)
	}
	dir := f.Data
	if dir == "" {
		dir = os.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return load.Options{}, err
	}
	return load.Options{
		Exe: exe, Version: versionText(), Dir: dir, Keep: f.Keep, Rounds: f.Rounds, Warm: f.Warm, For: f.For,
		MediaMTX: f.Mediamtx, Go2RTC: f.Go2rtc, FFmpeg: f.Ffmpeg, Ports: load.NewPorts(), Log: progress(a.stderr),
	}, nil
}

// progress says what is being done: on a terminal in one line, which the next replaces.
func progress(w io.Writer) func(string, ...any) {
	f, ok := w.(*os.File)
	if ok && term.IsTerminal(int(f.Fd())) {
		return func(format string, args ...any) { _, _ = fmt.Fprintf(w, "\r\x1b[K"+format, args...) }
	}
	return func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
}

type benchRecordCmd struct {
	N       int      `short:"n" default:"100" help:"How many cameras (${default})."`
	Mbit    float64  `default:"4" help:"What each sends, in Mbit/s (${default})."`
	Codec   string   `default:"h264" help:"What they send: h264, h264b (with B-frames), h265 (${default})."`
	Vary    []string `sep:"none" placeholder:"WHAT=A,B" help:"Measure more loads, in which one thing is different: n=25,50 mbit=1,8 codec=h265 recorders=4 readers=1,2. Repeatable."`
	Log     int      `name:"log-seconds" default:"5" help:"What duet's proxy keeps in memory, in seconds (${default}); warm up for longer."`
	NoRelay bool     `help:"Leave the byte relay out."`
	Profile bool     `help:"Look where the time of the proxy and of a recorder goes: flame graphs and the hottest functions."`
	Grow    bool     `help:"Go on with more and more cameras until something is lost."`
	Others  int      `name:"other-rounds" help:"How many rounds the loads of --vary have (as many as the first)."`
	benchFlags
}

// Run measures and reports.
func (c *benchRecordCmd) Run(a *app) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	points, err := loads(load.Point{Cameras: c.N, Mbit: c.Mbit, Codec: c.Codec, Recorders: 2}, c.Vary)
	if err != nil {
		return err
	}
	ro := load.RecordOptions{Options: o, Points: points, LogSeconds: c.Log, NoRelay: c.NoRelay, Durable: 5 * time.Second, Grow: c.Grow, Profile: c.Profile, OtherRounds: c.Others}
	rep, err := load.Record(a.ctx, &ro)
	if err != nil {
		return err
	}
	return finish(a, &c.benchFlags, rep)
}

type benchLiveCmd struct {
	N       int      `short:"n" default:"64" help:"How many cameras (${default})."`
	Readers int      `short:"k" default:"2" help:"How many readers each has (${default})."`
	Mbit    float64  `default:"4" help:"What each sends, in Mbit/s (${default})."`
	Codec   string   `default:"h264" help:"What they send: h264, h264b (with B-frames), h265 (${default})."`
	Vary    []string `sep:"none" placeholder:"WHAT=A,B" help:"Measure more loads, in which one thing is different: n=16,32 readers=1,8 mbit=1,8 codec=h265. Repeatable."`
	Log     int      `name:"log-seconds" default:"5" help:"What duet's proxy keeps in memory, in seconds (${default})."`
	Others  int      `name:"other-rounds" help:"How many rounds the loads of --vary have (as many as the first)."`
	benchFlags
}

// Run measures and reports.
func (c *benchLiveCmd) Run(a *app) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	points, err := loads(load.Point{Cameras: c.N, Mbit: c.Mbit, Codec: c.Codec, Recorders: 2, Readers: c.Readers}, c.Vary)
	if err != nil {
		return err
	}
	rep, err := load.Live(a.ctx, &load.LiveOptions{Options: o, Points: points, LogSeconds: c.Log, OtherRounds: c.Others})
	if err != nil {
		return err
	}
	return finish(a, &c.benchFlags, rep)
}

type benchFailoverCmd struct {
	N    int           `short:"n" default:"4" help:"How many cameras (${default}), of all kinds."`
	Down time.Duration `default:"5s" help:"How long a fault lasts (${default})."`
	Only []string      `placeholder:"WORD" help:"Do only faults with this in their names. Repeatable."`
	benchFlags
}

// Run measures and reports.
func (c *benchFailoverCmd) Run(a *app) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	rep, err := load.Failover(a.ctx, &load.FailoverOptions{Options: o, Cameras: c.N, Down: c.Down, Only: c.Only})
	if err != nil {
		return err
	}
	return finish(a, &c.benchFlags, rep)
}

type benchPlaybackCmd struct {
	Days     int           `default:"30" help:"How many days of footage (${default})."`
	Fragment time.Duration `default:"2s" help:"How long fragments are (${default})."`
	Mbit     float64       `default:"4" help:"Bit rate of the footage, in Mbit/s (${default})."`
	Requests int           `default:"200" help:"How many timelines, and seeks, in a round (${default})."`
	Streams  int           `default:"8" help:"How many exports run at once (${default})."`
	Replays  int           `default:"32" help:"How many clients play recordings over RTSP at once (${default})."`
	Export   time.Duration `default:"5m" help:"How much footage is exported (${default})."`
	benchFlags
}

// Run measures and reports.
func (c *benchPlaybackCmd) Run(a *app) error {
	o, err := c.options(a)
	if err != nil {
		return err
	}
	rep, err := load.Playback(a.ctx, &load.PlaybackOptions{
		Options: o, Days: c.Days, Fragment: c.Fragment, Mbit: c.Mbit, Requests: c.Requests, Streams: c.Streams, Replays: c.Replays, Export: c.Export,
	})
	if err != nil {
		return err
	}
	return finish(a, &c.benchFlags, rep)
}

// loads returns p, and the loads that differ from it.
func loads(p load.Point, differ []string) ([]load.Point, error) {
	out := []load.Point{p}
	for _, v := range differ {
		more, err := vary(p, v)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// vary returns the loads that "n=25,50" asks for.
func vary(p load.Point, s string) ([]load.Point, error) {
	what, values, _ := strings.Cut(s, "=")
	var out []load.Point
	for v := range strings.SplitSeq(values, ",") {
		q := p
		var err error
		switch what {
		case "n":
			q.Cameras, err = strconv.Atoi(v)
		case "recorders":
			q.Recorders, err = strconv.Atoi(v)
		case "readers":
			q.Readers, err = strconv.Atoi(v)
		case "mbit":
			q.Mbit, err = strconv.ParseFloat(v, 64)
		case "codec":
			q.Codec = v
		default:
			return nil, usagef("--vary %s: want n, mbit, codec, recorders or readers", s)
		}
		if err != nil {
			return nil, usagef("--vary %s: %q is no number", s, v)
		}
		if q != p {
			out = append(out, q)
		}
	}
	return out, nil
}

// finish prints and writes a report, and fails when duet lost anything.
func finish(a *app, f *benchFlags, rep load.Report) error {
	if _, err := fmt.Fprint(a.stdout, "\n"+load.Markdown(rep)); err != nil {
		return err
	}
	if f.Out != "" {
		if err := os.MkdirAll(f.Out, 0o755); err != nil {
			return err
		}
		if err := load.Write(rep, f.Out); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.stderr, "Written to %s.\n", filepath.Join(f.Out, rep.Name()+".*")); err != nil {
			return err
		}
	}
	if f.Into != "" {
		if err := load.Insert(rep, f.Into); err != nil {
			return err
		}
	}
	return rep.Lossless()
}

package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// PlaybackOptions say what Playback measures.
type PlaybackOptions struct {
	Options
	// Days of footage on both recorders, in fragments of Fragment, of Mbit/s.
	Days     int
	Fragment time.Duration
	Mbit     float64
	// Replays is how many clients play recordings over RTSP at once.
	Replays int
	// Requests is how many timelines and seeks a round has, Streams how many exports run at
	// once, Export how long the footage of one is.
	Requests int
	Streams  int
	Export   time.Duration
}

// Answering is what one kind of request did in one round.
type Answering struct {
	What     string `json:"what"`
	Round    int    `json:"round"`
	Requests int    `json:"requests"`
	// First counts until the first byte of the body, Whole until the last.
	First Latency `json:"first_byte"`
	Whole Latency `json:"whole"`
	// Bytes of all answers, MBs of them a second; Stall is the longest that a stream stood
	// still, in milliseconds. Different counts answers that are not the bytes that they
	// should be, or that were broken off.
	Bytes     int64   `json:"bytes"`
	MBs       float64 `json:"mb_per_second"`
	Stall     float64 `json:"stall_ms"`
	Different int     `json:"different"`
	// CPU is what each role used, in seconds; Memory what it held at the end.
	CPU    map[string]float64 `json:"cpu_seconds"`
	Memory map[string]int64   `json:"memory"`
}

// stage is a site that plays an archive.
type stage struct {
	o    *PlaybackOptions
	b    *bed
	a    *archive
	http string
	rtsp string
	mtx  *mtxArchive // nil: not measured
	cat  string
	args map[string][]string

	procs map[string]*child
}

// Playback measures timelines, seeks and exports, with both recorders and without one.
func Playback(ctx context.Context, o *PlaybackOptions) (*PlaybackReport, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	switch {
	case o.Days < 1 || o.Days > 400:
		return nil, fmt.Errorf("bench: an archive of %d days: want 1 … 400", o.Days)
	case o.Fragment < time.Second || segmentLength%o.Fragment != 0 || genuine%o.Fragment != 0 || o.Fragment%time.Second != 0:
		return nil, fmt.Errorf("bench: fragments of %v: want whole seconds that divide a minute", o.Fragment)
	case o.Export < 10*time.Second || o.Export > 24*time.Hour || o.Streams < 1 || o.Requests < 10 || o.Replays < 1 || o.Replays > 1000:
		return nil, fmt.Errorf("bench: %d requests, %d exports of %v: want at least 10, 1 and 10s", o.Requests, o.Streams, o.Export)
	}
	rep := &PlaybackReport{
		Work: "playback", Started: time.Now(), Machine: machine(ctx, &o.Options),
		Days: o.Days, Fragment: o.Fragment.Seconds(), Mbit: o.Mbit, Export: o.Export.Seconds(), Streams: o.Streams,
	}
	s := &stage{o: o, args: map[string][]string{}, procs: map[string]*child{}}
	defer s.close()
	if err := s.open(ctx, rep); err != nil {
		return nil, err
	}
	for round := range o.Rounds {
		if err := s.round(ctx, round+1, rep); err != nil {
			return nil, err
		}
	}
	return rep, nil
}

// round measures everything once.
func (s *stage) round(ctx context.Context, round int, rep *PlaybackReport) error {
	rnd := rand.New(rand.NewPCG(uint64(round), 5)) //nolint:gosec // the same ones every time
	from, to := time.Unix(0, s.a.start), time.Unix(0, s.a.end())
	somewhere := func(length time.Duration) (time.Time, time.Time) {
		room := to.Sub(from) - length - time.Second
		at := from.Add(time.Duration(rnd.Int64N(int64(room))).Truncate(time.Millisecond))
		return at, at.Add(length)
	}
	path := func(what string, a, b time.Time) string {
		return s.http + "/v1/cameras/" + s.a.camera + "/" + what + rangeQuery(a, b)
	}
	all := func(n int, url func() string) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = url()
		}
		return out
	}
	day := 24 * time.Hour
	minute := func() string { a, b := somewhere(s.o.Export); return path("recording.mp4", a, b) }
	seek := func() string { a, b := somewhere(10 * time.Second); return path("recording.mp4", a, b) }
	type act struct {
		name string
		do   func(*Answering) error
	}
	timelines := func(name string, length time.Duration) act {
		return act{name, func(a *Answering) error {
			return s.oneByOne(ctx, a, all(s.o.Requests, func() string { x, y := somewhere(length); return path("timeline", x, y) }), true)
		}}
	}
	seeks := func(name string) act {
		return act{name, func(a *Answering) error { return s.oneByOne(ctx, a, all(s.o.Requests, seek), false) }}
	}
	exports := func(name string, n int) act {
		return act{name, func(a *Answering) error { return s.atOnce(ctx, a, all(n, minute)) }}
	}
	playlist := func(length time.Duration) func() string {
		return func() string { a, b := somewhere(length); return path("index.m3u8", a, b) }
	}
	begins := func(name string) act {
		return act{name, func(a *Answering) error { return s.beginHLS(ctx, a, all(s.o.Requests, playlist(time.Minute))) }}
	}
	acts := []act{
		timelines("timeline of everything", to.Sub(from)-2*time.Second),
		timelines("timeline of a day", min(day, to.Sub(from)/2)),
		seeks("seek"),
		begins("HLS: playlist, and with init header and first segment"),
		{"HLS: playlist of a day", func(a *Answering) error { return s.oneByOne(ctx, a, all(10, playlist(min(day, to.Sub(from)/2))), true) }},
		{"seek, progressive", func(a *Answering) error {
			return s.oneByOne(ctx, a, all(s.o.Requests, func() string { return seek() + "&layout=progressive" }), false)
		}},
		{"progressive export of an hour", func(a *Answering) error {
			x, y := somewhere(min(time.Hour, to.Sub(from)/2))
			return s.oneByOne(ctx, a, []string{path("recording.mp4", x, y) + "&layout=progressive"}, false)
		}},
		exports("export", 1),
		{"cat, as much", func(a *Answering) error { return s.atOnce(ctx, a, []string{s.catURL(rep.exported)}) }},
		exports(fmt.Sprintf("%d exports at once", s.o.Streams), s.o.Streams),
		{fmt.Sprintf("%d × cat at once", s.o.Streams), func(a *Answering) error {
			return s.atOnce(ctx, a, all(s.o.Streams, func() string { return s.catURL(rep.exported) }))
		}},
		{fmt.Sprintf("%d replays over RTSP", s.o.Replays), func(a *Answering) error {
			return s.replays(ctx, a, all(s.o.Replays, func() string { return s.replayURL(rnd) }))
		}},
	}
	if s.mtx != nil {
		span := s.mtx.end.Sub(s.mtx.start) - s.o.Export
		somewhere := func() time.Time { // not where one of its segments has ended and the next begins
			at := rnd.Int64N(int64(span))
			return s.mtx.start.Add(time.Duration(at).Truncate(segmentLength) + time.Duration(at%int64(segmentLength-20*time.Second)))
		}
		acts = append(acts,
			act{"MediaMTX: /list of everything", func(a *Answering) error { return s.oneByOne(ctx, a, all(3, s.mtx.list), true) }},
			act{"MediaMTX: seek, /get", func(a *Answering) error {
				return s.oneByOne(ctx, a, all(max(10, s.o.Requests/10), func() string { return s.mtx.get(somewhere(), 10*time.Second) }), false)
			}},
			act{"MediaMTX: export, /get", func(a *Answering) error {
				return s.atOnce(ctx, a, []string{s.mtx.get(somewhere().Truncate(segmentLength), s.o.Export)})
			}})
	}
	acts = append(acts, []act{
		{killedAct, func(a *Answering) error { return s.killed(ctx, a, all(s.o.Streams, minute)) }},
		seeks("seek, a recorder dead"),
		begins("HLS: playlist, and with init header and first segment, a recorder dead"),
		timelines("timeline of everything, a recorder dead", to.Sub(from)-2*time.Second),
	}...)
	for _, x := range acts {
		s.o.Log("playback: round %d of %d: %s", round, s.o.Rounds, x.name)
		a := &Answering{What: x.name, Round: round, CPU: map[string]float64{}, Memory: map[string]int64{}}
		if err := s.counted(a, x.do); err != nil {
			err = fmt.Errorf("playback, %s: %w", x.name, err)
			if server(x.name) != "mediamtx" || ctx.Err() != nil {
				return err
			}
			s.o.Log("%v", err)
			rep.Failed = append(rep.Failed, err.Error()) // a peer's failure is a result
			continue
		}
		if x.name == "export" {
			rep.exported = a.Bytes
		}
		rep.Runs = append(rep.Runs, *a)
	}
	return s.revive(ctx)
}

// killedAct is the one in which a recorder is killed.
const killedAct = "exports while a recorder is killed"

// counted does something and notes what processes used for it.
func (s *stage) counted(a *Answering, do func(*Answering) error) error {
	read := func() map[string]Usage {
		out := map[string]Usage{}
		for name, c := range s.procs {
			if u, err := c.usage(); err == nil { // a dead one counts for nothing
				out[name] = u
			}
		}
		return out
	}
	before := read()
	if err := do(a); err != nil {
		return err
	}
	for name, u := range read() {
		if b, ok := before[name]; ok {
			a.CPU[name] = u.since(b).CPU.Seconds()
			a.Memory[name] = u.Memory
		}
	}
	return nil
}

func (s *stage) catURL(bytes int64) string { return fmt.Sprintf("http://%s/?bytes=%d", s.cat, bytes) }

// open makes the archive and starts the site.
func (s *stage) open(ctx context.Context, rep *PlaybackReport) error {
	b, err := newDir(&s.o.Options)
	if err != nil {
		return err
	}
	s.b = b
	addr, err := b.ports.take(8)
	if err != nil {
		return err
	}
	s.http, s.cat, s.rtsp = "http://"+addr[5], addr[6], addr[7]
	config, err := b.write("duet.yaml", fmt.Sprintf(`cameras:
  - {name: c0, source: "rtsp://127.0.0.1:9/none"}
proxies:
  - {name: p1, link: %q, rtsp: %q, http: %q}
recorders:
  - {name: r1, role: primary, http: %q, data: %q}
  - {name: r2, role: redundant, http: %q, data: %q}
playback:
  - {name: v1, http: %q, rtsp: %q}
scrub: {off: true}
tls: {dir: %q}
`, addr[0], addr[1], addr[2], addr[3], filepath.Join(b.dir, "r1"), addr[4], filepath.Join(b.dir, "r2"), addr[5], addr[7], filepath.Join(b.dir, "tls")))
	if err != nil {
		return err
	}
	if err := certificates(b, config); err != nil {
		return err
	}
	for name, role := range map[string]string{"r1": "recorder", "r2": "recorder", "v1": "playback"} {
		s.args[name] = []string{role, "-c", config, "--name", name, "--log-level", "warn"}
	}
	s.o.Log("playback: making %d days of footage", s.o.Days)
	if s.a, err = newArchive("c0", s.o.Days, s.o.Mbit, s.o.Fragment, time.Now()); err != nil {
		return err
	}
	for _, r := range []string{"r1", "r2"} {
		if err := s.fill(ctx, r); err != nil {
			return err
		}
	}
	rep.Fragments = (s.a.windows-1)*len(s.a.template.refs) + len(s.a.tail.refs)
	rep.Segments = s.a.windows
	file := filepath.Join(b.dir, "cat.bin")
	if err := os.WriteFile(file, s.a.template.file, 0o600); err != nil {
		return err
	}
	s.args["cat"] = []string{"bench-role", "cat", "--listen", s.cat, "--file", file}
	s.a.template.file, s.a.tail.file = nil, nil
	for _, name := range []string{"r1", "r2", "v1", "cat"} {
		if err := s.start(name); err != nil {
			return err
		}
	}
	if err := s.openMTX(ctx); err != nil {
		return err
	}
	return s.ready(ctx)
}

// openMTX makes the archive of MediaMTX, where that is to be measured.
func (s *stage) openMTX(ctx context.Context) error {
	if s.o.MediaMTX == "" {
		return nil
	}
	dir, err := s.b.mkdir("mtx")
	if err != nil {
		return err
	}
	if s.mtx, err = newMTXArchive(ctx, &s.o.Options, dir, s.o.Days, s.o.Mbit, time.Now()); err != nil {
		return err
	}
	c, err := s.mtx.serve(ctx, s.b)
	if c != nil {
		s.procs["mediamtx"] = c
	}
	return err
}

// fill lets a recorder begin its data directory and puts the archive there.
func (s *stage) fill(ctx context.Context, name string) error {
	if err := s.start(name); err != nil {
		return err
	}
	dir := filepath.Join(s.b.dir, name)
	err := children{s.procs[name]}.wait(ctx, readyLimit, "recorder "+name+" begins its directory", func() error {
		if err := begun(dir); err != nil {
			return err
		}
		_, err := os.Stat(filepath.Join(dir, ".duet", "index"))
		return err
	})
	if err != nil {
		return err
	}
	s.procs[name].stop()
	delete(s.procs, name)
	if err := s.a.store(ctx, dir); err != nil {
		return fmt.Errorf("fill the archive of %s: %w", name, err)
	}
	return nil
}

func (s *stage) start(name string) error {
	c, err := start(s.b.dir, name, s.o.Exe, s.args[name]...)
	if err == nil {
		s.procs[name] = c
	}
	return err
}

// ready waits until playback has both recorders' footage.
func (s *stage) ready(ctx context.Context) error {
	var cs children
	for _, c := range s.procs {
		cs = append(cs, c)
	}
	return cs.wait(ctx, readyLimit, "playback has the archive of both recorders", func() error {
		end := time.Unix(0, s.a.end())
		if err := twice(ctx, s.http, s.a.camera, time.Unix(0, s.a.start), end); err != nil {
			return err
		}
		return reachable(ctx, s.cat)
	})
}

// revive starts the recorder that was killed.
func (s *stage) revive(ctx context.Context) error {
	if err := s.start("r1"); err != nil {
		return err
	}
	return s.ready(ctx)
}

func (s *stage) close() {
	for _, c := range s.procs {
		c.stop()
	}
	if s.b != nil {
		s.b.close()
	}
}

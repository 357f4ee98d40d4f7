package load

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// LiveOptions say what Live measures.
type LiveOptions struct {
	Options
	// Points are the loads; Readers of them is how many read each camera. The first is
	// measured in every round, the others in so many of them (0: all).
	Points      []Point
	OtherRounds int
	// LogSeconds is what duet's proxy keeps of each camera in memory.
	LogSeconds int
}

// Watching is one measurement of live readers.
type Watching struct {
	System   string  `json:"system"`
	Round    int     `json:"round"`
	Point    Point   `json:"point"`
	Seconds  float64 `json:"seconds"`
	Cores    float64 `json:"cores"`
	Syscalls float64 `json:"syscalls"`
	Switches float64 `json:"switches"`
	Memory   int64   `json:"memory"`
	Reading  Reading `json:"reading"`
	// Expected is how many access units all readers together should have got.
	Expected  int64 `json:"expected"`
	LateUnits int   `json:"late_units"`
}

// direct is no system at all: readers read the cameras.
type direct struct{ base }

func (*direct) name() string { return "none" }

func (d *direct) start(_ context.Context, b *bed) error {
	d.rtsp = b.cameras
	return nil
}

// go2rtc is one process of go2rtc, which pulls a camera when somebody reads it.
type go2rtc struct {
	base
	path string
}

func (*go2rtc) name() string { return "go2rtc" }

func (g *go2rtc) start(ctx context.Context, b *bed) error {
	addr, err := b.ports.take(1)
	if err != nil {
		return err
	}
	g.rtsp = addr[0]
	var y strings.Builder
	fmt.Fprintf(&y, "api: {listen: \"\"}\nrtsp: {listen: %q}\nwebrtc: {listen: \"\"}\nsrtp: {listen: \"\"}\nlog: {level: warn}\nstreams:\n", addr[0])
	for i := range b.p.Cameras {
		fmt.Fprintf(&y, "  c%d: %q\n", i, b.url(i))
	}
	config, err := b.write("go2rtc.yaml", y.String())
	if err != nil {
		return err
	}
	if err := g.procs.start(b.dir, "proxy", g.path, "-config", config); err != nil {
		return err
	}
	return g.procs.wait(ctx, readyLimit, "go2rtc listens", func() error { return reachable(ctx, g.rtsp) })
}

// Live measures live readers.
func Live(ctx context.Context, o *LiveOptions) (*LiveReport, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	rep := &LiveReport{Work: "live", Started: time.Now(), Machine: machine(ctx, &o.Options), Warm: o.Warm.Seconds(), For: o.For.Seconds()}
	for i := range o.Points {
		if err := o.Points[i].validate(); err != nil {
			return nil, err
		}
		if o.Points[i].Readers == 0 {
			return nil, fmt.Errorf("bench: no readers")
		}
	}
	for round := range o.Rounds {
		for i, p := range o.Points {
			if i > 0 && o.OtherRounds > 0 && round >= o.OtherRounds {
				continue
			}
			for _, s := range o.systems() {
				o.Log("live: round %d of %d, %s: %s", round+1, o.Rounds, p, s.name())
				w, err := o.run(ctx, p, s)
				if err != nil {
					err = fmt.Errorf("live %s with %s: %w", p, s.name(), err)
					if s.name() == "duet" || ctx.Err() != nil {
						return nil, err
					}
					o.Log("%v", err)
					rep.Failed = append(rep.Failed, err.Error()) // a peer's failure is a result
					continue
				}
				w.Round = round + 1
				rep.Runs = append(rep.Runs, *w)
			}
		}
	}
	return rep, nil
}

func (o *LiveOptions) systems() []system {
	out := []system{&direct{}, &duet{seconds: o.LogSeconds, proxyOnly: true}}
	if o.Go2RTC != "" {
		out = append(out, &go2rtc{path: o.Go2RTC})
	}
	if o.MediaMTX != "" {
		out = append(out, &mediamtx{path: o.MediaMTX, noDisk: true})
	}
	return out
}

func (o *LiveOptions) run(ctx context.Context, p Point, s system) (*Watching, error) {
	b, end, err := begin(ctx, &o.Options, p, s)
	if err != nil {
		return nil, err
	}
	defer end()
	rd, err := b.startReaders(ctx, s)
	if err != nil {
		return nil, err
	}
	defer rd.procs.stop()
	if err := sleep(ctx, o.Warm); err != nil {
		return nil, err
	}
	w := &Watching{System: s.name(), Point: p}
	before, err := s.processes().usage()
	if err != nil {
		return nil, err
	}
	first, err := b.states(ctx)
	if err != nil {
		return nil, err
	}
	if err := rd.reset(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := sleep(ctx, o.For); err != nil {
		return nil, err
	}
	after, err := s.processes().usage()
	if err != nil {
		return nil, err
	}
	w.Seconds = time.Since(began).Seconds()
	if w.Reading, err = rd.reading(ctx); err != nil {
		return nil, err
	}
	last, err := b.states(ctx)
	if err != nil {
		return nil, err
	}
	for i := range first {
		w.Expected += int64(last[i].Number-first[i].Number) * int64(p.Readers)
		w.LateUnits += int(last[i].Lost - first[i].Lost)
	}
	for name, u := range after {
		u = u.since(before[name])
		w.Cores += u.CPU.Seconds() / w.Seconds
		w.Syscalls += float64(u.Syscalls) / w.Seconds
		w.Switches += float64(u.Switches) / w.Seconds
		w.Memory += u.Memory
	}
	return w, nil
}

// readerProcess is a process of live readers.
type readerProcess struct {
	procs   children
	control string
}

// startReaders starts Point.Readers readers of each camera and waits until all play.
func (b *bed) startReaders(ctx context.Context, s system) (*readerProcess, error) {
	var urls []string
	for i := range b.p.Cameras {
		for range b.p.Readers {
			urls = append(urls, s.live(i))
		}
	}
	return b.watch(ctx, urls, b.p.Codec != "h264", s.processes())
}

// watch starts a process of readers and waits until all play; serving are the processes
// that must not end meanwhile.
func (b *bed) watch(ctx context.Context, urls []string, reordered bool, serving children) (*readerProcess, error) {
	addr, err := b.ports.take(1)
	if err != nil {
		return nil, err
	}
	r := &readerProcess{control: addr[0]}
	list, err := b.write("readers.txt", strings.Join(urls, "\n"))
	if err != nil {
		return nil, err
	}
	args := []string{"bench-role", "readers", "--urls", list, "--control", r.control}
	if reordered {
		args = append(args, "--reordered")
	}
	if err := r.procs.start(b.dir, "readers", b.o.Exe, args...); err != nil {
		return nil, err
	}
	all := append(slices.Clone(serving), r.procs...)
	err = all.wait(ctx, readyLimit, "every reader plays", func() error {
		seen, err := r.reading(ctx)
		if err == nil && seen.Readers < len(urls) {
			err = fmt.Errorf("%d readers of %d", seen.Readers, len(urls))
		}
		return err
	})
	if err != nil {
		r.procs.stop()
	}
	return r, err
}

func (r *readerProcess) reading(ctx context.Context) (Reading, error) {
	var seen Reading
	return seen, getJSON(ctx, "http://"+r.control+"/readers", &seen)
}

// reset makes it begin to count anew.
func (r *readerProcess) reset(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.control+"/reset", http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

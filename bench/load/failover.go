package load

import (
	"bufio"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

// FailoverOptions say what Failover does.
type FailoverOptions struct {
	Options
	// Cameras of package camsim, of all kinds.
	Cameras int
	// Down is how long a fault lasts.
	Down time.Duration
	// Only names the faults; nil: all.
	Only []string
}

// Outage is what one fault did.
type Outage struct {
	Fault string  `json:"fault"`
	Round int     `json:"round"`
	Down  float64 `json:"down_seconds"`
	// Alarm is how long it took until the site said that something is wrong, and Said
	// what it said first; negative: it was over before anybody was told.
	Alarm float64 `json:"alarm_seconds"`
	Said  string  `json:"said"`
	// Twice is how long after the end of the fault all that was sent until then was on
	// two recorders, as far as it is on any.
	Twice float64 `json:"twice_seconds"`
	// Sent counts the access units of all cameras around the fault, Lost those that no
	// recorder has, which a gap says; Hidden those that are missing without one. Wrong
	// counts access units that are repeated, reordered, altered or never sent.
	Sent   int     `json:"sent"`
	Lost   int     `json:"lost"`
	Hidden int     `json:"hidden"`
	Wrong  int     `json:"wrong"`
	Gap    float64 `json:"gap_seconds"` // the longest of a camera
}

// fault is what can be done to a site.
type fault struct {
	name      string
	begin     func(*theatre) error
	end       func(*theatre) error
	loses     bool // footage that nobody sent to a recorder is lost
	unnoticed bool // it may be over before it is noticed
	brief     bool // it lasts half a second, whatever was asked for
	least     time.Duration
}

// faults are all of them, in the order in which they come.
func faults() []fault {
	nothing := func(*theatre) error { return nil }
	return []fault{
		{name: "recorder killed", begin: func(t *theatre) error { t.procs["r1"].kill(); return nil }, end: func(t *theatre) error { return t.startNode("r1") }},
		{
			name: "recorder stopped", begin: func(t *theatre) error { t.procs["r1"].signal(syscall.SIGSTOP); return nil },
			end: func(t *theatre) error { t.procs["r1"].signal(syscall.SIGCONT); return nil },
		},
		{
			// Nobody closes a connection: what is left are time limits.
			name: "link to a recorder cut", least: 8 * time.Second, begin: func(t *theatre) error { t.path.block(); return nil },
			end: func(t *theatre) error { t.path.unblock(); return nil },
		},
		{
			name: "camera drops the connection for 0.5 s", loses: true, unnoticed: true, brief: true,
			begin: func(t *theatre) error { t.sim.Cameras()[0].Drop(500 * time.Millisecond); return nil }, end: nothing,
		},
		{
			name: "camera silent", loses: true, least: silence,
			begin: func(t *theatre) error { t.sim.Cameras()[0].Stall(silence); return nil }, end: nothing,
		},
		{name: "proxy killed", loses: true, begin: func(t *theatre) error { t.procs["p1"].kill(); return nil }, end: func(t *theatre) error { return t.startNode("p1") }},
	}
}

// silence is longer than a proxy waits for a packet before it begins a new session.
const silence = 8 * time.Second

// theatre is a site to which faults are done.
type theatre struct {
	o     *FailoverOptions
	b     *bed
	sim   *camsim.Sim
	path  *forward // between the proxy and the recorder r1
	http  string   // of playback
	args  map[string][]string
	procs map[string]*child
}

// Failover does faults to a site of its own and looks at what they cost.
func Failover(ctx context.Context, o *FailoverOptions) (*FailoverReport, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Cameras < 1 || o.Cameras > 64 || o.Down < 500*time.Millisecond {
		return nil, fmt.Errorf("bench: %d cameras, faults of %v: want 1 … 64 cameras and at least 500ms", o.Cameras, o.Down)
	}
	rep := &FailoverReport{Work: "failover", Started: time.Now(), Machine: machine(ctx, &o.Options), Cameras: o.Cameras}
	t := &theatre{o: o, procs: map[string]*child{}, args: map[string][]string{}}
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer cancel() // the path has no other reason to end
		defer t.close()
		if err := t.open(ctx); err != nil {
			return err
		}
		group.Go(func() error { return t.path.run(ctx) })
		return t.play(ctx, rep)
	})
	return rep, group.Wait()
}

func (t *theatre) play(ctx context.Context, rep *FailoverReport) error {
	for _, n := range []string{"r1", "r2", "p1", "v1"} {
		if err := t.startNode(n); err != nil {
			return err
		}
	}
	for round := range t.o.Rounds {
		for _, f := range faults() {
			if !t.o.wants(f.name) {
				continue
			}
			t.o.Log("failover: round %d of %d: %s", round+1, t.o.Rounds, f.name)
			out, err := t.fault(ctx, &f)
			if err != nil {
				return fmt.Errorf("failover, %s: %w", f.name, err)
			}
			out.Round = round + 1
			rep.Runs = append(rep.Runs, *out)
		}
	}
	return nil
}

func (o *FailoverOptions) wants(name string) bool {
	for _, w := range o.Only {
		if strings.Contains(name, w) {
			return true
		}
	}
	return len(o.Only) == 0
}

// open prepares everything but the nodes.
func (t *theatre) open(ctx context.Context) error {
	b, err := newDir(&t.o.Options)
	if err != nil {
		return err
	}
	t.b = b
	ledgers, err := b.mkdir("ledgers")
	if err != nil {
		return err
	}
	t.sim, err = camsim.New(camsim.Options{LedgerDir: ledgers, Cameras: camsim.DefaultCameras(t.o.Cameras), Log: zerolog.Nop()})
	if err != nil {
		return err
	}
	addr, err := b.ports.take(7)
	if err != nil {
		return err
	}
	if t.path, err = newForward(addr[6], addr[0]); err != nil {
		return err
	}
	t.http = "http://" + addr[5]
	text := func(link string) string {
		var y strings.Builder
		y.WriteString("cameras:\n")
		for _, c := range t.sim.Cameras() {
			fmt.Fprintf(&y, "  - {name: %s, source: %q}\n", c.Name, c.URL)
		}
		fmt.Fprintf(&y, "proxies:\n  - {name: p1, link: %q, rtsp: %q, http: %q}\nrecorders:\n", link, addr[1], addr[2])
		fmt.Fprintf(&y, "  - {name: r1, role: primary, http: %q, data: %q}\n", addr[3], filepath.Join(b.dir, "r1"))
		fmt.Fprintf(&y, "  - {name: r2, role: redundant, http: %q, data: %q}\n", addr[4], filepath.Join(b.dir, "r2"))
		fmt.Fprintf(&y, "playback:\n  - {name: v1, http: %q}\ntls: {dir: %q}\n", addr[5], filepath.Join(b.dir, "tls"))
		return y.String()
	}
	config, err := b.write("duet.yaml", text(addr[0]))
	if err != nil {
		return err
	}
	far, err := b.write("duet-r1.yaml", text(addr[6]))
	if err != nil {
		return err
	}
	if err := certificates(b, config); err != nil {
		return err
	}
	for name, role := range map[string]string{"p1": "proxy", "r1": "recorder", "r2": "recorder", "v1": "playback"} {
		file := config
		if name == "r1" {
			file = far
		}
		t.args[name] = []string{role, "-c", file, "--name", name, "--log-level", "warn"}
	}
	return ctx.Err()
}

func (t *theatre) startNode(name string) error {
	c, err := start(t.b.dir, name, t.o.Exe, t.args[name]...)
	if err == nil {
		t.procs[name] = c
	}
	return err
}

func (t *theatre) close() {
	for _, n := range []string{"v1", "p1", "r2", "r1"} {
		if c := t.procs[n]; c != nil {
			c.signal(syscall.SIGCONT)
			c.stop()
		}
	}
	if t.sim != nil {
		_ = t.sim.Close() // they are not needed any more
	}
	if t.b != nil {
		t.b.close()
	}
}

func (t *theatre) all() children {
	var out children
	for _, c := range t.procs {
		out = append(out, c)
	}
	return out
}

// calm waits until the site says that all is well.
func (t *theatre) calm(ctx context.Context) error {
	return t.all().wait(ctx, readyLimit, "the site says that all is well", func() error {
		what, err := trouble(ctx, t.http)
		if err == nil && what != "" {
			err = fmt.Errorf("%s", what)
		}
		return err
	})
}

// before and after are how much around a fault is looked at. A camera's clock and ours
// are read at different times: what is nearer to an end than tolerance is not judged.
const (
	before    = 3 * time.Second
	after     = 2 * time.Second
	tolerance = 400 * time.Millisecond
)

// fault does one and looks at what it did.
func (t *theatre) fault(ctx context.Context, f *fault) (*Outage, error) {
	if err := t.calm(ctx); err != nil {
		return nil, err
	}
	if err := sleep(ctx, before); err != nil {
		return nil, err
	}
	from := time.Now().Add(-before)
	out := &Outage{Fault: f.name, Alarm: -1}
	down := max(t.o.Down, f.least)
	if f.brief {
		down = 500 * time.Millisecond
	}
	began := time.Now()
	if err := f.begin(t); err != nil {
		return nil, err
	}
	for time.Since(began) < down || f.unnoticed && out.Alarm < 0 && time.Since(began) < 2*time.Second {
		if out.Alarm < 0 {
			what, err := trouble(ctx, t.http)
			if err == nil && what != "" {
				out.Alarm, out.Said = time.Since(began).Seconds(), what
			}
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	if err := f.end(t); err != nil {
		return nil, err
	}
	healed := time.Now()
	if f.brief {
		healed = began.Add(down)
	}
	out.Down = healed.Sub(began).Seconds()
	to := healed.Add(after)
	err := t.all().wait(ctx, 3*readyLimit, "everything is on two recorders again", func() error {
		for _, c := range t.sim.Cameras() {
			if err := twice(ctx, t.http, c.Name, from, healed); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.Twice = time.Since(healed).Seconds()
	err = t.all().wait(ctx, readyLimit, "what came after the fault is recorded", func() error {
		for _, c := range t.sim.Cameras() {
			if err := twice(ctx, t.http, c.Name, healed, to); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, c := range t.sim.Cameras() {
		if err := t.compare(ctx, c, from, to, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// compare exports a camera and compares it with its ledger.
func (t *theatre) compare(ctx context.Context, c *camsim.Camera, from, to time.Time, out *Outage) error {
	var tl timelineAnswer
	if err := getJSON(ctx, t.http+"/v1/cameras/"+c.Name+"/timeline"+rangeQuery(from, to), &tl); err != nil {
		return err
	}
	o := ledger.Options{FromNS: from.UnixNano(), ToNS: to.UnixNano(), Tolerance: tolerance}
	gap := time.Duration(0)
	for _, g := range tl.Gaps {
		o.Gaps = append(o.Gaps, ledger.Gap{StartNS: g.Start.UnixNano(), EndNS: g.End.UnixNano(), Cause: g.Cause})
		gap += g.End.Sub(g.Start)
	}
	out.Gap = max(out.Gap, gap.Seconds())
	l, err := ledger.ReadFile(c.Ledger)
	if err != nil {
		return err
	}
	body, err := get(ctx, t.http+"/v1/cameras/"+c.Name+"/recording.mp4"+rangeQuery(from, to))
	if err != nil {
		return err
	}
	defer body.Close()
	units, err := ledger.FromMP4(bufio.NewReaderSize(body, 1<<20), &l.Header, from.UnixNano())
	if err != nil {
		return fmt.Errorf("read the export of %s: %w", c.Name, err)
	}
	r := ledger.Check(l, units, o)
	for i := range r.Tracks {
		out.Sent += r.Tracks[i].Matched + r.Tracks[i].InGaps
		out.Lost += r.Tracks[i].InGaps
	}
	out.Hidden += r.Count(ledger.Missing)
	out.Sent += r.Count(ledger.Missing)
	for _, k := range []ledger.Kind{ledger.Extra, ledger.Repeated, ledger.Reordered, ledger.Altered, ledger.Outside, ledger.Phantom} {
		out.Wrong += r.Count(k)
	}
	return nil
}

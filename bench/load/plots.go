package load

import (
	"fmt"
	"slices"
	"strings"
)

// drawings collects plots.
type drawings struct {
	out map[string][]byte
	err error
}

func (d *drawings) add(name string, b []byte, err error) {
	if d.out == nil {
		d.out = map[string][]byte{}
	}
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("plot %s: %w", name, err)
	}
	d.out[name] = b
}

// axis is something in which loads differ.
type axis struct {
	name, label string
	value       func(*Point) float64
	without     func(Point) Point // the load without it
}

func axes() []axis {
	return []axis{
		{"cameras", "cameras", func(p *Point) float64 { return float64(p.Cameras) }, func(p Point) Point { p.Cameras = 0; return p }},
		{"mbit", "Mbit/s of each camera", func(p *Point) float64 { return p.Mbit }, func(p Point) Point { p.Mbit = 0; return p }},
		{"recorders", "recorders of the site", func(p *Point) float64 { return float64(p.Recorders) }, func(p Point) Point { p.Recorders = 0; return p }},
		{"readers", "live readers of each camera", func(p *Point) float64 { return float64(p.Readers) }, func(p Point) Point { p.Readers = 0; return p }},
	}
}

// along returns the loads that differ from the first in nothing but the axis, sorted.
func (a *axis) along(points []Point) []Point {
	var out []Point
	for _, p := range points {
		if a.without(p) == a.without(points[0]) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(p, q Point) int {
		switch x, y := a.value(&p), a.value(&q); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return out
}

// Plots implements Report.
func (r *RecordReport) Plots() (map[string][]byte, error) {
	var d drawings
	points := r.points()
	if len(points) == 0 {
		return nil, nil
	}
	first := points[0]
	names := r.systems(first)
	proxy, rest := series{name: "proxy"}, series{name: "both recorders"}
	for _, n := range names {
		runs := r.of(first, n)
		proxy.values = append(proxy.values, over(runs, func(m *Recording) float64 { return m.proxy().Cores }))
		rest.values = append(rest.values, over(runs, func(m *Recording) float64 { return m.Cores - m.proxy().Cores }))
	}
	b, err := bars("Recording "+first.String()+" twice", "cores", names, []series{proxy, rest})
	d.add("record-cores", b, err)
	for role, tree := range r.profiled() {
		name, _, _ := strings.Cut(role, " ")
		d.add("record-flame-"+name, tree.SVG("duet "+name+", "+first.String()), nil)
	}
	for _, a := range axes() {
		along := a.along(points)
		if len(along) < 2 {
			continue
		}
		var xs []float64
		list := make([]series, len(names))
		per := make([]series, len(names))
		for i, n := range names {
			list[i].name, per[i].name = n, n
		}
		for _, p := range along {
			xs = append(xs, a.value(&p))
			for i, n := range names {
				list[i].values = append(list[i].values, over(r.of(p, n), func(m *Recording) float64 { return m.Cores }))
				per[i].values = append(per[i].values, over(r.of(p, n), func(m *Recording) float64 { return m.perCamera() }))
			}
		}
		b, err := lines("Recording twice, by "+a.label, a.label, "cores", xs, list)
		d.add("record-by-"+a.name, b, err)
		if a.name == "cameras" {
			b, err := lines("Processor time of one camera", a.label, "thousandths of a core", xs, per)
			d.add("record-per-camera", b, err)
		}
	}
	return d.out, d.err
}

// Plots implements Report.
func (r *LiveReport) Plots() (map[string][]byte, error) {
	var d drawings
	points := r.points()
	if len(points) == 0 {
		return nil, nil
	}
	first := points[0]
	var names, serving []string
	var latencies []Latency
	cores := series{}
	for _, n := range r.systems() {
		runs := r.of(first, n)
		names = append(names, n)
		latencies = append(latencies, medianLatency(runs))
		if c := over(runs, func(w *Watching) float64 { return w.Cores }); c.Max > 0 {
			serving = append(serving, n)
			cores.values = append(cores.values, c)
		}
	}
	b, err := bars("Live: "+first.String(), "cores", serving, []series{cores})
	d.add("live-cores", b, err)
	b, err = quantiles("Live: from the camera's write to the reader", names, latencies)
	d.add("live-latency", b, err)
	for _, a := range axes() {
		along := a.along(points)
		if len(along) < 2 {
			continue
		}
		var xs []float64
		list := make([]series, len(serving))
		for _, p := range along {
			xs = append(xs, a.value(&p))
			for i, n := range serving {
				list[i].name = n
				list[i].values = append(list[i].values, over(r.of(p, n), func(w *Watching) float64 { return w.Cores }))
			}
		}
		b, err := lines("Live, by "+a.label, a.label, "cores", xs, list)
		d.add("live-by-"+a.name, b, err)
	}
	return d.out, d.err
}

// medianLatency takes the median of each quantile.
func medianLatency(runs []Watching) Latency {
	at := func(f func(*Latency) float64) float64 {
		return over(runs, func(w *Watching) float64 { return f(&w.Reading.Latency) }).Median
	}
	return Latency{
		P50: at(func(l *Latency) float64 { return l.P50 }), P90: at(func(l *Latency) float64 { return l.P90 }),
		P99: at(func(l *Latency) float64 { return l.P99 }), P999: at(func(l *Latency) float64 { return l.P999 }),
		Max: at(func(l *Latency) float64 { return l.Max }),
	}
}

// Plots implements Report.
func (r *FailoverReport) Plots() (map[string][]byte, error) {
	var d drawings
	names := distinct(r.Runs, func(o *Outage) string { return o.Fault })
	if len(names) == 0 {
		return nil, nil
	}
	gap, alarm, twice := series{name: "footage lost"}, series{name: "until it is said"}, series{name: "until there are two copies, after its end"}
	for _, n := range names {
		var runs []Outage
		for j := range r.Runs {
			if r.Runs[j].Fault == n {
				runs = append(runs, r.Runs[j])
			}
		}
		gap.values = append(gap.values, over(runs, func(o *Outage) float64 { return o.Gap }))
		alarm.values = append(alarm.values, over(runs, func(o *Outage) float64 { return max(o.Alarm, 0) }))
		twice.values = append(twice.values, over(runs, func(o *Outage) float64 { return o.Twice }))
	}
	b, err := bars("Faults", "seconds", wrapAll(names), []series{gap, alarm, twice})
	d.add("failover", b, err)
	return d.out, d.err
}

// Plots implements Report.
func (r *PlaybackReport) Plots() (map[string][]byte, error) {
	var d drawings
	var speeds, first []Spread
	var fast, asked []string
	for _, what := range distinct(r.Runs, func(a *Answering) string { return a.What }) {
		runs := r.of(what)
		if runs[0].Bytes/int64(max(runs[0].Requests, 1)) > 1<<20 {
			fast = append(fast, what)
			speeds = append(speeds, over(runs, func(a *Answering) float64 { return a.MBs }))
		} else {
			asked = append(asked, what)
			first = append(first, over(runs, func(a *Answering) float64 { return a.First.P99 }))
		}
	}
	if len(fast) == 0 || len(asked) == 0 {
		return nil, nil
	}
	b, err := ranked("Speed", "MB/s", fast, speeds)
	d.add("playback-speed", b, err)
	b, err = ranked("Time until the first byte, p99", "ms", asked, first)
	d.add("playback-first-byte", b, err)
	return d.out, d.err
}

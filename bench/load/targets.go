package load

import (
	"fmt"
	"time"
)

// targets are what issue and design ask for, and what was measured.
type targets struct{ table }

func newTargets() *targets {
	return &targets{table{head: []string{"what is to be reached", "bound", "measured", ""}}}
}

// most adds something that must not be over a bound.
func (t *targets) most(what string, bound, have float64, format string) {
	t.row(what, "≤ "+fmt.Sprintf(format, bound), fmt.Sprintf(format, have), have <= bound)
}

// least adds something that must not be under a bound.
func (t *targets) least(what string, bound, have float64, format string) {
	t.row(what, "≥ "+fmt.Sprintf(format, bound), fmt.Sprintf(format, have), have >= bound)
}

func (t *targets) row(what, bound, have string, ok bool) {
	verdict := "**missed**"
	if ok {
		verdict = "reached"
	}
	t.add(what, bound, have, verdict)
}

func (t *targets) String() string {
	if len(t.rows) == 0 {
		return ""
	}
	return "\n" + t.table.String()
}

// What is to be reached. A GOP of package source is a second, and so is sync.interval by default.
const (
	mostOfMediaMTX  = 0.5
	mostOfRelay     = 1.3
	mostGrowth      = 1.15
	growthFrom      = 25 // cameras
	durableWithin   = 2200 * time.Millisecond
	memoryAside     = 256e3 // bytes for each camera
	memoryCameras   = 100   // for so many; where that was not measured, for the first load
	liveWithin      = 10 * time.Millisecond
	timelineWithin  = 10 * time.Millisecond
	firstByteWithin = 20 * time.Millisecond
	leastOfCat      = 0.6
)

// targets compares the measurements with what is to be reached.
func (r *RecordReport) targets() string {
	t := newTargets()
	lost := 0
	for i := range r.Runs {
		if m := &r.Runs[i]; m.System == "duet" && !m.Beyond {
			lost += m.Losses.Missing + m.Losses.Repeated + m.Losses.Reordered + m.LateUnits + m.Marked
		}
	}
	t.most("access units and records that are lost", 0, float64(lost), "%.0f")
	points := r.points()
	if len(points) == 0 {
		return ""
	}
	cameras := axes()[0]
	along := cameras.along(points)
	for _, p := range along {
		for _, peer := range []struct {
			name  string
			bound float64
		}{{"mediamtx", mostOfMediaMTX}, {"relay", mostOfRelay}} {
			theirs := r.of(p, peer.name)
			if len(theirs) == 0 {
				continue
			}
			what := fmt.Sprintf("%s: processor time of duet over that of %s", p, peer.name)
			missing := 0
			for i := range theirs {
				missing += theirs[i].Losses.Missing + theirs[i].LateUnits
			}
			if missing > 0 { // who drops what it should write is cheap
				t.add(what, "≤ "+f2(peer.bound), f2(r.ratio(p, peer.name).Median), fmt.Sprintf("not comparable: %s lost %d access units", peer.name, missing))
				continue
			}
			t.most(what, peer.bound, r.ratio(p, peer.name).Median, "%.2f")
		}
	}
	r.growth(t, along)
	first := r.of(points[0], "duet")
	if d := durable(first); d.Count > 0 {
		t.most("captured to durable, p99: GOP + sync + 200 ms", float64(durableWithin.Milliseconds()), d.P99, "%.0f ms")
	}
	r.memory(t, points[0], along)
	n := float64(points[0].Cameras)
	perSecond := points[0].Mbit * 1e6 / 8
	t.most("memory of a recorder for each camera: 2 fragments of a GOP + 256 KB", 2*perSecond+memoryAside,
		over(first, func(m *Recording) float64 { return float64(m.Memory-m.proxy().Memory) / 2 }).Median/n, "%.0f bytes")
	return t.String()
}

// memory is that of the proxy. What a process needs without cameras is shared by them, so it
// is told for how many they are. Its log holds log.seconds, and the rest of the fragment
// that began before: fragments leave it whole, because a recorder goes on where one begins.
func (r *RecordReport) memory(t *targets, first Point, along []Point) {
	p := first
	for _, o := range along {
		if o.Cameras == memoryCameras {
			p = o
		}
	}
	const gop = 1 // second
	t.most(fmt.Sprintf("%s: memory of the proxy for each camera: log.seconds + a GOP + 256 KB", p),
		float64(r.LogSeconds+gop)*p.Mbit*1e6/8+memoryAside,
		over(r.of(p, "duet"), func(m *Recording) float64 { return float64(m.proxy().Memory) }).Median/float64(p.Cameras), "%.0f bytes")
}

// growth compares the largest load with that of 25 cameras.
func (r *RecordReport) growth(t *targets, along []Point) {
	at := map[int]float64{}
	largest := 0
	for _, p := range along {
		runs := r.of(p, "duet")
		if len(runs) == 0 || runs[0].Beyond {
			continue
		}
		at[p.Cameras] = over(runs, func(m *Recording) float64 { return m.perCamera() }).Median
		largest = max(largest, p.Cameras)
	}
	if base := at[growthFrom]; base > 0 && largest > growthFrom {
		t.most(fmt.Sprintf("processor time of a camera among %d over that among %d", largest, growthFrom), mostGrowth, at[largest]/base, "%.2f")
	}
}

// durable is the median of what each run has seen.
func durable(runs []Recording) Latency {
	var l []Latency
	for i := range runs {
		if runs[i].Durable != nil && runs[i].Durable.Count > 0 {
			l = append(l, *runs[i].Durable)
		}
	}
	at := func(f func(*Latency) float64) float64 { return over(l, f).Median }
	return Latency{
		Count: int64(len(l)), P50: at(func(l *Latency) float64 { return l.P50 }), P90: at(func(l *Latency) float64 { return l.P90 }),
		P99: at(func(l *Latency) float64 { return l.P99 }), P999: at(func(l *Latency) float64 { return l.P999 }), Max: at(func(l *Latency) float64 { return l.Max }),
	}
}

func (r *LiveReport) targets() string {
	t := newTargets()
	points := r.points()
	if len(points) == 0 {
		return ""
	}
	p := points[0]
	if len(r.of(p, "go2rtc")) > 0 {
		t.most(fmt.Sprintf("%s: processor time of duet over that of go2rtc", p), 1, r.ratio(p, "go2rtc").Median, "%.2f")
	}
	added := medianLatency(r.of(p, "duet")).P99 - medianLatency(r.of(p, "none")).P99
	t.most("added latency, p99: over that of readers of the cameras", float64(liveWithin.Milliseconds()), added, "%.2f ms")
	faults := 0.0
	for i := range r.Runs {
		if w := &r.Runs[i]; w.System == "duet" {
			faults += float64(w.Reading.faults())
		}
	}
	t.most("faults of order, framing, timing; losses", 0, faults, "%.0f")
	return t.String()
}

func (r *FailoverReport) targets() string {
	t := newTargets()
	for _, name := range distinct(r.Runs, func(o *Outage) string { return o.Fault }) {
		lost, hidden := 0.0, 0.0
		loses := false
		for _, f := range faults() {
			loses = loses || f.name == name && f.loses
		}
		for i := range r.Runs {
			if o := &r.Runs[i]; o.Fault == name {
				lost += float64(o.Lost)
				hidden += float64(o.Hidden + o.Wrong)
			}
		}
		if !loses {
			t.most(name+": access units lost", 0, lost, "%.0f")
		}
		t.most(name+": access units missing without a gap, or wrong", 0, hidden, "%.0f")
	}
	return t.String()
}

func (r *PlaybackReport) targets() string {
	t := newTargets()
	p99 := func(what string, f func(*Answering) float64, bound time.Duration) {
		if runs := r.of(what); len(runs) > 0 {
			t.most(what+", p99", float64(bound.Milliseconds()), over(runs, f).Median, "%.2f ms")
		}
	}
	p99("timeline of everything", func(a *Answering) float64 { return a.Whole.P99 }, timelineWithin)
	p99("seek", func(a *Answering) float64 { return a.First.P99 }, firstByteWithin)
	if ratio := r.ratio("export", "cat, as much"); ratio.Median > 0 {
		t.least("speed of an export over that of cat", leastOfCat, ratio.Median, "%.2f")
	}
	wrong := 0.0
	for i := range r.Runs {
		wrong += float64(r.Runs[i].Different)
	}
	t.most("answers that are broken off or have other bytes", 0, wrong, "%.0f")
	return t.String()
}

package load

import (
	"fmt"
	"time"
)

// LiveReport is what Live found.
type LiveReport struct {
	Work    string     `json:"work"`
	Started time.Time  `json:"started"`
	Machine Machine    `json:"machine"`
	Warm    float64    `json:"warm_seconds"`
	For     float64    `json:"seconds"`
	Runs    []Watching `json:"runs"`
	// Failed says which peers did not even begin, and why.
	Failed []string `json:"failed,omitempty"`
}

// Name implements Report.
func (*LiveReport) Name() string { return "live" }

// Where implements Report.
func (r *LiveReport) Where() (time.Time, *Machine) { return r.Started, &r.Machine }

// Lossless implements Report.
func (r *LiveReport) Lossless() error {
	for i := range r.Runs {
		w := &r.Runs[i]
		if w.System == "duet" && (w.Reading.faults() > 0 || w.LateUnits > 0) {
			return fmt.Errorf("bench: live, round %d, %s: readers lack %d access units, %d are broken; %d reordered, %d of wrong framing, %d of wrong timestamps, %d readers closed; %d not read from cameras",
				w.Round, w.Point, w.Reading.Missing, w.Reading.Broken, w.Reading.Reordered, w.Reading.Framing, w.Reading.Stamps, w.Reading.Ended, w.LateUnits)
		}
	}
	return nil
}

func (r *LiveReport) points() []Point {
	return distinct(r.Runs, func(w *Watching) Point { return w.Point })
}

func (r *LiveReport) of(p Point, name string) []Watching {
	var out []Watching
	for i := range r.Runs {
		if w := &r.Runs[i]; w.Point == p && w.System == name {
			out = append(out, *w)
		}
	}
	return out
}

func (r *LiveReport) systems() []string {
	return distinct(r.Runs, func(w *Watching) string { return w.System })
}

// ratio returns duet's processor time over a peer's, round by round.
func (r *LiveReport) ratio(p Point, peer string) Spread {
	return ratios(r.of(p, "duet"), r.of(p, peer), func(w *Watching) (int, float64) { return w.Round, w.Cores })
}

// Tables implements Report.
func (r *LiveReport) Tables() string {
	t := table{head: []string{"load", "system", "cores", "least … most", "duet : it", "latency p50", "p99", "p99.9", "most", "memory", "reads and writes /s", "switches /s", "faults"}}
	for _, p := range r.points() {
		for _, name := range r.systems() {
			runs := r.of(p, name)
			if len(runs) == 0 {
				continue
			}
			cores := over(runs, func(w *Watching) float64 { return w.Cores })
			ratio := ""
			if name != "duet" && cores.Median > 0 {
				ratio = f2(r.ratio(p, name).Median)
			}
			var faults int64
			for i := range runs {
				faults += runs[i].Reading.faults() + int64(runs[i].LateUnits)
			}
			ms := func(f func(*Latency) float64) string {
				return f2(over(runs, func(w *Watching) float64 { return f(&w.Reading.Latency) }).Median) + " ms"
			}
			t.add(p.String(), name, f3(cores.Median), f3(cores.Min)+" … "+f3(cores.Max), ratio,
				ms(func(l *Latency) float64 { return l.P50 }), ms(func(l *Latency) float64 { return l.P99 }),
				ms(func(l *Latency) float64 { return l.P999 }), ms(func(l *Latency) float64 { return l.Max }),
				mega(over(runs, func(w *Watching) float64 { return float64(w.Memory) }).Median),
				f0(over(runs, func(w *Watching) float64 { return w.Syscalls }).Median),
				f0(over(runs, func(w *Watching) float64 { return w.Switches }).Median), fmt.Sprint(faults))
		}
	}
	return t.String() + failed(r.Failed) + r.targets()
}

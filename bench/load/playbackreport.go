package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// PlaybackReport is what Playback found.
type PlaybackReport struct {
	Work      string      `json:"work"`
	Started   time.Time   `json:"started"`
	Machine   Machine     `json:"machine"`
	Days      int         `json:"days"`
	Fragment  float64     `json:"fragment_seconds"`
	Fragments int         `json:"fragments"` // on each recorder
	Segments  int         `json:"segments"`
	Mbit      float64     `json:"mbit"`
	Export    float64     `json:"export_seconds"`
	Streams   int         `json:"streams"`
	Runs      []Answering `json:"runs"`

	// Failed says which requests a peer did not answer, and why.
	Failed []string `json:"failed,omitempty"`

	exported int64 // bytes of one export
}

// Name implements Report.
func (*PlaybackReport) Name() string { return "playback" }

// Where implements Report.
func (r *PlaybackReport) Where() (time.Time, *Machine) { return r.Started, &r.Machine }

// Lossless implements Report.
func (r *PlaybackReport) Lossless() error {
	for i := range r.Runs {
		if a := &r.Runs[i]; a.Different > 0 {
			return fmt.Errorf("bench: playback, round %d, %s: %d of %d answers are not what they should be", a.Round, a.What, a.Different, a.Requests)
		}
	}
	return nil
}

func (r *PlaybackReport) of(what string) []Answering {
	var out []Answering
	for i := range r.Runs {
		if r.Runs[i].What == what {
			out = append(out, r.Runs[i])
		}
	}
	return out
}

// ratio returns the speed of one kind of request over another's, round by round.
func (r *PlaybackReport) ratio(what, to string) Spread {
	return ratios(r.of(what), r.of(to), func(a *Answering) (int, float64) { return a.Round, a.MBs })
}

// Tables implements Report.
func (r *PlaybackReport) Tables() string {
	t := table{head: []string{"request", "of them", "first byte p50", "p99", "whole p50", "p99", "MB/s", "longest stall", "processor time", "memory of the server", "wrong"}}
	for _, what := range distinct(r.Runs, func(a *Answering) string { return a.What }) {
		runs := r.of(what)
		ms := func(f func(*Answering) float64) string { return f2(over(runs, f).Median) + " ms" }
		wrong, n := 0, 0
		for i := range runs {
			wrong += runs[i].Different
			n += runs[i].Requests
		}
		speed, stall := "", ""
		if runs[0].Bytes/int64(max(runs[0].Requests, 1)) > 1<<20 {
			s := over(runs, func(a *Answering) float64 { return a.MBs })
			speed = fmt.Sprintf("%.0f (%.0f … %.0f)", s.Median, s.Min, s.Max)
			stall = f0(over(runs, func(a *Answering) float64 { return a.Stall }).Max) + " ms"
		}
		t.add(what, fmt.Sprint(n), ms(func(a *Answering) float64 { return a.First.P50 }), ms(func(a *Answering) float64 { return a.First.P99 }),
			ms(func(a *Answering) float64 { return a.Whole.P50 }), ms(func(a *Answering) float64 { return a.Whole.P99 }),
			speed, stall, usedBy(runs), mega(over(runs, func(a *Answering) float64 { return float64(a.Memory[server(what)]) }).Max), fmt.Sprint(wrong))
	}
	one, many := r.ratio("export", "cat, as much"), r.ratio(fmt.Sprintf("%d exports at once", r.Streams), fmt.Sprintf("%d × cat at once", r.Streams))
	return fmt.Sprintf("%d days of a camera of %g Mbit/s: %d fragments of %g s in %d segments, on each of two recorders; exports of %g s.\n\n%s\nSpeed over that of cat: one export %.2f, %d at once %.2f.\n",
		r.Days, r.Mbit, r.Fragments, r.Fragment, r.Segments, r.Export, t.String(), one.Median, r.Streams, many.Median) + failed(r.Failed) + r.targets()
}

// usedBy says what each process used, of those that used anything.
func usedBy(runs []Answering) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(runs[0].CPU)) {
		if s := over(runs, func(a *Answering) float64 { return a.CPU[name] }).Median; s >= 0.01 {
			out = append(out, fmt.Sprintf("%s %.2f s", name, s))
		}
	}
	return strings.Join(out, ", ")
}

// server returns the process that answers a kind of request.
func server(what string) string {
	switch {
	case strings.HasPrefix(what, "MediaMTX"):
		return "mediamtx"
	case strings.Contains(what, "cat"):
		return "cat"
	}
	return "v1"
}

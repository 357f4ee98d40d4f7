package load

import (
	"fmt"
	"time"
)

// FailoverReport is what Failover found.
type FailoverReport struct {
	Work    string    `json:"work"`
	Started time.Time `json:"started"`
	Machine Machine   `json:"machine"`
	Cameras int       `json:"cameras"`
	Runs    []Outage  `json:"runs"`
}

// Name implements Report.
func (*FailoverReport) Name() string { return "failover" }

// Where implements Report.
func (r *FailoverReport) Where() (time.Time, *Machine) { return r.Started, &r.Machine }

// Lossless implements Report: a fault of a recorder or of its link costs nothing, and
// whatever is lost is in a gap.
func (r *FailoverReport) Lossless() error {
	for i := range r.Runs {
		out := &r.Runs[i]
		loses := false
		for _, f := range faults() {
			loses = loses || f.name == out.Fault && f.loses
		}
		if out.Hidden > 0 || out.Wrong > 0 || out.Lost > 0 && !loses {
			return fmt.Errorf("bench: failover, round %d, %s: %d access units lost, %d missing without a gap, %d wrong, of %d",
				out.Round, out.Fault, out.Lost, out.Hidden, out.Wrong, out.Sent)
		}
	}
	return nil
}

// Tables implements Report.
func (r *FailoverReport) Tables() string {
	t := table{head: []string{"fault", "lasted", "access units lost", "of", "gap", "missing without a gap", "alarm after", "said first", "two copies of everything, after its end"}}
	for _, name := range distinct(r.Runs, func(o *Outage) string { return o.Fault }) {
		var runs []Outage
		for i := range r.Runs {
			if r.Runs[i].Fault == name {
				runs = append(runs, r.Runs[i])
			}
		}
		med := func(f func(*Outage) float64) float64 { return over(runs, f).Median }
		alarm := "over before"
		if a := med(func(o *Outage) float64 { return o.Alarm }); a >= 0 {
			alarm = f2(a) + " s"
		}
		twice := over(runs, func(o *Outage) float64 { return o.Twice })
		t.add(name, f2(med(func(o *Outage) float64 { return o.Down }))+" s", f0(med(func(o *Outage) float64 { return float64(o.Lost) })),
			f0(med(func(o *Outage) float64 { return float64(o.Sent) })), f2(med(func(o *Outage) float64 { return o.Gap }))+" s",
			f0(over(runs, func(o *Outage) float64 { return float64(o.Hidden + o.Wrong) }).Max), alarm, runs[0].Said,
			fmt.Sprintf("%.1f s (%.1f … %.1f)", twice.Median, twice.Min, twice.Max))
	}
	return t.String() + r.targets()
}

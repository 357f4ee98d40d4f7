package load

import (
	"fmt"
	"time"
)

// RecordReport is what Record found.
type RecordReport struct {
	Work       string      `json:"work"`
	Started    time.Time   `json:"started"`
	Machine    Machine     `json:"machine"`
	Warm       float64     `json:"warm_seconds"`
	For        float64     `json:"seconds"`
	LogSeconds int         `json:"log_seconds"`
	Runs       []Recording `json:"runs"`
	// Failed says which peers did not even begin, and why.
	Failed []string `json:"failed,omitempty"`
}

// Lossless implements Report.
func (r *RecordReport) Lossless() error {
	for i := range r.Runs {
		if m := &r.Runs[i]; m.System == "duet" && !m.Beyond && !m.lossless() {
			return fmt.Errorf("bench: round %d, %s: %d access units missing of %d (%d on both recorders), %d repeated, %d reordered; %d not read from cameras; %d records marked as lost",
				m.Round, m.Point, m.Losses.Missing, 2*m.Losses.Sent, m.Losses.Everywhere, m.Losses.Repeated, m.Losses.Reordered, m.LateUnits, m.Marked)
		}
	}
	return nil
}

func (r *RecordReport) points() []Point {
	return distinct(r.Runs, func(m *Recording) Point { return m.Point })
}

// systems returns the names of those that were measured at a load.
func (r *RecordReport) systems(p Point) []string {
	var out []string
	for _, name := range distinct(r.Runs, func(m *Recording) string { return m.System }) {
		if len(r.of(p, name)) > 0 {
			out = append(out, name)
		}
	}
	return out
}

func (r *RecordReport) of(p Point, name string) []Recording {
	var out []Recording
	for i := range r.Runs {
		if m := &r.Runs[i]; m.Point == p && m.System == name {
			out = append(out, *m)
		}
	}
	return out
}

// ratio returns duet's processor time over a peer's, round by round.
func (r *RecordReport) ratio(p Point, peer string) Spread {
	return ratios(r.of(p, "duet"), r.of(p, peer), func(m *Recording) (int, float64) { return m.Round, m.Cores })
}

// Tables implements Report.
func (r *RecordReport) Tables() string {
	t := table{head: []string{"load", "system", "cores", "least … most", "proxy", "recorders", "cores per Gbit/s", "duet : it", "memory", "reads and writes /s", "switches /s", "lost"}}
	for _, p := range r.points() {
		for _, name := range r.systems(p) {
			runs := r.of(p, name)
			cores := over(runs, func(m *Recording) float64 { return m.Cores })
			ratio := ""
			if name != "duet" {
				ratio = fmt.Sprintf("%.2f", r.ratio(p, name).Median)
			}
			lost := 0
			for i := range runs {
				lost += runs[i].Losses.Missing + runs[i].LateUnits
			}
			var calls, switches float64
			calls = over(runs, func(m *Recording) float64 { return sumRoles(m, func(u *RoleUsage) float64 { return u.Syscalls }) }).Median
			switches = over(runs, func(m *Recording) float64 { return sumRoles(m, func(u *RoleUsage) float64 { return u.Switches }) }).Median
			t.add(p.String(), name, f3(cores.Median), f3(cores.Min)+" … "+f3(cores.Max),
				f3(over(runs, func(m *Recording) float64 { return m.proxy().Cores }).Median),
				f3(over(runs, func(m *Recording) float64 { return m.Cores - m.proxy().Cores }).Median),
				f2(over(runs, func(m *Recording) float64 { return m.Cores / m.Gbit }).Median), ratio,
				mega(over(runs, func(m *Recording) float64 { return float64(m.Memory) }).Median),
				f0(calls), f0(switches), fmt.Sprint(lost))
		}
	}
	out := t.String() + r.largest()
	d := table{head: []string{"load", "captured to durable: p50", "p90", "p99", "p99.9", "most"}}
	for _, p := range r.points() {
		var list []Latency
		for _, m := range r.of(p, "duet") {
			if m.Durable != nil && m.Durable.Count > 0 {
				list = append(list, *m.Durable)
			}
		}
		if len(list) == 0 {
			continue
		}
		ms := func(f func(*Latency) float64) string { return f0(over(list, f).Median) + " ms" }
		d.add(p.String(), ms(func(l *Latency) float64 { return l.P50 }), ms(func(l *Latency) float64 { return l.P90 }),
			ms(func(l *Latency) float64 { return l.P99 }), ms(func(l *Latency) float64 { return l.P999 }), ms(func(l *Latency) float64 { return l.Max }))
	}
	if len(d.rows) > 0 {
		out += "\n" + d.String()
	}
	return out + failed(r.Failed) + r.targets() + r.planning() + r.hottest()
}

func sumRoles(m *Recording, f func(*RoleUsage) float64) float64 {
	total := 0.0
	for i := range m.Roles {
		total += f(&m.Roles[i])
	}
	return total
}

// Name implements Report.
func (*RecordReport) Name() string { return "record" }

// Where implements Report.
func (r *RecordReport) Where() (time.Time, *Machine) { return r.Started, &r.Machine }

// largest says what the largest load was that duet lost nothing of; "" unless more was tried.
func (r *RecordReport) largest() string {
	var best, beyond *Recording
	for i := range r.Runs {
		switch m := &r.Runs[i]; {
		case m.System != "duet":
		case m.Beyond:
			beyond = m
		case best == nil || m.Point.Cameras > best.Point.Cameras:
			best = m
		}
	}
	if beyond == nil || best == nil {
		return ""
	}
	return fmt.Sprintf("\nThe most cameras of %g Mbit/s without a loss: %d, with %.2f cores (%.0f cameras for a core). With %d: %d access units missing of %d, %d on both recorders; %d not read from cameras; %d records marked as lost.\n",
		best.Point.Mbit, best.Point.Cameras, best.Cores, float64(best.Point.Cameras)/best.Cores,
		beyond.Point.Cameras, beyond.Losses.Missing, 2*beyond.Losses.Sent, beyond.Losses.Everywhere, beyond.LateUnits, beyond.Marked)
}

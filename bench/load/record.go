package load

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/duet-video/duet/bench/flame"
)

// RecordOptions say what Record measures.
type RecordOptions struct {
	Options
	// Points are the loads: the first is measured with every system in every round, the
	// others in so many of them (0: all).
	Points      []Point
	OtherRounds int
	// Grow goes on from the first load with more and more cameras, duet alone, until it
	// loses something.
	Grow bool
	// Profile looks where duet's time goes, after the first load was measured in the
	// last round.
	Profile bool
	// LogSeconds is what duet's proxy keeps of each camera in memory.
	LogSeconds int
	// NoRelay leaves the byte relay out.
	NoRelay bool
	// Durable is how long it is watched when footage becomes durable, after the rest was
	// measured, because asking costs the proxy something.
	Durable time.Duration
}

// RoleUsage is what one process of a system (or all of a kind) used while it was measured.
type RoleUsage struct {
	Role string `json:"role"`
	// Cores is processor time over time. Syscalls and switches are per second, memory in bytes.
	Cores    float64 `json:"cores"`
	Syscalls float64 `json:"syscalls"`
	Switches float64 `json:"switches"`
	Memory   int64   `json:"memory"`
	DiskMB   float64 `json:"disk_mb"` // a second
}

// Recording is one measurement.
type Recording struct {
	System  string      `json:"system"`
	Round   int         `json:"round"`
	Point   Point       `json:"point"`
	Seconds float64     `json:"seconds"`
	Gbit    float64     `json:"gbit"` // that the cameras sent, a second
	Roles   []RoleUsage `json:"roles"`
	Cores   float64     `json:"cores"`  // of all roles
	Memory  int64       `json:"memory"` // of all roles
	Losses  Losses      `json:"losses"`
	// LateUnits counts access units that the cameras could not send, because the system
	// did not read them.
	LateUnits int `json:"late_units"`
	// Marked counts records that duet says it has lost.
	Marked  int      `json:"marked"`
	Durable *Latency `json:"durable,omitempty"`
	// Cameras is what the simulated cameras themselves used, in cores.
	Cameras float64 `json:"cameras_cores"`
	// Beyond: it was to be found out what is too much.
	Beyond bool `json:"beyond,omitempty"`

	profiles map[string]*flame.Node // by role
}

func (r *Recording) proxy() *RoleUsage {
	for i := range r.Roles {
		if r.Roles[i].Role == "proxy" {
			return &r.Roles[i]
		}
	}
	return &RoleUsage{}
}

// perCamera is in millicores.
func (r *Recording) perCamera() float64 { return 1000 * r.Cores / float64(r.Point.Cameras) }

func (r *Recording) lossless() bool { return r.Losses.none() && r.LateUnits == 0 && r.Marked == 0 }

// settle is how long a system has, after it was measured, to write what was sent then.
const settle = 4 * time.Second

// Record measures recording every camera twice.
func Record(ctx context.Context, o *RecordOptions) (*RecordReport, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	rep := &RecordReport{Work: "record", Started: time.Now(), Machine: machine(ctx, &o.Options), Warm: o.Warm.Seconds(), For: o.For.Seconds(), LogSeconds: o.LogSeconds}
	for i := range o.Points {
		if err := o.Points[i].validate(); err != nil {
			return nil, err
		}
	}
	for round := range o.Rounds {
		for i, p := range o.Points {
			if i > 0 && o.OtherRounds > 0 && round >= o.OtherRounds {
				continue
			}
			for _, s := range o.systems(p, i == 0) {
				if d, ok := s.(*duet); ok {
					d.profile = o.Profile && i == 0 && round == o.Rounds-1
				}
				if err := o.once(ctx, rep, round+1, p, s); err != nil {
					return nil, err
				}
			}
		}
	}
	if o.Grow {
		return rep, o.grow(ctx, rep)
	}
	return rep, nil
}

// once measures one system with one load.
func (o *RecordOptions) once(ctx context.Context, rep *RecordReport, round int, p Point, s system) error {
	o.Log("record: round %d of %d, %s: %s", round, o.Rounds, p, s.name())
	r, err := o.run(ctx, p, s)
	if err != nil {
		err = fmt.Errorf("record %s with %s: %w", p, s.name(), err)
		if s.name() == "duet" || ctx.Err() != nil {
			return err
		}
		o.Log("%v", err)
		rep.Failed = append(rep.Failed, err.Error()) // a peer's failure is a result
		return nil
	}
	r.Round = round
	rep.Runs = append(rep.Runs, *r)
	o.Log("record: round %d of %d, %s: %s: %.3f cores, %d lost", round, o.Rounds, p, s.name(), r.Cores, r.Losses.Missing)
	return nil
}

// grow adds a third of the cameras again and again.
func (o *RecordOptions) grow(ctx context.Context, rep *RecordReport) error {
	p := o.Points[0]
	for p.Cameras < 5000 {
		p.Cameras += max(1, p.Cameras/3)
		err := o.once(ctx, rep, 1, p, &duet{seconds: o.LogSeconds})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil { // it did not even get that far
			o.Log("record: %v", err)
			return nil
		}
		last := &rep.Runs[len(rep.Runs)-1]
		if last.Beyond = !last.lossless(); last.Beyond {
			return nil
		}
	}
	return nil
}

// systems returns new ones, for one point of a round. Peers have two recorders and no
// readers here; ffmpeg, which needs two processes for each camera, has the first load alone.
func (o *RecordOptions) systems(p Point, first bool) []system {
	out := []system{&duet{seconds: o.LogSeconds}}
	if p.Recorders > 2 || p.Readers > 0 {
		return out
	}
	if !o.NoRelay {
		out = append(out, &floor{}, &floor{secure: true})
	}
	if o.MediaMTX != "" {
		out = append(out, &mediamtx{path: o.MediaMTX})
	}
	if o.FFmpeg != "" && first {
		out = append(out, &ffmpeg{path: o.FFmpeg})
	}
	return out
}

func (o *RecordOptions) run(ctx context.Context, p Point, s system) (*Recording, error) {
	b, end, err := begin(ctx, &o.Options, p, s)
	if err != nil {
		return nil, err
	}
	defer end()
	if p.Readers > 0 {
		rd, err := b.startReaders(ctx, s)
		if err != nil {
			return nil, err
		}
		defer rd.procs.stop()
	}
	if err := sleep(ctx, o.Warm); err != nil {
		return nil, err
	}
	r := &Recording{System: s.name(), Point: p}
	w, err := o.measure(ctx, b, s, r)
	if err != nil {
		return nil, err
	}
	if d, ok := s.(*duet); ok && o.Durable > 0 {
		if r.Durable, err = watchDurable(ctx, d, o.Durable); err != nil {
			return nil, err
		}
	}
	if d, ok := s.(*duet); ok && d.profile {
		if r.profiles, err = profiles(ctx, d, o.For); err != nil {
			return nil, err
		}
	}
	if err := sleep(ctx, settle); err != nil {
		return nil, err
	}
	if d, ok := s.(*duet); ok {
		if r.Marked, err = marked(ctx, d); err != nil {
			return nil, err
		}
	}
	s.processes().stop()
	r.Losses, err = w.count(s.recordings())
	return r, err
}

// measure fills in what was used in o.For.
func (o *RecordOptions) measure(ctx context.Context, b *bed, s system, r *Recording) (window, error) {
	first, err := b.states(ctx)
	if err != nil {
		return window{}, err
	}
	began := time.Now()
	before, err := s.processes().usage()
	if err != nil {
		return window{}, err
	}
	cams, err := b.sources.usage()
	if err != nil {
		return window{}, err
	}
	if err := sleep(ctx, o.For); err != nil {
		return window{}, err
	}
	after, err := s.processes().usage()
	if err != nil {
		return window{}, err
	}
	camsAfter, err := b.sources.usage()
	if err != nil {
		return window{}, err
	}
	r.Seconds = time.Since(began).Seconds()
	last, err := b.states(ctx)
	if err != nil {
		return window{}, err
	}
	for _, name := range rolesOf(s.processes()) {
		u := after[name].since(before[name])
		ru := RoleUsage{
			Role: name, Cores: u.CPU.Seconds() / r.Seconds, Syscalls: float64(u.Syscalls) / r.Seconds,
			Switches: float64(u.Switches) / r.Seconds, Memory: u.Memory, DiskMB: float64(u.Disk) / r.Seconds / 1e6,
		}
		r.Roles = append(r.Roles, ru)
		r.Cores += ru.Cores
		r.Memory += ru.Memory
	}
	r.Cameras = camsAfter["cameras"].since(cams["cameras"]).CPU.Seconds() / r.Seconds
	r.Gbit = float64(b.p.Cameras) * b.p.Mbit / 1000
	for i := range first {
		r.LateUnits += int(last[i].Lost - first[i].Lost)
	}
	return windowOf(first, last), nil
}

// rolesOf returns the roles, each once, the proxy first.
func rolesOf(cs children) []string {
	var out []string
	seen := map[string]bool{}
	for _, c := range cs {
		if !seen[c.role] {
			seen[c.role] = true
			if c.role == "proxy" {
				out = append([]string{c.role}, out...)
			} else {
				out = append(out, c.role)
			}
		}
	}
	return out
}

// marked asks duet's nodes what they have lost.
func marked(ctx context.Context, d *duet) (int, error) {
	m, err := scrape(ctx, d.http)
	if err != nil {
		return 0, err
	}
	n := sum(m, "duet_camera_packets_lost_total") + sum(m, "duet_copy_offsets_lost_total")
	for _, addr := range d.nodes {
		m, err := scrape(ctx, addr)
		if err != nil {
			return 0, err
		}
		n += sum(m, "duet_recorder_offsets_lost_total")
	}
	return int(n), nil
}

// watchDurable asks the proxy again and again how far each copy is durable, and since when.
// Each time that a copy has moved on, everything that it has moved over became durable at
// that instant: it counts as 25 access units a second.
func watchDurable(ctx context.Context, d *duet, during time.Duration) (*Latency, error) {
	const step = 40 * time.Millisecond // from one access unit to the next
	h := newHistogram()
	type copyOf struct{ camera, recorder string }
	at := map[copyOf]float64{} // the end of what was durable, in seconds
	until := time.Now().Add(during)
	for time.Now().Before(until) {
		asked := time.Now()
		m, err := scrape(ctx, d.http)
		if err != nil {
			return nil, err
		}
		now := float64(asked.UnixNano()) / 1e9
		acked := map[copyOf]float64{}
		for i := range m {
			if m[i].name == "duet_copy_ack_age_seconds" {
				acked[copyOf{m[i].label("camera"), m[i].label("recorder")}] = m[i].value
			}
		}
		for i := range m {
			if m[i].name != "duet_copy_durable_age_seconds" {
				continue
			}
			k := copyOf{m[i].label("camera"), m[i].label("recorder")}
			ack, ok := acked[k]
			if !ok {
				continue
			}
			end := now - m[i].value
			before, known := at[k]
			if known && end-before < 0.02 { // not more than two readings of the clock differ
				continue
			}
			at[k] = end
			if !known {
				continue
			}
			// The age when it was acknowledged, of the newest and of all before.
			newest := m[i].value - ack
			for back := 0.0; back < end-before-step.Seconds()/2; back += step.Seconds() {
				h.add(time.Duration(math.Max(newest+back, 0) * float64(time.Second)))
			}
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
	l := h.latency()
	return &l, nil
}

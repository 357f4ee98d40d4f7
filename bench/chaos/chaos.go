// Package chaos decides, from a seed, when which recorder is killed or stopped.
//
// A schedule is a pure function of its Options, so a seed reproduces it. It never asks
// for the impossible: whatever it does, at least one copy of every camera gets each
// record before the record leaves the proxy's log.
package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// Action is what happens to a recorder's process.
type Action string

// The actions. A recorder that was killed is started again by Restart; one that was
// stopped goes on by Cont, or is killed while it is stopped.
const (
	Kill    Action = "kill"    // SIGKILL
	Stop    Action = "stop"    // SIGSTOP
	Cont    Action = "cont"    // SIGCONT
	Restart Action = "restart" // the process is started anew
)

// Event is one action.
type Event struct {
	At       time.Duration // since the start of the schedule
	Recorder string
	Action   Action
}

func (e Event) String() string {
	return fmt.Sprintf("%7.3fs %s %s", e.At.Seconds(), e.Action, e.Recorder)
}

// Options bound a schedule.
type Options struct {
	Seed uint64
	// Nothing happens before Warmup, and every recorder runs again from Duration - Settle on.
	Duration, Warmup, Settle time.Duration
	// Copies names the recorders of each camera.
	Copies map[string][]string
	// Log is how long the proxy keeps a record (log.seconds); Margin of it is not used.
	Log, Margin time.Duration
	// Catchup bounds how long a recorder needs, once its process is started or goes on,
	// until it has everything that the log has. Lag bounds how old a record can be that it
	// has received and would lose if killed (sync.interval and the way).
	Catchup, Lag time.Duration
	// MinDown and MaxDown bound how long a recorder is down. With MaxDown + Catchup + Lag +
	// Margin ≤ Log no recorder misses anything even by itself.
	MinDown, MaxDown time.Duration
	// Interval is the mean time between the beginnings of faults.
	Interval time.Duration
	// BothDown asks for at least one time when all copies of a camera are down together.
	BothDown bool
}

// Defaults returns options for a site with these copies and a log of so many seconds: as
// much as fits.
func Defaults(seed uint64, duration, log time.Duration, copies map[string][]string) Options {
	return Options{
		Seed: seed, Duration: duration, Warmup: 5 * time.Second, Settle: 15 * time.Second, Copies: copies,
		Log: log, Margin: 3 * time.Second, Catchup: 4 * time.Second, Lag: 2 * time.Second,
		MinDown: 300 * time.Millisecond, MaxDown: max(time.Second, log-9*time.Second),
		Interval: 5 * time.Second, BothDown: true,
	}
}

// Down is a time for which a recorder does not work.
type Down struct {
	Recorder string
	From, To time.Duration
	// Stopped: it was stopped, not killed. KilledAt: it was stopped first and killed
	// then; 0 otherwise.
	Stopped  bool
	KilledAt time.Duration
}

// Schedule returns the events in the order of time.
func Schedule(o Options) ([]Event, error) {
	downs, err := plan(o)
	if err != nil {
		return nil, err
	}
	var events []Event
	for _, d := range downs {
		switch {
		case d.Stopped && d.KilledAt == 0:
			events = append(events, Event{d.From, d.Recorder, Stop}, Event{d.To, d.Recorder, Cont})
		case d.Stopped:
			events = append(events, Event{d.From, d.Recorder, Stop}, Event{d.KilledAt, d.Recorder, Kill},
				Event{d.To, d.Recorder, Restart})
		default:
			events = append(events, Event{d.From, d.Recorder, Kill}, Event{d.To, d.Recorder, Restart})
		}
	}
	slices.SortStableFunc(events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return events, nil
}

// Downs returns the times for which recorders are down, in the order of their beginnings.
func Downs(events []Event) []Down {
	var out []Down
	open := map[string]Down{}
	for _, e := range events {
		d := open[e.Recorder]
		switch e.Action {
		case Kill:
			if d.Stopped {
				d.KilledAt = e.At
			} else {
				d = Down{Recorder: e.Recorder, From: e.At}
			}
			open[e.Recorder] = d
		case Stop:
			open[e.Recorder] = Down{Recorder: e.Recorder, From: e.At, Stopped: true}
		case Cont, Restart:
			d.To = e.At
			out = append(out, d)
			delete(open, e.Recorder)
		}
	}
	slices.SortStableFunc(out, func(a, b Down) int { return cmp.Compare(a.From, b.From) })
	return out
}

func plan(o Options) ([]Down, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	rnd := rand.New(rand.NewPCG(o.Seed, 0xd0e7)) //nolint:gosec // repeatable on purpose
	cameras := slices.Sorted(maps.Keys(o.Copies))
	var downs []Down
	if o.BothDown {
		pair, err := o.bothDown(rnd, cameras)
		if err != nil {
			return nil, err
		}
		downs = pair
	}
	recorders := o.recorders()
	for at := o.Warmup; ; {
		at += time.Duration(rnd.ExpFloat64() * float64(o.Interval))
		if at >= o.Duration-o.Settle {
			break
		}
		// Several tries, so that a full schedule does not depend on the first draw.
		for range 8 {
			d := o.down(rnd, recorders[rnd.IntN(len(recorders))], at)
			if next := append(slices.Clone(downs), d); o.allowed(next) {
				downs = next
				break
			}
		}
	}
	return downs, nil
}

func (o *Options) validate() error {
	switch {
	case len(o.Copies) == 0:
		return errors.New("chaos: no cameras")
	case o.MinDown <= 0 || o.MaxDown < o.MinDown || o.Interval <= 0:
		return errors.New("chaos: want 0 < MinDown ≤ MaxDown and an Interval")
	case o.Warmup+o.MinDown+o.Settle > o.Duration:
		return fmt.Errorf("chaos: %s are too short for a warm-up of %s and %s to settle", o.Duration, o.Warmup, o.Settle)
	case o.budget() <= 0:
		return fmt.Errorf("chaos: a log of %s leaves nothing beside a margin of %s", o.Log, o.Margin)
	}
	for c, r := range o.Copies {
		if len(r) == 0 {
			return fmt.Errorf("chaos: camera %s has no recorder", c)
		}
	}
	return nil
}

// budget is how long no copy of a camera may have what is in the log.
func (o *Options) budget() time.Duration { return o.Log - o.Margin }

func (o *Options) recorders() []string {
	set := map[string]bool{}
	for _, list := range o.Copies {
		for _, r := range list {
			set[r] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func (o *Options) length(rnd *rand.Rand, longest time.Duration) time.Duration {
	return o.MinDown + time.Duration(rnd.Int64N(int64(max(longest-o.MinDown, 0))+1))
}

// down draws a fault of a recorder that begins at at.
func (o *Options) down(rnd *rand.Rand, recorder string, at time.Duration) Down {
	d := Down{Recorder: recorder, From: at, To: at + o.length(rnd, o.MaxDown)}
	switch rnd.IntN(5) {
	case 0, 1:
		d.Stopped = true
	case 2:
		d.Stopped = true
		d.KilledAt = d.From + (d.To-d.From)/2
	}
	return d
}

// bothDown draws a time at which all copies of a camera are down, one shortly after the other.
func (o *Options) bothDown(rnd *rand.Rand, cameras []string) ([]Down, error) {
	room := o.budget() - o.Catchup - o.Lag
	if room < 2*o.MinDown {
		return nil, fmt.Errorf("chaos: a log of %s is too short for all copies of a camera to be down", o.Log)
	}
	for range 1000 {
		copies := slices.Clone(o.Copies[cameras[rnd.IntN(len(cameras))]])
		rnd.Shuffle(len(copies), func(i, j int) { copies[i], copies[j] = copies[j], copies[i] })
		at := o.Warmup + time.Duration(rnd.Int64N(int64(o.Duration-o.Settle-o.Warmup)))
		var downs []Down
		for i, r := range copies {
			d := o.down(rnd, r, at+time.Duration(i)*o.MinDown/2)
			d.To = max(d.To, at+time.Duration(len(copies))*o.MinDown)
			if d.KilledAt != 0 {
				d.KilledAt = d.From + (d.To-d.From)/2
			}
			downs = append(downs, d)
		}
		if o.allowed(downs) {
			return downs, nil
		}
	}
	return nil, errors.New("chaos: no time was found for all copies of a camera to be down")
}

// allowed reports whether the recorders can do what is asked of them.
func (o *Options) allowed(downs []Down) bool {
	byRecorder := map[string][]Down{}
	for _, d := range downs {
		if d.From < o.Warmup || d.To > o.Duration-o.Settle {
			return false
		}
		byRecorder[d.Recorder] = append(byRecorder[d.Recorder], d)
	}
	for _, list := range byRecorder {
		slices.SortFunc(list, func(a, b Down) int { return cmp.Compare(a.From, b.From) })
		for i := 1; i < len(list); i++ {
			// It must at least have been up in between.
			if list[i].From < list[i-1].To+o.MinDown {
				return false
			}
		}
	}
	for _, copies := range o.Copies {
		if o.uncovered(byRecorder, copies) > o.budget() {
			return false
		}
	}
	return true
}

// uncovered returns the longest time for which no copy is known to have everything that
// is in the log: from Lag before it goes down until Catchup after it works again.
func (o *Options) uncovered(downs map[string][]Down, copies []string) time.Duration {
	// The times at which a copy is not to be relied on, of the first copy; then what is
	// left of them where the next one is not to be relied on either.
	var both []span
	for i, r := range copies {
		var list []span
		for _, d := range downs[r] {
			s := span{d.From - o.Lag, d.To + o.Catchup}
			if n := len(list); n > 0 && list[n-1].to >= s.from {
				list[n-1].to = s.to
				continue
			}
			list = append(list, s)
		}
		if i == 0 {
			both = list
		} else {
			both = intersect(both, list)
		}
	}
	longest := time.Duration(0)
	for _, s := range both {
		longest = max(longest, s.to-s.from)
	}
	return longest
}

type span struct{ from, to time.Duration }

// intersect returns what two sorted lists of disjoint spans have in common.
func intersect(a, b []span) []span {
	var out []span
	for len(a) > 0 && len(b) > 0 {
		s := span{max(a[0].from, b[0].from), min(a[0].to, b[0].to)}
		if s.from < s.to {
			out = append(out, s)
		}
		if a[0].to < b[0].to {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

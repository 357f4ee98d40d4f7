package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// outage is a recorder that is away for a while.
type outage struct {
	recorder string
	from, to time.Duration
	kill     bool // killed with SIGKILL and started again; otherwise SIGSTOP, SIGCONT
}

func (o outage) String() string {
	what := "stopped"
	if o.kill {
		what = "killed"
	}
	return fmt.Sprintf("%s %s from %v to %v", o.recorder, what, o.from.Round(time.Millisecond), o.to.Round(time.Millisecond))
}

// planOutages makes up outages of recorders within [0, total): each recorder has several,
// none of which is longer than longest, and has calm long enough between them to catch
// up. At least one of them begins while another recorder, which holds the other copy of
// some camera, is away: the log still has the data.
func planOutages(r *rand.Rand, recorders []string, total, longest, calm time.Duration) []outage {
	var all []outage
	span := func(lo, hi time.Duration) time.Duration { return lo + time.Duration(r.Int64N(int64(hi-lo))) }
	for _, name := range recorders {
		at := span(time.Second, calm)
		for {
			d := span(longest/8, longest)
			if at+d > total {
				break
			}
			all = append(all, outage{recorder: name, from: at, to: at + d, kill: r.IntN(3) > 0})
			at += d + calm + span(0, calm)
		}
	}
	// The first outage of the last recorder falls right into one of the first's.
	var first, last *outage
	for i := range all {
		if first == nil && all[i].recorder == recorders[0] {
			first = &all[i]
		}
		if last == nil && all[i].recorder == recorders[len(recorders)-1] {
			last = &all[i]
		}
	}
	if first != nil && last != nil {
		length := last.to - last.from
		last.from = first.from + (first.to-first.from)/3
		last.to = last.from + length
		last.kill, first.kill = true, true
		// What now overlaps or follows too soon is left out.
		var at time.Duration
		name := recorders[len(recorders)-1]
		all = slices.DeleteFunc(all, func(o outage) bool {
			if o.recorder != name {
				return false
			}
			if at > 0 && o.from < at {
				return true
			}
			at = o.to + calm
			return false
		})
	}
	slices.SortFunc(all, func(a, b outage) int { return cmp.Compare(a.from, b.from) })
	return all
}

func TestOutagesKeepToTheirRules(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // choices to be repeated
		names := []string{"r1", "r2", "r3"}
		const total, longest, calm = 90 * time.Second, 8 * time.Second, 9 * time.Second
		plan := planOutages(r, names, total, longest, calm)
		end := map[string]time.Duration{}
		overlap := false
		for _, o := range plan {
			require.LessOrEqual(t, o.to-o.from, longest, "seed %d: %v", seed, o)
			require.Less(t, o.from, o.to)
			if e, ok := end[o.recorder]; ok {
				require.GreaterOrEqual(t, o.from-e, calm, "seed %d: %v", seed, plan)
			}
			for other, e := range end {
				overlap = overlap || other != o.recorder && e > o.from
			}
			end[o.recorder] = o.to
		}
		require.True(t, overlap, "seed %d: two recorders are never away at once: %v", seed, plan)
		require.Len(t, end, 3)
	}
}

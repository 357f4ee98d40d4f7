package index

import (
	"cmp"
	"math"
	"slices"

	"github.com/duet-video/duet/internal/media"
)

// markDamage gives gaps that damage explains that cause: of what nobody holds, what some
// recorder's copy is damaged of was recorded, and lost so.
func markDamage(gaps []Gap, sources []Source) []Gap {
	var damaged []Stretch
	for i := range sources {
		damaged = append(damaged, sources[i].Damaged...)
	}
	if len(damaged) == 0 {
		return gaps
	}
	slices.SortFunc(damaged, byStart)
	var out []Gap
	for _, g := range gaps {
		out = recause(out, g, damaged, media.CauseDamaged)
	}
	return out
}

// markExpired gives gaps that retention explains that cause. Between footage that locks
// keep and what is newer, retention leaves holes in the middle of epochs: what no lock
// covers was deleted, or would be, up to where all recorders delete that hold older
// footage. Behind that one of them would hold it, had it ever had it.
func markExpired(gaps []Gap, sources []Source, locked []Stretch) []Gap {
	locked = slices.SortedFunc(slices.Values(locked), byStart)
	var out []Gap
	for _, g := range gaps {
		var expired []Stretch
		if g.Cause == media.CauseBehind {
			expired = unlocked(g.StartNS, min(g.EndNS, horizonAt(g.StartNS, sources)), locked)
		}
		out = recause(out, g, expired, media.CauseRetention)
	}
	return out
}

// horizonAt returns how far the retention of all recorders has come that hold anything
// from before ns.
func horizonAt(ns int64, sources []Source) int64 {
	all := int64(math.MaxInt64)
	for i := range sources {
		s := &sources[i]
		if !s.Unknown && slices.ContainsFunc(s.Spans, func(p Span) bool { return p.StartNS < ns }) {
			all = min(all, s.HorizonNS)
		}
	}
	return all
}

// unlocked returns what no lock covers of [fromNS, toNS). locked is sorted.
func unlocked(fromNS, toNS int64, locked []Stretch) (out []Stretch) {
	for _, l := range locked {
		if to := min(l.StartNS, toNS); fromNS < to {
			out = append(out, Stretch{fromNS, to})
		}
		fromNS = max(fromNS, l.EndNS)
	}
	if fromNS < toNS {
		out = append(out, Stretch{fromNS, toNS})
	}
	return out
}

// recause appends a gap, cut so that what of it lies in the stretches, which are sorted,
// has another cause.
func recause(out []Gap, g Gap, stretches []Stretch, cause media.Cause) []Gap {
	put := func(from, to int64, cause media.Cause) {
		if from >= to {
			return
		}
		if n := len(out); n > 0 && out[n-1].EndNS == from && out[n-1].Cause == cause {
			out[n-1].EndNS = to
			return
		}
		out = append(out, Gap{StartNS: from, EndNS: to, Cause: cause})
	}
	at := g.StartNS
	for _, s := range stretches {
		if s.EndNS <= at || s.StartNS >= g.EndNS {
			continue
		}
		put(at, s.StartNS, g.Cause)
		put(max(at, s.StartNS), min(s.EndNS, g.EndNS), cause)
		at = min(s.EndNS, g.EndNS)
	}
	put(at, g.EndNS, g.Cause)
	return out
}

func byStart(a, b Stretch) int { return cmp.Compare(a.StartNS, b.StartNS) }

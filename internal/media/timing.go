package media

import (
	"cmp"
	"slices"
)

// videoTimescale is the number of ticks per second of video tracks.
const videoTimescale = 90000

// toTicks converts a duration to ticks, rounded down. ns must not be negative.
func toTicks(ns int64, timescale uint32) int64 {
	return ns/1e9*int64(timescale) + ns%1e9*int64(timescale)/1e9
}

// toNS converts ticks to the shortest duration that toTicks converts back to them.
func toNS(ticks int64, timescale uint32) int64 {
	scale := int64(timescale)
	return ticks/scale*1e9 + (ticks%scale*1e9+scale-1)/scale
}

// floorNS converts ticks to a duration, rounded down.
func floorNS(ticks int64, timescale uint32) int64 {
	scale := int64(timescale)
	return ticks/scale*1e9 + ticks%scale*1e9/scale
}

// trackEnd says what comes after the last sample of a track.
type trackEnd struct {
	cutNS   int64 // capture time of the next one, 0 when it is not known
	nominal int64 // nominal duration in ticks, 0 when it is not known
	follows bool  // another fragment of the epoch does
	leads   bool  // pictures of the next fragment may be shown before its cut
}

// addRun adds the samples of a track to the moof that is being made and returns when,
// in Unix ns, the last one ends.
//
// The times at which samples are shown are their capture times. They are decoded at the
// same times, put into order: so each time is used once for decoding and once for
// showing, and where decoding order is showing order both are equal. Capture times that
// fall on one tick are moved to the next ones.
func (b *Builder) addRun(i int, t *trackBuilder, window int64, end trackEnd) int64 {
	scale := b.header.timescale[i]
	if len(b.runs) < cap(b.runs) {
		b.runs = b.runs[:len(b.runs)+1]
	} else {
		b.runs = append(b.runs, trackRun{})
	}
	run := &b.runs[len(b.runs)-1]
	out := run.samples[:0]
	*run = trackRun{id: uint32(i) + 1, description: 1, bytes: int64(t.size())}

	order := b.order[:0]
	for j := range t.samples {
		order = append(order, int32(j))
	}
	byTime := func(x, y int32) int { return cmp.Compare(t.samples[x].captureNS, t.samples[y].captureNS) }
	reorders := !slices.IsSortedFunc(order, byTime)
	if reorders {
		slices.SortStableFunc(order, byTime)
	}
	b.order = order

	// offset and duration hold the times, until all are known: bases count from the
	// first tick, so that they fit.
	out = slices.Grow(out, len(order))[:len(order)]
	var base, last, delta int64
	for rank, j := range order {
		tick := toTicks(t.samples[j].captureNS-window, scale)
		switch rank {
		case 0:
			base = tick
		default:
			tick = max(tick, last+1)
			delta = tick - last
			out[rank-1].duration = uint32(delta)
		}
		last = tick
		out[j].offset = int32(tick - base)
	}
	length := end.nominal
	if length == 0 {
		if length = delta; length == 0 {
			length = int64(scale) / 25
		}
	}
	// Where pictures lead into this fragment (an open GOP, B-frames behind a forced cut),
	// they do into the next one, too: its first time then is not that of its cut.
	leading := t.samples[order[0]].captureNS < b.startNS || reorders && end.leads
	known := false
	if d := end.cutNS - t.samples[order[len(order)-1]].captureNS; end.cutNS != 0 && !leading && d <= maxSpanNS {
		if ticks := toTicks(max(end.cutNS-window, 0), scale) - last; ticks > 0 {
			length, known = ticks, true
		}
	}
	if end.follows && !known {
		// When the next one starts is not known. It may be a little earlier than nominal:
		// capture time follows a clock that is corrected by 500 ppm, and ticks are rounded.
		// A decode time that lies before the end of the last sample is wrong (ISO/IEC
		// 14496-12 8.8.12); a hole of 0.4 % of a sample is nothing.
		length = max(length-max(length/256, 1), 1)
	}
	out[len(out)-1].duration = uint32(length)

	decode := int32(0)
	for j := range out {
		s := t.samples[j]
		out[j].size = uint32(s.size)
		out[j].flags = nonSyncSample
		if s.sync {
			out[j].flags = syncSample
		}
		out[j].offset -= decode
		decode += int32(out[j].duration)
	}
	run.samples, run.base = out, uint64(base)
	return window + toNS(last+length, scale)
}

// nominal returns the nominal duration of an access unit, in ticks; 0: not known.
func (t *trackBuilder) nominal(timescale uint32) int64 {
	if t.desc.Kind != KindAudio {
		return 0
	}
	samples, rate := t.params.samples, t.params.sampleRate
	if t.desc.Codec == AAC {
		samples, rate = t.aacFrame()
	}
	if samples <= 0 || rate <= 0 {
		return 0
	}
	return min(int64(samples)*int64(timescale)/int64(rate), int64(timescale))
}

// finish ends the last access unit. What is still open then goes on behind the cut, or
// its end is lost. last: nothing follows, so that an access unit without a slice is what
// is left of one.
func (t *trackBuilder) finish(last bool) {
	if t.open != closed && (t.marked || t.desc.Codec != AAC) {
		t.drop(PacketLoss)
	}
	if last && t.unit && !t.unitSlice && (t.desc.Codec == H264 || t.desc.Codec == H265) {
		t.unitTorn = true
		t.flags |= PacketLoss
	}
	t.endUnit()
	t.usual = t.size()
}

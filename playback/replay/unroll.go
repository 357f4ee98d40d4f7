package replay

import (
	"cmp"
	"slices"

	"github.com/duet-video/duet/internal/media"
)

// marks are the bits of the RTP header extension of ONVIF replay.
type marks byte

const (
	markClean         marks = 1 << 7 // C: a synchronization point
	markLast          marks = 1 << 6 // E: the last one before a gap
	markDiscontinuity marks = 1 << 5 // D: it does not follow what was sent before
	markTerminal      marks = 1 << 4 // T: the last one that there will be
)

// unit is an access unit that is to be sent.
type unit struct {
	track     int // of the presentation
	at        int64
	size      uint32
	captureNS int64 // when it was captured, Unix ns
	decodeNS  int64 // by when it is due: capture times, in the order of decoding
	endNS     int64 // decodeNS of the next one
	marks     marks
}

// roll takes fragments apart. It carries what there is to carry from one to the next.
type roll struct {
	reverse bool
	fromNS  int64 // where to start; 0: with the first fragment
	toNS    int64
	frames  frames
	everyNS int64

	lanes   []laneKind
	fresh   []bool // by track: the next access unit is the first after a discontinuity
	started bool
	intraNS int64 // capture time of the last one that was sent, of framesIntra
	more    bool  // of partTail: there are GOPs before it
}

// laneKind is what a roll needs to know of a track of the presentation.
type laneKind struct {
	video bool
	// reference reports whether other access units may refer to this one.
	reference func(sample []byte) bool
}

func newRoll(a *ask, lanes []laneKind) *roll {
	return &roll{
		reverse: a.scale < 0, fromNS: a.fromNS, toNS: a.toNS, frames: a.frames, everyNS: a.everyNS,
		lanes: lanes, fresh: make([]bool, len(lanes)),
	}
}

// skips reports whether nothing of the fragment would be sent, so that it need not be read.
func (r *roll) skips(s *step) bool {
	return r.frames == framesIntra && r.intraNS != 0 && !r.reverse && s.RandomAccess &&
		s.EndNS <= r.intraNS+r.everyNS && !s.last && !s.end
}

// unroll returns the access units to send, in order. trackOf says which track of the
// presentation a track of the fragment is, -1: none. data is the fragment.
func (r *roll) unroll(s *step, p *media.Parsed, data []byte, trackOf func(id uint32) int) []unit {
	if s.fresh {
		for i := range r.fresh {
			r.fresh[i] = true
		}
	}
	var out []unit
	if r.reverse {
		out = r.backward(s, p, trackOf)
	} else {
		out = r.forward(s, p, trackOf)
	}
	r.started = true
	out = r.filter(s, out, data)
	for i := range out {
		if u := &out[i]; r.fresh[u.track] {
			u.marks |= markDiscontinuity
			r.fresh[u.track] = false
		}
	}
	r.terminate(s, out)
	return out
}

// unitsOf returns the samples of a track as units, in the order of decoding.
func unitsOf(t *media.ParsedTrack, windowNS int64, track int) []unit {
	out := make([]unit, len(t.Samples))
	scale := int64(t.Timescale)
	at := func(ticks int64) int64 { return windowNS + ticks/scale*1e9 + ticks%scale*1e9/scale }
	for i := range t.Samples {
		s := &t.Samples[i]
		out[i] = unit{
			track: track, at: s.At, size: s.Size, captureNS: s.CaptureNS,
			decodeNS: at(s.DTS), endNS: at(s.DTS + int64(s.Duration)),
		}
		if s.Sync || t.Kind != media.KindVideo {
			out[i].marks = markClean
		}
	}
	return out
}

func (r *roll) forward(s *step, p *media.Parsed, trackOf func(uint32) int) []unit {
	var out []unit
	startNS := int64(0)
	if !r.started {
		startNS = r.fromNS
	}
	// Video first: where it starts says where audio does.
	for _, kind := range []media.Kind{media.KindVideo, media.KindAudio} {
		for i := range p.Tracks {
			t := &p.Tracks[i]
			track := trackOf(t.ID)
			if track < 0 || t.Kind != kind {
				continue
			}
			units := unitsOf(t, s.WindowNS, track)
			if kind == media.KindVideo {
				units = fromClean(units, startNS)
				if startNS != 0 && len(units) > 0 {
					startNS = min(startNS, units[0].captureNS)
				}
			}
			low := max(s.FromNS, 0)
			if kind != media.KindVideo {
				low = max(low, startNS)
			}
			units = slices.DeleteFunc(units, func(u unit) bool { return u.captureNS < low })
			out = append(out, upTo(units, r.toNS)...)
		}
	}
	slices.SortStableFunc(out, func(a, b unit) int { return cmp.Compare(a.decodeNS, b.decodeNS) })
	return out
}

// fromClean drops what comes before the last clean point at or before startNS; where all
// of them are later, what comes before the first one; where there is none, nothing.
func fromClean(units []unit, startNS int64) []unit {
	if startNS == 0 {
		return units
	}
	begin := -1
	for i := range units {
		if u := &units[i]; u.marks&markClean != 0 && (begin < 0 || u.captureNS <= startNS) {
			begin = i
		}
	}
	return units[max(begin, 0):]
}

// upTo drops what comes after the last one before toNS. Later ones that are decoded
// before it are needed for it.
func upTo(units []unit, toNS int64) []unit {
	if toNS == 0 {
		return units
	}
	end := 0
	for i := range units {
		if units[i].captureNS < toNS {
			end = i + 1
		}
	}
	return units[:end]
}

// backward returns GOPs, the last one first. Only video is sent in reverse.
func (r *roll) backward(s *step, p *media.Parsed, trackOf func(uint32) int) []unit {
	var units []unit
	for i := range p.Tracks {
		if t := &p.Tracks[i]; t.Kind == media.KindVideo && trackOf(t.ID) >= 0 {
			units = unitsOf(t, s.WindowNS, trackOf(t.ID))
			break
		}
	}
	units = slices.DeleteFunc(units, func(u unit) bool { return u.captureNS < s.FromNS })
	if r.fromNS != 0 { // samples after it were not asked for, but those that others refer to
		units = upTo(units, r.fromNS+1)
	}
	gops := split(units)
	switch s.part {
	case partSynced:
		if len(gops) > 0 && gops[0][0].marks&markClean == 0 {
			gops = gops[1:]
		}
	case partLead:
		if len(gops) > 0 && gops[0][0].marks&markClean != 0 {
			return nil
		}
		return clip(gops, 1)
	case partMiddle:
		return units
	case partTail:
		r.more = len(gops) > 1
		if len(gops) > 0 {
			gops = gops[len(gops)-1:]
		}
	case partLeading:
		gops = gops[:max(len(gops)-1, 0)]
	}
	var out []unit
	for _, g := range slices.Backward(gops) {
		if r.toNS != 0 && g[len(g)-1].endNS <= r.toNS {
			continue
		}
		g[0].marks |= markDiscontinuity
		// The last one is shown first: all of them are due then.
		due := g[len(g)-1].endNS
		for i := range g {
			g[i].decodeNS = due
		}
		out = append(out, g...)
	}
	return out
}

func clip(gops [][]unit, n int) []unit {
	var out []unit
	for _, g := range gops[:min(n, len(gops))] {
		out = append(out, g...)
	}
	return out
}

// split cuts before each clean point.
func split(units []unit) [][]unit {
	var out [][]unit
	begin := 0
	for i := range units {
		if i > begin && units[i].marks&markClean != 0 {
			out = append(out, units[begin:i:i])
			begin = i
		}
	}
	if begin < len(units) {
		out = append(out, units[begin:])
	}
	return out
}

// filter leaves out what was not asked for.
func (r *roll) filter(s *step, units []unit, data []byte) []unit {
	switch r.frames {
	case framesIntra:
		keys := slices.DeleteFunc(units, func(u unit) bool {
			return u.marks&markClean == 0 || !r.lanes[u.track].video
		})
		out := make([]unit, 0, len(keys))
		for i := range keys {
			u := &keys[i]
			apart := u.captureNS - r.intraNS
			// The last one is sent in any case: it says that it is the last.
			final := (s.last || s.end) && i == len(keys)-1 && len(out) == 0
			if r.intraNS == 0 || max(apart, -apart) >= r.everyNS || final {
				r.intraNS = u.captureNS
				out = append(out, *u)
			}
		}
		return out
	case framesPredicted:
		return slices.DeleteFunc(units, func(u unit) bool {
			l := &r.lanes[u.track]
			return l.video && u.marks&markClean == 0 && !l.reference(data[u.at:u.at+int64(u.size)])
		})
	}
	return units
}

// terminate marks the last access unit of each track before a gap or the end.
func (r *roll) terminate(s *step, units []unit) {
	if s.part == partLead && r.more {
		return // it is not the last one: partLeading has more
	}
	m := marks(0)
	if s.last {
		m |= markLast
	}
	if s.end {
		m |= markTerminal
	}
	if m == 0 {
		return
	}
	done := make([]bool, len(r.lanes))
	for i := range slices.Backward(units) {
		if u := &units[i]; !done[u.track] {
			done[u.track] = true
			u.marks |= m
		}
	}
}

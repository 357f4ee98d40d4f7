package media

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Progressive collects the tables of an MP4 file that is not fragmented: everything about
// its samples in the moov, then one mdat with the samples of one fragment after another.
//
// Times of a sample become what they are in fragments. Decode times of a track count from
// its first sample, and must increase: where they do not (two epochs that overlap a little),
// they are moved to the next free tick, and the sample is still shown at its time.
type Progressive struct {
	merged *Merged
	tracks []*progressiveTrack
	// where is the track of a track ID.
	where   map[uint32]int
	baseNS  int64
	fromNS  int64
	toNS    int64
	at      int64 // bytes of the mdat so far
	samples int

	minNS, maxNS, nextNS int64
}

// progressiveTrack is what the tables of a track say.
type progressiveTrack struct {
	moovTrack
	sizes, deltas []uint32
	offsets       []int32
	sync          []bool
	allSync       bool
	chunks        []chunk

	first, last int64 // decode times, ticks from the base
	lastTicks   uint32
	leadTicks   int64
	shown       int64 // presentation time of the first sample that is shown; -1: none yet
}

// chunk is the samples of one fragment.
type chunk struct {
	at          int64
	samples     uint32
	description uint32
}

// NewProgressive begins a file of fragments with these init headers, of which the samples
// with capture times in [fromNS, toNS) are shown. baseNS is at or before everything.
func NewProgressive(sources []*Init, baseNS, fromNS, toNS int64) (*Progressive, error) {
	m, err := MergeInits(sources, Edit{})
	if err != nil {
		return nil, err
	}
	p := &Progressive{
		merged: m, where: make(map[uint32]int), baseNS: baseNS, fromNS: fromNS, toNS: toNS,
		minNS: math.MaxInt64, nextNS: math.MaxInt64,
	}
	for i := range m.tracks {
		t := &progressiveTrack{moovTrack: m.tracks[i], allSync: true, shown: -1}
		p.where[t.id] = len(p.tracks)
		p.tracks = append(p.tracks, t)
	}
	return p, nil
}

// Add appends a fragment of a source: its samples, without moof and the header of its mdat,
// are the next bytes of the file. It returns how many bytes of the fragment come before
// them.
func (p *Progressive) Add(f *Parsed, source int) (skip int64, err error) {
	skip = f.MoofSize + boxHeader
	for i := range f.Tracks {
		in := &f.Tracks[i]
		if len(in.Samples) == 0 {
			continue
		}
		place, ok := p.merged.Place(source, in.ID)
		if !ok {
			return 0, fmt.Errorf("%w: the header %d has no track %d", ErrMalformed, source, in.ID)
		}
		t := p.tracks[p.where[place.TrackID]]
		t.chunks = append(t.chunks, chunk{p.at + in.Samples[0].At - skip, uint32(len(in.Samples)), place.Description})
		moved := shift(f.windowNS, p.baseNS, in.Timescale)
		for j := range in.Samples {
			if err := p.sample(t, &in.Samples[j], moved); err != nil {
				return 0, err
			}
		}
		p.samples += len(in.Samples)
	}
	p.at += f.Size - skip
	return skip, nil
}

// Samples is how many there are.
func (p *Progressive) Samples() int { return p.samples }

func (p *Progressive) sample(t *progressiveTrack, s *Sample, moved int64) error {
	dts, pts := s.DTS+moved, s.PTS+moved
	if dts < 0 || pts < 0 {
		return fmt.Errorf("%w: a sample at %d ticks before the base", ErrMalformed, -min(dts, pts))
	}
	if len(t.sizes) == 0 {
		t.first = dts
	} else {
		dts = max(dts, t.last+1)
		if dts-t.last > math.MaxUint32 {
			return fmt.Errorf("%w: a hole of %d ticks", ErrMalformed, dts-t.last)
		}
		t.deltas = append(t.deltas, uint32(dts-t.last))
	}
	t.last, t.lastTicks = dts, s.Duration
	if d := pts - dts; d > math.MaxInt32/2 || d < math.MinInt32/2 {
		return fmt.Errorf("%w: composition offset %d", ErrMalformed, d)
	}
	t.leadTicks = max(t.leadTicks, dts-pts)
	t.sizes = append(t.sizes, s.Size)
	t.offsets = append(t.offsets, int32(pts-dts))
	t.sync = append(t.sync, s.Sync)
	t.allSync = t.allSync && s.Sync
	switch {
	case s.CaptureNS >= p.toNS:
		if t.kind == KindVideo {
			p.nextNS = min(p.nextNS, s.CaptureNS)
		}
	case s.CaptureNS >= p.fromNS:
		if t.shown < 0 || pts < t.shown {
			t.shown = pts
		}
		p.minNS = min(p.minNS, s.CaptureNS)
		p.maxNS = max(p.maxNS, s.CaptureNS+toNS(int64(s.Duration), t.timescale))
	}
	return nil
}

// progressiveTimescale is that of the movie and its edit lists.
const progressiveTimescale = videoTimescale

// Header returns everything before the samples, and what is shown (Unix ns, end
// exclusive). ok is false where nothing is shown. The Progressive cannot be used again.
func (p *Progressive) Header() (header []byte, startNS, endNS int64, ok bool) {
	startNS, endNS = p.minNS, min(p.maxNS, p.toNS, p.nextNS)
	if endNS <= startNS {
		return nil, 0, 0, false
	}
	mv := movie{edit: true, timescale: progressiveTimescale, duration: toTicks(endNS-startNS, progressiveTimescale), whole: true}
	tracks := make([]moovTrack, 0, len(p.tracks))
	for _, t := range p.tracks {
		if t.shown < 0 {
			continue // what is left of it is pre-roll
		}
		t.deltas = append(t.deltas, max(t.lastTicks, 1))
		for i := range t.offsets {
			t.offsets[i] += int32(t.leadTicks)
		}
		late := t.shown - shift(startNS, p.baseNS, t.timescale)
		t.emptyTicks = max(late, 0) * progressiveTimescale / int64(t.timescale)
		t.mediaTime = t.shown - t.first + t.leadTicks
		t.mediaTicks = t.last - t.first + int64(max(t.lastTicks, 1))
		t.table = t
		tracks = append(tracks, t.moovTrack)
	}
	const mdat = 16
	at := int64(len(appendMoov(progressiveFtyp(), tracks, mv))) + mdat
	for i := range tracks {
		tracks[i].tableAt = at
	}
	header = appendMoov(progressiveFtyp(), tracks, mv)
	header = appendBoxHeader(header, 1, "mdat")
	return binary.BigEndian.AppendUint64(header, uint64(p.at)+mdat), startNS, endNS, true
}

// progressiveFtyp needs signed composition offsets no more, as no offset is negative.
func progressiveFtyp() []byte {
	b := appendBoxHeader(nil, 32, "ftyp")
	return append(b, "isom\x00\x00\x02\x00isomiso2mp41mp42"...)
}

// tables writes the tables of all samples (ISO/IEC 14496-12 8.6, 8.7).
func (w *boxWriter) tables(t *progressiveTrack, at int64) {
	w.full("stts", 0, 0, func() {
		w.runs(len(t.deltas), func(i int) uint32 { return t.deltas[i] })
	})
	reorders := false
	for _, o := range t.offsets {
		reorders = reorders || o != 0
	}
	if reorders {
		version := uint8(0)
		for _, o := range t.offsets {
			if o < 0 { // only where decode times had to be moved
				version = 1
			}
		}
		w.full("ctts", version, 0, func() {
			w.runs(len(t.offsets), func(i int) uint32 { return uint32(t.offsets[i]) })
		})
	}
	if !t.allSync {
		w.full("stss", 0, 0, func() {
			count := len(w.b)
			w.u32(0)
			n := uint32(0)
			for i, s := range t.sync {
				if s {
					w.u32(uint32(i) + 1)
					n++
				}
			}
			binary.BigEndian.PutUint32(w.b[count:], n)
		})
	}
	w.full("stsc", 0, 0, func() {
		count := len(w.b)
		w.u32(0)
		n := uint32(0)
		for i, c := range t.chunks {
			if i > 0 && c.samples == t.chunks[i-1].samples && c.description == t.chunks[i-1].description {
				continue
			}
			w.u32(uint32(i)+1, c.samples, c.description)
			n++
		}
		binary.BigEndian.PutUint32(w.b[count:], n)
	})
	w.full("stsz", 0, 0, func() {
		w.u32(0, uint32(len(t.sizes)))
		w.u32(t.sizes...)
	})
	w.full("co64", 0, 0, func() {
		w.u32(uint32(len(t.chunks)))
		for _, c := range t.chunks {
			w.b = binary.BigEndian.AppendUint64(w.b, uint64(at+c.at))
		}
	})
}

// runs writes a table of values that repeat: how many, then each with its count.
func (w *boxWriter) runs(n int, value func(int) uint32) {
	count := len(w.b)
	w.u32(0)
	entries := uint32(0)
	for i := 0; i < n; {
		j := i + 1
		for j < n && value(j) == value(i) {
			j++
		}
		w.u32(uint32(j-i), value(i))
		entries++
		i = j
	}
	binary.BigEndian.PutUint32(w.b[count:], entries)
}

package media

import (
	"bytes"
	"fmt"
	"slices"
)

// Edit says which part of a presentation is shown.
type Edit struct {
	// BaseNS is where the times of the presentation count from, see Retiming. Unix ns.
	// Take the latest that is possible: ffmpeg and Chromium count what is before StartNS
	// into the duration that they show.
	BaseNS int64
	// StartNS is where it begins: an edit list (ISO/IEC 14496-12 8.6.6) hides what is
	// before it (the pre-roll), and the time of the player counts from it.
	StartNS int64
	// EndNS is where it ends, exclusive; 0: not known.
	EndNS int64
	// LeadNS is how much earlier than in the stored fragments video is decoded: with
	// the ReorderNS of the first fragment, composition offsets are not negative.
	// Negative ones are valid, but ffmpeg and what builds on it (Chromium, for files)
	// show all video of such a track later by the largest of them.
	LeadNS int64
	// First is what a Trim with Only: KindVideo left of the first fragment, of source
	// FirstSource and window FirstWindowNS; nil: all samples are in fragments. Its
	// samples are described in the header instead of in a moof, because it is only there
	// that ffmpeg leaves out what the edit list hides. StartNS must be
	// whole milliseconds before First.MinNS: by so much the track starts late (an empty
	// edit). Header then ends with the header of an mdat: the bytes of First.Ranges must follow, and then the other fragments,
	// that with the rest of the first one (Only: KindAudio) included.
	First         *Trimmed
	FirstSource   int
	FirstWindowNS int64
}

// Placement is where a track of a source goes in a merged presentation.
type Placement struct {
	TrackID, Timescale, Description uint32

	lead int32 // Edit.LeadNS in ticks; 0 for audio
	skip int64 // ticks by which decode times are less, where the header has samples
}

// Merged is an init header for a presentation that is put together of fragments with
// different init headers.
type Merged struct {
	// Header is ftyp and moov; with Edit.First also the header of an mdat.
	Header []byte

	places []map[uint32]Placement
	tracks []moovTrack
}

// maxLead bounds Edit.LeadNS, in ticks.
const maxLead = 1 << 30

// maxSources bounds how many init headers can become one.
const maxSources = 1 << 16

// MergeInits returns one header for fragments that need different ones, which must not
// be empty. Tracks with the same ID, timescale and codec become one, with a sample
// description for each distinct one; others become tracks of their own.
func MergeInits(sources []*Init, e Edit) (*Merged, error) {
	if len(sources) == 0 || len(sources) > maxSources {
		return nil, fmt.Errorf("merge init headers: %d of them, want 1 … %d", len(sources), maxSources)
	}
	if e.BaseNS < 0 || e.LeadNS < 0 || e.BaseNS > e.StartNS || e.EndNS != 0 && e.EndNS < e.StartNS {
		return nil, fmt.Errorf("merge init headers: from %d to %d, counted from %d", e.StartNS, e.EndNS, e.BaseNS)
	}
	m := &Merged{places: make([]map[uint32]Placement, len(sources))}
	var tracks []moovTrack
	var keys []trackKey
	used := map[uint32]bool{}
	for i, src := range sources {
		m.places[i] = make(map[uint32]Placement, len(src.Tracks))
		for j := range src.Tracks {
			t := &src.Tracks[j]
			key := trackKey{t.ID, t.Timescale, t.Kind, t.Codec}
			n := 0
			for n < len(keys) && keys[n] != key {
				n++
			}
			if n == len(keys) {
				keys = append(keys, key)
				id := t.ID
				for used[id] {
					id++
				}
				used[id] = true
				tracks = append(tracks, moovTrack{
					id: id, timescale: t.Timescale, kind: t.Kind, width: t.Width, height: t.Height,
					mediaTime: shift(e.StartNS, e.BaseNS, t.Timescale),
				})
			}
			to := &tracks[n]
			d := 0
			for d < len(to.entries) && !bytes.Equal(to.entries[d], t.entries[0]) {
				d++
			}
			if d == len(to.entries) {
				to.entries = append(to.entries, t.entries[0])
			}
			p := Placement{TrackID: to.id, Timescale: to.timescale, Description: uint32(d) + 1}
			if t.Kind == KindVideo {
				p.lead = int32(min(toTicks(e.LeadNS, t.Timescale), maxLead))
			}
			m.places[i][t.ID] = p
		}
	}
	mv := movie{edit: e.StartNS > e.BaseNS}
	if e.EndNS > 0 {
		mv.durationMS = (e.EndNS - e.StartNS) / 1e6
	}
	m.tracks = tracks
	if e.First == nil || e.First.Size == 0 {
		m.Header = appendMoov(ftyp(), tracks, mv)
		return m, nil
	}
	if late := e.First.MinNS - e.StartNS; late < 0 || late%1e6 != 0 {
		return nil, fmt.Errorf("merge init headers: the first video starts %d ns after the presentation, want whole milliseconds", late)
	}
	if err := m.leadIn(tracks, e); err != nil {
		return nil, fmt.Errorf("merge init headers: %w", err)
	}
	mv.edit = true
	mdat := int64(boxHeader)
	for i := range e.First.runs {
		mdat += e.First.runs[i].bytes
	}
	// Where the samples are depends on the length of the header, which does not depend
	// on where they are.
	at := int64(len(appendMoov(ftyp(), tracks, mv))) + boxHeader
	for i := range e.First.runs {
		to, _ := m.Place(e.FirstSource, e.First.runs[i].id)
		for j := range tracks {
			if tracks[j].id == to.TrackID {
				tracks[j].runAt = uint32(at)
			}
		}
		at += e.First.runs[i].bytes
	}
	m.Header = appendBoxHeader(appendMoov(ftyp(), tracks, mv), uint32(mdat), "mdat")
	return m, nil
}

// leadIn gives the samples of e.First to their tracks. Decode times of a track count from
// the first of them then (ISO/IEC 14496-12 8.6.1.2).
func (m *Merged) leadIn(tracks []moovTrack, e Edit) error {
	for i := range e.First.runs {
		run := &e.First.runs[i]
		to, ok := m.Place(e.FirstSource, run.id)
		if !ok {
			return fmt.Errorf("%w: the header %d has no track %d", ErrMalformed, e.FirstSource, run.id)
		}
		skip := int64(run.base) + shift(e.FirstWindowNS, e.BaseNS, to.Timescale) - int64(to.lead)
		if skip < 0 {
			return fmt.Errorf("track %d starts %d ticks before the presentation counts", run.id, -skip)
		}
		for j := range tracks {
			if t := &tracks[j]; t.id == to.TrackID {
				t.run, t.runDescription, t.runLead = run, to.Description, to.lead
				t.mediaTime = shift(e.First.MinNS, e.BaseNS, t.timescale)
				t.emptyMS = (e.First.MinNS - e.StartNS) / 1e6
				skip += t.squeeze(t.mediaTime - skip)
				t.mediaTime -= skip
			}
		}
		m.skip(to.TrackID, skip)
	}
	// Sound has no pre-roll: its times can count from the start, too. (One tick is left
	// for rounding.)
	for j := range tracks {
		if t := &tracks[j]; t.kind == KindAudio && t.mediaTime > 1 {
			m.skip(t.id, t.mediaTime-1)
			t.mediaTime = 1
		}
	}
	return nil
}

// skip makes the decode times of a track less.
func (m *Merged) skip(trackID uint32, ticks int64) {
	for _, places := range m.places {
		for id, p := range places {
			if p.TrackID == trackID {
				p.skip = ticks
				places[id] = p
			}
		}
	}
}

// squeeze makes what is decoded before the first sample that is shown at or after start
// (in ticks since the first is decoded) a hundred times shorter: it is hidden anyway, but
// players would count it into the duration. (No shorter: ffmpeg would take what follows
// for a discontinuity.) It returns how much shorter the track is.
func (t *moovTrack) squeeze(start int64) int64 {
	at := int64(0)
	for i, s := range t.run.samples {
		if at+int64(s.offset)+int64(t.runLead) < start {
			at += int64(s.duration)
			continue
		}
		run := *t.run
		run.samples = slices.Clone(run.samples)
		saved := at
		for j := range run.samples[:i] {
			run.samples[j].duration = run.samples[j].duration/100 + 1
			run.samples[j].offset = -t.runLead
			saved -= int64(run.samples[j].duration)
		}
		if saved <= 0 {
			return 0
		}
		t.run = &run
		return saved
	}
	return 0
}

// trackKey is what tracks have to share to become one.
type trackKey struct {
	id, timescale uint32
	kind          Kind
	codec         Codec
}

// Place returns where the track of the source goes. False: there is no such track.
func (m *Merged) Place(source int, trackID uint32) (Placement, bool) {
	if source < 0 || source >= len(m.places) {
		return Placement{}, false
	}
	p, ok := m.places[source][trackID]
	return p, ok
}

package media

import (
	"encoding/binary"
	"fmt"
)

// Parsed is what the moof of a fragment says.
type Parsed struct {
	// Sequence is the number in mfhd.
	Sequence uint32
	// MoofSize is the length of the moof; Size that of moof and mdat.
	MoofSize, Size int64
	Tracks         []ParsedTrack

	windowNS int64
}

// ParsedTrack is a track's run of samples.
type ParsedTrack struct {
	ID, Timescale uint32
	Kind          Kind
	// Description is the index of the sample description, from 1.
	Description uint32
	// Samples are in decoding order.
	Samples []Sample
}

// Sample is an access unit.
type Sample struct {
	// CaptureNS is when it was captured: the time of its tick of the track's timescale,
	// Unix ns, up to one tick before the time in the record.
	CaptureNS int64
	// DTS and PTS are ticks since Info.WindowNS.
	DTS, PTS int64
	// Duration in ticks: DTS + Duration is the DTS of the next one.
	Duration uint32
	Sync     bool
	// At and Size are where its bytes are, counted from the start of the moof.
	At   int64
	Size uint32
}

// ReorderNS returns how much later than it is shown a sample is decoded, at most: more
// than 0 where there are B-frames. In ns, rounded up.
func (p *Parsed) ReorderNS() int64 {
	var most int64
	for i := range p.Tracks {
		for _, s := range p.Tracks[i].Samples {
			most = max(most, toNS(max(s.DTS-s.PTS, 0), p.Tracks[i].Timescale))
		}
	}
	return most
}

// maxTicks bounds decode times: what is beyond cannot come from a Builder.
const maxTicks = 1 << 48

// ParseFragment reads the moof of a fragment that Builder made (or Trim). b starts with
// the moof and holds at least all of it; size is the length of moof and mdat, against
// which the byte ranges of the samples are checked. windowNS is Info.WindowNS. It keeps
// no reference to b.
func ParseFragment(b []byte, size int64, init *Init, windowNS int64) (*Parsed, error) {
	moof, _, ok := nextBox(b)
	if !ok || moof.typ != "moof" {
		return nil, fmt.Errorf("%w: no whole moof", ErrMalformed)
	}
	p := &Parsed{MoofSize: int64(len(moof.full)), Size: size, windowNS: windowNS}
	if p.Size < p.MoofSize+boxHeader {
		return nil, fmt.Errorf("%w: %d bytes do not hold a moof of %d and an mdat", ErrMalformed, size, p.MoofSize)
	}
	if windowNS < 0 || windowNS > maxCaptureNS {
		return nil, fmt.Errorf("%w: window %d", ErrMalformed, windowNS)
	}
	mfhd, ok := findBox(moof.body, "mfhd")
	if !ok || len(mfhd) != 8 {
		return nil, fmt.Errorf("%w: no mfhd", ErrMalformed)
	}
	p.Sequence = binary.BigEndian.Uint32(mfhd[4:])
	for rest := moof.body; len(rest) > 0; {
		box, r, ok := nextBox(rest)
		if !ok {
			return nil, fmt.Errorf("%w: a box of moof is not whole", ErrMalformed)
		}
		rest = r
		if box.typ != "traf" {
			continue
		}
		if len(p.Tracks) == maxTracks {
			return nil, fmt.Errorf("%w: more than %d tracks", ErrMalformed, maxTracks)
		}
		t, err := p.parseTraf(box.body, init, windowNS)
		if err != nil {
			return nil, fmt.Errorf("traf %d: %w", len(p.Tracks)+1, err)
		}
		p.Tracks = append(p.Tracks, t)
	}
	return p, nil
}

// traf is the three boxes of a traf that a Builder writes, as views of their bodies.
type traf struct{ tfhd, tfdt, trun []byte }

// parseTraf finds the boxes and checks that they have the form that appendMoof gives
// them.
func parseTraf(b []byte) (traf, error) {
	be := binary.BigEndian
	var t traf
	var ok [3]bool
	t.tfhd, ok[0] = findBox(b, "tfhd")
	t.tfdt, ok[1] = findBox(b, "tfdt")
	t.trun, ok[2] = findBox(b, "trun")
	if !ok[0] || !ok[1] || !ok[2] {
		return traf{}, fmt.Errorf("%w: a box is missing", ErrMalformed)
	}
	if len(t.tfhd) != 12 || be.Uint32(t.tfhd) != tfhdFlags {
		return traf{}, fmt.Errorf("%w: a tfhd of another form", ErrMalformed)
	}
	if len(t.tfdt) != 12 || be.Uint32(t.tfdt) != 1<<24 {
		return traf{}, fmt.Errorf("%w: a tfdt of another form", ErrMalformed)
	}
	if len(t.trun) < 12 || be.Uint32(t.trun) != trunVersion<<24|trunFlags ||
		int64(len(t.trun)) != 12+trunSample*int64(be.Uint32(t.trun[4:])) {
		return traf{}, fmt.Errorf("%w: a trun of another form", ErrMalformed)
	}
	return t, nil
}

func (p *Parsed) parseTraf(b []byte, init *Init, windowNS int64) (ParsedTrack, error) {
	be := binary.BigEndian
	boxes, err := parseTraf(b)
	if err != nil {
		return ParsedTrack{}, err
	}
	id := be.Uint32(boxes.tfhd[4:])
	info := init.Track(id)
	if info == nil {
		return ParsedTrack{}, fmt.Errorf("%w: the header has no track %d", ErrMalformed, id)
	}
	t := ParsedTrack{ID: id, Timescale: info.Timescale, Kind: info.Kind, Description: be.Uint32(boxes.tfhd[8:])}
	dts := be.Uint64(boxes.tfdt[4:])
	at := int64(int32(be.Uint32(boxes.trun[8:])))
	run := boxes.trun[12:]
	t.Samples = make([]Sample, 0, len(run)/trunSample)
	for ; len(run) > 0; run = run[trunSample:] {
		s := Sample{
			DTS: int64(dts), Duration: be.Uint32(run), Size: be.Uint32(run[4:]),
			Sync: be.Uint32(run[8:])&0x00010000 == 0, At: at,
		}
		s.PTS = s.DTS + int64(int32(be.Uint32(run[12:])))
		if dts > maxTicks || s.PTS < 0 || at < p.MoofSize+boxHeader || at+int64(s.Size) > p.Size {
			return ParsedTrack{}, fmt.Errorf("%w: a sample of track %d at %d (decode time %d) is out of range",
				ErrMalformed, id, at, dts)
		}
		if s.PTS/int64(t.Timescale) > maxCaptureNS/1e9 {
			return ParsedTrack{}, fmt.Errorf("%w: a sample of track %d at time %d", ErrMalformed, id, s.PTS)
		}
		s.CaptureNS = windowNS + toNS(s.PTS, t.Timescale)
		t.Samples = append(t.Samples, s)
		dts += uint64(s.Duration)
		at += int64(s.Size)
	}
	return t, nil
}

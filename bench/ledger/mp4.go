package ledger

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
)

// FromMP4 reads the access units of an MP4 file, in its order (samples of the
// header first; of one that is not fragmented, track by track), for comparison
// with the ledger that has the header. What its edit lists do not show is marked as
// pre-roll. startNS is the capture time at which the presentation begins (Unix ns), 0
// when that is not known: then no capture times are either.
//
// It also checks what a player needs: within a track, decode times must increase, and access
// units must not overlap by more than half of one, see unit.
func FromMP4(r io.Reader, h *Header, startNS int64) ([]AccessUnit, error) {
	f, err := mp4.DecodeFile(r)
	if err != nil {
		return nil, fmt.Errorf("read MP4: %w", err)
	}
	fragments, err := h.fragments(f, func(t *mp4Track, _ []byte, pts int64) int64 {
		if startNS == 0 {
			return 0
		}
		return startNS + t.lateNS + t.ns(pts-t.mediaTime)
	})
	return slices.Concat(fragments...), err
}

// FromSegments reads the access units of all segments of a camera below a recorder's data
// directory, in the order of their fragments: what was repaired stands in files of its own,
// between those of others.
func FromSegments(dataDir, camera string, h *Header) ([]AccessUnit, error) {
	files, err := filepath.Glob(filepath.Join(dataDir, camera, "*", "*.mp4"))
	if err != nil {
		return nil, fmt.Errorf("segments of %s: %w", camera, err)
	}
	var all [][]AccessUnit
	for _, name := range files {
		fragments, err := fromSegment(name, h)
		if err != nil {
			return nil, err
		}
		all = append(all, fragments...)
	}
	slices.SortStableFunc(all, func(a, b []AccessUnit) int { return cmp.Compare(earliest(a), earliest(b)) })
	return slices.Concat(all...), nil
}

// earliest returns the first capture time of a fragment.
func earliest(units []AccessUnit) int64 {
	ns := int64(math.MaxInt64)
	for i := range units {
		ns = min(ns, units[i].CaptureNS)
	}
	return ns
}

// FromSegment reads the access units of a segment. Capture times come from the windows
// that the boxes before the fragments name.
func FromSegment(path string, h *Header) ([]AccessUnit, error) {
	fragments, err := fromSegment(path, h)
	return slices.Concat(fragments...), err
}

func fromSegment(path string, h *Header) ([][]AccessUnit, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read segment: %w", err)
	}
	defer f.Close()
	parsed, err := mp4.DecodeFile(f)
	if err != nil {
		return nil, fmt.Errorf("read segment %s: %w", path, err)
	}
	fragments, err := h.fragments(parsed, func(t *mp4Track, box []byte, pts int64) int64 {
		if len(box) < windowAt+8 {
			return 0
		}
		return int64(binary.BigEndian.Uint64(box[windowAt:])) + t.ns(pts)
	})
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", path, err)
	}
	return fragments, nil
}

// windowAt is where the box before a fragment holds the start of its segment window,
// counted from after the UUID (docs/FORMAT.md).
const windowAt = 72

// mp4Track is a track of the file.
type mp4Track struct {
	id        uint32
	trex      *mp4.TrexBox
	stbl      *mp4.StblBox
	index     int // in the ledger
	codec     Codec
	timescale int64
	expand    map[uint16]byte // LPCM back to G.711; nil: not G.711
	little    bool            // LPCM is little endian
	// What is shown: mediaTime ≤ presentation time < mediaEnd.
	mediaTime, mediaEnd int64
	// lateNS is how much later than the presentation the track starts (an empty edit).
	lateNS     int64
	last, next int64 // decode time of the last sample, and where it ends
}

func (t *mp4Track) ns(ticks int64) int64 {
	s, rest := ticks/t.timescale, ticks%t.timescale
	return s*int64(time.Second) + rest*int64(time.Second)/t.timescale
}

var errNoMoov = errors.New("it has no moov")

// fragments walks the file and returns the access units of each fragment; those of the
// header are one, too. capture gets the box before the fragment and the presentation
// time in the track's timescale.
func (h *Header) fragments(f *mp4.File, capture func(*mp4Track, []byte, int64) int64) ([][]AccessUnit, error) {
	if f.Moov == nil {
		return nil, errNoMoov
	}
	tracks, err := h.tracks(f.Moov)
	if err != nil {
		return nil, err
	}
	if f.Moov.Mvex == nil {
		return h.tables(f, tracks, capture)
	}
	var all [][]AccessUnit
	var box []byte
	var moof *mp4.MoofBox
	for _, child := range f.Children {
		switch b := child.(type) {
		case *mp4.UUIDBox:
			box = b.UnknownPayload
		case *mp4.MoofBox:
			moof = b
		case *mp4.MdatBox:
			var out []AccessUnit
			if moof == nil {
				for _, t := range tracks {
					units, err := h.headerUnits(t, b)
					if err != nil {
						return nil, fmt.Errorf("track %d, samples of the header: %w", t.id, err)
					}
					for i := range units {
						units[i].CaptureNS = capture(t, nil, units[i].CaptureNS)
					}
					out = append(out, units...)
				}
				all = append(all, out)
				continue
			}
			for _, t := range tracks {
				frag := &mp4.Fragment{Moof: moof, Mdat: b}
				samples, err := frag.GetFullSamples(t.trex)
				if err != nil {
					return nil, fmt.Errorf("track %d: %w", t.id, err)
				}
				for i := range samples {
					a, err := h.unit(t, &samples[i])
					if err != nil {
						return nil, fmt.Errorf("track %d, sample at decode time %d: %w", t.id, samples[i].DecodeTime, err)
					}
					a.CaptureNS = capture(t, box, samples[i].PresentationTime())
					out = append(out, a)
				}
			}
			all = append(all, out)
			box, moof = nil, nil
		}
	}
	return all, nil
}

// headerUnits returns the access units of samples that the moov describes and that are in
// the mdat; their CaptureNS is the presentation time in the track's timescale.
func (h *Header) headerUnits(t *mp4Track, mdat *mp4.MdatBox) ([]AccessUnit, error) {
	stbl := t.stbl
	n := stbl.Stsz.GetNrSamples()
	if n == 0 {
		return nil, nil
	}
	t.stbl = &mp4.StblBox{Stsz: &mp4.StszBox{}} // once
	if stbl.Stco == nil || len(stbl.Stco.ChunkOffset) != 1 {
		return nil, errors.New("not one chunk")
	}
	at := uint64(stbl.Stco.ChunkOffset[0]) - mdat.PayloadAbsoluteOffset()
	var out []AccessUnit
	for i := uint32(1); i <= n; i++ {
		size := uint64(stbl.Stsz.GetSampleSize(int(i)))
		if at+size > uint64(len(mdat.Data)) {
			return nil, fmt.Errorf("sample %d is not in the mdat", i)
		}
		dts, dur := stbl.Stts.GetDecodeTime(i)
		s := mp4.FullSample{Sample: mp4.Sample{Dur: dur, Size: uint32(size), Flags: mp4.NonSyncSampleFlags}, DecodeTime: dts, Data: mdat.Data[at : at+size]}
		if stbl.Stss == nil || stbl.Stss.IsSyncSample(i) {
			s.Flags = mp4.SyncSampleFlags
		}
		if stbl.Ctts != nil {
			s.CompositionTimeOffset = stbl.Ctts.GetCompositionTimeOffset(i)
		}
		a, err := h.unit(t, &s)
		if err != nil {
			return nil, fmt.Errorf("sample %d: %w", i, err)
		}
		a.CaptureNS = s.PresentationTime()
		out = append(out, a)
		at += size
	}
	return out, nil
}

func (h *Header) tracks(moov *mp4.MoovBox) ([]*mp4Track, error) {
	var out []*mp4Track
	for _, trak := range moov.Traks {
		t := &mp4Track{id: trak.Tkhd.TrackID, timescale: int64(trak.Mdia.Mdhd.Timescale), index: -1, stbl: trak.Mdia.Minf.Stbl}
		entries := trak.Mdia.Minf.Stbl.Stsd.Children
		if len(entries) == 0 || t.timescale == 0 {
			return nil, fmt.Errorf("track %d: no sample entry or no timescale", t.id)
		}
		typ := entries[0].Type()
		for i, lt := range h.Tracks {
			if slices.Contains(entryTypes[lt.Codec], typ) {
				t.index, t.codec = i, lt.Codec
			}
		}
		if t.index < 0 {
			return nil, fmt.Errorf("track %d: sample entry %q fits no track of the ledger", t.id, typ)
		}
		if t.codec == PCMA || t.codec == PCMU {
			t.expand, t.little = g711Codes(t.codec), typ == "sowt"
		}
		if moov.Mvex != nil {
			for _, x := range moov.Mvex.Trexs {
				if x.TrackID == t.id {
					t.trex = x
				}
			}
		}
		if t.trex == nil && moov.Mvex != nil {
			return nil, fmt.Errorf("track %d: no trex", t.id)
		}
		if err := t.edits(trak, int64(moov.Mvhd.Timescale)); err != nil {
			return nil, fmt.Errorf("track %d: %w", t.id, err)
		}
		out = append(out, t)
	}
	return out, nil
}

// entryTypes are the sample entries that a codec may have.
var entryTypes = map[Codec][]string{
	H264:  {"avc1", "avc3"},
	H265:  {"hvc1", "hev1"},
	MJPEG: {"mp4v", "jpeg", "mjpg"},
	AAC:   {"mp4a"},
	PCMA:  {"twos", "sowt"},
	PCMU:  {"twos", "sowt"},
}

// edits reads the edit list (ISO/IEC 14496-12 8.6.6): an empty edit, then one that shows
// the media from a time on.
func (t *mp4Track) edits(trak *mp4.TrakBox, movieScale int64) error {
	t.mediaEnd = 1 << 62
	t.last, t.next = -1<<62, -1<<62
	if trak.Edts == nil {
		return nil
	}
	shown := 0
	for _, list := range trak.Edts.Elst {
		for _, e := range list.Entries {
			if e.MediaTime < 0 {
				if shown > 0 {
					return errors.New("an empty edit after another one")
				}
				t.lateNS += int64(e.SegmentDuration) * int64(time.Second) / max(movieScale, 1)
				continue
			}
			if shown++; shown > 1 {
				return errors.New("more than one edit")
			}
			t.mediaTime = e.MediaTime
			if e.SegmentDuration > 0 && movieScale > 0 {
				// Movie time is coarser than media time: one unit of it does not hide.
				t.mediaEnd = e.MediaTime + int64(e.SegmentDuration+1)*t.timescale/movieScale
			}
		}
	}
	return nil
}

func (h *Header) unit(t *mp4Track, s *mp4.FullSample) (AccessUnit, error) {
	// How long the last access unit of a fragment lasts is not always known when it is
	// written (sound; pictures that lead into an open GOP), and capture time may run faster
	// than nominal while the camera's clock is learned.
	if dts := int64(s.DecodeTime); dts <= t.last || dts < t.next-(t.next-t.last)/2 {
		return AccessUnit{}, fmt.Errorf("the one before is decoded at %d and ends at %d", t.last, t.next)
	}
	t.last = int64(s.DecodeTime)
	t.next = int64(s.DecodeTime) + int64(s.Dur)
	var a AccessUnit
	switch t.codec {
	case H264, H265:
		nalus, err := SplitNALUs(s.Data)
		if err != nil {
			return AccessUnit{}, err
		}
		a = h.unitOfNALUs(t.codec, nalus)
		if a.Key != s.IsSync() {
			return AccessUnit{}, fmt.Errorf("sync flag %v, random access point %v", s.IsSync(), a.Key)
		}
	case PCMA, PCMU:
		codes, err := t.contract(s.Data)
		if err != nil {
			return AccessUnit{}, err
		}
		a = h.unitOfBytes(t.codec, codes)
	default:
		a = h.unitOfBytes(t.codec, s.Data)
	}
	a.Track = t.index
	pts := s.PresentationTime()
	a.Preroll = pts < t.mediaTime || pts >= t.mediaEnd
	return a, nil
}

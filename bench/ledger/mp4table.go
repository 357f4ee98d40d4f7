package ledger

import (
	"errors"
	"fmt"

	"github.com/Eyevinn/mp4ff/mp4"
)

var errNoMdat = errors.New("it has no mdat behind its moov, or a sample is not in it")

// tables returns the access units of a file that is not fragmented, one list for each track.
func (h *Header) tables(f *mp4.File, tracks []*mp4Track, capture func(*mp4Track, []byte, int64) int64) ([][]AccessUnit, error) {
	if f.Mdat == nil || f.Mdat.StartPos < f.Moov.StartPos {
		return nil, errNoMdat
	}
	start := f.Mdat.PayloadAbsoluteOffset()
	all := make([][]AccessUnit, 0, len(tracks))
	for i, trak := range f.Moov.Traks {
		t := tracks[i]
		list, err := trak.GetSampleData(1, trak.GetNrSamples())
		if err != nil {
			return nil, fmt.Errorf("track %d: %w", t.id, err)
		}
		ranges, err := trak.GetRangesForSampleInterval(1, trak.GetNrSamples())
		if err != nil {
			return nil, fmt.Errorf("track %d: %w", t.id, err)
		}
		var out []AccessUnit
		var data []byte
		dts := uint64(0)
		for j := range list {
			for len(data) == 0 && len(ranges) > 0 {
				r := ranges[0]
				if ranges = ranges[1:]; r.Offset < start || r.Offset-start+r.Size > uint64(len(f.Mdat.Data)) {
					return nil, fmt.Errorf("track %d: %w", t.id, errNoMdat)
				}
				data = f.Mdat.Data[r.Offset-start : r.Offset-start+r.Size]
			}
			if uint64(len(data)) < uint64(list[j].Size) {
				return nil, fmt.Errorf("track %d, sample %d: %w", t.id, j+1, errNoMdat)
			}
			s := mp4.FullSample{Sample: list[j], DecodeTime: dts, Data: data[:list[j].Size]}
			if stss := t.stbl.Stss; stss == nil || stss.IsSyncSample(uint32(j)+1) {
				s.Flags = mp4.SyncSampleFlags
			} else {
				s.Flags = mp4.NonSyncSampleFlags
			}
			a, err := h.unit(t, &s)
			if err != nil {
				return nil, fmt.Errorf("track %d, sample %d: %w", t.id, j+1, err)
			}
			a.CaptureNS = capture(t, nil, s.PresentationTime())
			out = append(out, a)
			data = data[list[j].Size:]
			dts += uint64(list[j].Dur)
		}
		all = append(all, out)
	}
	return all, nil
}

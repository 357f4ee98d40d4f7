package recorder

import (
	"cmp"
	"errors"
	"iter"
	"math"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

// volumes are those that can be asked: to whoever asks, they are one.
type volumes []*volume

// volumes returns what can be asked now. A disk that is gone, or whose index is being
// made anew, is left out, and one that hangs if there are others. The error is a refusal,
// not Unavailable, which would be taken for a recorder that does not answer.
func (s *server) volumes() (volumes, error) {
	out, lacking := s.r.asked()
	if len(out) == 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "recorder %s: %s", s.r.opts.Name, lacking)
	}
	return out, nil
}

// asked returns the volumes that can be asked, and says which cannot.
func (r *Recorder) asked() (out volumes, lacking string) {
	var why []string
	for _, s := range r.slots {
		v := s.serving()
		state, text, _ := s.status()
		switch {
		case v == nil && state == diskGood:
			why = append(why, s.place.Dir+": "+errRecovering.Error())
		case v == nil, state == diskHung && len(r.slots) > 1:
			why = append(why, s.place.Dir+": "+text)
		case v.index.err() != nil:
			why = append(why, s.place.Dir+": "+v.index.err().Error())
		default:
			out = append(out, v)
		}
	}
	return out, strings.Join(why, "; ")
}

// lacking says what of a camera may be held beside what is told: of which disks, and that
// it starts before beforeNS; 0: at any time. An empty why: all is told.
func (r *Recorder) lacking(camera string) (why string, beforeNS int64) {
	vols, why := r.asked()
	for _, v := range vols {
		since := v.adopt.since(camera)
		if since == 0 {
			continue
		}
		if why != "" {
			return why, 0
		}
		beforeNS = max(beforeNS, since)
	}
	switch {
	case beforeNS == math.MaxInt64:
		return errAdopting.Error(), 0
	case beforeNS > 0:
		return errAdopting.Error(), beforeNS
	}
	return why, 0
}

// errAdopting is why a recorder does not tell of all that it has.
var errAdopting = errors.New("its index is being made anew from the media")

// fragments lists a camera like index.Store.Fragments does; Holders are indices of vs.
func (vs volumes) fragments(camera string, startNS, endNS int64) iter.Seq2[index.Merged, error] {
	sources := make([]iter.Seq2[index.Ref, error], len(vs))
	for i, v := range vs {
		sources[i] = v.index.store().Fragments(camera, startNS, endNS)
	}
	if len(vs) > 1 {
		return distinct(index.Merge(sources...))
	}
	return func(yield func(index.Merged, error) bool) {
		only := []int{0}
		for ref, err := range sources[0] {
			if !yield(index.Merged{Ref: ref, Holders: only}, err) {
				return
			}
		}
	}
}

// distinct leaves out further copies of a fragment that have other bytes: a recorder
// offers one, the longest.
func distinct(all iter.Seq2[index.Merged, error]) iter.Seq2[index.Merged, error] {
	return func(yield func(index.Merged, error) bool) {
		var last index.Ref
		for m, err := range all {
			if err == nil && index.Compare(&m.Ref, &last) == 0 {
				continue
			}
			last = m.Ref
			if !yield(m, err) {
				return
			}
		}
	}
}

// spans returns the union of what index.Store.SpansAround returns.
func (vs volumes) spans(camera string, startNS, endNS int64) ([]index.Span, error) {
	lists := make([][]index.Span, len(vs))
	for i, v := range vs {
		var err error
		if lists[i], err = v.index.store().SpansAround(camera, startNS, endNS); err != nil {
			return nil, err
		}
	}
	if len(lists) == 1 {
		return lists[0], nil
	}
	return index.MergeSpans(lists...), nil
}

// horizon returns how far retention has come with a camera.
func (vs volumes) horizon(camera string) (ns int64) {
	for _, v := range vs {
		c, _ := v.index.store().Camera(camera)
		ns = max(ns, c.HorizonNS)
	}
	return ns
}

// init returns an init header from whichever volume has it.
func (vs volumes) init(camera string, hash media.Hash) (data []byte, err error) {
	for _, v := range vs {
		if data, err = v.index.store().Init(camera, hash); err == nil {
			return data, nil
		}
	}
	return nil, err
}

// digests returns the digests of what the volumes hold together. A fragment that two of
// them hold counts twice.
func (vs volumes) digests(camera string, startNS, endNS int64) ([]index.Digest, error) {
	var out []index.Digest
	for _, v := range vs {
		list, err := v.index.store().Digests(camera, startNS, endNS)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			i, had := slices.BinarySearchFunc(out, d.HourNS, func(d index.Digest, h int64) int { return cmp.Compare(d.HourNS, h) })
			if had {
				out[i].Join(&d)
				continue
			}
			out = slices.Insert(out, i, d)
		}
	}
	return out, nil
}

// repaired returns the stretches that were copied from other recorders, in order.
func (vs volumes) repaired(camera string, startNS, endNS int64) ([]index.Stretch, error) {
	var all []index.Stretch
	for _, v := range vs {
		list, err := v.index.store().Repaired(camera, startNS, endNS)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b index.Stretch) int { return cmp.Compare(a.StartNS, b.StartNS) })
	out := all[:0]
	for _, x := range all {
		if n := len(out); n > 0 && x.StartNS <= out[n-1].EndNS {
			out[n-1].EndNS = max(out[n-1].EndNS, x.EndNS)
			continue
		}
		out = append(out, x)
	}
	return out, nil
}

package recorder

import (
	"cmp"
	"math"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/nodepb"
)

// damagedMost is how many damaged fragments the status names.
const damagedMost = 100

// damaged tells of what is marked as damaged on the volumes that can be asked, from
// memory, with the directory that it is in.
func (r *Recorder) damaged(each func(dir string, d *index.Damage)) {
	for _, s := range r.slots {
		v := s.serving()
		if v == nil {
			continue
		}
		store := v.index.store()
		for _, d := range store.Damaged("", math.MinInt64, math.MaxInt64) {
			each(s.place.Dir, &d)
		}
	}
}

// tellDamage adds what is damaged to the status.
func (r *Recorder) tellDamage(out *nodepb.RecorderStatus) {
	r.damaged(func(dir string, d *index.Damage) {
		out.DamagedFragments++
		out.Damaged = append(out.Damaged, &nodepb.Damaged{
			Camera: d.Camera, Epoch: d.Epoch[:], First: d.First, StartNs: d.StartNS, EndNs: d.EndNS,
			FoundNs: d.FoundNS, Segment: d.Segment, At: d.At, Why: d.Why, Quarantined: d.Quarantined, Path: dir,
		})
	})
	slices.SortStableFunc(out.Damaged, func(a, b *nodepb.Damaged) int { return cmp.Compare(b.GetFoundNs(), a.GetFoundNs()) })
	out.Damaged = out.Damaged[:min(len(out.Damaged), damagedMost)]
}

// damageCount sums up what is damaged of a camera.
type damageCount struct {
	count  int
	oldest index.Damage
}

func (r *Recorder) damageByCamera() map[string]damageCount {
	out := map[string]damageCount{}
	r.damaged(func(_ string, d *index.Damage) {
		c := out[d.Camera]
		if c.count == 0 || d.StartNS < c.oldest.StartNS {
			c.oldest = *d
		}
		c.count++
		out[d.Camera] = c
	})
	return out
}

// damaged returns the stretches of a camera of which a volume has a damaged copy.
func (vs volumes) damaged(camera string, startNS, endNS int64) []*nodepb.Stretch {
	var out []*nodepb.Stretch
	for _, v := range vs {
		for _, d := range v.index.store().Damaged(camera, math.MinInt64, endNS) {
			if d.EndNS > startNS {
				out = append(out, &nodepb.Stretch{StartNs: d.StartNS, EndNs: d.EndNS})
			}
		}
	}
	return out
}

// status tells how far the check of a volume is.
func (s *scrubber) status() *nodepb.Scrub {
	st := s.progress()
	out := &nodepb.Scrub{
		DoneBytes: uint64(st.Done), TotalBytes: uint64(st.Total), Fragments: uint64(st.Fragments), Damaged: uint64(st.Damaged),
		Mended: uint64(st.Mended), Unlisted: uint64(st.Unlisted), Off: s.opts.Off, Rate: uint64(s.opts.Rate),
	}
	if !st.Started.IsZero() {
		out.StartedNs = st.Started.UnixNano()
	}
	if !st.Finished.IsZero() {
		out.FinishedNs = st.Finished.UnixNano()
	}
	return out
}

// collectScrub tells the metrics of the checks.
func (r *Recorder) collectScrub(send func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string)) {
	for _, slot := range r.slots {
		v := slot.serving()
		if v == nil {
			continue
		}
		st := v.scrub.progress()
		if st.Total > 0 {
			send(descScrubDone, prometheus.GaugeValue, min(1, float64(st.Done)/float64(st.Total)), slot.place.Dir)
		}
		end := 0.0
		if !st.Finished.IsZero() {
			end = float64(st.Finished.Unix())
		}
		send(descScrubEnd, prometheus.GaugeValue, end, slot.place.Dir)
		send(descScrubRead, prometheus.CounterValue, float64(v.scrub.read.Load()), slot.place.Dir)
	}
}

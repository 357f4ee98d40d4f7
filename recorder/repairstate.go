package recorder

import (
	"math"
	"time"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/nodepb"
)

// repairState is what there is to tell of the repair of a camera.
type repairState struct {
	completeNS            int64
	fragments, bytes      int64 // lacking
	repaired, repairedLen int64
	failed                int64
	stopped               string
}

// rateMeter tells how fast bytes come, as an average over some seconds.
type rateMeter struct {
	at    int64 // start of the second at hand, by the clock that does not step
	bytes int64
	rate  float64
}

const rateWeight = 0.3

// add counts bytes.
func (m *rateMeter) add(c clock.Clock, n int64) {
	m.now(c)
	m.bytes += n
}

// now returns the bytes per second.
func (m *rateMeter) now(c clock.Clock) float64 {
	mono := c.Mono()
	if m.at == 0 {
		m.at = mono
	}
	if passed := time.Duration(mono - m.at); passed >= time.Second {
		fresh := float64(m.bytes) / passed.Seconds()
		weight := 1 - math.Pow(1-rateWeight, passed.Seconds())
		if m.rate == 0 {
			weight = 1
		}
		m.rate += weight * (fresh - m.rate)
		m.at, m.bytes = mono, 0
	}
	if m.rate < 1 {
		return 0
	}
	return m.rate
}

func (r *repairer) state(camera string) *repairState {
	s := r.states[camera]
	if s == nil {
		s = &repairState{}
		r.states[camera] = s
	}
	return s
}

// book counts a fragment that was copied.
func (r *repairer) book(camera string, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state(camera)
	s.repaired++
	s.repairedLen += size
	s.fragments, s.bytes = max(s.fragments-1, 0), max(s.bytes-size, 0)
	r.rate.add(r.clock, size)
}

// fail counts a fragment that no recorder gave.
func (r *repairer) fail(camera string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state(camera).failed++
}

// completeOf returns up to when a camera was complete when that was told last.
func (r *repairer) completeOf(camera string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state(camera).completeNS
}

// publish makes known how a camera stands.
func (r *repairer) publish(camera string, held index.Camera) {
	complete := int64(math.MaxInt64)
	known := len(r.sources) > 0
	for _, s := range r.sources {
		said, _, ups := s.camera(camera)
		m := s.marks[camera]
		switch {
		case ups == 0:
			known = false // it may have anything
		case said.GetFragmentsStored() == 0:
		case m == nil || !m.knows:
			known = false
		default:
			complete = min(complete, m.atNS)
		}
	}
	var fragments, bytes int64
	why := ""
	before := r.completeOf(camera)
	for key, t := range r.tasks {
		if key.camera != camera || t.unfit {
			continue
		}
		fragments += t.fragments
		bytes += t.bytes
		first := t.firstNS
		if !t.listed && t.why == "" { // an hour differs, and where in it will be known in a moment
			first = max(first, min(before, t.toNS))
		}
		complete = min(complete, first)
		switch {
		case t.why != "":
			why = t.why
		case why == "" && !t.reachable():
			why = "the recorder that has it does not answer"
		}
	}
	if complete == math.MaxInt64 {
		complete = held.EndNS // nobody else has anything
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state(camera)
	s.fragments, s.bytes, s.stopped = fragments, bytes, why
	if known {
		s.completeNS = complete
	}
}

// status tells how a camera stands.
func (r *repairer) status(camera string) *nodepb.RepairState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.states[camera]
	if s == nil {
		return nil
	}
	out := &nodepb.RepairState{
		CompleteUntilNs: s.completeNS, LackingFragments: uint64(s.fragments), LackingBytes: uint64(s.bytes),
		RepairedFragments: uint64(s.repaired), RepairedBytes: uint64(s.repairedLen), Failures: uint64(s.failed),
		Stopped: s.stopped,
	}
	if s.fragments == 0 && s.bytes == 0 {
		return out
	}
	var all int64 // cameras are repaired one after the other
	for _, x := range r.states {
		all += x.bytes
	}
	if rate := r.rate.now(r.clock); rate > 0 {
		out.BytesPerSecond = uint64(rate)
		out.RemainingNs = int64(float64(all) / rate * 1e9)
	}
	return out
}

package playback

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

// Timeline is the answer of /v1/cameras/{camera}/timeline.
type Timeline struct {
	Camera   string         `json:"camera"`
	Start    stamp          `json:"start"`
	End      stamp          `json:"end"`
	Spans    []SpanView     `json:"spans"`
	Gaps     []GapView      `json:"gaps" doc:"What no recorder has."`
	Unknown  []UnknownView  `json:"unknown" doc:"What no recorder that answered has, while others did not answer."`
	Locked   []LockedView   `json:"locked" doc:"What evidence locks protect from retention."`
	Repaired []RepairedView `json:"repaired" doc:"What a recorder has copied from another one: no gap, only a copy that came later."`
	Future   *stamp         `json:"future,omitempty" doc:"From here to the end, footage is still to come."`
}

// SpanView is a stretch of footage without a missing record.
type SpanView struct {
	Start     stamp    `json:"start"`
	End       stamp    `json:"end"`
	Epoch     string   `json:"epoch" doc:"The camera session."`
	Recorders []string `json:"recorders" doc:"Those that have it."`
}

// RepairedView is a stretch that a recorder has copied from another one.
type RepairedView struct {
	Start    stamp  `json:"start"`
	End      stamp  `json:"end"`
	Recorder string `json:"recorder" doc:"That has copied it."`
}

// GapView is a stretch that no recorder has.
type GapView struct {
	Start stamp       `json:"start"`
	End   stamp       `json:"end"`
	Cause media.Cause `json:"cause"`
}

// UnknownView is a stretch that nobody can tell about now.
type UnknownView struct {
	Start     stamp    `json:"start"`
	End       stamp    `json:"end"`
	Recorders []string `json:"recorders" doc:"Those that did not answer."`
}

// LockedView is a stretch that an evidence lock protects.
type LockedView struct {
	Start  stamp  `json:"start"`
	End    stamp  `json:"end"`
	Lock   string `json:"lock" doc:"ID of the lock."`
	Reason string `json:"reason"`
}

// liveWithin is how old the newest footage of a camera that is being recorded may be: a
// fragment is visible when it has ended and is durable, and may last 10 s by default.
const liveWithin = 15 * time.Second

func (s *Service) timeline(ctx context.Context, in *rangeInput) (t Timeline, err error) {
	began := s.clock.Mono()
	defer func() { s.m.observe("timeline", err, time.Duration(s.clock.Mono()-began)) }()
	if err := s.checkCamera(in.Camera); err != nil {
		return t, err
	}
	now := s.clock.Now()
	span, err := parseRange(in.Start, in.End, now, true, s.o.Limits.Timeline)
	if err != nil {
		return t, err
	}
	live, open := s.liveness(in.Camera, now)
	sources, locks, repaired := s.spans(ctx, in.Camera, span)
	res := index.Timeline(sources, index.Query{
		StartNS: span.startNS, EndNS: span.endNS, NowNS: now.UnixNano(), LiveNS: live, OpenCause: open,
		Locked: lockedOf(locks, in.Camera),
	})
	t = Timeline{
		Camera: in.Camera, Start: at(span.startNS), End: at(span.endNS),
		Spans: []SpanView{}, Gaps: []GapView{}, Unknown: []UnknownView{}, Locked: []LockedView{}, Repaired: repaired,
	}
	for _, x := range res.Spans {
		t.Spans = append(t.Spans, SpanView{at(x.StartNS), at(x.EndNS), x.Epoch.String(), x.Recorders})
	}
	for _, x := range res.Gaps {
		t.Gaps = append(t.Gaps, GapView{at(x.StartNS), at(x.EndNS), x.Cause})
	}
	for _, x := range res.Unknown {
		t.Unknown = append(t.Unknown, UnknownView{at(x.StartNS), at(x.EndNS), x.Recorders})
	}
	for _, l := range locks.Active(in.Camera) {
		if l.Overlaps(span.startNS, span.endNS) {
			t.Locked = append(t.Locked, LockedView{at(max(l.StartNS, span.startNS)), at(min(l.EndNS, span.endNS)), l.ID, l.Reason})
		}
	}
	if res.FutureNS < span.endNS {
		t.Future = atOrNil(res.FutureNS)
	}
	return t, nil
}

// liveness says how old the newest footage may be for what follows it to be still to
// come, and what it means otherwise that it ends.
func (s *Service) liveness(camera string, now time.Time) (liveNS int64, open media.Cause) {
	within := now.Add(-liveWithin).UnixNano()
	p, pc, up := s.proxyOf(camera)
	switch {
	case p == nil:
		return within, "" // no proxy says anything
	case !up:
		open = media.CauseProxy
	case pc.GetState() == "live":
		return within, media.CauseBehind
	case pc.GetState() == "stalled":
		open = media.CauseStalled
	default:
		open = media.CauseConnection
	}
	if pc.GetLastPacketNs() > within {
		return within, open // what came until then may still be on its way to a disk
	}
	return math.MaxInt64, open
}

// spans asks the recorders for their coarse spans, for the locks in force, and for what
// they have copied from each other.
func (s *Service) spans(ctx context.Context, camera string, span stretch) ([]index.Source, lock.Set, []RepairedView) {
	type said struct {
		spans    []index.Span
		locks    []lock.Lock
		repaired []*nodepb.Stretch
		damaged  []index.Stretch
		horizon  int64
		lacking  bool
		before   int64
	}
	got, silent := ask(ctx, s.o.Deadlines.Answer, s.pool.holders(camera), func(ctx context.Context, p *peer) (said, error) {
		var v said
		err := p.call(ctx, func(ctx context.Context) error {
			reply, err := p.recorder.Spans(ctx, &nodepb.SpansRequest{Camera: camera, StartNs: span.startNS, EndNs: span.endNS}, grpc.WaitForReady(true))
			if err == nil {
				v.lacking, v.before = reply.GetLacking() != "", reply.GetLackingBeforeNs()
				v.spans, err = spansFromProto(reply.GetSpans())
			}
			if err == nil {
				v.locks, err = lock.FromProto(reply.GetLocks())
				v.repaired = reply.GetRepaired()
				v.damaged, v.horizon = stretchesFromProto(reply.GetDamaged()), reply.GetHorizonNs()
			}
			return err
		})
		return v, err
	})
	var locks lock.Set
	repaired := []RepairedView{}
	out := make([]index.Source, 0, len(got)+len(silent))
	for _, a := range got {
		out = append(out, index.Source{Name: a.peer.Name, Spans: a.value.spans, Damaged: a.value.damaged, HorizonNS: a.value.horizon})
		if a.value.lacking { // another disk of it may have more, or its index is being made anew
			out = append(out, index.Source{Name: a.peer.Name, Unknown: true, UnknownBeforeNS: a.value.before})
		}
		locks, _ = locks.With(a.value.locks...)
		for _, x := range a.value.repaired {
			if from, to := max(x.GetStartNs(), span.startNS), min(x.GetEndNs(), span.endNS); from < to {
				repaired = append(repaired, RepairedView{at(from), at(to), a.peer.Name})
			}
		}
	}
	for _, x := range silent {
		out = append(out, index.Source{Name: x.peer.Name, Unknown: true})
	}
	return out, locks, repaired
}

// lockedOf returns what of a camera locks in force protect.
func lockedOf(locks lock.Set, camera string) (out []index.Stretch) {
	for _, l := range locks.Active(camera) {
		out = append(out, index.Stretch{StartNS: l.StartNS, EndNS: l.EndNS})
	}
	return out
}

func stretchesFromProto(in []*nodepb.Stretch) []index.Stretch {
	out := make([]index.Stretch, len(in))
	for i, x := range in {
		out[i] = index.Stretch{StartNS: x.GetStartNs(), EndNS: x.GetEndNs()}
	}
	return out
}

func spansFromProto(in []*nodepb.Span) ([]index.Span, error) {
	out := make([]index.Span, len(in))
	for i, x := range in {
		if len(x.GetEpoch()) != len(record.Epoch{}) || x.GetFirst() >= x.GetEnd() || x.GetStartNs() >= x.GetEndNs() {
			return nil, fmt.Errorf("a span of offsets %d … %d, times %d … %d, with an epoch of %d bytes",
				x.GetFirst(), x.GetEnd(), x.GetStartNs(), x.GetEndNs(), len(x.GetEpoch()))
		}
		out[i] = index.Span{
			First: x.GetFirst(), End: x.GetEnd(), StartNS: x.GetStartNs(), EndNS: x.GetEndNs(),
			Since: media.Cause(x.GetSince()), SinceNS: x.GetSinceNs(),
		}
		copy(out[i].Epoch[:], x.GetEpoch())
	}
	return out, nil
}

// nearest finds the footage around a range that has none.
func (s *Service) nearest(ctx context.Context, camera string, span stretch) *Nearest {
	var n Nearest
	sources, _, _ := s.spans(ctx, camera, stretch{0, math.MaxInt64})
	for _, src := range sources {
		for _, x := range src.Spans {
			if x.EndNS <= span.startNS && (n.Before == nil || x.EndNS > n.Before.UnixNano()) {
				n.Before = atOrNil(x.EndNS)
			}
			if x.StartNS >= span.endNS && (n.After == nil || x.StartNS < n.After.UnixNano()) {
				n.After = atOrNil(x.StartNS)
			}
		}
	}
	if n.Before == nil && n.After == nil {
		return nil
	}
	return &n
}

// checkCamera returns a Problem for a camera that nobody knows.
func (s *Service) checkCamera(name string) error {
	if nameForm.MatchString(name) && s.pool.knows(name) {
		return nil
	}
	p := &Problem{
		Type: problemCamera, Status: http.StatusNotFound, Title: "There is no such camera", Field: "camera",
		Detail: fmt.Sprintf("No camera %q is configured, and no recorder has footage of one; /v1/cameras lists them.", name),
	}
	for _, r := range s.pool.recorders {
		if r.view().RecStatus == nil {
			p.Recorders = append(p.Recorders, r.Name)
		}
	}
	if len(p.Recorders) > 0 {
		p.Detail += " Not heard yet: " + strings.Join(p.Recorders, ", ") + "."
	}
	return p
}

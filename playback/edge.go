package playback

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/internal/media"
)

// edge is a fragment that was read up front, and trimmed.
type edge struct {
	data []byte // empty: nothing of it is left
	// units are the access units in data, videoUnits those in videoData.
	units, videoUnits []unit
	// video is set where the fragment is the first one with video and has pre-roll: data
	// is without its video then, of which videoData are the samples. The header describes
	// them, because it is only there that ffmpeg leaves out what an edit list hides.
	video     *media.Trimmed
	videoData []byte
	// firstNS is the decode time of its first sample; 0: there is none.
	firstNS int64
	// minNS is the time of the first sample that is shown, maxNS where the last one ends;
	// 0: there is none.
	minNS, maxNS int64
	// nextNS is the time of the first video that is after the range; 0: there is none.
	nextNS    int64
	reorderNS int64
	// open: video before the range is needed from an earlier fragment.
	open bool
}

// unit is an access unit of an edge.
type unit struct {
	media.Unit
	sum media.Hash
}

// unitsOf returns the access units of what was trimmed, which are in b from an offset on.
func unitsOf(t *media.Trimmed, b []byte, at int64) []unit {
	out := make([]unit, len(t.Units))
	for i, u := range t.Units {
		u.At += at
		out[i] = unit{u, sha256.Sum256(b[u.At : u.At+int64(u.Size)])}
	}
	return out
}

// edgeKey is what an edge depends on.
type edgeKey struct {
	hash, init   media.Hash
	fromNS, toNS int64
	kind         edgeKind
}

// edgeKind says where a fragment stands.
type edgeKind int

const (
	edgePlain edgeKind = iota
	edgeFirst          // the first one with video
	edgeAfter          // the first one with video, whose pre-roll is in earlier fragments
)

// edges reads and trims the fragments that reach over an end of the range. The result is
// parallel to the plan's refs, nil where the whole fragment is used. first is the kind of
// the first fragment with video: edgePlain where its pre-roll is not to be told apart.
func (s *Service) edges(ctx context.Context, p *plan, inits []*media.Init, first edgeKind) (map[int]*edge, error) {
	edges := make(map[int]*edge)
	var todo []int
	for i := range p.refs {
		r := &p.refs[i]
		if i >= p.preRoll && i < p.video {
			continue
		}
		if i == p.video || r.minNS < p.fromNS || r.maxNS > p.toNS || r.fromNS > r.minNS {
			todo = append(todo, i)
		}
	}
	got := make([]*edge, len(todo))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(edgesAtOnce)
	for n, i := range todo {
		g.Go(func() (err error) {
			kind := edgePlain
			if i == p.video {
				kind = first
			}
			got[n], err = s.edge(gctx, p, i, inits, kind)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for n, i := range todo {
		edges[i] = got[n]
	}
	return edges, s.settlePreRoll(ctx, p, inits, edges)
}

// settlePreRoll decides where the fragments before the range are needed: where the first
// one with video of the range has no key frame at or before its start.
func (s *Service) settlePreRoll(ctx context.Context, p *plan, inits []*media.Init, edges map[int]*edge) error {
	if p.preRoll == p.video {
		return nil
	}
	if e := edges[p.video]; e != nil && !e.open {
		for i := p.preRoll; i < p.video; i++ {
			if p.refs[i].maxNS <= p.fromNS {
				edges[i] = &edge{}
				continue
			}
			tail, err := s.edge(ctx, p, i, inits, edgePlain)
			if err != nil {
				return err
			}
			edges[i] = tail
		}
		return nil
	}
	after, err := s.edge(ctx, p, p.video, inits, edgeAfter)
	if err != nil {
		return err
	}
	edges[p.video] = after
	return nil
}

// edge reads fragment i and trims it to the range.
func (s *Service) edge(ctx context.Context, p *plan, i int, inits []*media.Init, kind edgeKind) (*edge, error) {
	r := &p.refs[i]
	from, to := max(p.fromNS, r.fromNS), p.toNS
	key := edgeKey{r.hash, p.inits[r.init], from, to, kind}
	if e, ok := s.edgeCache.get(key); ok {
		return e, nil
	}
	w := p.want(i)
	w.spare = &s.edgeSpare
	data, err := s.reader.read(ctx, w)
	if err != nil {
		return nil, err
	}
	defer w.spare.give(data) // what is kept is copied
	e, err := trim(data, r, inits[r.init], from, to, kind)
	if err != nil {
		return nil, fmt.Errorf("trim fragment %s+%d of %s: %w", p.epochs[r.epoch], r.first, p.camera, err)
	}
	s.edgeCache.put(key, e, int64(cap(e.data)+cap(e.videoData)+64*(len(e.units)+len(e.videoUnits)))+256)
	return e, nil
}

// trim keeps the samples in [from, to), and what they need to be decoded.
func trim(data []byte, r *planRef, init *media.Init, from, to int64, kind edgeKind) (*edge, error) {
	parsed, err := media.ParseFragment(data, r.size, init, r.windowNS)
	if err != nil {
		return nil, err
	}
	e := &edge{open: !keyBefore(parsed, from), reorderNS: parsed.ReorderNS()}
	t := media.Trim{FromNS: from, ToNS: to, PreRoll: true, PostRoll: true}
	if kind == edgeAfter {
		t.FromNS = math.MinInt64
	}
	trimmed := parsed.Trim(t)
	if trimmed.Size == 0 {
		return e, nil
	}
	e.firstNS = trimmed.FirstNS
	lead := e.bounds(parsed, from, to)
	t.Only = media.KindVideo
	if video := parsed.Trim(t); kind == edgeFirst && lead && video.MinNS != 0 {
		e.video = video
		e.videoData = video.Append(make([]byte, 0, video.Size), data)[len(video.Head):]
		e.videoUnits = unitsOf(video, e.videoData, 0)
		t.Only = media.KindAudio
		trimmed = parsed.Trim(t)
	}
	if trimmed.Size > 0 {
		e.data = trimmed.Append(make([]byte, 0, trimmed.Size), data)
		e.units = unitsOf(trimmed, e.data, int64(len(trimmed.Head)))
	}
	return e, nil
}

// keyBefore reports whether the video that is shown from then on can be decoded with
// what the fragment has.
func keyBefore(p *media.Parsed, fromNS int64) bool {
	for _, t := range p.Tracks {
		if t.Kind != media.KindVideo {
			continue
		}
		for _, s := range t.Samples {
			if s.CaptureNS >= fromNS && !s.Sync {
				return false
			}
			if s.Sync {
				return true
			}
		}
	}
	return true
}

// bounds finds out what of the fragment is shown, and reports whether there is video
// before it.
func (e *edge) bounds(p *media.Parsed, from, to int64) (lead bool) {
	for _, t := range p.Tracks {
		for _, s := range t.Samples {
			switch {
			case s.CaptureNS >= to:
				if t.Kind == media.KindVideo && (e.nextNS == 0 || s.CaptureNS < e.nextNS) {
					e.nextNS = s.CaptureNS
				}
			case s.CaptureNS < from:
				lead = lead || t.Kind == media.KindVideo
			default:
				if e.minNS == 0 || s.CaptureNS < e.minNS {
					e.minNS = s.CaptureNS
				}
				e.maxNS = max(e.maxNS, s.CaptureNS+int64(s.Duration)*int64(time.Second)/int64(t.Timescale))
			}
		}
	}
	return lead
}

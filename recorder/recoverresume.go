package recorder

import (
	"math"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// resumeAt returns the position that recording of a camera goes on from: its durable
// one. If recovery changed something, there may be a hole before it that the proxy's
// log can still fill; then that is where it goes on, and what follows is not written
// twice. hole is such a place that is known, or zero. A fragment whose end was never
// seen is asked for again, whole.
func resumeAt(s *index.Store, camera string, changed bool, hole record.Position) (record.Position, error) {
	held, ok := s.Camera(camera)
	if !ok {
		return record.Position{}, nil
	}
	at := held.Position
	if changed && held.EndNS > 0 {
		spans, err := s.Spans(camera, held.EndNS-holeNS, math.MaxInt64)
		if err != nil {
			return at, err
		}
		for _, sp := range spans {
			if end := (record.Position{Epoch: sp.Epoch, Offset: sp.End}); end.Compare(at) < 0 {
				at = end
			}
		}
	}
	if !hole.IsZero() && hole.Compare(at) < 0 {
		at = hole
	}
	if held.EndNS == 0 {
		return at, nil
	}
	for ref, err := range s.Fragments(camera, held.EndNS-tailNS, math.MaxInt64) {
		if err != nil {
			return at, err
		}
		if ref.Epoch == at.Epoch && ref.End == at.Offset && ref.Flags&media.Truncated != 0 {
			return record.Position{Epoch: ref.Epoch, Offset: ref.First}, nil
		}
	}
	return at, nil
}

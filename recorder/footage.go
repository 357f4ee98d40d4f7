package recorder

import (
	"context"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

const (
	// footageEvery is how often the others are asked what they hold, footageAge how old
	// an answer may be for retention to go by it.
	footageEvery = 30 * time.Second
	footageAge   = 90 * time.Second
)

// peerFootage is what another recorder said that it holds. It does not change.
type peerFootage struct {
	atMono   int64
	byCamera map[string]footage
}

// askFootage asks a peer for the spans of all its cameras. When it does not answer, what
// it said before ages, and retention goes by the time of footage alone.
func (x *exchange) askFootage(ctx context.Context, p *peer) {
	ctx, cancel := context.WithTimeout(ctx, exchangeDeadline)
	defer cancel()
	st, err := p.client.Status(ctx, &nodepb.StatusRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return
	}
	f := &peerFootage{atMono: x.r.opts.Clock.Mono(), byCamera: map[string]footage{}}
	for _, c := range st.GetCameras() {
		if c.GetFragmentsStored() == 0 {
			continue
		}
		reply, err := p.client.Spans(ctx, &nodepb.SpansRequest{Camera: c.GetCamera(), StartNs: 0, EndNs: math.MaxInt64}, grpc.WaitForReady(true))
		if err != nil {
			return
		}
		spans := make(footage, 0, len(reply.GetSpans()))
		for _, sp := range reply.GetSpans() {
			if len(sp.GetEpoch()) == len(record.Epoch{}) {
				spans = append(spans, index.Span{
					Epoch: record.Epoch(sp.GetEpoch()), First: sp.GetFirst(), End: sp.GetEnd(), StartNS: sp.GetStartNs(), EndNS: sp.GetEndNs(),
				})
			}
		}
		slices.SortStableFunc(spans, func(a, b index.Span) int { return int(min(max(a.StartNS-b.StartNS, -1), 1)) })
		f.byCamera[c.GetCamera()] = spans
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answers[p.Name] = f
}

// others returns what the other recorders hold of a camera, as far as they said so
// recently.
func (x *exchange) others(camera string) (out []footage) {
	now := x.r.opts.Clock.Mono()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range x.answers {
		if time.Duration(now-f.atMono) <= footageAge && len(f.byCamera[camera]) > 0 {
			out = append(out, f.byCamera[camera])
		}
	}
	return out
}

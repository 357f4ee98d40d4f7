package sim

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/duet-video/duet/internal/record"
)

// copyKey names a recorder's copy of a camera.
type copyKey struct{ camera, recorder string }

// observations are what was seen of the site while it ran.
type observations struct {
	mu sync.Mutex
	// acked is the highest offset of each epoch that a copy acknowledged.
	acked map[copyKey]map[record.Epoch]uint64
	// lost are the copies that the proxy's log had nothing for any more, at some time:
	// it said so, or they were away (since when) for about as long as its window.
	lost map[copyKey]bool
	away map[copyKey]time.Time
	// damaged and wiped are recorders whose disks were tampered with.
	damaged, wiped map[string]bool
	faults         []error
}

func (o *observations) init() {
	o.acked = map[copyKey]map[record.Epoch]uint64{}
	o.away = map[copyKey]time.Time{}
	o.lost, o.damaged, o.wiped = map[copyKey]bool{}, map[string]bool{}, map[string]bool{}
}

func (o *observations) fault(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = append(o.faults, err)
}

// observe looks at the proxy, every second, until ctx is done.
func (s *Site) observe(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.acknowledged()
		case <-ctx.Done():
			return
		}
	}
}

// acknowledged returns what the recorders have acknowledged so far, by copy and epoch.
func (s *Site) acknowledged() map[copyKey]map[record.Epoch]uint64 {
	o := &s.seen
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := s.nodes[proxyHost].running(); p != nil && p.proxy != nil {
		for _, c := range p.proxy.Status().GetCameras() {
			if c.GetLogBytes() > 2*logBytes {
				o.faults = append(o.faults, fmt.Errorf("the log of %s has %d bytes, its bound is %d", c.GetCamera(), c.GetLogBytes(), logBytes))
			}
			for _, k := range c.GetCopies() {
				key := copyKey{c.GetCamera(), k.GetRecorder()}
				switch {
				case k.GetConnected():
					delete(o.away, key)
				case o.away[key].IsZero():
					o.away[key] = time.Now()
				}
				if k.GetOffsetsLost() > 0 || !k.GetConnected() && time.Since(o.away[key]) > logWindow-5*time.Second {
					o.lost[key] = true
				}
				if at := k.GetDurable(); len(at.GetEpoch()) == len(record.Epoch{}) && at.GetOffset() > 0 {
					if o.acked[key] == nil {
						o.acked[key] = map[record.Epoch]uint64{}
					}
					e := record.Epoch(at.GetEpoch())
					o.acked[key][e] = max(o.acked[key][e], at.GetOffset())
				}
			}
		}
	}
	out := make(map[copyKey]map[record.Epoch]uint64, len(o.acked))
	for k, m := range o.acked {
		out[k] = make(map[record.Epoch]uint64, len(m))
		for e, n := range m {
			out[k][e] = n
		}
	}
	return out
}

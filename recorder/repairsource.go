package recorder

import (
	"context"
	"sync"
	"time"

	"github.com/duet-video/duet/internal/nodepb"
)

// source is another recorder.
type source struct {
	name   string
	client nodepb.RecorderClient

	// marks say how far each camera was compared, of the copying goroutine.
	marks map[string]*compared

	mu     sync.Mutex
	up     bool
	ups    int // how often it has come up
	status *nodepb.RecorderStatus
}

// watch keeps the state of a recorder until ctx ends.
func (s *source) watch(ctx context.Context, each time.Duration, changed func()) {
	for {
		asked, cancel := context.WithTimeout(ctx, peerTimeout)
		st, err := s.client.Status(asked, &nodepb.StatusRequest{})
		cancel()
		s.mu.Lock()
		cameUp := err == nil && !s.up
		s.up = err == nil
		if err == nil {
			if old := s.status; old != nil && old.GetStartedNs() != st.GetStartedNs() {
				cameUp = true // it was away between two questions
			}
			s.status = st
		}
		if cameUp {
			s.ups++
		}
		s.mu.Unlock()
		if cameUp {
			changed()
		}
		if !pause(ctx, each) {
			return
		}
	}
}

// camera returns what the recorder said last of a camera, whether it is up, and how
// often it has come up.
func (s *source) camera(name string) (c *nodepb.RecorderCamera, up bool, ups int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.status.GetCameras() {
		if c.GetCamera() == name {
			return c, s.up, s.ups
		}
	}
	return nil, s.up, s.ups
}

// heard returns the cameras that the recorder has footage of.
func (s *source) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, c := range s.status.GetCameras() {
		if c.GetFragmentsStored() > 0 {
			out = append(out, c.GetCamera())
		}
	}
	return out
}

package playback

import (
	"context"
	"errors"
)

// maxRecorders is how many recorders a site may have: holders are kept in one word.
const maxRecorders = 64

// Service is a playback node.
type Service struct {
	o Options
}

// New checks the options. It does not connect to anything.
func New(o Options) (*Service, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Deadlines.fill()
	o.Limits.fill()
	return &Service{o: o}, nil
}

// Run serves until ctx ends, then lets the responses under way end (Deadlines.Drain).
// It returns nil after an end that ctx asked for. Call it once.
func (s *Service) Run(ctx context.Context) error {
	return errors.New("playback: not there yet")
}

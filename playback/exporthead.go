package playback

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/duet-video/duet/internal/nodepb"
)

const (
	// headBytes is how much of a fragment is asked for to get its moof.
	headBytes = 8 << 10
	// maxMoof bounds a moof.
	maxMoof = 4 << 20
)

// head returns the moof of a fragment. Its hash is not checked: whoever uses it checks
// that the whole fragment, which is verified, begins with it.
func (r *reader) head(ctx context.Context, w *want) ([]byte, error) {
	limit := int64(headBytes)
	for {
		data, err := r.any(ctx, w.camera, w.holders, func(ctx context.Context, p *peer, stall time.Duration, stalled func()) ([]byte, error) {
			return r.start(ctx, p, w, min(limit, w.size), stall, stalled)
		})
		if err != nil {
			return nil, fmt.Errorf("read the start of %s: %w", w, err)
		}
		size := int64(binary.BigEndian.Uint32(data))
		switch {
		case string(data[4:8]) != "moof" || size < 8 || size > min(maxMoof, w.size):
			return nil, fmt.Errorf("read the start of %s: it is no moof", w)
		case size <= int64(len(data)):
			return data[:size:size], nil
		}
		limit = size
	}
}

// start reads the first bytes of a fragment from p. See fetch.
func (r *reader) start(ctx context.Context, p *peer, w *want, n int64, stall time.Duration, stalled func()) (data []byte, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := watchQuiet(stall, stalled, func() { cancel(fmt.Errorf("nothing came for %v", stall*giveUp)) })
	defer quiet.stop()
	stream, err := p.recorder.Read(ctx, &nodepb.ReadRequest{
		Camera: w.camera, Epoch: w.epoch[:], First: w.first, StartNs: w.startNS, Hash: w.hash[:], Limit: uint64(n),
	})
	if err != nil {
		return nil, cause(ctx, err)
	}
	for int64(len(data)) < n {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: it ends after %d bytes of %d", errBytes, len(data), w.size)
		}
		if err != nil {
			return nil, cause(ctx, err)
		}
		quiet.heard()
		data = append(data, reply.GetData()...) // one that does not know of limits sends more
	}
	p.answered()
	if len(data) < 8 {
		return nil, fmt.Errorf("%w: %d bytes", errBytes, len(data))
	}
	return data, nil
}

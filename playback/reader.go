package playback

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

// want names a fragment to read.
type want struct {
	camera  string
	epoch   record.Epoch
	first   uint64
	startNS int64
	size    int64 // anySize: not known
	hash    media.Hash
	holders uint64
	spare   *spare // may be nil
}

// anySize: how long the fragment is is not known.
const anySize = -1

func (w *want) String() string {
	return fmt.Sprintf("fragment %s+%d of %s", w.epoch, w.first, w.camera)
}

// reader reads fragments from whoever delivers them. Safe for concurrent use.
type reader struct {
	pool     *pool
	clock    clock.Clock
	d        Deadlines
	maxBytes int64
	turn     atomic.Uint64
	inits    *cache[media.Hash, []byte]
	m        *metrics
	// trouble is told of each attempt that failed.
	trouble func(p *peer, camera string, err error)
}

// errBytes is wrapped where a recorder delivered other bytes than its index says.
var errBytes = errors.New("the bytes are not those of the index")

// The pause between two rounds of asking all holders.
const (
	pauseMin = 50 * time.Millisecond
	pauseMax = 500 * time.Millisecond
)

// fetch gets bytes from one recorder. It calls stalled once when nothing came for stall,
// and gives up after giveUp times as long.
type fetch func(ctx context.Context, p *peer, stall time.Duration, stalled func()) ([]byte, error)

// read returns the bytes of the fragment, verified.
func (r *reader) read(ctx context.Context, w *want) ([]byte, error) {
	if w.size > r.maxBytes {
		return nil, fmt.Errorf("read %s: %d bytes are over the limit of %d", w, w.size, r.maxBytes)
	}
	data, err := r.any(ctx, w.camera, w.holders, func(ctx context.Context, p *peer, stall time.Duration, stalled func()) ([]byte, error) {
		return r.fragment(ctx, p, w, stall, stalled)
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", w, err)
	}
	return data, nil
}

// init returns the init header with the hash, verified.
func (r *reader) init(ctx context.Context, camera string, hash media.Hash, holders uint64) ([]byte, error) {
	if b, ok := r.inits.get(hash); ok {
		return b, nil
	}
	data, err := r.any(ctx, camera, holders, func(ctx context.Context, p *peer, stall time.Duration, stalled func()) ([]byte, error) {
		return r.header(ctx, p, camera, hash, stall, stalled)
	})
	if err != nil {
		return nil, fmt.Errorf("read the init header %x… of %s: %w", hash[:6], camera, err)
	}
	r.inits.put(hash, data, int64(len(data)))
	return data, nil
}

// errGone: every recorder that may have it was asked, and says that it does not.
var errGone = errors.New("no recorder has it")

// readOrGone is read for a fragment of which it is not known whether it is still there:
// that is an error at once when all recorders say that it is not.
func (r *reader) readOrGone(ctx context.Context, w *want) ([]byte, error) {
	data, err := r.round(ctx, w.camera, w.holders, r.d.Stall, func(ctx context.Context, p *peer, stall time.Duration, stalled func()) ([]byte, error) {
		return r.fragment(ctx, p, w, stall, stalled)
	})
	switch {
	case err == nil:
		return data, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case allGone(err):
		return nil, fmt.Errorf("read %s: %w", w, errGone)
	}
	return r.read(ctx, w)
}

// allGone reports whether every recorder that was asked says that it does not have it: err
// is the error of a round, which may be wrapped.
func allGone(err error) bool {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return gone(err)
	}
	for _, e := range joined.Unwrap() {
		if !gone(e) {
			return false
		}
	}
	return len(joined.Unwrap()) > 0
}

// any gets bytes from any of the holders. It asks another one when one fails, says
// nothing for Deadlines.Stall, or delivers other bytes; and when all have failed, all
// recorders of the camera again until Deadlines.Patience is over: one that was killed
// restarts, and another may have been given a copy meanwhile.
func (r *reader) any(ctx context.Context, camera string, holders uint64, get fetch) ([]byte, error) {
	patience, cancel := context.WithTimeout(ctx, r.d.Patience)
	defer cancel()
	pause := pauseMin
	var why error
	for round := 0; ; round++ {
		// A site that is slow as a whole must get there too: give more time each round.
		data, err := r.round(patience, camera, holders, r.d.Stall<<min(round, 4), get)
		if err == nil {
			return data, nil
		}
		if patience.Err() == nil || why == nil {
			why = err
		}
		for _, p := range r.pool.holders(camera) {
			holders |= 1 << p.index
		}
		wait := time.NewTimer(pause)
		select {
		case <-patience.Done():
			wait.Stop()
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("no copy can be read: %w", why)
		case <-wait.C:
		}
		pause = min(pause*2, pauseMax)
	}
}

// attempt is how reading from one recorder went.
type attempt struct {
	peer    *peer
	data    []byte
	err     error
	stalled bool // not over yet, but nothing came for a while
}

// round asks the holders one after another, or beside each other where one stalls, until
// one has delivered.
func (r *reader) round(ctx context.Context, camera string, holders uint64, stall time.Duration, get fetch) ([]byte, error) {
	queue := order(r.pool.recorders, holders, r.clock.Mono(), &r.turn)
	if len(queue) == 0 {
		return nil, errors.New("nobody holds it")
	}
	ctx, cancel := context.WithCancel(ctx)
	events := make(chan attempt, 2*len(queue))
	running := 0
	defer func() {
		cancel()
		for running > 0 {
			if e := <-events; !e.stalled {
				running--
			}
		}
	}()
	began := r.clock.Mono()
	first := queue[0]
	next := func() {
		if len(queue) == 0 {
			return
		}
		p := queue[0]
		queue = queue[1:]
		running++
		go func() {
			data, err := get(ctx, p, stall, func() { events <- attempt{peer: p, stalled: true} })
			events <- attempt{peer: p, data: data, err: err}
		}()
	}
	next()
	var errs []error
	for running > 0 {
		e := <-events
		switch {
		case e.stalled:
			e.peer.load.aside(r.clock.Mono() + int64(asideFor))
			next()
		case e.err == nil:
			running--
			if e.peer != first {
				r.m.failovers.WithLabelValues(first.Name).Inc()
			}
			r.m.read.WithLabelValues(e.peer.Name).Add(float64(len(e.data)))
			return e.data, nil
		default:
			running--
			errs = append(errs, fmt.Errorf("%s: %w", e.peer.Name, e.err))
			if ctx.Err() != nil {
				continue
			}
			if status.Code(e.err) == codes.Unavailable {
				e.peer.silent(began, e.err) // not only for reading, until a probe succeeds
			}
			if !gone(e.err) {
				e.peer.load.aside(r.clock.Mono() + int64(asideFor))
			}
			if errors.Is(e.err, errBytes) {
				r.m.mismatches.WithLabelValues(e.peer.Name).Inc()
			}
			r.trouble(e.peer, camera, e.err)
			next()
		}
	}
	return nil, errors.Join(errs...)
}

// firstBytes is how much memory a fragment of a known size is given before its first byte came.
const firstBytes = 4 << 20

// giveUp is how many times the stall time an attempt may say nothing.
const giveUp = 5

// fragment reads the fragment from p and verifies it. See fetch.
func (r *reader) fragment(ctx context.Context, p *peer, w *want, stall time.Duration, stalled func()) (data []byte, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := r.clock.Mono()
	p.load.begin()
	defer func() { p.load.end(time.Duration(r.clock.Mono()-began), err == nil) }()

	quiet := watchQuiet(stall, stalled, func() {
		cancel(fmt.Errorf("nothing came for %v", stall*giveUp))
	})
	defer quiet.stop()
	// One of the two has to hash what the recorder reads, and here is where it counts. A
	// recorder whose bytes are wrong has to find that itself, so that it mends them.
	for _, unhashed := range []bool{true, false} {
		if data, err = r.body(ctx, p, w, unhashed, quiet); !errors.Is(err, errBytes) {
			break
		}
	}
	if err != nil {
		return nil, cause(ctx, err)
	}
	p.answered()
	return data, nil
}

// body asks p once for the fragment and compares what comes with the hash.
func (r *reader) body(ctx context.Context, p *peer, w *want, unhashed bool, quiet *quiet) (data []byte, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := p.recorder.Read(ctx, &nodepb.ReadRequest{
		Camera: w.camera, Epoch: w.epoch[:], First: w.first, StartNs: w.startNS, Hash: w.hash[:], Unhashed: unhashed,
	}, grpc.ForceCodecV2(nodepb.Codec()))
	if err != nil {
		return nil, err
	}
	body := nodepb.Body{Most: int(r.maxBytes)}
	if w.size != anySize {
		body.Most = int(w.size)
		body.Data = w.spare.take(min(w.size, firstBytes))
	}
	defer func() {
		if err != nil {
			w.spare.give(body.Data)
		}
	}()
	sum := sha256.New()
	for {
		at := len(body.Data)
		if err := stream.RecvMsg(&body); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		quiet.heard()
		if body.Over {
			return nil, fmt.Errorf("%w: more than %d bytes", errBytes, body.Most)
		}
		_, _ = sum.Write(body.Data[at:]) // never fails
	}
	if w.size != anySize && int64(len(body.Data)) != w.size {
		return nil, fmt.Errorf("%w: %d bytes instead of %d", errBytes, len(body.Data), w.size)
	}
	if media.Hash(sum.Sum(nil)) != w.hash {
		return nil, fmt.Errorf("%w: SHA-256 %x… instead of %x…", errBytes, sum.Sum(nil)[:6], w.hash[:6])
	}
	return body.Data, nil
}

// header reads the init header from p and verifies it. See fetch.
func (r *reader) header(ctx context.Context, p *peer, camera string, hash media.Hash, stall time.Duration, stalled func()) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := watchQuiet(stall, stalled, func() { cancel(fmt.Errorf("nothing came for %v", stall*giveUp)) })
	defer quiet.stop()
	reply, err := p.recorder.Init(ctx, &nodepb.InitRequest{Camera: camera, Hash: hash[:]})
	if err != nil {
		return nil, cause(ctx, err)
	}
	if sha256.Sum256(reply.GetData()) != hash {
		return nil, fmt.Errorf("%w: %d bytes of an init header", errBytes, len(reply.GetData()))
	}
	p.answered()
	return reply.GetData(), nil
}

// cause is why the call failed: what ended ctx, where that was ours.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	return err
}

// gone reports whether err says that the recorder does not have what was asked for.
func gone(err error) bool { return status.Code(err) == codes.NotFound }

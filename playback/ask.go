package playback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// answer is what one recorder said.
type answer[T any] struct {
	peer  *peer
	value T
}

// silence is a recorder that said nothing, or nothing of what starts before untilNS (0: of
// nothing at all), and why.
type silence struct {
	peer    *peer
	err     error
	untilNS int64
}

var errSkipped = errors.New("did not answer the last probe")

// ask asks recorders in parallel, each with the deadline, and returns when all of them
// answered or failed; the answers are in the order of the pool. Those that are believed down are skipped, unless none of the
// others answers: between two probes one recorder may come back and the other go away.
// They are then asked within the same request: at once when all others have failed, or
// beside them when half the deadline went by without an answer.
//
// f must return within the deadline of its context, and its value must not depend on
// that context.
func ask[T any](ctx context.Context, deadline time.Duration, who []*peer, f func(context.Context, *peer) (T, error)) ([]answer[T], []silence) {
	type result struct {
		answer[T]
		err error
	}
	results := make(chan result, len(who))
	start := func(p *peer) {
		go func() {
			limited, cancel := context.WithTimeout(ctx, deadline)
			defer cancel()
			v, err := f(limited, p)
			results <- result{answer[T]{p, v}, err}
		}()
	}
	var skipped []*peer
	running := 0
	for _, p := range who {
		if p.isDown() {
			skipped = append(skipped, p)
			continue
		}
		start(p)
		running++
	}
	startSkipped := func() {
		for _, p := range skipped {
			start(p)
			running++
		}
		skipped = nil
	}
	hedge := time.NewTimer(deadline / 2)
	defer hedge.Stop()

	var got []answer[T]
	var silent []silence
	for {
		if running == 0 && len(got) == 0 {
			startSkipped()
		}
		if running == 0 {
			break
		}
		select {
		case r := <-results:
			running--
			if r.err != nil {
				silent = append(silent, silence{peer: r.peer, err: r.err})
				continue
			}
			got = append(got, r.answer)
		case <-hedge.C:
			if len(got) == 0 {
				startSkipped()
			}
		}
	}
	slices.SortFunc(got, func(a, b answer[T]) int { return cmp.Compare(a.peer.index, b.peer.index) })
	for _, p := range skipped {
		err := errSkipped
		if v := p.view(); v.Err != nil {
			err = fmt.Errorf("%w: %w", errSkipped, v.Err)
		}
		silent = append(silent, silence{peer: p, err: err})
	}
	return got, silent
}

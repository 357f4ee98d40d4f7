package load

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// answer is what one request got.
type answer struct {
	first, whole, stall time.Duration
	bytes               int64
	sum                 [sha256.Size]byte
	err                 error // it was broken off
}

const readSize = 256 << 10

// fetch reads an answer; only its first bytes unless whole. With hash it is hashed, which
// costs this process something. read is told how many bytes have come.
func fetch(ctx context.Context, url string, whole, hash bool, read func(int)) (a answer, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return a, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return a, fmt.Errorf("GET %s: %s: %s", url, res.Status, b)
	}
	h := sha256.New()
	buf := make([]byte, readSize)
	last := began
	for {
		n, err := res.Body.Read(buf)
		now := time.Now()
		if n > 0 {
			if a.bytes == 0 {
				a.first = now.Sub(began)
			} else {
				a.stall = max(a.stall, now.Sub(last))
			}
			last = now
			a.bytes += int64(n)
			if hash {
				_, _ = h.Write(buf[:n]) // cannot fail
			}
			if read != nil {
				read(n)
			}
			if !whole {
				break
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if ctx.Err() != nil {
				return a, ctx.Err()
			}
			a.err = err
			break
		}
	}
	a.whole = time.Since(began)
	if res.ContentLength >= 0 && whole && a.bytes != res.ContentLength && a.err == nil {
		a.err = fmt.Errorf("%d bytes of %d", a.bytes, res.ContentLength)
	}
	h.Sum(a.sum[:0])
	return a, nil
}

// oneByOne asks one after the other.
func (s *stage) oneByOne(ctx context.Context, a *Answering, urls []string, whole bool) error {
	first, all := newHistogram(), newHistogram()
	began := time.Now()
	for _, u := range urls {
		x, err := fetch(ctx, u, whole, false, nil)
		if err != nil {
			return err
		}
		first.add(x.first)
		all.add(x.whole)
		a.note(&x)
	}
	a.done(first, all, time.Since(began))
	return nil
}

func (a *Answering) note(x *answer) {
	a.Requests++
	a.Bytes += x.bytes
	a.Stall = max(a.Stall, float64(x.stall.Microseconds())/1000)
	if x.err != nil {
		a.Different++
	}
}

func (a *Answering) done(first, whole *histogram, took time.Duration) {
	a.First, a.Whole = first.latency(), whole.latency()
	a.MBs = float64(a.Bytes) / 1e6 / took.Seconds()
}

// together asks everything at once. read is told of bytes as they come, from many goroutines.
func together(ctx context.Context, urls []string, hash bool, read func(int)) ([]answer, error) {
	out := make([]answer, len(urls))
	errs := make([]error, len(urls))
	var all sync.WaitGroup
	for i, u := range urls {
		all.Go(func() { out[i], errs[i] = fetch(ctx, u, true, hash, read) })
	}
	all.Wait()
	return out, errors.Join(errs...)
}

// atOnce asks everything at once.
func (s *stage) atOnce(ctx context.Context, a *Answering, urls []string) error {
	began := time.Now()
	answers, err := together(ctx, urls, false, nil)
	if err != nil {
		return err
	}
	took := time.Since(began)
	first, whole := newHistogram(), newHistogram()
	for i := range answers {
		first.add(answers[i].first)
		whole.add(answers[i].whole)
		a.note(&answers[i])
	}
	a.done(first, whole, took)
	return nil
}

// killed kills a recorder when a fifth of all exports has come. They must be what they
// are when nobody dies.
func (s *stage) killed(ctx context.Context, a *Answering, urls []string) error {
	want, err := together(ctx, urls, true, nil)
	if err != nil {
		return err
	}
	total := int64(0)
	for i := range want {
		total += want[i].bytes
	}
	var mu sync.Mutex
	got := int64(0)
	fifth := make(chan struct{})
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		select {
		case <-fifth:
			s.procs["r1"].kill()
			delete(s.procs, "r1")
		case <-ctx.Done():
		}
	}()
	began := time.Now()
	answers, err := together(ctx, urls, true, func(n int) {
		mu.Lock()
		defer mu.Unlock()
		before := got
		if got += int64(n); before < total/5 && got >= total/5 {
			close(fifth)
		}
	})
	took := time.Since(began)
	if err != nil {
		return err
	}
	<-killed
	first, whole := newHistogram(), newHistogram()
	for i := range answers {
		first.add(answers[i].first)
		whole.add(answers[i].whole)
		a.note(&answers[i])
		if answers[i].sum != want[i].sum && answers[i].err == nil {
			a.Different++
		}
	}
	a.done(first, whole, took)
	return nil
}

// replayFor is how long replays are watched.
const replayFor = 8 * time.Second

// replayURL starts somewhere in a segment, and ends in it as far as it is watched.
func (s *stage) replayURL(rnd *rand.Rand) string {
	window := rnd.Int64N(int64(s.a.windows - 1))
	at := s.a.start + window*int64(segmentLength) + rnd.Int64N(int64(8*time.Minute))
	q := url.Values{"start": {time.Unix(0, at).UTC().Format(time.RFC3339Nano)}}
	return "rtsp://" + s.rtsp + "/" + s.a.camera + "?" + q.Encode()
}

// replays plays all at once, in real time.
func (s *stage) replays(ctx context.Context, a *Answering, urls []string) error {
	var playing children
	for _, name := range []string{"r1", "r2", "v1"} {
		playing = append(playing, s.procs[name])
	}
	r, err := s.b.watch(ctx, urls, false, playing)
	if err != nil {
		return err
	}
	defer r.procs.stop()
	if err := r.reset(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := sleep(ctx, replayFor); err != nil {
		return err
	}
	seen, err := r.reading(ctx)
	if err != nil {
		return err
	}
	a.Requests = len(urls)
	a.Bytes = int64(float64(seen.Units) * s.o.Mbit * 1e6 / 8 / unitsPerSecond)
	a.MBs = float64(a.Bytes) / 1e6 / time.Since(began).Seconds()
	a.Different = int(seen.faults())
	return nil
}

package playback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// stream reads a virtual file. Going on sequentially it reads ahead, the further the
// longer it went on: a small range costs one fragment. Used by one goroutine; Close it.
type stream struct {
	ctx    context.Context
	cancel context.CancelFunc
	s      *Service
	v      *virtual
	wg     sync.WaitGroup

	at    int64 // the next byte to read
	now   int   // the section that data is of; -1: none
	data  []byte
	whole []byte // what data is in, if that is only for this stream
	spare spare
	ahead []*ahead // of the sections after now, in order
	run   int      // sections that were read one after the other
	err   error    // what ended the stream
}

// ahead is a section that is being read.
type ahead struct {
	section int
	cancel  context.CancelFunc
	done    chan struct{}
	data    []byte
	whole   []byte // what data is in, if that is only for this stream
	err     error
}

// maxAhead is how many sections are read ahead.
const maxAhead = 3

func (s *Service) open(ctx context.Context, v *virtual) *stream {
	ctx, cancel := context.WithCancel(ctx)
	return &stream{
		ctx: ctx, cancel: cancel, s: s, v: v, now: -1,
		spare: spare{most: s.o.Limits.PrefetchBytes / (maxAhead + 1)},
	}
}

// Seek implements io.Seeker.
func (r *stream) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.v.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d", offset)
	}
	r.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (r *stream) Read(b []byte) (int, error) {
	view, err := r.next(int64(len(b)))
	return copy(b, view), err
}

// next returns at least one and at most so many of the next bytes, as a view that is valid
// until the next call. Each byte is of a fragment that was verified.
func (r *stream) next(most int64) ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.at >= r.v.size {
		return nil, io.EOF
	}
	view, err := r.view(most)
	view = view[:min(int64(len(view)), most)]
	r.at += int64(len(view))
	return view, err
}

// manifestPiece is how much of a manifest is encoded at once, in bytes.
const manifestPiece = 32 << 10

// view returns what comes next, at least a byte.
func (r *stream) view(most int64) ([]byte, error) {
	if r.at < int64(len(r.v.header)) {
		return r.v.header[r.at:], nil
	}
	if r.at >= r.v.media {
		b := make([]byte, min(most, manifestPiece, r.v.size-r.at))
		n, err := r.v.manifest.ReadAt(b, r.at-r.v.media)
		return b[:n], err
	}
	i := r.v.find(r.at)
	if i != r.now {
		if err := r.load(i); err != nil {
			r.err = err
			return nil, err
		}
	}
	return r.data[r.at-r.v.sections[i].at:], nil
}

// copyTo writes the next n bytes to w, in pieces of the sizes that piece returns.
func (r *stream) copyTo(w io.Writer, n int64, piece func() int64) (done int64, err error) {
	for done < n {
		b, err := r.next(min(n-done, piece()))
		if len(b) > 0 {
			k, err := w.Write(b)
			if done += int64(k); err != nil {
				return done, err
			}
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// load makes section i the current one.
func (r *stream) load(i int) error {
	if i == r.now+1 && r.now >= 0 {
		r.run++
	} else {
		r.run = 0
	}
	for len(r.ahead) > 0 && r.ahead[0].section != i {
		r.ahead[0].cancel()
		r.ahead = r.ahead[1:]
	}
	if len(r.ahead) == 0 {
		r.fetch(i)
	}
	a := r.ahead[0]
	r.ahead = r.ahead[1:]
	r.spare.give(r.whole)
	r.now, r.data, r.whole = -1, nil, nil
	r.readAhead(i)
	<-a.done
	a.cancel()
	if a.err != nil {
		return a.err
	}
	r.now, r.data, r.whole = i, a.data, a.whole
	return nil
}

// readAhead starts to read the sections after i.
func (r *stream) readAhead(i int) {
	bytes := int64(0)
	next := i + 1
	for _, a := range r.ahead {
		bytes += r.v.sections[a.section].size
		next = a.section + 1
	}
	for ; next < len(r.v.sections) && len(r.ahead) < min(r.run, maxAhead); next++ {
		bytes += r.v.sections[next].size
		if bytes > r.s.o.Limits.PrefetchBytes && len(r.ahead) > 0 {
			return
		}
		r.fetch(next)
	}
}

func (r *stream) fetch(i int) {
	ctx, cancel := context.WithCancel(r.ctx)
	a := &ahead{section: i, cancel: cancel, done: make(chan struct{})}
	r.ahead = append(r.ahead, a)
	if e := r.v.sections[i].edge; e != nil {
		a.data = e
		close(a.done)
		return
	}
	r.wg.Go(func() {
		defer close(a.done)
		w := r.v.plan.want(int(r.v.sections[i].ref))
		w.spare = &r.spare
		a.data, a.err = r.s.reader.read(ctx, w)
		a.whole = a.data
		switch {
		case a.err != nil:
		case r.v.progressive:
			a.data, a.err = r.v.samplesOf(i, a.data)
		default:
			a.err = r.v.retime(i, a.data)
		}
	})
}

// Close ends what is under way and waits for it.
func (r *stream) Close() {
	r.cancel()
	for _, a := range r.ahead {
		a.cancel()
	}
	r.wg.Wait()
}

// brokenBy returns what broke the stream off, nil when it did not break or when the
// client went away.
func (r *stream) brokenBy() error {
	if r.err == nil || errors.Is(r.err, io.EOF) || r.ctx.Err() != nil {
		return nil
	}
	return r.err
}

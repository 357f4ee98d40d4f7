package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// relay passes TCP connections on to an address, and can stop to do so without a word, as
// a network does whose cable is pulled: connections stay open, and nothing passes.
type relay struct {
	address string // where it listens
	target  string
	l       net.Listener

	mu    sync.Mutex
	cond  *sync.Cond
	cut   bool
	over  bool
	conns map[net.Conn]struct{}
	all   sync.WaitGroup
}

func newRelay(t testing.TB, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{address: l.Addr().String(), target: target, l: l, conns: map[net.Conn]struct{}{}}
	r.cond = sync.NewCond(&r.mu)
	r.all.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *relay) accept() {
	for {
		in, err := r.l.Accept()
		if err != nil {
			return
		}
		r.all.Go(func() { r.serve(in) })
	}
}

func (r *relay) serve(in net.Conn) {
	defer func() { _ = in.Close() }()
	if !r.passes() || !r.keep(in) {
		return
	}
	defer r.drop(in)
	out, err := net.DialTimeout("tcp", r.target, 5*time.Second)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	if !r.keep(out) {
		return
	}
	defer r.drop(out)
	var back sync.WaitGroup
	back.Go(func() {
		r.pipe(in, out)
		_ = in.Close()
	})
	r.pipe(out, in)
	_ = out.Close()
	back.Wait()
}

// pipe copies until one side is closed.
func (r *relay) pipe(to io.Writer, from io.Reader) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if !r.passes() {
			return
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes waits while the way is cut, and reports whether there is one at all.
func (r *relay) passes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.cut && !r.over {
		r.cond.Wait()
	}
	return !r.over
}

func (r *relay) set(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	r.cond.Broadcast()
}

func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.conns[c] = struct{}{}
	}
	return !r.over
}

func (r *relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *relay) close() {
	r.mu.Lock()
	r.over = true
	_ = r.l.Close()
	for c := range r.conns {
		_ = c.Close()
	}
	r.cond.Broadcast()
	r.mu.Unlock()
	r.all.Wait()
}

package load

import (
	"context"
	"errors"
	"net"
	"sync"

	"golang.org/x/sync/errgroup"
)

// forward is a network path between two nodes that can be blocked: nothing gets through
// then, and nobody is told.
type forward struct {
	listener net.Listener
	to       string

	mu      sync.Mutex
	blocked chan struct{} // closed when it is open again; nil: it is
}

func newForward(listen, to string) (*forward, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	return &forward{listener: l, to: to}, nil
}

// run forwards connections until ctx ends.
func (f *forward) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { _ = f.listener.Close() })()
	group.Go(func() error {
		for {
			in, err := f.listener.Accept()
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return nil
				}
				return err
			}
			group.Go(func() error {
				f.connection(ctx, in)
				return nil
			})
		}
	})
	return group.Wait()
}

func (f *forward) connection(ctx context.Context, in net.Conn) {
	defer in.Close()
	if f.pass(ctx) != nil {
		return
	}
	var d net.Dialer
	out, err := d.DialContext(ctx, "tcp", f.to)
	if err != nil {
		return // as if the other side had refused
	}
	defer out.Close()
	defer context.AfterFunc(ctx, func() { _ = in.Close(); _ = out.Close() })()
	var both sync.WaitGroup
	copyAll := func(dst, src net.Conn) {
		defer func() { _ = dst.Close(); _ = src.Close() }()
		buf := make([]byte, 64<<10)
		for {
			n, err := src.Read(buf)
			if f.pass(ctx) != nil {
				return
			}
			if n > 0 {
				if _, err := dst.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	both.Go(func() { copyAll(out, in) })
	both.Go(func() { copyAll(in, out) })
	both.Wait()
}

// pass waits while the path is blocked.
func (f *forward) pass(ctx context.Context) error {
	f.mu.Lock()
	blocked := f.blocked
	f.mu.Unlock()
	if blocked == nil {
		return ctx.Err()
	}
	select {
	case <-blocked:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *forward) block() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blocked == nil {
		f.blocked = make(chan struct{})
	}
}

func (f *forward) unblock() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blocked != nil {
		close(f.blocked)
		f.blocked = nil
	}
}

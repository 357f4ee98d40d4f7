package recorder

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// fakeProxy serves logs over the real link. What is out of each is told by hand.
type fakeProxy struct {
	t       testing.TB
	address string
	batch   uint64 // records of a batch
	// bend changes the frames that are about to be sent; nil: none.
	bend func(camera string, f link.Frame) link.Frame

	mu         sync.Mutex
	changed    chan struct{} // closed at every change
	logs       map[string][]*testLog
	out        map[*testLog]uint64 // offsets that exist
	oldest     map[*testLog]uint64 // offsets that were evicted
	acks       map[string]record.Position
	subscribed []link.Subscribe
	hellos     int
	rejects    map[string]string
	server     *grpc.Server
	done       sync.WaitGroup
}

func newFakeProxy(t testing.TB) *fakeProxy {
	p := &fakeProxy{
		t: t, address: "127.0.0.1:0", batch: 20, changed: make(chan struct{}),
		logs: map[string][]*testLog{}, out: map[*testLog]uint64{}, oldest: map[*testLog]uint64{},
		acks: map[string]record.Position{}, rejects: map[string]string{},
	}
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *fakeProxy) start() {
	l, err := net.Listen("tcp", p.address)
	require.NoError(p.t, err)
	p.address = l.Addr().String()
	p.server = grpc.NewServer(link.ServerOptions()...)
	link.RegisterServer(p.server, p)
	srv := p.server
	p.done.Go(func() { _ = srv.Serve(l) })
}

// stop is what a crash does: connections end, logs are gone with the caller's will.
func (p *fakeProxy) stop() {
	p.server.Stop()
	p.done.Wait()
}

func (p *fakeProxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// show lets records of the log out, up to an offset.
func (p *fakeProxy) show(l *testLog, to uint64) {
	p.change(func() {
		if _, ok := p.out[l]; !ok {
			p.logs[l.camera] = append(p.logs[l.camera], l)
		}
		p.out[l] = to
	})
}

func (p *fakeProxy) acked(camera string) record.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acks[camera]
}

// cursor is a channel of a stream.
type cursor struct {
	link.Subscribe
	at   record.Position
	open bool
}

// Subscribe implements link.Handler.
func (p *fakeProxy) Subscribe(s *link.ServerStream) error {
	hello, err := s.Recv()
	if err != nil {
		return err
	}
	if _, ok := hello.(link.Hello); !ok {
		return errors.New("no hello")
	}
	p.change(func() { p.hellos++ })
	var mu sync.Mutex
	var cursors []*cursor
	failed := make(chan error, 1)
	go func() {
		for {
			f, err := s.Recv()
			if err != nil {
				failed <- err
				return
			}
			mu.Lock()
			switch m := f.(type) {
			case link.Subscribe:
				cursors = append(cursors, &cursor{Subscribe: m, at: m.From})
				p.change(func() { p.subscribed = append(p.subscribed, m) })
			case link.Unsubscribe:
				cursors = slices.DeleteFunc(cursors, func(c *cursor) bool { return c.Channel == m.Channel })
			case link.Ack:
				for _, c := range cursors {
					if c.Channel == m.Channel {
						p.change(func() { p.acks[c.Camera] = m.Durable })
					}
				}
			}
			mu.Unlock()
		}
	}()
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		var m link.Message
		mu.Lock()
		for _, c := range cursors {
			for _, f := range p.next(c) {
				if p.bend != nil {
					f = p.bend(c.Camera, f)
				}
				m.Add(f)
			}
		}
		mu.Unlock()
		if m.Len() > 0 {
			if err := s.Send(&m); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case err := <-failed:
			return err
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

// next returns what comes next on a channel.
func (p *fakeProxy) next(c *cursor) []link.Frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	if why := p.rejects[c.Camera]; why != "" {
		if c.open {
			return nil
		}
		c.open = true
		return []link.Frame{link.Reject{Channel: c.Channel, Reason: why}}
	}
	for i, l := range p.logs[c.Camera] {
		switch l.epoch.Compare(c.at.Epoch) {
		case -1:
			continue
		case 1: // a newer one
			c.at, c.open = record.Position{Epoch: l.epoch}, false
			if c.From.IsZero() {
				c.at.Offset = p.oldest[l]
			}
		}
		var out []link.Frame
		if from := c.at.Offset; from < p.oldest[l] {
			c.at.Offset, c.open = p.oldest[l], false
			out = append(out, link.Lost{Channel: c.Channel, Epoch: l.epoch, From: from, To: p.oldest[l]})
		}
		if c.at.Offset < p.out[l] {
			if !c.open {
				c.open = true
				out = append(out, link.Open{Channel: c.Channel, Epoch: l.epoch, Offset: c.at.Offset})
			}
			to := min(c.at.Offset+p.batch, p.out[l])
			out = append(out, l.batch(c.Channel, c.at.Offset, to))
			c.at.Offset = to
		} else if c.at.Offset == l.end() && l.ended && i < len(p.logs[c.Camera])-1 {
			out = append(out, link.End{Channel: c.Channel, Epoch: l.epoch, End: l.end(), Cause: media.CauseConnection})
			n := p.logs[c.Camera][i+1]
			c.at, c.open = record.Position{Epoch: n.epoch}, false
		}
		return out
	}
	return nil
}

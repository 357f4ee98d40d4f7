package playback

import (
	"context"
	"errors"
	"sync"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/nodepb"
)

// pool holds the clients of all nodes of the site. Safe for concurrent use.
type pool struct {
	recorders []*peer
	proxies   []*peer
	cameras   []Camera
	byName    map[string]*Camera
	d         Deadlines
	changed   func(*peer, peerView)
}

// newPool makes the clients; nothing is connected yet. The caller closes it.
func newPool(o *Options, clk clock.Clock, changed func(*peer, peerView)) (*pool, error) {
	p := &pool{cameras: o.Cameras, byName: make(map[string]*Camera), d: o.Deadlines, changed: changed}
	for i := range o.Cameras {
		p.byName[o.Cameras[i].Name] = &o.Cameras[i]
	}
	for i, n := range o.Recorders {
		c, err := newPeer(n, i, clk, o)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		c.recorder = nodepb.NewRecorderClient(c.conn)
		p.recorders = append(p.recorders, c)
	}
	for i, n := range o.Proxies {
		c, err := newPeer(n, i, clk, o)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		c.proxy = nodepb.NewProxyClient(c.conn)
		p.proxies = append(p.proxies, c)
	}
	return p, nil
}

func newPeer(n Node, i int, clk clock.Clock, o *Options) (*peer, error) {
	conn, err := dial(n, o)
	if err != nil {
		return nil, err
	}
	return &peer{Node: n, index: i, clock: clk, conn: conn, state: StateUnknown, since: clk.Now()}, nil
}

// run probes every node until ctx ends.
func (p *pool) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, list := range [][]*peer{p.recorders, p.proxies} {
		for _, n := range list {
			wg.Go(func() { n.watch(ctx, p.d.ProbeEvery, p.d.Probe, p.changed) })
		}
	}
	wg.Wait()
}

func (p *pool) close() error {
	var errs []error
	for _, list := range [][]*peer{p.recorders, p.proxies} {
		for _, n := range list {
			errs = append(errs, n.conn.Close())
		}
	}
	return errors.Join(errs...)
}

// holders returns the recorders that may have footage of the camera: those it is placed
// on, those that say that they have some, and those that never said anything.
func (p *pool) holders(camera string) []*peer {
	cfg := p.byName[camera]
	var out []*peer
	for _, r := range p.recorders {
		st := r.view().RecStatus
		if st == nil || (cfg != nil && (cfg.Primary == r.Name || cfg.Redundant == r.Name)) || recorderCamera(st, camera) != nil {
			out = append(out, r)
		}
	}
	return out
}

// knows reports whether the camera is configured, or some recorder has footage of it.
func (p *pool) knows(camera string) bool {
	if p.byName[camera] != nil {
		return true
	}
	for _, r := range p.recorders {
		if recorderCamera(r.view().RecStatus, camera) != nil {
			return true
		}
	}
	return false
}

func recorderCamera(st *nodepb.RecorderStatus, camera string) *nodepb.RecorderCamera {
	for _, c := range st.GetCameras() {
		if c.GetCamera() == camera {
			return c
		}
	}
	return nil
}

func proxyCamera(st *nodepb.ProxyStatus, camera string) *nodepb.ProxyCamera {
	for _, c := range st.GetCameras() {
		if c.GetCamera() == camera {
			return c
		}
	}
	return nil
}

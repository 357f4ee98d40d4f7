package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/wire"
)

// watchEvery is how often copies and memory are looked at.
const watchEvery = time.Second

// Proxy pulls cameras and serves their records. Status and Ready may be called at any
// time.
type Proxy struct {
	opts      Options
	startedNS int64
	budget    *Budget
	pump      *pump
	order     []*camera // as configured
	link      *linkServer
	grpc      *grpc.Server
	serving   atomic.Bool
	ran       atomic.Bool
}

// New checks the options and registers the metrics. It connects to nothing.
func New(opts Options) (*Proxy, error) {
	if opts.Source != nil {
		return newProxy(opts, opts.Source.session)
	}
	return newProxy(opts, runSession)
}

func newProxy(opts Options, session sessionFunc) (*Proxy, error) {
	opts.setDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	p := &Proxy{opts: opts, startedNS: opts.Clock.Now().UnixNano(), budget: NewBudget(opts.LogTotalBytes), pump: newPump(opts.Clock)}
	p.link = &linkServer{
		cameras: map[string]*camera{}, streams: map[string]*recorderStream{},
		linger: opts.Linger, grace: opts.SpareAfter,
		clock: opts.Clock, started: opts.Clock.Mono(), log: opts.Log, acked: NewWaker(),
		every: node.NewEvery(time.Second, opts.Clock.Now),
	}
	for _, cfg := range opts.Cameras {
		c := newCamera(cfg, &p.opts, p.budget, session)
		c.pump = p.pump
		p.order = append(p.order, c)
		p.link.cameras[cfg.Name] = c
	}
	serverOpts := link.ServerOptions()
	if opts.TLS != nil {
		serverOpts = append(serverOpts, grpc.Creds(wire.NewTLS(opts.TLS)))
	}
	p.grpc = grpc.NewServer(serverOpts...)
	link.RegisterServer(p.grpc, p.link)
	nodepb.RegisterProxyServer(p.grpc, statusServer{p: p})
	if err := opts.Registry.Register(newMetrics(p)); err != nil {
		return nil, fmt.Errorf("proxy %s: register its metrics: %w", opts.Name, err)
	}
	return p, nil
}

// Run pulls and serves until ctx is done, then ends every epoch, waits up to
// Options.DrainTimeout until connected recorders have acknowledged everything, and
// returns nil. It may be called once.
func (p *Proxy) Run(ctx context.Context) error {
	if p.ran.Swap(true) {
		return fmt.Errorf("proxy %s: Run was called twice", p.opts.Name)
	}
	pull, stopPulling := context.WithCancel(ctx)
	defer stopPulling()
	var cameras, others sync.WaitGroup
	failed := make(chan error, 2)
	if p.opts.RTSPAddress != "" || p.opts.RTSPListener != nil {
		e := p.newEndpoint()
		if err := e.start(pull); err != nil {
			_ = p.opts.LinkListener.Close()
			return fmt.Errorf("proxy %s: %w", p.opts.Name, err)
		}
		others.Go(func() {
			if err := e.run(); err != nil {
				failed <- fmt.Errorf("proxy %s: %w", p.opts.Name, err)
			}
		})
	}
	others.Go(func() {
		if err := p.grpc.Serve(p.opts.LinkListener); err != nil { // nil after Stop
			failed <- fmt.Errorf("proxy %s: serve the link: %w", p.opts.Name, err)
		}
	})
	others.Go(func() { p.watch(pull) })
	for _, c := range p.order {
		cameras.Go(func() { c.run(pull) })
	}
	p.serving.Store(true)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	p.serving.Store(false)
	stopPulling()
	cameras.Wait()
	p.pump.close()
	if err == nil {
		p.drain()
	}
	p.link.stop()
	p.grpc.Stop()
	p.link.readers.Wait()
	others.Wait()
	for _, c := range p.order {
		c.log.Close()
	}
	return err
}

// newEndpoint returns the server of live readers.
func (p *Proxy) newEndpoint() *endpoint {
	o := endpointOptions{
		Address: p.opts.RTSPAddress, RTPAddress: p.opts.RTPAddress, RTCPAddress: p.opts.RTCPAddress,
		Users: p.opts.Users, Clock: p.opts.Clock, Log: p.opts.Log, Watched: &p.pump.watched, Listener: p.opts.RTSPListener,
	}
	if o.Listener != nil {
		o.Address = o.Listener.Addr().String()
	}
	for _, c := range p.order {
		o.Cameras = append(o.Cameras, endpointCamera{
			Name: c.cfg.Name, Log: c.log, Readers: &c.readers,
			Why: func() string { _, why, _ := c.now(); return why },
		})
	}
	return newEndpoint(o)
}

// drain waits until the recorders have what the logs hold.
func (p *Proxy) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), p.opts.DrainTimeout)
	defer cancel()
	if p.link.drain(ctx) != nil {
		p.opts.Log.Warn().Dur("waited", p.opts.DrainTimeout).Msg("stopping although a connected recorder has not acknowledged everything")
	}
}

func (p *Proxy) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		for _, c := range p.order {
			c.watch()
		}
		p.budget.slabs.trim()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// HeldBytes returns how much memory the logs of all cameras take.
func (p *Proxy) HeldBytes() int64 { return p.budget.Bytes() }

// Ready returns nil when the proxy serves and a camera is live, or else why not.
func (p *Proxy) Ready() error {
	if !p.serving.Load() {
		return errors.New("the proxy is not running")
	}
	why := ""
	for _, c := range p.order {
		state, text, _ := c.now()
		if state == stateLive {
			return nil
		}
		why = fmt.Sprintf("%s is %s: %s", c.cfg.Name, state, text)
	}
	if len(p.order) == 0 {
		return nil
	}
	return fmt.Errorf("none of %d cameras is live; %s", len(p.order), why)
}

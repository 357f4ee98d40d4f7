package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
	"github.com/duet-video/duet/playback"
	"github.com/duet-video/duet/proxy"
	"github.com/duet-video/duet/recorder"
)

// The hosts of a site beside its recorders.
const (
	proxyHost    = "p1"
	playbackHost = "v1"
	checkerHost  = "me" // who asks the nodes what they have
)

// logWindow is how long the proxy keeps records, segmentTime how long a segment lasts.
const (
	logWindow   = 30 * time.Second
	segmentTime = 20 * time.Second
	logBytes    = 8 << 20
)

// Options say what a Site is made of.
type Options struct {
	Seed uint64
	// Cameras and Recorders are how many there are. The copies of camera i are on
	// recorders i and i+1, counted round.
	Cameras, Recorders int
	Log                zerolog.Logger
}

// Site is a site. It must be used inside a bubble of testing/synctest. Its methods must
// not be called concurrently.
type Site struct {
	opts     Options
	rand     *rand.Rand
	start    time.Time
	net      *network
	cameras  []*camera
	nodes    map[string]*node
	order    []string // the recorders
	stopWork context.CancelFunc
	work     sync.WaitGroup // cameras, the observer, exports
	ghosts   sync.WaitGroup // processes that are being cleared away

	seen observations
}

// node is a machine: its disk, its clock, and the process that runs on it, if any.
type node struct {
	name  string
	disk  *disk // recorders only
	clock *nodeClock

	mu   sync.Mutex
	proc *process
}

type process struct {
	cancel   context.CancelFunc
	ended    chan struct{} // closed when it has ended
	err      error         // why, before ended is closed
	mount    *mount
	before   map[copyKey]map[record.Epoch]uint64 // acknowledged when the power failed
	proxy    *proxy.Proxy
	recorder *recorder.Recorder
}

// New makes a site and starts it. Close it.
func New(o Options) (*Site, error) {
	s := &Site{
		opts: o, rand: seeded(o.Seed, 1), start: time.Now(), net: newNetwork(),
		nodes: map[string]*node{},
	}
	for i := range o.Cameras {
		c, err := newCamera([]string{"gate", "yard", "roof", "dock"}[i], seeded(o.Seed, 100+uint64(i)))
		if err != nil {
			return nil, err
		}
		s.cameras = append(s.cameras, c)
	}
	names := []string{proxyHost, playbackHost}
	for i := range o.Recorders {
		s.order = append(s.order, fmt.Sprintf("r%d", i+1))
	}
	for _, name := range append(names, s.order...) {
		s.nodes[name] = &node{name: name, clock: newClock()}
	}
	for i, name := range s.order {
		d, err := newDisk(seeded(o.Seed, 200+uint64(i)))
		if err != nil {
			return nil, err
		}
		s.nodes[name].disk = d
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stopWork = cancel
	for _, c := range s.cameras {
		s.work.Go(func() { c.run(ctx) })
	}
	s.seen.init()
	s.work.Go(func() { s.observe(ctx) })
	for _, name := range append([]string{proxyHost}, append(slices.Clone(s.order), playbackHost)...) {
		if err := s.Start(name); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// copies returns the recorders of a camera, the primary first.
func (s *Site) copies(camera int) []string {
	n := len(s.order)
	return []string{s.order[camera%n], s.order[(camera+1)%n]}
}

func (n *node) process() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

// running returns the process of a node; nil: there is none, or it has ended.
func (n *node) running() *process {
	p := n.process()
	if p == nil {
		return nil
	}
	select {
	case <-p.ended:
		return nil
	default:
		return p
	}
}

// Start starts the process of a node that has none.
func (s *Site) Start(name string) error {
	n := s.nodes[name]
	switch {
	case n == nil:
		return fmt.Errorf("there is no node %s", name)
	case n.running() != nil:
		return fmt.Errorf("%s runs", name)
	}
	s.net.up(name)
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel: cancel, ended: make(chan struct{})}
	n.mu.Lock()
	n.proc = p
	n.mu.Unlock()
	run, err := s.make(n, p)
	if err != nil {
		cancel()
		s.net.die(name, false)
		p.err = err
		close(p.ended)
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.ghosts.Go(func() {
		p.err = run(ctx)
		close(p.ended)
	})
	return nil
}

// make makes what runs in a process.
func (s *Site) make(n *node, p *process) (func(context.Context) error, error) {
	l := s.net.listen(n.name)
	var run func(context.Context) error
	var err error
	switch n.name {
	case proxyHost:
		p.proxy, err = proxy.New(s.proxyOptions(n, l))
		if err == nil {
			run = p.proxy.Run
		}
	case playbackHost:
		var v *playback.Service
		v, err = playback.New(s.playbackOptions(n, l))
		if err == nil {
			run = v.Run
		}
	default:
		p.mount = n.disk.mount(func() { s.powerOff(n, p) })
		p.recorder, err = recorder.New(s.recorderOptions(n, l, p.mount))
		if err == nil {
			run = p.recorder.Run
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return run, nil
}

// powerOff is called when a disk has crashed: nothing of the process is heard any more.
func (s *Site) powerOff(n *node, p *process) {
	s.net.die(n.name, true)
	p.cancel()
	if err := s.checkDisk(n, p.before); err != nil {
		s.seen.fault(err)
	}
}

func (s *Site) proxyOptions(n *node, l net.Listener) proxy.Options {
	o := proxy.Options{
		Name: n.name, LinkListener: l, Clock: n.clock, Random: bytesOf{seeded(s.rand.Uint64(), 3)},
		LogSeconds: logWindow, LogBytes: logBytes, SegmentDuration: segmentTime,
		Log: s.log(n), Registry: prometheus.NewRegistry(), DrainTimeout: time.Second,
		Source: s.source,
	}
	for i, c := range s.cameras {
		copies := s.copies(i)
		o.Cameras = append(o.Cameras, proxy.Camera{Name: c.name, Source: "sim://" + c.name, Primary: copies[0], Redundant: copies[1]})
	}
	return o
}

// seeded is randomness that a seed fixes.
func seeded(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // it must be the same each time
}

// bytesOf is randomness from a seed, as bytes.
type bytesOf struct{ *rand.Rand }

func (z bytesOf) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(z.Uint32())
	}
	return len(p), nil
}

var _ io.Reader = bytesOf{}

func (s *Site) source(ctx context.Context, c proxy.Camera, begin func([]media.Track) proxy.Deliver) error {
	return s.camera(c.Name).session(ctx, begin)
}

func (s *Site) camera(name string) *camera {
	for _, c := range s.cameras {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (s *Site) recorderOptions(n *node, l net.Listener, m *mount) recorder.Options {
	o := recorder.Options{
		Name: n.name, DataDir: dataDir, FS: m.fs, Listener: l, Dial: s.net.dialer(n.name),
		Clock: n.clock, Log: s.log(n), Registry: prometheus.NewRegistry(),
		Proxies: []recorder.Proxy{{Name: proxyHost, Address: proxyHost}},
	}
	for _, other := range s.order {
		if other != n.name {
			o.Peers = append(o.Peers, recorder.Peer{Name: other, Address: other})
		}
	}
	for i, c := range s.cameras {
		copies := s.copies(i)
		if slices.Contains(copies, n.name) {
			role := "primary"
			if copies[1] == n.name {
				role = "redundant"
			}
			o.Cameras = append(o.Cameras, recorder.Camera{Name: c.name, Role: role})
		}
	}
	return o
}

func (s *Site) playbackOptions(n *node, l net.Listener) playback.Options {
	o := playback.Options{
		Name: n.name, Listener: l, Dial: s.net.dialer(n.name), Clock: n.clock, Log: s.log(n),
		Proxies:   []playback.Node{{Name: proxyHost, Address: proxyHost}},
		Deadlines: playback.Deadlines{ProbeEvery: 3 * time.Second},
	}
	for _, r := range s.order {
		o.Recorders = append(o.Recorders, playback.Node{Name: r, Address: r})
	}
	for i, c := range s.cameras {
		copies := s.copies(i)
		o.Cameras = append(o.Cameras, playback.Camera{Name: c.name, Primary: copies[0], Redundant: copies[1], Copies: "dual"})
	}
	return o
}

func (s *Site) log(n *node) zerolog.Logger { return s.opts.Log.With().Str("node", n.name).Logger() }

// Kill ends a process at once; what it has written stays.
func (s *Site) Kill(name string) error { return s.end(name, 100, false, false) }

// Crash takes the power away from a machine. survive is the percentage of what was not
// synced that is on the disk afterwards; tear tears the write before.
func (s *Site) Crash(name string, survive int, tear bool) error {
	return s.end(name, survive, tear, true)
}

func (s *Site) end(name string, survive int, tear, dark bool) error {
	n := s.nodes[name]
	if n == nil {
		return fmt.Errorf("there is no node %s", name)
	}
	p := n.running()
	if p == nil {
		return nil
	}
	var err error
	if p.mount != nil {
		before := s.acknowledged()
		p.mount.die(survive, tear)
		s.net.die(name, dark)
		err = s.checkDisk(n, before)
	} else {
		s.net.die(name, dark)
	}
	p.cancel()
	return err
}

// CrashIn is Crash at the n-th operation from now that changes the disk.
func (s *Site) CrashIn(name string, n, survive int, tear bool) error {
	p := s.nodes[name].running()
	if p == nil || p.mount == nil {
		return nil
	}
	p.mount.crashIn(n, survive, tear, func() { p.before = s.acknowledged() })
	return nil
}

// Heal ends every fault and starts what does not run.
func (s *Site) Heal() error {
	s.net.heal()
	for _, c := range s.cameras {
		c.power(true)
	}
	var errs []error
	for _, name := range append([]string{proxyHost}, append(slices.Clone(s.order), playbackHost)...) {
		n := s.nodes[name]
		n.clock.step.Store(0)
		p := n.running()
		if p != nil && p.mount != nil {
			p.mount.heal()
		}
		if p == nil {
			if old := n.process(); old != nil && old.err != nil && !old.excused() {
				errs = append(errs, fmt.Errorf("%s ended: %w", name, old.err))
			}
			errs = append(errs, s.Start(name))
		}
	}
	return errors.Join(errs...)
}

// excused reports whether the process met faults that may end it.
func (p *process) excused() bool { return p.mount != nil && p.mount.touched() }

// Settle lets the site come to rest: the sessions of the cameras end, and the recorders
// get what the proxy has for them.
func (s *Site) Settle() error {
	// Reconnecting; to a round time, so that scripts end alike.
	age := time.Since(s.start) + settleTime
	time.Sleep(settleTime + (age + settleRound - 1).Truncate(settleRound) - age)
	for _, c := range s.cameras {
		c.stop()
	}
	var last error
	for range 120 {
		time.Sleep(time.Second)
		if last = s.atRest(); last == nil {
			return nil
		}
	}
	return fmt.Errorf("two minutes after all was healed: %w", last)
}

// settleTime is longer than any pause between two attempts to connect.
const (
	settleTime  = 12 * time.Second
	settleRound = 10 * time.Second
)

func (s *Site) atRest() error {
	p := s.nodes[proxyHost].running()
	if p == nil {
		return errors.New("the proxy does not run")
	}
	for _, c := range p.proxy.Status().GetCameras() {
		for _, k := range c.GetCopies() {
			switch {
			case !k.GetConnected():
				return fmt.Errorf("%s of %s is not connected", k.GetRecorder(), c.GetCamera())
			case c.GetNextOffset() > 0 && (string(k.GetDurable().GetEpoch()) != string(c.GetEpoch()) || k.GetDurable().GetOffset() < c.GetNextOffset()):
				return fmt.Errorf("%s of %s is durable up to %d of %d", k.GetRecorder(), c.GetCamera(), k.GetDurable().GetOffset(), c.GetNextOffset())
			}
		}
	}
	return nil
}

// Stop ends a process as an operator does, and waits for it.
func (s *Site) Stop(name string) error {
	p := s.nodes[name].running()
	if p == nil {
		return nil
	}
	p.cancel()
	<-p.ended
	s.net.die(name, false)
	return p.err
}

// Close stops everything and waits until nothing is left running.
func (s *Site) Close() error {
	var errs []error
	for _, name := range append([]string{playbackHost, proxyHost}, s.order...) {
		if n := s.nodes[name]; n != nil {
			errs = append(errs, s.Stop(name))
		}
	}
	s.stopWork()
	s.work.Wait()
	s.ghosts.Wait()
	return errors.Join(errs...)
}

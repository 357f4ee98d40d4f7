package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	liveHost     = "p1-live" // the proxy's port for readers
	checkerHost  = "me"      // who asks the nodes what they have
	slowHost     = "slow"    // who reads exports a little at a time
)

// logWindow is how long the proxy keeps records, segmentTime how long a segment lasts
// where Options do not say.
const (
	logWindow   = 30 * time.Second
	segmentTime = 20 * time.Second
	logBytes    = 8 << 20
)

// askEach is how often recorders ask for each other's state: often enough, and less often
// than they do by themselves, because each time costs as much as all else in that time.
const askEach = 3 * time.Second

// slowWindow is how many bytes of an export wait for its reader.
const slowWindow = 2 << 10

// Options say what a Site is made of.
type Options struct {
	Seed uint64
	// Cameras and Recorders are how many there are. The copies of camera i are on
	// recorders i and i+1, counted round.
	Cameras, Recorders int
	// Volumes is how many disks each recorder has; 0: 1.
	Volumes int
	// Spare: what records second records only while the first does not.
	Spare bool
	// Segment is how long a segment lasts; 0: segmentTime.
	Segment time.Duration
	// Quota bounds the bytes of each disk, Age how old footage may be; 0: without a bound.
	Quota int64
	Age   time.Duration
	// Scrub is the time from one check of all that is stored to the next; 0: there are none.
	Scrub time.Duration
	Log   zerolog.Logger
}

// set does what a line says that stands before all commands: "recorders 3", "spare", "age
// 40s", as the fields are named. It reports whether it is one.
func (o *Options) set(line string) bool {
	word, value, _ := strings.Cut(line, " ")
	n, _ := strconv.ParseInt(value, 10, 64)
	d, _ := time.ParseDuration(value)
	switch word {
	case "cameras":
		o.Cameras = int(n)
	case "recorders":
		o.Recorders = int(n)
	case "volumes":
		o.Volumes = int(n)
	case "spare":
		o.Spare = true
	case "segment":
		o.Segment = d
	case "quota":
		o.Quota = n
	case "age":
		o.Age = d
	case "scrub":
		o.Scrub = d
	default:
		return false
	}
	return true
}

// String returns the lines for which set would set o.
func (o Options) String() string {
	out := fmt.Sprintf("cameras %d\nrecorders %d\n", o.Cameras, o.Recorders)
	add := func(yes bool, format string, a ...any) {
		if yes {
			out += fmt.Sprintf(format+"\n", a...)
		}
	}
	add(o.Volumes > 1, "volumes %d", o.Volumes)
	add(o.Spare, "spare")
	add(o.Segment > 0, "segment %v", o.Segment)
	add(o.Quota > 0, "quota %d", o.Quota)
	add(o.Age > 0, "age %v", o.Age)
	add(o.Scrub > 0, "scrub %v", o.Scrub)
	return out
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
	order    []string        // the recorders
	working  context.Context // of work
	stopWork context.CancelFunc
	work     sync.WaitGroup // cameras, the observer, exports
	ghosts   sync.WaitGroup // processes that are being cleared away
	readers  readers

	seen observations
}

// node is a machine: its disk, its clock, and the process that runs on it, if any.
type node struct {
	name  string
	disks *disks // recorders only
	clock *nodeClock

	mu   sync.Mutex
	proc *process
}

type process struct {
	cancel   context.CancelFunc
	gone     atomic.Bool   // it was killed, even if it does not know yet
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
		hear := hearing{removing: s.removing(name), failed: s.failed(name)}
		d, err := newDisks(seeded(o.Seed, 200+uint64(i)), max(o.Volumes, 1), hear)
		if err != nil {
			return nil, err
		}
		s.nodes[name].disks = d
	}
	s.net.windows[slowHost] = slowWindow
	ctx, cancel := context.WithCancel(context.Background())
	s.working, s.stopWork = ctx, cancel
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
	if p == nil || p.gone.Load() {
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
	if name == proxyHost {
		s.net.up(liveHost)
	}
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
		live := s.net.listen(liveHost)
		o := s.proxyOptions(n, l)
		o.RTSPListener = live
		p.proxy, err = proxy.New(o)
		if err != nil {
			err = errors.Join(err, live.Close())
		}
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
		p.mount = n.disks.mount(func() { s.powerOff(n, p) })
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
	p.gone.Store(true)
	s.net.die(n.name, true)
	p.cancel()
	if err := s.checkDisk(n, p.before); err != nil {
		s.seen.fault(err)
	}
}

func (s *Site) proxyOptions(n *node, l net.Listener) proxy.Options {
	o := proxy.Options{
		Name: n.name, LinkListener: l, Clock: n.clock, Random: bytesOf{seeded(s.rand.Uint64(), 3)},
		LogSeconds: logWindow, LogBytes: logBytes, SegmentDuration: cmp.Or(s.opts.Segment, segmentTime),
		Log: s.log(n), Registry: prometheus.NewRegistry(), DrainTimeout: time.Second,
		Source: s.source,
	}
	for i, c := range s.cameras {
		copies := s.copies(i)
		o.Cameras = append(o.Cameras, proxy.Camera{
			Name: c.name, Source: "sim://" + c.name, Primary: copies[0], Redundant: copies[1], Copies: proxy.Copies(s.mode()),
		})
	}
	return o
}

// mode is dual or spare.
func (s *Site) mode() string {
	if s.opts.Spare {
		return string(proxy.Spare)
	}
	return string(proxy.Dual)
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
		Name: n.name, FS: m.fs, Listener: l, Dial: s.net.dialer(n.name),
		Clock: n.clock, Log: s.log(n), Registry: prometheus.NewRegistry(),
		Proxies:   []recorder.Proxy{{Name: proxyHost, Address: proxyHost}},
		Scrub:     recorder.Scrub{Off: s.opts.Scrub == 0, Every: s.opts.Scrub},
		Retention: recorder.Retention{Age: s.opts.Age},
		Repair:    recorder.Repair{Ask: askEach},
	}
	for i := range max(s.opts.Volumes, 1) {
		o.Volumes = append(o.Volumes, recorder.Volume{Dir: dataDir(i), Quota: s.opts.Quota})
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
			o.Cameras = append(o.Cameras, recorder.Camera{
				Name: c.name, Role: role, Spare: s.opts.Spare && role == "redundant", Retention: o.Retention,
			})
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
		o.Cameras = append(o.Cameras, playback.Camera{Name: c.name, Primary: copies[0], Redundant: copies[1], Copies: s.mode()})
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
	p.gone.Store(true)
	var err error
	if p.mount != nil {
		before := s.acknowledged()
		p.mount.die(survive, tear, dark)
		s.net.die(name, dark)
		err = s.checkDisk(n, before)
	} else {
		s.net.die(name, dark)
		if name == proxyHost {
			s.net.die(liveHost, dark)
		}
	}
	p.cancel()
	return err
}

// CrashIn is Crash at a point that is to come.
func (s *Site) CrashIn(name string, at crashPoint) error {
	n := s.nodes[name]
	if n == nil || n.disks == nil {
		return fmt.Errorf("%s has no disk", name)
	}
	if p := n.running(); p != nil {
		at.before = func() { p.before = s.acknowledged() }
		p.mount.crashIn(at)
	}
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
		if n.disks != nil {
			n.disks.heal()
		}
		p := n.running()
		if p != nil && p.mount != nil {
			p.mount.heal()
		}
		if p == nil {
			if old := n.process(); old != nil && !old.gone.Load() && old.err != nil && !old.excused() {
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
//
// With round it takes until a round time, so that scripts end alike.
func (s *Site) Settle(round bool) error {
	time.Sleep(settleTime) // reconnecting
	if age := time.Since(s.start); round {
		time.Sleep((age + settleRound - 1).Truncate(settleRound) - age)
	}
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
			case k.GetStandby(): // it need not have anything
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
	if name == proxyHost {
		s.net.die(liveHost, false)
	}
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

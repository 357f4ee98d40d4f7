package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/pion/rtp"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/record"
)

// cameraState says how a camera is doing.
type cameraState string

const (
	stateConnecting cameraState = "connecting"
	stateLive       cameraState = "live"
	stateStalled    cameraState = "stalled" // it was connected and sent nothing
	stateFailed     cameraState = "failed"  // the last attempt or session ended with an error
)

const (
	leastRetry = 100 * time.Millisecond
	// mostRetry is how long a camera that is back waits for the next attempt, at most.
	mostRetry   = 2 * time.Second
	mostRefused = 10 * time.Second // after a refusalError
)

// sessionFunc is runSession, or what a test has in its place.
type sessionFunc func(context.Context, sessionConfig, sessionSink) error

// camera pulls one camera, session after session, into its log. Apart from run,
// everything may be called concurrently.
type camera struct {
	cfg     Camera
	opts    *Options
	log     *Log
	copies  []*copyState // primary, redundant, those that there are
	session sessionFunc
	pump    *pump
	logger  zerolog.Logger
	every   *node.Every

	sessions, records, bytes, lost atomic.Uint64
	lastPacketNS                   atomic.Int64
	readers                        readerCount

	mu     sync.Mutex
	state  cameraState
	epoch  record.Epoch       // of the session
	after  record.Epoch       // every new epoch must be later
	cancel context.CancelFunc // ends the session
	err    string             // why it is not live
	since  int64              // of state, Clock.Mono
	tracks []media.Track

	health health // of Proxy.watch
}

func newCamera(cfg Camera, opts *Options, budget *Budget, session sessionFunc) *camera {
	c := &camera{
		cfg: cfg, opts: opts, session: session, state: stateConnecting, since: opts.Clock.Mono(),
		logger: opts.Log.With().Str("camera", cfg.Name).Logger(),
		every:  node.NewEvery(time.Second, opts.Clock.Now),
		log: NewLog(LogOptions{
			Window: opts.LogSeconds, MaxBytes: opts.LogBytes, Budget: budget, Clock: opts.Clock,
		}),
	}
	if cfg.Primary != "" {
		c.copies = append(c.copies, &copyState{recorder: cfg.Primary, role: rolePrimary})
	}
	if cfg.Redundant != "" {
		c.copies = append(c.copies, &copyState{recorder: cfg.Redundant, role: roleRedundant})
	}
	return c
}

// copyOf returns the copy of a recorder, or nil where it has none.
func (c *camera) copyOf(recorder string) *copyState {
	for _, k := range c.copies {
		if k.recorder == recorder {
			return k
		}
	}
	return nil
}

func (c *camera) byRole(role string) *copyState {
	for _, k := range c.copies {
		if k.role == role {
			return k
		}
	}
	return nil
}

func (c *camera) primary() *copyState   { return c.byRole(rolePrimary) }
func (c *camera) redundant() *copyState { return c.byRole(roleRedundant) }

// run pulls the camera until ctx is done.
func (c *camera) run(ctx context.Context) {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval = leastRetry
	retry.Multiplier, retry.RandomizationFactor = 2, 0.3
	wait := time.NewTimer(0)
	defer wait.Stop()
	ended := epochEnd{cause: media.CauseStart}
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		sink := &sink{camera: c, since: ended}
		session, cancel := context.WithCancel(ctx)
		c.mu.Lock()
		c.cancel, c.epoch = cancel, record.Epoch{}
		c.mu.Unlock()
		err := c.session(session, sessionConfig{
			Camera:      c.cfg,
			FragmentMin: c.opts.FragmentMin, FragmentMax: c.opts.FragmentMax,
			SegmentDuration: c.opts.SegmentDuration, StallTimeout: c.opts.StallTimeout,
			Clock: c.opts.Clock, Log: c.logger, Pump: c.pump,
		}, sink)
		cancel()
		cause := sessionCause(err)
		if ctx.Err() != nil {
			cause = media.CauseProxy
		}
		if sink.open {
			c.log.End(cause)
			ended = epochEnd{cause: cause, ns: sink.lastNS, mono: sink.lastAt}
			retry.Reset()
		}
		if ctx.Err() != nil {
			return
		}
		retry.MaxInterval = mostRetry
		if _, refused := errors.AsType[refusalError](err); refused {
			retry.MaxInterval = mostRefused
		}
		delay := retry.NextBackOff()
		c.sessionEnded(cause, err, delay, sink.open)
		wait.Reset(delay)
	}
}

func (c *camera) sessionEnded(cause media.Cause, err error, delay time.Duration, wasLive bool) {
	state := stateFailed
	if cause == media.CauseStalled {
		state = stateStalled
	}
	text := "the session ended"
	if err != nil {
		text = err.Error()
	}
	c.become(state, text)
	if n, ok := c.every.Allow(string(cause)); ok {
		c.logger.Warn().Str("cause", string(cause)).Str("reason", text).Bool("was_live", wasLive).
			Dur("retry_in", delay).Int("suppressed", n).Msg("camera is not live")
	}
}

// notBefore makes sure that a recorder which has been at epoch gets a later one. It has
// been at one from the future where the wall clock of the proxy's machine was set back
// before the proxy was started; without a later epoch it would refuse to go back in
// time. A session with an earlier one begins anew.
func (c *camera) notBefore(epoch record.Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.after.Compare(epoch) >= 0 {
		return
	}
	c.after = epoch
	if !c.epoch.IsZero() {
		c.logger.Warn().Str("epoch", c.epoch.String()).Time("recorded_until", epoch.Time()).
			Msg("a recorder has footage from the future (was the clock set back?); the session begins anew, in an epoch after it")
		c.cancel()
	}
}

func (c *camera) become(s cameraState, err string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != s && (c.state == stateLive || s == stateLive) {
		c.since = c.opts.Clock.Mono()
	}
	c.state, c.err = s, err
}

// now returns the state, why the camera is not live, and since when it is or is not
// (Clock.Mono).
func (c *camera) now() (s cameraState, err string, since int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.err, c.since
}

// trackNames describes the tracks for people.
func (c *camera) trackNames() []string {
	c.mu.Lock()
	tracks := c.tracks
	c.mu.Unlock()
	names := make([]string, 0, len(tracks))
	for _, t := range tracks {
		names = append(names, trackName(t))
	}
	return names
}

// epochEnd is how the epoch before ended.
type epochEnd struct {
	cause media.Cause
	ns    int64 // its last capture time, Unix ns; 0: there was none
	mono  int64 // when that was, Clock.Mono
}

// sink is where one session of a camera delivers to. The log's epoch begins with the
// first record, so that a session without one leaves no trace.
type sink struct {
	camera *camera
	since  epochEnd
	start  epochStart
	begun  bool
	open   bool
	lastNS int64
	lastAt int64 // Clock.Mono when that arrived

	// Not yet in the camera's counters.
	records, bytes uint64
}

// Begin implements sessionSink.
func (s *sink) Begin(tracks []media.Track) (epochStart, error) {
	c := s.camera
	if s.begun {
		return epochStart{}, fmt.Errorf("a session of camera %s began twice", c.cfg.Name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opts.Clock.Now()
	if !c.after.IsZero() && !now.Truncate(time.Millisecond).After(c.after.Time()) {
		// The wall clock was set back, or it is still the same millisecond.
		now = c.after.Time().Add(time.Millisecond)
	}
	epoch, err := record.NewEpoch(now, c.opts.Random)
	if err != nil {
		return epochStart{}, err
	}
	c.sessions.Add(1)
	c.tracks, c.epoch, c.after = slices.Clone(tracks), epoch, epoch
	s.begun = true
	s.start = epochStart{Epoch: epoch, Since: s.since.cause, SinceNS: s.since.ns, FloorNS: s.since.ns}
	if s.since.ns != 0 {
		s.start.ResumeNS = s.since.ns + c.opts.Clock.Mono() - s.since.mono
	}
	return s.start, nil
}

// Append implements sessionSink.
func (s *sink) Append(r *record.Record, p *rtp.Packet) (uint64, error) {
	c := s.camera
	if !s.open {
		if err := c.log.Begin(s.start.Epoch); err != nil {
			return 0, err
		}
		s.open = true
		c.become(stateLive, "")
		c.logger.Info().Str("epoch", s.start.Epoch.String()).Str("tracks", strings.Join(c.trackNames(), ", ")).Msg("camera is live")
	}
	offset, err := c.log.Append(r, p)
	if err != nil {
		return 0, err
	}
	s.lastNS = max(s.lastNS, r.CaptureNS)
	s.records++
	if p != nil {
		s.bytes += uint64(len(p.Payload))
	} else {
		s.bytes += uint64(payloadSize(r.Packet))
	}
	return offset, nil
}

// Publish implements sessionSink.
func (s *sink) Publish() {
	if !s.open {
		return
	}
	c := s.camera
	c.log.Publish()
	c.records.Add(s.records)
	c.bytes.Add(s.bytes)
	s.records, s.bytes = 0, 0
	c.lastPacketNS.Store(c.opts.Clock.Now().UnixNano())
	s.lastAt = c.opts.Clock.Mono()
}

// Lost implements sessionSink.
func (s *sink) Lost(packets uint64) { s.camera.lost.Add(packets) }

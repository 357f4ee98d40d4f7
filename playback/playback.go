package playback

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/playback/replay"
	"github.com/duet-video/duet/playback/web"
)

// maxRecorders is how many recorders a site may have: holders are kept in one word.
const maxRecorders = 64

// Service is a playback node.
type Service struct {
	o            Options
	clock        clock.Clock
	registry     *prometheus.Registry
	pool         *pool
	reader       *reader
	edgeCache    *cache[edgeKey, *edge]
	edgeSpare    spare
	manifests    *cache[string, *made]
	hlsInits     *cache[media.Hash, *hlsInit]
	segments     *cache[segmentKey, []byte]
	followMu     sync.Mutex
	follows      *cache[followKey, *follow]
	jpegs        *cache[jpegKey, *snapshotJPEG]
	decoding     *semaphore.Weighted
	ffmpeg       string // empty: there is none, and noFFmpeg says why
	noFFmpeg     string
	progressives *cache[string, *virtual]
	m            *metrics
	page         *web.Page
	every        *node.Every
	replay       *replay.Server // nil: none
	// answering is held for reading by each request under way.
	answering sync.RWMutex
}

// New checks the options. It does not connect to anything yet.
func New(o Options) (*Service, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Deadlines.fill()
	o.Limits.fill()
	s := &Service{o: o, clock: o.Clock, registry: o.Registry}
	if s.clock == nil {
		s.clock = clock.System()
	}
	if s.registry == nil {
		s.registry = prometheus.NewRegistry()
	}
	var err error
	if s.m, err = newMetrics(s.registry); err != nil {
		return nil, err
	}
	if s.page, err = web.New(); err != nil {
		return nil, err
	}
	s.every = node.NewEvery(time.Second, s.clock.Now)
	if s.pool, err = newPool(&s.o, s.clock, s.changed); err != nil {
		return nil, err
	}
	s.edgeCache = newCache[edgeKey, *edge](edgeCacheBytes)
	s.edgeSpare.most = edgeSpareBytes
	s.manifests = newCache[string, *made](manifestCacheBytes)
	s.hlsInits = newCache[media.Hash, *hlsInit](hlsInitBytes)
	s.segments = newCache[segmentKey, []byte](hlsMediaBytes)
	s.progressives = newCache[string, *virtual](progressiveBytes)
	s.follows = newCache[followKey, *follow](followBytes)
	s.jpegs = newCache[jpegKey, *snapshotJPEG](snapshotBytes)
	s.decoding = semaphore.NewWeighted(decodersAtOnce)
	if s.ffmpeg, err = findFFmpeg(o.FFmpeg); err != nil {
		s.noFFmpeg = err.Error()
	}
	s.reader = &reader{
		pool: s.pool, clock: s.clock, d: o.Deadlines, maxBytes: o.Limits.FragmentBytes,
		inits: newCache[media.Hash, []byte](initCacheBytes), m: s.m, trouble: s.trouble,
	}
	if s.replay, err = s.newReplay(); err != nil {
		return nil, err
	}
	return s, nil
}

// The limits on HTTP clients. There is none on the time that an answer takes: an export
// runs for as long as its reader reads.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// Run serves until ctx ends, then lets the responses under way end (Deadlines.Drain).
// It returns nil after an end that ctx asked for. Call it once.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	probing, stopProbing := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { s.pool.run(probing) })
	requests, cancelRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		cancelRequests()
		stopProbing()
		wg.Wait()
		s.answering.Lock() // the server does not wait for handlers that it cut off
		defer s.answering.Unlock()
		if err := s.pool.close(); err != nil {
			s.o.Log.Warn().Err(err).Msg("close the clients of the nodes")
		}
	}()
	if s.ffmpeg == "" {
		s.o.Log.Warn().Str("why", s.noFFmpeg).Msg("no ffmpeg: snapshots only of cameras that send JPEG")
	} else {
		s.o.Log.Info().Str("ffmpeg", s.ffmpeg).Msg("ffmpeg makes snapshots")
	}
	srv := &http.Server{
		Handler:           s.tracked(s.handler()),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          stdlog.New(s.o.Log.With().Str("component", "http").Logger(), "", 0),
	}
	served, replayed := make(chan error, 1), make(chan error, 1)
	go func() { served <- srv.Serve(s.o.Listener) }()
	replaying, stopReplay := context.WithCancel(ctx)
	if s.replay != nil {
		wg.Go(func() { replayed <- s.replay.Run(replaying) })
	}
	defer stopReplay()
	select {
	case err := <-served:
		_ = srv.Close()
		return fmt.Errorf("serve HTTP on %s: %w", s.o.Listener.Addr(), err)
	case err := <-replayed:
		if err != nil {
			_ = srv.Close()
			if e := <-served; !errors.Is(e, http.ErrServerClosed) {
				err = errors.Join(err, e)
			}
			return err
		}
		<-ctx.Done() // it ended because of that
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(requests, s.o.Deadlines.Drain)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		cancelRequests()
		_ = srv.Close() // what did not end in time
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", s.o.Listener.Addr(), err)
	}
	return nil
}

func (s *Service) tracked(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.answering.RLock()
		defer s.answering.RUnlock()
		// What follows renews it while the client reads, see counter.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.o.Deadlines.Client)) // there is one on any connection
		h.ServeHTTP(w, r)
	})
}

// changed is told when a node came or went.
func (s *Service) changed(p *peer, v peerView) {
	up := 0.0
	if v.State == StateUp {
		up = 1
		s.o.Log.Info().Str("peer", p.Name).Msg("node is up")
	} else {
		s.o.Log.Warn().Str("peer", p.Name).Err(v.Err).Msg("node is down")
	}
	s.m.up.WithLabelValues(p.Name).Set(up)
}

func (s *Service) trouble(p *peer, camera string, err error) {
	s.warn("read "+p.Name, func(n int) {
		s.o.Log.Warn().Str("recorder", p.Name).Str("camera", camera).Int("suppressed", n).Err(err).Msg("reading from a recorder failed, reading from another one")
	})
}

// warn lets one line through per second and cause.
func (s *Service) warn(cause string, line func(suppressed int)) {
	if n, ok := s.every.Allow(cause); ok {
		line(n)
	}
}

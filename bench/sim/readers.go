package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/pion/rtp"

	"github.com/duet-video/duet/bench/ledger"
)

// readers are clients that go on while things fail.
type readers struct {
	mu      sync.Mutex
	exports []*longExport
	watches []*watch
}

// The pace at which a long export is read.
const (
	readBytes = 1 << 10
	readPause = 200 * time.Millisecond
)

// longExport is a recording that somebody reads slowly.
type longExport struct {
	camera   *camera
	from, to time.Time
	timeline *timeline
	began    time.Time
	ended    chan struct{}
	// Set when it has ended:
	finished time.Time
	header   http.Header
	body     []byte
	err      error
	refused  bool // it did not begin
}

// export begins to read all of a camera up to now, slowly.
func (s *Site) exportSlowly(camera string) error {
	c := s.camera(camera)
	if c == nil {
		return fmt.Errorf("there is no camera %s", camera)
	}
	e := &longExport{camera: c, from: s.start, to: time.Now().Add(-behindMost), began: time.Now(), ended: make(chan struct{})}
	if !e.to.After(e.from) {
		return nil
	}
	var err error
	if e.timeline, err = s.timeline(camera, e.from, e.to); err != nil {
		return nil //nolint:nilerr // there is nobody to ask
	}
	s.readers.mu.Lock()
	s.readers.exports = append(s.readers.exports, e)
	s.readers.mu.Unlock()
	s.work.Go(func() {
		defer close(e.ended)
		e.err = s.readSlowly(e)
		e.finished = time.Now()
	})
	return nil
}

func (s *Site) readSlowly(e *longExport) error {
	ctx, cancel := context.WithTimeout(s.working, 5*time.Minute)
	defer cancel()
	resp, err := s.request(ctx, slowHost, http.MethodGet, "/v1/cameras/"+e.camera.name+"/recording.mp4", rangeOf(e.from, e.to), nil)
	if err != nil {
		e.refused = true
		return err
	}
	defer resp.Body.Close()
	e.header = resp.Header
	if resp.StatusCode != http.StatusOK {
		e.refused = true
		return errors.New(resp.Status)
	}
	buf := make([]byte, readBytes)
	for {
		n, err := resp.Body.Read(buf)
		e.body = append(e.body, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		time.Sleep(readPause)
	}
}

// judge waits for the readers and says what was wrong with what they got.
func (r *readers) judge(s *Site) error {
	r.mu.Lock()
	exports, watches := slices.Clone(r.exports), slices.Clone(r.watches)
	r.mu.Unlock()
	var errs []error
	for _, e := range exports {
		<-e.ended
		if err := s.judgeExport(e); err != nil {
			errs = append(errs, err)
		}
	}
	for _, w := range watches {
		w.stop()
		if err := s.judgeWatch(w); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// judgeExport: through the failure of any recorder the same response goes on, with every
// access unit. It may break off when both copies, or playback, were in trouble, or when
// retention deleted what it was about to read.
func (s *Site) judgeExport(e *longExport) error {
	if e.err != nil {
		s.seen.mu.Lock()
		defer s.seen.mu.Unlock()
		hit := func(name string) bool { at := s.seen.first[name]; return !at.IsZero() && at.Before(e.finished) }
		copies := s.copies(slices.Index(s.cameras, e.camera))
		if e.refused || s.opts.Spare || hit(playbackHost) || hit(copies[0]) && hit(copies[1]) || s.opts.Quota > 0 || s.opts.Age > 0 {
			return nil
		}
		return readersSeeOneStream.broken("an export of %s that began at %s broke off at %s, after %d bytes: %w",
			e.camera.name, s.seconds(e.began), s.seconds(e.finished), len(e.body), e.err)
	}
	if e.header.Get("Duet-Unknown") != "" {
		return nil
	}
	units, err := unitsOf(e.camera, e.header, e.body)
	if err == nil {
		err = s.compare(e.camera, e.timeline, units, e.from, e.timeline.end())
	}
	if err != nil && s.opts.Quota == 0 && s.opts.Age == 0 {
		return readersSeeOneStream.broken("an export of %s from %s to %s: %w", e.camera.name, s.seconds(e.began), s.seconds(e.finished), err)
	}
	return nil
}

// watch is a live reader at the proxy's RTSP endpoint.
type watch struct {
	camera *camera
	stop   func()

	mu       sync.Mutex
	sessions []liveSession
}

// liveSession is what a reader got over one connection.
type liveSession struct {
	began, ended time.Time
	units        []ledger.AccessUnit
	wrong        error
	packets      int
	last         rtp.Header
}

// watch begins to read a camera live, again and again when the connection ends.
func (s *Site) watch(camera string) error {
	c := s.camera(camera)
	if c == nil {
		return fmt.Errorf("there is no camera %s", camera)
	}
	ctx, cancel := context.WithCancel(s.working)
	ended := make(chan struct{})
	w := &watch{camera: c, stop: func() { cancel(); <-ended }}
	s.readers.mu.Lock()
	s.readers.watches = append(s.readers.watches, w)
	s.readers.mu.Unlock()
	s.work.Go(func() {
		defer close(ended)
		for ctx.Err() == nil {
			w.session(ctx, s.net.dialer(checkerHost))
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	return nil
}

func (w *watch) session(ctx context.Context, dial func(context.Context, string) (net.Conn, error)) {
	now := liveSession{began: time.Now()}
	ssrcs := map[uint32]bool{}
	_ = ledger.Capture(ctx, &w.camera.book.Header, ledger.CaptureOptions{
		URL: "rtsp://" + proxyHost + "/" + w.camera.name, Transport: gortsplib.TransportTCP,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, liveHost) },
		OnPacket: func(_ int, p *rtp.Packet) {
			ssrcs[p.SSRC] = true
			switch {
			case now.packets == 0:
			case len(ssrcs) > 1:
				now.wrong = fmt.Errorf("%d SSRCs in one session", len(ssrcs))
			case p.SequenceNumber != now.last.SequenceNumber+1:
				now.wrong = fmt.Errorf("sequence number %d after %d", p.SequenceNumber, now.last.SequenceNumber)
			case int32(p.Timestamp-now.last.Timestamp) < 0:
				now.wrong = fmt.Errorf("timestamp %d after %d", p.Timestamp, now.last.Timestamp)
			}
			now.packets++
			now.last = p.Header
		},
		OnUnit: func(a ledger.AccessUnit, _ *rtp.Packet) { now.units = append(now.units, a) },
	})
	now.ended = time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions = append(w.sessions, now)
}

// judgeWatch: whatever happens to recorders, a live reader keeps its connection, and gets
// everything.
func (s *Site) judgeWatch(w *watch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.seen.mu.Lock()
	calm := !s.seen.anyTrouble([]string{proxyHost, w.camera.name})
	s.seen.mu.Unlock()
	played := 0
	for _, x := range w.sessions {
		if x.wrong != nil {
			return readersSeeOneStream.broken("a live reader of %s: %w", w.camera.name, x.wrong)
		}
		if len(x.units) == 0 {
			continue
		}
		played++
		o := ledger.Options{Tolerance: frameEvery}
		r := ledger.Check(w.camera.ledger(), x.units, o)
		if !calm { // what the camera sent to nobody is missing
			r.Faults = slices.DeleteFunc(r.Faults, func(f ledger.Fault) bool { return f.Kind == ledger.Missing })
		}
		if err := r.Err(); err != nil {
			return readersSeeOneStream.broken("a live reader of %s: %w", w.camera.name, err)
		}
	}
	if calm && (played != 1 || len(w.sessions[0].units) == 0) {
		return readersSeeOneStream.broken("a live reader of %s had %d sessions with pictures of %d, although nobody touched camera or proxy", w.camera.name, played, len(w.sessions))
	}
	return nil
}

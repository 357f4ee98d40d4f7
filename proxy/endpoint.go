package proxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/node"
)

const (
	// readerQueue is how many packets wait for a reader at most: 4 to 6 MB. A reader
	// that is further behind is closed.
	readerQueue = 4096
	// readerWrite is how long one write to a reader may take.
	readerWrite = 10 * time.Second
	// authPause delays the answer to a wrong password.
	authPause = time.Second
)

// endpointCamera is a camera that readers may ask for.
type endpointCamera struct {
	Name    string
	Log     *Log
	Readers *readerCount // is kept up to date
	// Why says why the camera is not live, without credentials; may be nil.
	Why func() string
}

// readerCount counts live readers: those that play now, all that ever did, and those
// that were closed because they were too slow.
type readerCount struct {
	now            atomic.Int64
	total, dropped atomic.Uint64
}

func (c *readerCount) opened() {
	c.now.Add(1)
	c.total.Add(1)
}

type endpointOptions struct {
	Address, RTPAddress, RTCPAddress string
	Listener                         net.Listener // in the place of Address; may be nil
	Users                            []User
	Cameras                          []endpointCamera
	Watched                          *atomic.Int64 // counts those that play; may be nil
	Clock                            clock.Clock
	Log                              zerolog.Logger
}

// endpoint is the RTSP server of live readers: rtsp://proxy:8554/CAMERA.
type endpoint struct {
	opts   endpointOptions
	server *gortsplib.Server
	feeds  map[string]*endpointFeed
	marks  flushMarks
	// flushers are what writes to readers that do not take everything at once.
	flushers sync.WaitGroup
	ctx      context.Context // of run
}

type endpointFeed struct {
	*liveFeed
	camera endpointCamera
}

func newEndpoint(o endpointOptions) *endpoint {
	e := &endpoint{opts: o, feeds: map[string]*endpointFeed{}}
	for _, c := range o.Cameras {
		f := &liveFeed{
			name: c.Name, log: c.Log, clock: o.Clock,
			logger: o.Log.With().Str("camera", c.Name).Logger(),
			every:  node.NewEvery(time.Second, o.Clock.Now),
			wanted: make(chan struct{}, 1), random: randomNumber,
		}
		f.open = func(tracks []media.Track) (liveStream, error) { return e.newStream(tracks) }
		e.feeds[c.Name] = &endpointFeed{f, c}
	}
	return e
}

func randomNumber() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:])
}

// start listens for readers. Call run after it.
func (e *endpoint) start(ctx context.Context) error {
	e.ctx = ctx
	e.server = &gortsplib.Server{
		Handler:      e,
		RTSPAddress:  e.opts.Address,
		WriteTimeout: readerWrite, WriteQueueSize: readerQueue,
		UDPRTPAddress: e.opts.RTPAddress, UDPRTCPAddress: e.opts.RTCPAddress,
		// SHA-256 beside MD5 keeps ffmpeg out; Basic would show the password.
		AuthMethods: []auth.VerifyMethod{auth.VerifyMethodDigestMD5},
		// gortsplib writes nanoseconds where RFC 3550 4 wants 2^-32 s, up to 0.77 s wrong.
		DisableRTCPSenderReports: true,
		Listen: func(network, address string) (net.Listener, error) {
			l, err := e.opts.Listener, error(nil)
			if l == nil {
				l, err = net.Listen(network, address)
			}
			if err != nil {
				return nil, err
			}
			return &batchListener{Listener: l, marks: &e.marks, flushers: &e.flushers}, nil
		},
	}
	if err := e.server.Start(); err != nil {
		return fmt.Errorf("listen for RTSP readers on %s: %w", e.opts.Address, err)
	}
	return nil
}

// run serves until ctx, that of start, is done, and closes all readers then.
func (e *endpoint) run() error {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	var feeds sync.WaitGroup
	for _, f := range e.feeds {
		feeds.Go(func() { f.run(ctx) })
	}
	stop := context.AfterFunc(ctx, e.server.Close)
	defer stop()
	err := e.server.Wait()
	ended := ctx.Err() != nil
	cancel()
	feeds.Wait()
	e.server.Close()
	e.flushers.Wait()
	if ended {
		return nil
	}
	return fmt.Errorf("serve RTSP readers on %s: %w", e.opts.Address, err)
}

// rtspStream is the liveStream of gortsplib.
type rtspStream struct {
	e      *endpoint
	stream *gortsplib.ServerStream
	tracks []rtspTrack

	// What follows belongs to the feed, and is under its mu.
	readers []*reader // those that media is sent to past gortsplib
	others  int       // those that it is not
	frames  []byte    // whole interleaved frames, not yet sent
	starts  []int     // of each
	of      []uint8   // the track of each
}

type rtspTrack struct {
	media *description.Media // nil: SDP cannot describe it
	ssrc  uint32
	mark  *atomic.Uint32
	shown time.Time
}

func (e *endpoint) newStream(tracks []media.Track) (*rtspStream, error) {
	s := &rtspStream{e: e, tracks: make([]rtspTrack, len(tracks))}
	desc := &description.Session{Title: "duet"}
	for i := range tracks {
		if m, ok := mediaOf(&tracks[i], uint8(96+i)); ok {
			s.tracks[i].media = m
			desc.Medias = append(desc.Medias, m)
		}
	}
	if len(desc.Medias) == 0 {
		return nil, errors.New("none of the camera's tracks can be served")
	}
	s.stream = &gortsplib.ServerStream{Server: e.server, Desc: desc}
	if err := s.stream.Initialize(); err != nil {
		return nil, err
	}
	stats := s.stream.Stats()
	for i := range s.tracks {
		if t := &s.tracks[i]; t.media != nil {
			t.ssrc = stats.Medias[t.media].Formats[t.media.Formats[0]].LocalSSRC
			t.mark = e.marks.add(t.ssrc)
		}
	}
	return s, nil
}

// Write implements liveStream.
func (s *rtspStream) Write(track int, p *rtp.Packet, capture time.Time, last bool) {
	t := &s.tracks[track]
	if t.media == nil {
		return
	}
	p.PayloadType = t.media.Formats[0].PayloadType()
	if last {
		t.mark.Store(1<<16 | uint32(p.SequenceNumber))
	}
	if len(s.readers) > 0 {
		s.gather(track, p)
	}
	// Without other readers gortsplib is shown what it derives times from.
	if now := time.Now(); s.others > 0 || now.Sub(t.shown) > time.Second {
		t.shown = now
		_ = s.stream.WritePacketRTPWithNTP(t.media, p, capture) // fails for a closed stream only
	}
}

// Report implements liveStream.
func (s *rtspStream) Report(track int, sr *rtcp.SenderReport) {
	if t := &s.tracks[track]; t.media != nil {
		sr.SSRC = t.ssrc
		_ = s.stream.WritePacketRTCP(t.media, sr)
	}
}

// SetParams implements liveStream.
func (s *rtspStream) SetParams(track int, params [][]byte) {
	if t := &s.tracks[track]; t.media != nil {
		setParams(t.media.Formats[0], params)
	}
}

// Close implements liveStream.
func (s *rtspStream) Close() {
	s.stream.Close()
	for _, t := range s.tracks {
		if t.media != nil {
			s.e.marks.remove(t.ssrc)
		}
	}
}

// reader is what the endpoint knows of a session.
type reader struct {
	feed    *endpointFeed
	log     zerolog.Logger
	joined  bool
	dropped atomic.Bool
	starts  bool // the answer to PLAY is under way
	// channels are those of media over TCP; empty: UDP.
	channels map[*description.Media]byte

	session *gortsplib.ServerSession
	conn    *batchConn  // where media is sent past gortsplib; nil: it is not
	stream  *rtspStream // that counts the reader; under the feed's mu
}

// find returns the camera that a path names, or the answer that refuses it.
func (e *endpoint) find(conn *gortsplib.ServerConn, req *base.Request, path string) (*endpointFeed, *base.Response, error) {
	if len(e.opts.Users) > 0 {
		ok := false
		for _, u := range e.opts.Users {
			ok = conn.VerifyCredentials(req, u.Name, u.Password) || ok
		}
		if !ok {
			if len(req.Header["Authorization"]) > 0 {
				e.opts.Log.Warn().Str("remote", conn.NetConn().RemoteAddr().String()).Str("path", path).
					Msg("reader with a wrong user name or password")
				select {
				case <-time.After(authPause):
				case <-e.ctx.Done():
				}
			}
			return nil, &base.Response{StatusCode: base.StatusUnauthorized}, liberrors.ErrServerAuth{}
		}
	}
	name := strings.Trim(path, "/")
	f, ok := e.feeds[name]
	if !ok {
		return nil, &base.Response{StatusCode: base.StatusNotFound, StatusMessage: "No Such Camera"}, nil
	}
	return f, nil, nil
}

// stream returns the stream of a camera, or the answer that says why there is none.
func (e *endpoint) stream(f *endpointFeed) (*gortsplib.ServerStream, *base.Response) {
	s, err := f.ready(e.ctx)
	if err == nil {
		return s.(*rtspStream).stream, nil
	}
	text := "Camera Is Not Live"
	if f.camera.Why != nil && errors.Is(err, errNotLive) {
		if why := f.camera.Why(); why != "" {
			text += ": " + strings.Map(printable, why)
		}
	}
	if !errors.Is(err, errNotLive) {
		f.logger.Error().Err(err).Msg("the camera cannot be served to readers")
	}
	return nil, &base.Response{StatusCode: base.StatusServiceUnavailable, StatusMessage: text}
}

// printable keeps a reason phrase on one line.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// OnDescribe implements gortsplib.ServerHandlerOnDescribe.
func (e *endpoint) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	f, refused, err := e.find(ctx.Conn, ctx.Request, ctx.Path)
	if refused != nil {
		return refused, nil, err
	}
	s, refused := e.stream(f)
	if refused != nil {
		return refused, nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, s, nil
}

// OnSetup implements gortsplib.ServerHandlerOnSetup.
func (e *endpoint) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	f, refused, err := e.find(ctx.Conn, ctx.Request, ctx.Path)
	if refused != nil {
		return refused, nil, err
	}
	s, refused := e.stream(f)
	if refused != nil {
		return refused, nil, nil
	}
	if have := ctx.Session.SetuppedStream(); have != nil && have != s {
		// The camera changed its tracks between two SETUPs.
		return &base.Response{StatusCode: base.StatusNotFound, StatusMessage: "Tracks Have Changed"}, nil, nil
	}
	if ctx.Session.UserData() == nil {
		ctx.Session.SetUserData(&reader{feed: f, session: ctx.Session, channels: make(map[*description.Media]byte), log: f.logger.With().
			Str("remote", ctx.Conn.NetConn().RemoteAddr().String()).Str("transport", ctx.Transport.String()).Logger()})
	}
	return &base.Response{StatusCode: base.StatusOK}, s, nil
}

// OnPlay implements gortsplib.ServerHandlerOnPlay.
func (e *endpoint) OnPlay(ctx *gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	r, ok := ctx.Session.UserData().(*reader)
	if !ok {
		return &base.Response{StatusCode: base.StatusBadRequest}, nil
	}
	if !r.joined {
		r.joined, r.starts = true, true
		r.feed.join(len(r.channels) > 0)
		r.feed.camera.Readers.opened()
		e.watched(1)
		r.log.Info().Msg("reader plays")
	}
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (e *endpoint) watched(n int64) {
	if e.opts.Watched != nil {
		e.opts.Watched.Add(n)
	}
}

// OnPause implements gortsplib.ServerHandlerOnPause. The reader stays counted.
func (e *endpoint) OnPause(ctx *gortsplib.ServerHandlerOnPauseCtx) (*base.Response, error) {
	if r, ok := ctx.Session.UserData().(*reader); ok {
		r.leaveDirect()
	}
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// OnSessionClose implements gortsplib.ServerHandlerOnSessionClose.
func (e *endpoint) OnSessionClose(ctx *gortsplib.ServerHandlerOnSessionCloseCtx) {
	r, ok := ctx.Session.UserData().(*reader)
	if !ok || !r.joined {
		return
	}
	r.uncount()
	r.feed.leave()
	r.feed.camera.Readers.now.Add(-1)
	e.watched(-1)
	ev := r.log.Info()
	if ctx.Error != nil {
		ev = ev.Str("reason", ctx.Error.Error())
	}
	ev.Msg("reader left")
}

// OnStreamWriteError implements gortsplib.ServerHandlerOnStreamWriteError: the reader is
// so far behind that its queue is full. It is closed, so that what it got is whole.
func (e *endpoint) OnStreamWriteError(ctx *gortsplib.ServerHandlerOnStreamWriteErrorCtx) {
	if r, ok := ctx.Session.UserData().(*reader); ok {
		r.tooSlow(ctx.Error)
	}
	ctx.Session.Close()
}

func (r *reader) tooSlow(err error) {
	if !r.dropped.Swap(true) {
		r.feed.camera.Readers.dropped.Add(1)
		r.log.Warn().Err(err).Msg("reader is too slow and is closed")
	}
}

// OnDecodeError implements gortsplib.ServerHandlerOnDecodeError: what readers send wrong
// is of no concern.
func (e *endpoint) OnDecodeError(*gortsplib.ServerHandlerOnDecodeErrorCtx) {}

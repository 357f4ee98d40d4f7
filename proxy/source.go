package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/duet-video/duet/internal/media"
)

const (
	// maxTracks is how many tracks of a camera are taken.
	maxTracks = 16
	// requestTimeout bounds connecting, and each RTSP request.
	requestTimeout = 10 * time.Second
	// noTimeout is what gortsplib gets instead: it counts silence by the wall clock, which is
	// set, and while this process stands still. Requests are bounded here, silence by watch.
	noTimeout = 10 * 365 * 24 * time.Hour
	// silentVideo: a camera whose reference track sends nothing for so long while
	// others go on is lost too.
	silentVideo = 30 * time.Second
	// maxLost: a hole in the sequence numbers that is larger is a reset.
	maxLost = 10000
)

// runSession connects to the camera and delivers its records to sink until ctx is done
// or the session ends, which is always an error, a *sessionError. It never holds more
// than one RTSP session, and ends it (TEARDOWN) before it returns.
func runSession(ctx context.Context, cfg sessionConfig, sink sessionSink) error {
	s := &source{cfg: cfg, sink: sink, failed: make(chan error, 1)}
	err := s.run(ctx)
	if ctx.Err() != nil {
		return &sessionError{Cause: media.CauseProxy, Err: ctx.Err()}
	}
	if se, ok := errors.AsType[*sessionError](err); ok {
		return se
	}
	cause := media.CauseConnection
	_, tcp := errors.AsType[liberrors.ErrClientTCPTimeout](err)
	_, udp := errors.AsType[liberrors.ErrClientUDPTimeout](err)
	if tcp || udp {
		cause = media.CauseStalled
	}
	return &sessionError{Cause: cause, Err: s.plain(err)}
}

// source is one RTSP session with a camera.
type source struct {
	cfg    sessionConfig
	sink   sessionSink
	url    *base.URL
	client *gortsplib.Client
	ingest *ingest
	tracks []media.Track
	// conn is the connection that was made last, channel the interleaved channel (RFC 2326
	// 10.12) that the camera gave to RTP last; negative: none. They are set while gortsplib
	// is asked for something.
	conn    atomic.Pointer[cameraConn]
	channel int
	tapped  atomic.Bool // a tap takes the packets

	failed chan error // the first error of ingest
	// Clock.Mono of the latest packet, and of the latest one of the reference track.
	last, lastReference atomic.Int64
}

func (s *source) run(ctx context.Context) error {
	u, err := base.ParseURL(s.cfg.Camera.Source)
	if err != nil {
		// The text of err may hold the password.
		return errors.New("the source is not a valid RTSP URL (special characters of a password must be %-escaped)")
	}
	s.url = u
	s.client = s.newClient()
	if err := s.client.Start2(); err != nil {
		return fmt.Errorf("start the RTSP client: %w", err)
	}
	stop := context.AfterFunc(ctx, s.client.Close)
	defer func() {
		stop()
		s.client.Close()
		s.finish()
	}()
	if err := s.play(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	var wait sync.WaitGroup
	wait.Go(func() { ended <- s.client.Wait() })
	defer func() {
		s.client.Close()
		wait.Wait()
	}()
	return s.watch(ctx, ended)
}

func (s *source) newClient() *gortsplib.Client {
	c := &gortsplib.Client{
		Scheme:       s.url.Scheme,
		Host:         s.url.Host,
		ReadTimeout:  noTimeout,
		WriteTimeout: requestTimeout,
		UserAgent:    "duet",
		DialContext:  s.dialContext,
		ListenPacket: listenLargeBuffer,
		OnResponse: func(res *base.Response) {
			if len(res.Body) > 0 && strings.Contains(strings.Join(res.Header["Content-Type"], ""), "sdp") {
				res.Body = mendSDP(res.Body)
			}
			var th headers.Transport
			if th.Unmarshal(res.Header["Transport"]) == nil && th.InterleavedIDs != nil {
				s.channel = th.InterleavedIDs[0]
			}
		},
		OnTransportSwitch: func(err error) {
			s.touch()
			s.cfg.Log.Info().Str("reason", err.Error()).Msg("switching the transport of the camera")
		},
		OnPacketsLost: func(n uint64) {
			if s.ingest != nil && n < maxLost && !s.tapped.Load() {
				s.ingest.lost(n)
			}
		},
		OnDecodeError: func(err error) {
			s.cfg.Log.Debug().Err(err).Msg("the camera sent a packet that cannot be read")
		},
	}
	switch s.cfg.Camera.Transport {
	case "", "tcp":
		v := gortsplib.TransportTCP
		c.Transport = &v
	case "udp":
		v := gortsplib.TransportUDP
		c.Transport = &v
	}
	return c
}

// bounded returns what a request returns, which ends after requestTimeout at the latest, and
// the client with it.
func (s *source) bounded(request func() error) error {
	t := time.AfterFunc(requestTimeout, func() {
		if c := s.conn.Load(); c != nil {
			_ = c.Close() // the client does not end while it waits for a TLS handshake
		}
		s.client.Close()
	})
	err := request()
	if !t.Stop() && err != nil {
		return liberrors.ErrClientRequestTimedOut{}
	}
	return err
}

// play sets the session up and starts it.
func (s *source) play() error {
	var desc *description.Session
	err := s.bounded(func() (err error) {
		desc, _, err = s.client.Describe(s.url)
		return err
	})
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	type channel struct {
		m  *description.Media
		f  format.Format
		id int
	}
	var channels []channel
	for _, m := range desc.Medias {
		f, t := pickFormat(m)
		if f == nil || len(channels) == maxTracks {
			continue
		}
		s.channel = -1
		err := s.bounded(func() error {
			_, err := s.client.Setup(desc.BaseURL, m, 0, 0)
			return err
		})
		if err != nil {
			if _, refused := errors.AsType[liberrors.ErrClientBadStatusCode](err); refused && !t.Codec.Storable() {
				s.cfg.Log.Warn().Err(err).Str("codec", string(t.Codec)).Msg("the camera refuses one of its tracks")
				continue
			}
			return fmt.Errorf("set up %s: %w", t.Codec, err)
		}
		channels = append(channels, channel{m, f, s.channel})
		s.tracks = append(s.tracks, t)
	}
	if len(channels) == 0 {
		return errors.New("the camera offers no media that can be read")
	}
	s.ingest = newIngest(s.cfg, s.sink, s.tracks)
	reference := referenceTrack(s.tracks)
	for i, c := range channels {
		s.client.OnPacketRTP(c.m, c.f, func(p *rtp.Packet) { s.onPacket(i, i == reference, p) })
		if s.cfg.Camera.Clock == "rtcp" {
			s.client.OnPacketRTCP(c.m, func(p rtcp.Packet) {
				if sr, ok := p.(*rtcp.SenderReport); ok {
					s.ingest.report(i, ntpToUnix(sr.NTPTime), sr.RTPTime)
				}
			})
		}
	}
	s.touch()
	t := &tap{log: s.cfg.Log, take: s.take}
	tapped := true
	for i, c := range channels {
		if c.id < 0 || c.id > 255 {
			tapped = false // UDP
			break
		}
		t.byChannel[c.id] = &tapTrack{index: i, reference: i == reference, payloadType: c.f.PayloadType()}
	}
	if conn := s.conn.Load(); tapped && conn != nil && !conn.plain {
		s.tapped.Store(true)
		conn.tap.Store(t)
		if s.cfg.Pump != nil {
			if err := s.cfg.Pump.take(conn); err != nil {
				s.cfg.Log.Debug().Err(err).Msg("the camera's connection is read by itself")
			}
		}
	}
	err = s.bounded(func() error {
		_, err := s.client.Play(nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("play: %w", err)
	}
	return nil
}

// pickFormat picks, of the formats of a media, the first one that can be stored.
func pickFormat(m *description.Media) (format.Format, media.Track) {
	if m.IsBackChannel || len(m.Formats) == 0 {
		return nil, media.Track{}
	}
	for _, f := range m.Formats {
		if t := trackOf(m, f); t.Codec.Storable() {
			return f, t
		}
	}
	return m.Formats[0], trackOf(m, m.Formats[0])
}

func (s *source) touch() {
	now := s.cfg.Clock.Mono()
	s.last.Store(now)
	s.lastReference.Store(now)
}

func (s *source) onPacket(track int, reference bool, p *rtp.Packet) {
	if s.tapped.Load() {
		return // the tap has it
	}
	v := packetOf(p)
	s.push(track, reference, &v, s.cfg.Clock.Mono())
}

// take takes a packet from a tap.
func (s *source) take(t *tapTrack, p *packet, lost uint64, now int64) {
	if lost > 0 && lost < maxLost {
		s.ingest.lost(lost)
	}
	s.push(t.index, t.reference, p, now)
}

func (s *source) push(track int, reference bool, p *packet, now int64) {
	s.last.Store(now)
	if reference {
		s.lastReference.Store(now)
	}
	if err := s.ingest.push(track, p); err != nil {
		select {
		case s.failed <- err:
		default:
		}
	}
}

// dialContext connects to the camera.
func (s *source) dialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := dialCamera(ctx, network, address, s.cfg.Clock)
	if err != nil {
		return nil, err
	}
	c.plain = s.client.Scheme != "rtsp" // what comes through TLS is not to be seen here
	s.conn.Store(c)
	return c, nil
}

// watch waits until the session ends or stalls. Where this process itself stood still (it was
// stopped, its machine was moved or had no processor for it), what the camera sent meanwhile
// waits in the connection: silence counts from when it goes on.
func (s *source) watch(ctx context.Context, ended <-chan error) error {
	every := min(max(s.cfg.StallTimeout/10, 10*time.Millisecond), time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	looked, since := s.cfg.Clock.Mono(), int64(0)
	for {
		select {
		case err := <-ended:
			return err
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			now := s.cfg.Clock.Mono()
			if now-looked > int64(2*every) {
				since = now
			}
			looked = now
			silent := max(silentVideo, 4*s.cfg.StallTimeout)
			if d := time.Duration(now - max(since, s.last.Load())); d >= s.cfg.StallTimeout {
				return &sessionError{media.CauseStalled, fmt.Errorf("the camera sent nothing for %v", d.Round(time.Millisecond))}
			}
			if d := time.Duration(now - max(since, s.lastReference.Load())); d >= silent {
				return &sessionError{media.CauseStalled, fmt.Errorf("the camera sent no video for %v", d.Round(time.Millisecond))}
			}
		}
	}
}

// finish appends what is held back; the client has ended.
func (s *source) finish() {
	if s.ingest == nil {
		return
	}
	if n := s.ingest.end(); n > 0 {
		s.cfg.Log.Debug().Uint64("packets", n).Msg("packets before the first random access point were left out")
	}
}

// refusalError is the answer of a camera that is there and will say the same again, and that
// may lock out whoever asks too often.
type refusalError struct{ text string }

func (e refusalError) Error() string { return e.text }

// plain returns err in words that say what to do, without credentials.
func (s *source) plain(err error) error {
	if code, ok := errors.AsType[liberrors.ErrClientBadStatusCode](err); ok {
		switch {
		case code.Code == base.StatusUnauthorized && s.url.User == nil:
			return refusalError{"the camera wants a user name and a password (401)"}
		case code.Code == base.StatusUnauthorized, code.Code == base.StatusForbidden:
			return refusalError{fmt.Sprintf("the camera refuses the user name or the password (%d)", code.Code)}
		case code.Code == base.StatusNotFound:
			return refusalError{fmt.Sprintf("the camera has no stream at path %s (404)", s.url.Path)}
		}
	}
	if _, ok := errors.AsType[liberrors.ErrClientSDPInvalid](err); ok && strings.Contains(err.Error(), "no media streams") {
		return errors.New("the camera offers no media")
	}
	if s.url == nil || s.url.User == nil {
		return err
	}
	text := err.Error()
	clean := strings.ReplaceAll(text, s.url.User.String()+"@", "")
	if pass, ok := s.url.User.Password(); ok && len(pass) > 3 {
		clean = strings.ReplaceAll(clean, pass, "***")
	}
	if clean != text {
		return errors.New(clean)
	}
	return err
}

// ntpToUnix converts the 32.32 fixed point of RFC 3550 4 to Unix ns.
func ntpToUnix(ntp uint64) int64 {
	return (int64(ntp>>32)-2208988800)*int64(time.Second) + int64((ntp&0xffffffff)*uint64(time.Second)>>32)
}

// listenLargeBuffer asks for a receive buffer that holds a key frame; the kernel gives
// what it allows.
func listenLargeBuffer(network, address string) (net.PacketConn, error) {
	c, err := net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	if u, ok := c.(*net.UDPConn); ok {
		_ = u.SetReadBuffer(2 << 20)
	}
	return c, nil
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/evidence"
	"github.com/duet-video/duet/internal/pki"
	"github.com/duet-video/duet/playback"
	"github.com/duet-video/duet/playback/replay"
)

type playbackCmd struct{ nodeFlags }

// Run runs the playback node until it is told to end.
func (c *playbackCmd) Run(a *app) error {
	env, err := c.prepare(a, "playback", func(cfg *config.Config) bool { return cfg.FindPlayback(c.Name) != nil })
	if err != nil {
		return err
	}
	stop, err := serveProfiles(a.ctx, c.Pprof)
	if err != nil {
		return err
	}
	defer stop()
	p := env.site.FindPlayback(c.Name)
	l, err := listen(a.ctx, "http", p.HTTP)
	if err != nil {
		return err
	}
	defer l.Close()
	o := playbackOptions(env.site, func(node string) *tls.Config { return env.creds.ClientConfig(node) })
	o.Name, o.Listener, o.Log, o.Registry = p.Name, l, env.log, env.reg
	if o.RTSP, err = replayOf(a.ctx, env, p); err != nil {
		return err
	}
	if o.RTSP != nil {
		defer o.RTSP.Listener.Close()
	}
	if o.Signer, err = signerOf(env); err != nil {
		return err
	}
	s, err := playback.New(o)
	if err != nil {
		return err
	}
	env.log.Info().Int("recorders", len(o.Recorders)).Stringer("http", l.Addr()).Str("rtsp", string(p.RTSP)).Msg("playback runs")
	return s.Run(a.ctx)
}

// replayOf opens what recordings are served over RTSP with; nil where they are not.
func replayOf(ctx context.Context, env *nodeEnv, p *config.Playback) (*playback.RTSP, error) {
	if p.RTSP == "" {
		return nil, nil //nolint:nilnil // none is a valid answer
	}
	if err := env.site.ExpandReaders(os.LookupEnv); err != nil {
		return nil, err
	}
	r := &playback.RTSP{}
	for _, u := range env.site.Readers {
		r.Users = append(r.Users, replay.User{Name: u.User, Password: u.Password.Reveal()})
	}
	rtp, rtcp, err := udpPair(p.UDP)
	if err != nil {
		return nil, fmt.Errorf("the ports for RTP over UDP: %w", err)
	}
	if r.RTP, err = listenUDP(ctx, rtp); err != nil {
		return nil, err
	}
	if r.RTCP, err = listenUDP(ctx, rtcp); err == nil {
		r.Listener, err = listen(ctx, "rtsp", p.RTSP)
	}
	if err != nil {
		return nil, errors.Join(err, r.RTP.Close())
	}
	return r, nil
}

func listenUDP(ctx context.Context, address string) (*net.UDPConn, error) {
	var lc net.ListenConfig
	c, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, fmt.Errorf("the ports for RTP over UDP: %w", err)
	}
	return c.(*net.UDPConn), nil
}

// signerOf returns what the node signs exports with; nil where it was given nothing.
func signerOf(env *nodeEnv) (*evidence.Signer, error) {
	dir, name := env.site.TLS.Dir, env.creds.Name
	if !pki.HasSigner(dir, name) {
		env.log.Warn().Str("missing", name+".sign.crt").Msg("exports are not signed: duet certs makes what is missing")
		return nil, nil //nolint:nilnil // none is a valid answer
	}
	s, err := pki.LoadSigner(dir, name)
	if err != nil {
		return nil, err
	}
	return &evidence.Signer{Cert: s.Cert, Key: s.Key}, nil
}

// playbackOptions describe the site to playback, and to what works like it.
func playbackOptions(s *site, tlsFor func(node string) *tls.Config) playback.Options {
	o := playback.Options{Version: versionText(), TLS: tlsFor}
	for _, r := range s.Recorders {
		o.Recorders = append(o.Recorders, playback.Node{Name: r.Name, Address: r.HTTP.Dial(), Role: r.Role, Zone: r.Zone})
	}
	for _, p := range s.Proxies {
		o.Proxies = append(o.Proxies, playback.Node{Name: p.Name, Address: p.Link.Dial()})
	}
	for _, cam := range s.Cameras {
		pair := s.plan.Cameras[cam.Name]
		o.Cameras = append(o.Cameras, playback.Camera{
			Name: cam.Name, Primary: pair.Primary, Redundant: pair.Redundant, Copies: string(pair.Copies),
		})
	}
	return o
}

package main

import (
	"crypto/tls"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/evidence"
	"github.com/duet-video/duet/internal/pki"
	"github.com/duet-video/duet/playback"
)

type playbackCmd struct{ nodeFlags }

// Run runs the playback node until it is told to end.
func (c *playbackCmd) Run(a *app) error {
	env, err := c.prepare(a, "playback", func(cfg *config.Config) bool { return cfg.FindPlayback(c.Name) != nil })
	if err != nil {
		return err
	}
	p := env.site.FindPlayback(c.Name)
	l, err := listen(a.ctx, "http", p.HTTP)
	if err != nil {
		return err
	}
	defer l.Close()
	o := playbackOptions(env.site, func(node string) *tls.Config { return env.creds.ClientConfig(node) })
	o.Name, o.Listener, o.Log, o.Registry = p.Name, l, env.log, env.reg
	if o.Signer, err = signerOf(env); err != nil {
		return err
	}
	s, err := playback.New(o)
	if err != nil {
		return err
	}
	env.log.Info().Int("recorders", len(o.Recorders)).Stringer("http", l.Addr()).Msg("playback runs")
	return s.Run(a.ctx)
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

package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/oklog/run"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/gcpace"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/proxy"
)

type proxyCmd struct{ nodeFlags }

// Run runs the proxy until it is told to end.
func (c *proxyCmd) Run(a *app) error {
	env, err := c.prepare(a, "proxies", func(cfg *config.Config) bool { return cfg.FindProxy(c.Name) != nil })
	if err != nil {
		return err
	}
	stop, err := serveProfiles(a.ctx, c.Pprof)
	if err != nil {
		return err
	}
	defer stop()
	if err := env.site.Expand(os.LookupEnv); err != nil {
		return err
	}
	p := env.site.FindProxy(c.Name)
	linkListener, err := listen(a.ctx, "link", p.Link)
	if err != nil {
		return err
	}
	defer linkListener.Close()
	httpListener, err := listen(a.ctx, "http", p.HTTP)
	if err != nil {
		return err
	}
	defer httpListener.Close()
	rtp, rtcp, err := udpPair(p.UDP)
	if err != nil {
		return fmt.Errorf("udp of proxy %s: %w", p.Name, err)
	}
	o := proxy.Options{
		Name: p.Name, Version: versionText(),
		LogSeconds:      time.Duration(env.site.Log.Seconds) * time.Second,
		LogBytes:        int64(env.site.Log.Bytes),
		LogTotalBytes:   int64(env.site.Log.Total),
		Linger:          time.Duration(env.site.Link.Linger),
		FragmentMin:     time.Duration(env.site.Fragment.Min),
		FragmentMax:     time.Duration(env.site.Fragment.Max),
		SegmentDuration: time.Duration(env.site.Segment.Duration),
		LinkListener:    linkListener,
		TLS:             env.creds.ServerConfig(),
		RTSPAddress:     p.RTSP.Listen(),
		RTPAddress:      rtp,
		RTCPAddress:     rtcp,
		Clock:           clock.System(),
		Random:          rand.Reader,
		Log:             env.log,
		Registry:        env.reg,
	}
	for _, cam := range env.site.Cameras {
		if cam.Proxy != p.Name {
			continue
		}
		pair := env.site.plan.Cameras[cam.Name]
		o.Cameras = append(o.Cameras, proxy.Camera{
			Name: cam.Name, Source: cam.Source.Reveal(), Transport: cam.Transport, Clock: cam.Clock,
			Copies: proxy.Copies(pair.Copies), Primary: pair.Primary, Redundant: pair.Redundant,
		})
	}
	for _, u := range env.site.Readers {
		o.Users = append(o.Users, proxy.User{Name: u.User, Password: u.Password.Reveal()})
	}
	px, err := proxy.New(o)
	if err != nil {
		return err
	}
	go gcpace.Follow(a.ctx, px.HeldBytes)
	var g run.Group
	addActor(a.ctx, &g, px.Run)
	ctx := env.log.WithContext(a.ctx)
	addHTTP(ctx, &g, httpListener, node.HTTPHandler(env.reg, nil, px.Ready))
	env.log.Info().Int("cameras", len(o.Cameras)).Stringer("link", linkListener.Addr()).
		Str("rtsp", p.RTSP.Listen()).Stringer("http", httpListener.Addr()).Msg("proxy runs")
	return g.Run()
}

// udpPair returns two addresses with consecutive ports, the first even (RFC 3550 11):
// those from port, or free ones.
func udpPair(port int) (rtp, rtcp string, err error) {
	at := func(p int) string { return net.JoinHostPort("", strconv.Itoa(p)) }
	if port != 0 {
		if err := udpFree(port, port+1); err != nil {
			return "", "", err
		}
		return at(port), at(port + 1), nil
	}
	for range 50 {
		c, err := net.ListenPacket("udp", ":0")
		if err != nil {
			return "", "", err
		}
		port := c.LocalAddr().(*net.UDPAddr).Port &^ 1
		_ = c.Close()
		if udpFree(port, port+1) == nil {
			return at(port), at(port + 1), nil
		}
	}
	return "", "", errors.New("no two free ports in a row")
}

func udpFree(ports ...int) error {
	for _, p := range ports {
		c, err := net.ListenPacket("udp", net.JoinHostPort("", strconv.Itoa(p)))
		if err != nil {
			return err
		}
		_ = c.Close()
	}
	return nil
}

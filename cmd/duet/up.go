package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/pki"
	"github.com/duet-video/duet/internal/supervise"
)

type upCmd struct {
	fileFlag
	logFlags
	All bool `help:"Run the nodes of all machines here, whatever addresses they have."`
}

// Run runs the nodes of this machine until it is told to end.
func (c *upCmd) Run(a *app) error {
	text, err := takeSnapshot(c.Config)
	if err != nil {
		return err
	}
	defer text.Close()
	cfg, err := parseSnapshot(c.Config, text)
	if err != nil {
		return err
	}
	s, err := newSite(cfg)
	if err != nil {
		return err
	}
	if err := s.Expand(os.LookupEnv); err != nil {
		return err
	}
	log, err := node.NewLogger(a.stderr, c.LogLevel, c.LogFormat)
	if err != nil {
		return err
	}
	local := isLocal
	if c.All {
		local = func(context.Context, config.Address) bool { return true }
	}
	nodes := s.nodes(func(addr config.Address) bool { return local(a.ctx, addr) })
	if len(nodes) == 0 {
		return usagef("%s: none of its nodes is on this machine", c.Config)
	}
	if err := s.ensureCertificates(nodes); err != nil {
		return err
	}
	if err := refuseBusyPorts(a.ctx, nodes); err != nil {
		return err
	}
	children, err := childrenOf(nodes, c.Config, text, c.LogLevel, c.LogFormat)
	if err != nil {
		return err
	}
	sup, err := supervise.New(supervise.Options{Children: children, Output: a.stderr, Log: log})
	if err != nil {
		return err
	}
	for _, n := range nodes {
		log.Info().Str("node", n.name).Str("role", n.role).Msg("starts")
	}
	return sup.Run(a.ctx)
}

// siteNode is a node of the file.
type siteNode struct {
	role, name string // role is the subcommand
	listens    []listenKey
}

type listenKey struct {
	key  string // in the file
	addr config.Address
}

// nodes returns those whose machine is ours, in the order in which they start. They end
// in reverse: a proxy gives recorders what they still lack.
func (s *site) nodes(local func(config.Address) bool) []siteNode {
	var all []siteNode
	for i, r := range s.Recorders {
		if local(r.HTTP) {
			all = append(all, siteNode{"recorder", r.Name, []listenKey{{fmt.Sprintf("recorders[%d].http", i), r.HTTP}}})
		}
	}
	for i, p := range s.Proxies {
		if k := fmt.Sprintf("proxies[%d].", i); local(p.Link) {
			all = append(all, siteNode{"proxy", p.Name, []listenKey{{k + "link", p.Link}, {k + "rtsp", p.RTSP}, {k + "http", p.HTTP}}})
		}
	}
	for i, p := range s.Playback {
		if local(p.HTTP) {
			k := fmt.Sprintf("playback[%d].", i)
			keys := []listenKey{{k + "http", p.HTTP}}
			if p.RTSP != "" {
				keys = append(keys, listenKey{k + "rtsp", p.RTSP})
			}
			all = append(all, siteNode{"playback", p.Name, keys})
		}
	}
	return all
}

// isLocal reports whether the address is one of this machine's, or names no host.
func isLocal(ctx context.Context, a config.Address) bool {
	host, _, err := net.SplitHostPort(a.Dial())
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil {
		return false
	}
	ours, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, ip := range ips {
		if ip.IsLoopback() {
			return true
		}
		for _, o := range ours {
			if n, ok := o.(*net.IPNet); ok && n.IP.Equal(ip) {
				return true
			}
		}
	}
	return false
}

// ensureCertificates makes what is missing where the CA's key is, or none is yet; a
// machine that was given certificates has to have them all.
func (s *site) ensureCertificates(nodes []siteNode) error {
	_, certErr := os.Stat(filepath.Join(s.TLS.Dir, "ca.crt"))
	_, keyErr := os.Stat(filepath.Join(s.TLS.Dir, "ca.key"))
	if certErr == nil && errors.Is(keyErr, os.ErrNotExist) {
		for _, n := range nodes {
			if _, err := pki.Load(s.TLS.Dir, n.name); err != nil {
				return err
			}
		}
		return nil
	}
	if _, err := pki.EnsureCA(s.TLS.Dir); err != nil {
		return err
	}
	for _, n := range nodes {
		if _, err := pki.EnsureNode(s.TLS.Dir, n.name); err != nil {
			return err
		}
		if n.role == "playback" {
			if _, err := pki.EnsureSigner(s.TLS.Dir, n.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuseBusyPorts finds all ports that somebody else has, before anything is started.
func refuseBusyPorts(ctx context.Context, nodes []siteNode) error {
	var errs []error
	for _, n := range nodes {
		for _, k := range n.listens {
			l, err := listen(ctx, k.key+" ("+n.name+")", k.addr)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			_ = l.Close()
		}
	}
	return errors.Join(errs...)
}

func childrenOf(nodes []siteNode, file string, text *os.File, level, format string) ([]supervise.Child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	exe = strings.TrimSuffix(exe, " (deleted)")
	children := make([]supervise.Child, len(nodes))
	for i, n := range nodes {
		children[i] = supervise.Child{
			Name: n.name, Path: exe,
			Args:  []string{n.role, "-c", file, "--config-fd", "3", "--name", n.name, "--log-level", level, "--log-format", format},
			Files: []*os.File{text},
		}
	}
	return children, nil
}

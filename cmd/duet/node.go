package main

import (
	"context"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/pki"
	"github.com/duet-video/duet/internal/placement"
)

// fileFlag is shared by everything that reads the configuration.
type fileFlag struct {
	Config string `short:"c" default:"duet.yaml" placeholder:"FILE" help:"Configuration file (${default})."`
}

// nodeFlags are shared by the commands that run one node.
type nodeFlags struct {
	fileFlag
	Name string `required:"" placeholder:"NAME" help:"Name of the node in the file."`
	// ConfigFD is where duet up keeps the text that it began with: a node that is
	// restarted after a bad edit of the file goes on with that.
	ConfigFD int `hidden:"" name:"config-fd"`
	// Pprof is for who looks where the time goes.
	Pprof string `hidden:"" placeholder:"ADDR" help:"Serve /debug/pprof/ there."`
	logFlags
}

type logFlags struct {
	LogLevel  string `default:"info" enum:"debug,info,warn,error" help:"Least level that is logged (${enum})."`
	LogFormat string `default:"json" enum:"json,console" help:"Form of the log (${enum})."`
}

// site is a loaded configuration and the placement that follows from it.
type site struct {
	*config.Config
	plan *placement.Plan
}

func loadSite(file string) (*site, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	return newSite(cfg)
}

func newSite(cfg *config.Config) (*site, error) {
	plan, err := planOf(cfg)
	if err != nil {
		return nil, err
	}
	return &site{Config: cfg, plan: plan}, nil
}

// nodeEnv is what every node is given.
type nodeEnv struct {
	site  *site
	creds *pki.Credentials
	log   zerolog.Logger
	reg   *prometheus.Registry
}

// prepare loads what the node of that name, of the section (proxies …), needs.
func (f *nodeFlags) prepare(a *app, section string, known func(*config.Config) bool) (*nodeEnv, error) {
	s, err := f.load()
	if err != nil {
		return nil, err
	}
	if !known(s.Config) {
		return nil, usagef("%s: there is no %s in %s", f.Config, f.Name, section)
	}
	creds, err := pki.Load(s.TLS.Dir, f.Name)
	if err != nil {
		return nil, err
	}
	log, err := node.NewLogger(a.stderr, f.LogLevel, f.LogFormat)
	if err != nil {
		return nil, err
	}
	return &nodeEnv{site: s, creds: creds, log: log.With().Str("node", f.Name).Logger(), reg: newRegistry()}, nil
}

func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "duet_build_info", Help: "1, with the version of the program.",
		ConstLabels: prometheus.Labels{"version": versionText()},
	})
	build.Set(1)
	reg.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// listen opens the address that key in the file names, or says who has it.
func listen(ctx context.Context, key string, addr config.Address) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr.Listen())
	if err != nil {
		return nil, listenError(key, addr, err)
	}
	return l, nil
}

package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/pki"
)

type certsCmd struct {
	fileFlag
	Dir   string   `type:"path" placeholder:"DIR" help:"Where they go; default: tls.dir of the file."`
	Renew bool     `help:"Make the nodes' certificates anew even if they are good."`
	Node  []string `arg:"" optional:"" help:"Nodes; default: all of the file."`
}

// Run makes what is missing.
func (c *certsCmd) Run(a *app) error {
	dir, nodes := c.Dir, c.Node
	var signers []string // playback nodes sign exports
	if cfg, err := config.Load(c.Config); err == nil {
		for _, p := range cfg.Playback {
			signers = append(signers, p.Name)
		}
	}
	if dir == "" || len(nodes) == 0 {
		cfg, err := config.Load(c.Config)
		if err != nil {
			return err
		}
		if dir == "" {
			dir = cfg.TLS.Dir
		}
		if len(nodes) == 0 {
			s := &site{Config: cfg}
			for _, n := range s.nodes(anyAddress) {
				nodes = append(nodes, n.name)
			}
		}
	}
	made, err := pki.EnsureCA(dir)
	if err != nil {
		return err
	}
	say := func(made bool, what string) {
		verb := map[bool]string{true: "made", false: "kept"}[made]
		_, _ = fmt.Fprintln(a.stdout, verb, filepath.Join(dir, what))
	}
	say(made, "ca.crt")
	for _, n := range nodes {
		if c.Renew {
			made, err = true, pki.Issue(dir, n)
		} else {
			made, err = pki.EnsureNode(dir, n)
		}
		if err != nil {
			return err
		}
		say(made, n+".crt")
		if !slices.Contains(signers, n) {
			continue
		}
		if c.Renew {
			made, err = true, pki.IssueSigner(dir, n)
		} else {
			made, err = pki.EnsureSigner(dir, n)
		}
		if err != nil {
			return err
		}
		say(made, n+".sign.crt")
	}
	_, err = fmt.Fprintf(a.stdout, "Each machine needs ca.crt and NAME.crt, NAME.key (of playback also NAME.sign.crt, NAME.sign.key) of its own nodes; keep ca.key here, and safe.\n")
	return err
}

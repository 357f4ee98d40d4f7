package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/duet-video/duet/internal/config"
)

type statusCmd struct {
	fileFlag
	JSON  bool `help:"Print JSON, one line for each look."`
	Watch bool `help:"Look again every second."`
}

func anyAddress(config.Address) bool { return true }

// Run prints the state of the site: of all of it when a node of it has its certificate here.
func (c *statusCmd) Run(a *app) error {
	s, err := loadSite(c.Config)
	if err != nil {
		return err
	}
	creds, err := loadAnyCredentials(s)
	if err != nil {
		return err
	}
	m, err := newMonitor(s, creds)
	if err != nil {
		return err
	}
	defer m.close()
	show := c.printer(a.stdout)
	if !c.Watch {
		return show(m.view(m.ask(a.ctx), time.Now()))
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := show(m.view(m.ask(a.ctx), time.Now())); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-a.ctx.Done():
			return nil
		}
	}
}

func (c *statusCmd) printer(w io.Writer) func(*siteView) error {
	fd, tty := terminal(w)
	switch {
	case c.JSON:
		enc := json.NewEncoder(w)
		return func(v *siteView) error { return enc.Encode(v) }
	case tty && c.Watch:
		s := &screen{w: w, fd: fd}
		return func(v *siteView) error {
			s.draw(v.tables(true))
			return nil
		}
	}
	return func(v *siteView) error {
		_, err := fmt.Fprintln(w, v.tables(painter(tty)))
		return err
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/placement"
)

type checkCmd struct{ fileFlag }

// Run prints the plan, or everything that is wrong.
func (c *checkCmd) Run(a *app) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	plan, refused := planOf(cfg)
	if plan != nil {
		printPlan(a.stdout, cfg, plan)
	}
	if refused != nil {
		return refused
	}
	if err := cfg.Expand(os.LookupEnv); err != nil {
		_, _ = fmt.Fprintf(a.stdout, "\nThe proxy's machine will need what this one lacks:\n%v\n", err)
	}
	_, err = fmt.Fprintf(a.stdout, "\n%s is good: cameras %d, proxies %d, recorders %d, playback %d.\n",
		c.Config, len(cfg.Cameras), len(cfg.Proxies), len(cfg.Recorders), len(cfg.Playback))
	return err
}

func printPlan(w io.Writer, cfg *config.Config, plan *placement.Plan) {
	t := newTable("CAMERA", "PROXY", "PRIMARY", "REDUNDANT", "COPIES", ">BITRATE")
	for _, cam := range cfg.Cameras {
		pair, rate := plan.Cameras[cam.Name], cam.Bitrate
		if rate == 0 {
			rate = placement.DefaultBitrate
		}
		t.row(cam.Name, cam.Proxy, pair.Primary, pair.Redundant, string(pair.Copies), rate.String())
	}
	t.print(w)
	_, _ = fmt.Fprintln(w)
	t = newTable("RECORDER", "ROLE", "ZONE", ">CAMERAS", ">LOAD", ">CAPACITY", ">USED", ">QUOTA", ">LASTS")
	for _, l := range plan.Loads {
		r := l.Recorder
		capacity, used, quota, lasts := "-", "-", "-", "-"
		if r.Capacity > 0 {
			capacity = config.Bitrate(r.Capacity).String()
			used = fmt.Sprintf("%.0f %%", 100*float64(l.Bitrate)/float64(r.Capacity))
		}
		if r.Quota > 0 {
			quota = config.Bytes(r.Quota).String()
		}
		if l.Retention > 0 {
			lasts = roughly(time.Duration(l.Retention) * time.Second)
		}
		t.row(r.Name, string(r.Role), r.Zone, fmt.Sprint(l.Cameras), config.Bitrate(l.Bitrate).String(), capacity, used, quota, lasts)
	}
	t.print(w)
}

// roughly prints a time span with the precision that people want.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 10*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= day:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	case d >= time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	case d >= time.Minute:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
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
		if plan != nil {
			_, _ = fmt.Fprintln(a.stdout, "\nThis is what would be asked of each recorder; it is too much.")
		}
		return refused
	}
	printWarnings(a.stdout, cfg, plan)
	if err := cfg.Expand(os.LookupEnv); err != nil {
		_, _ = fmt.Fprintf(a.stdout, "\nThe proxy's machine will need what this one lacks:\n%v\n", err)
	}
	_, err = fmt.Fprintf(a.stdout, "\n%s is good: cameras %d, proxies %d, recorders %d, playback %d.\n",
		c.Config, len(cfg.Cameras), len(cfg.Proxies), len(cfg.Recorders), len(cfg.Playback))
	return err
}

func printPlan(w io.Writer, cfg *config.Config, plan *placement.Plan) {
	t := newTable("CAMERA", "PROXY", "PRIMARY", "REDUNDANT", "COPIES", ">BITRATE")
	assumed := 0
	for _, cam := range cfg.Cameras {
		pair, rate := plan.Cameras[cam.Name], cam.Bitrate.String()
		if cam.Bitrate == 0 {
			assumed++
			rate = "~ " + config.Bitrate(placement.DefaultBitrate).String()
		}
		t.row(cam.Name, cam.Proxy, pair.Primary, pair.Redundant, string(pair.Copies), rate)
	}
	t.print(w)
	if assumed > 0 {
		_, _ = fmt.Fprintf(w, "~ assumed, where a camera has no bitrate: %d of %d\n", assumed, len(cfg.Cameras))
	}
	_, _ = fmt.Fprintln(w)
	printLoads(w, plan.Loads)
}

// printLoads prints what is asked of each recorder.
func printLoads(w io.Writer, loads []placement.Load) {
	// Where spare copies do not all record at once, LOAD is not what capacity must cover.
	spares := slices.ContainsFunc(loads, func(l placement.Load) bool { return l.Peak != l.Bitrate })
	heads := []string{"RECORDER", "ROLE", "ZONE", ">CAMERAS", ">LOAD", ">CAPACITY", ">USED", ">QUOTA", ">LASTS"}
	if spares {
		heads = slices.Insert(heads, slices.Index(heads, ">CAPACITY"), ">PEAK")
	}
	t := newTable(heads...)
	for _, l := range loads {
		r := l.Recorder
		capacity, used, quota, lasts := "-", "-", "-", "-"
		if r.Capacity > 0 {
			capacity = config.Bitrate(r.Capacity).String()
			used = percent(l.Peak, r.Capacity)
		}
		if r.Quota > 0 {
			quota = config.Bytes(r.Quota).String()
		}
		if l.Retention > 0 {
			lasts = roughly(lasting(l))
		}
		row := []string{r.Name, string(r.Role), cmp.Or(r.Zone, "-"), fmt.Sprint(l.Cameras), config.Bitrate(l.Bitrate).String()}
		if spares {
			row = append(row, config.Bitrate(l.Peak).String())
		}
		t.row(append(row, capacity, used, quota, lasts)...)
	}
	t.print(w)
	if spares {
		_, _ = fmt.Fprintln(w, "PEAK is the load when the one primary fails whose spare copies need most; capacity must cover it.")
	}
}

// printWarnings prints what is allowed and unwise.
func printWarnings(w io.Writer, cfg *config.Config, plan *placement.Plan) {
	var all []string
	for _, p := range plan.Warnings {
		all = append(all, p.Message)
	}
	for _, l := range plan.Loads {
		age := time.Duration(cfg.Retention.Age)
		if l.Retention > 0 && cfg.Retention.Bytes == 0 && lasting(l) < age {
			all = append(all, fmt.Sprintf("the quota of recorder %s lasts %s when all of its cameras record, and retention.age is %s: recordings go before that",
				l.Recorder.Name, roughly(lasting(l)), cfg.Retention.Age))
		}
	}
	if len(all) > 0 {
		_, _ = fmt.Fprintln(w)
	}
	for _, text := range all {
		_, _ = fmt.Fprintf(w, "Warning: %s.\n", text)
	}
}

// lasting is how long a recorder's quota lasts; a time.Duration ends after 292 years.
func lasting(l placement.Load) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	return time.Duration(min(l.Retention, int64(most/time.Second))) * time.Second
}

// percent never prints 100 % for what is more.
func percent(part, of int64) string {
	p := 100 * float64(part) / float64(of)
	if part > of {
		return fmt.Sprintf("%.0f %%", math.Ceil(p))
	}
	return fmt.Sprintf("%.0f %%", math.Floor(p))
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

package main

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/bench/load"
)

type benchAllCmd struct {
	benchPlaces
	Quick    bool `help:"In less than a minute, all works at once and small: says whether anything is lost, and measures nothing."`
	Thorough bool `help:"More rounds and more loads: half an hour, with peers."`
}

// Run measures and reports.
func (c *benchAllCmd) Run(a *app) error {
	if c.Quick && c.Thorough {
		return usagef("--quick and --thorough are opposites")
	}
	f := benchFlags{benchPlaces: c.benchPlaces, Rounds: 1}
	o, err := f.options(a)
	if err != nil {
		return err
	}
	w := usualWorks(o)
	switch {
	case c.Quick:
		w = quickWorks(o)
	case c.Thorough:
		w = thoroughWorks(o)
	}
	var mu sync.Mutex // reports are printed one at a time
	var lossy error
	done := func(rep load.Report, err error) error {
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if err := finish(a, &f, rep); err != nil {
			if rep.Lossless() == nil {
				return err
			}
			lossy = errors.Join(lossy, err) // the other works are worth seeing
		}
		return nil
	}
	group, ctx := errgroup.WithContext(a.ctx)
	if !c.Quick {
		group.SetLimit(1)
	}
	group.Go(func() error { rep, err := load.Record(ctx, &w.record); return done(rep, err) })
	group.Go(func() error { rep, err := load.Live(ctx, &w.live); return done(rep, err) })
	group.Go(func() error { rep, err := load.Playback(ctx, &w.playback); return done(rep, err) })
	group.Go(func() error { rep, err := load.Failover(ctx, &w.failover); return done(rep, err) })
	return errors.Join(group.Wait(), lossy)
}

// works are the options of all works.
type works struct {
	record   load.RecordOptions
	live     load.LiveOptions
	failover load.FailoverOptions
	playback load.PlaybackOptions
}

// timed returns the options with other times.
func timed(o load.Options, rounds int, warm, during time.Duration) load.Options {
	o.Rounds, o.Warm, o.For = rounds, warm, during
	return o
}

// usualWorks take five minutes without peers.
func usualWorks(o load.Options) *works {
	return &works{
		record: load.RecordOptions{
			Options: timed(o, 2, 5*time.Second, 5*time.Second), LogSeconds: 5, Durable: 4 * time.Second,
			Points: []load.Point{{Cameras: 100, Mbit: 4, Codec: "h264", Recorders: 2}},
		},
		live: load.LiveOptions{
			Options: timed(o, 2, 3*time.Second, 5*time.Second), LogSeconds: 5,
			Points: []load.Point{{Cameras: 64, Mbit: 4, Codec: "h264", Recorders: 2, Readers: 2}},
		},
		failover: load.FailoverOptions{Options: timed(o, 1, 0, time.Second), Cameras: 4, Down: 2 * time.Second},
		playback: load.PlaybackOptions{
			Options: timed(o, 1, 0, time.Second), Days: 30, Fragment: 2 * time.Second, Mbit: 4, Requests: 100, Streams: 8, Replays: 32, Export: time.Minute,
		},
	}
}

// thoroughWorks are those of docs/PERFORMANCE.md.
func thoroughWorks(o load.Options) *works {
	w := usualWorks(o)
	w.record.Options = timed(o, 3, 8*time.Second, 10*time.Second)
	w.record.Durable, w.record.OtherRounds, w.record.Grow, w.record.Profile = 5*time.Second, 1, true, true
	base := w.record.Points[0]
	for _, differ := range []func(*load.Point){
		func(p *load.Point) { p.Cameras = 25 },
		func(p *load.Point) { p.Cameras = 50 },
		func(p *load.Point) { p.Cameras = 200 },
		func(p *load.Point) { p.Mbit = 1 },
		func(p *load.Point) { p.Mbit = 2 },
		func(p *load.Point) { p.Codec = "h265" },
		func(p *load.Point) { p.Recorders = 4 },
		func(p *load.Point) { p.Readers = 1 },
		func(p *load.Point) { p.Readers = 2 },
	} {
		p := base
		differ(&p)
		w.record.Points = append(w.record.Points, p)
	}
	w.live.Options = timed(o, 3, 6*time.Second, 10*time.Second)
	w.live.OtherRounds = 1
	w.live.Points = append(w.live.Points, load.Point{Cameras: 64, Mbit: 4, Codec: "h264", Recorders: 2, Readers: 1}, load.Point{Cameras: 16, Mbit: 4, Codec: "h264", Recorders: 2, Readers: 8})
	w.failover.Rounds, w.failover.Down = 3, 5*time.Second
	w.playback.Rounds, w.playback.Requests, w.playback.Export = 3, 200, 5*time.Minute
	return w
}

// quickWorks find losses, not speed.
func quickWorks(o load.Options) *works {
	o.MediaMTX, o.Go2RTC, o.FFmpeg = "", "", ""
	return &works{
		record: load.RecordOptions{
			Options: timed(o, 1, time.Second, 3*time.Second), LogSeconds: 10, NoRelay: true, Durable: 2 * time.Second,
			Points: []load.Point{{Cameras: 8, Mbit: 1, Codec: "h264", Recorders: 2}},
		},
		live: load.LiveOptions{
			Options: timed(o, 1, time.Second, 3*time.Second), LogSeconds: 10,
			Points: []load.Point{{Cameras: 4, Mbit: 1, Codec: "h264b", Recorders: 2, Readers: 2}},
		},
		failover: load.FailoverOptions{Options: timed(o, 1, 0, time.Second), Cameras: 2, Down: 1500 * time.Millisecond, Only: []string{"recorder killed"}},
		playback: load.PlaybackOptions{
			Options: timed(o, 1, 0, time.Second), Days: 1, Fragment: 2 * time.Second, Mbit: 0.5, Requests: 10, Streams: 3, Replays: 4, Export: 30 * time.Second,
		},
	}
}

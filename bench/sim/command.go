package sim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Do does what a line of a script says and returns what there is to see, if anything.
//
//	run 10s                         time goes on
//	until 30s                       the same, to so long after the start
//	kill r1                         kill -9; also of p1 (the proxy) and v1 (playback)
//	stop r1                         as an operator does, waiting for it
//	start r1
//	crash r1 survive=50 tear        power cut; survive: percent of what was not synced
//	crash r1 op=17 survive=0        at the 17th operation from now that changes a disk
//	crash r1 op=2 kind=remove       at the 2nd of a kind
//	freeze r1 · thaw r1             its process hangs: nothing comes from it or goes to it
//	errorat r1 op=fsync n=3 times=2 the 3rd call from now fails, and the one after it; on=media:
//	                                of those on media files
//	full r1 [all] · room r1         disks have no room for media, or for nothing; and again
//	die r1/2                        every operation of the 2nd disk fails from now on
//	unmount r1/2 · mount r1/2       the 2nd disk is not there; and again
//	wipe r1/2                       an empty disk takes its place (the recorder must be down)
//	damage r1 how=bit               one bit in some segment flips; how=cut, gone: cut off, gone
//	forget r1                       the indexes are gone (the recorder must be down)
//	partition p1 r1 [oneway]        bytes wait, in both directions or in the first
//	slow p1 r1 200ms                bytes take so long
//	cut p1 r1                       connections are reset
//	heal p1 r1                      the path is good again
//	cable gate out · in             of a camera
//	step r1 -1h                     of the wall clock
//	lock gate 20s 5s                places a lock on what was sent 20 s … 5 s ago
//	release 1                       the first lock that was placed
//	watch gate                      somebody reads live from now on
//	export gate                     somebody reads all that there is, slowly
//	look gate                       what playback says now must be right
//	heal                            everything is good again, everybody runs
//	settle [soon]                   cameras end, copies come to rest; soon: not at a round time
//	check                           what must hold
//	timeline gate [brief]           merged, in seconds since the start, or without times
//	copies gate                     what each recorder holds
//
// Where a disk can be named, r1 means all of r1.
func (s *Site) Do(line string) (string, error) {
	f := strings.Fields(line)
	if len(f) == 0 {
		return "", nil
	}
	s.seen.note(f)
	args, opts := f[1:], map[string]string{}
	for i, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok || slices.Contains([]string{"tear", "oneway", "brief", "all", "soon"}, a) {
			opts[k] = v
			for _, rest := range args[i+1:] {
				k, v, _ := strings.Cut(rest, "=")
				opts[k] = v
			}
			args = args[:i]
			break
		}
	}
	c, ok := commands[f[0]]
	if !ok {
		return "", fmt.Errorf("there is no command %q", f[0])
	}
	if len(args) < c.least || len(args) > c.most {
		return "", fmt.Errorf("%q: wants %d … %d arguments", line, c.least, c.most)
	}
	out, err := c.do(s, args, opts)
	if err != nil {
		return out, fmt.Errorf("%s: %w", line, err)
	}
	return out, nil
}

type command struct {
	least, most int
	do          func(s *Site, args []string, opts map[string]string) (string, error)
}

func quietly(do func(s *Site, args []string, opts map[string]string) error) func(*Site, []string, map[string]string) (string, error) {
	return func(s *Site, args []string, opts map[string]string) (string, error) { return "", do(s, args, opts) }
}

func number(opts map[string]string, name string, def int) int {
	n, err := strconv.Atoi(opts[name])
	if err != nil {
		return def
	}
	return n
}

var commands = map[string]command{
	"run": {1, 1, quietly(func(_ *Site, a []string, _ map[string]string) error {
		d, err := time.ParseDuration(a[0])
		time.Sleep(d)
		return err
	})},
	"until": {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error {
		d, err := time.ParseDuration(a[0])
		time.Sleep(time.Until(s.start.Add(d)))
		return err
	})},
	"kill":  {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.Kill(a[0]) })},
	"stop":  {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.Stop(a[0]) })},
	"start": {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.Start(a[0]) })},
	"crash": {1, 1, quietly(func(s *Site, a []string, o map[string]string) error {
		_, tear := o["tear"]
		if n := number(o, "op", 0); n > 0 {
			return s.CrashIn(a[0], crashPoint{n: n, kind: o["kind"], survive: number(o, "survive", 0), tear: tear})
		}
		return s.Crash(a[0], number(o, "survive", 0), tear)
	})},
	"errorat": {1, 1, quietly(func(s *Site, a []string, o map[string]string) error {
		err := syscall.EIO
		if o["err"] == "nospace" {
			err = syscall.ENOSPC
		}
		n := s.nodes[a[0]]
		if n == nil || n.disks == nil {
			return fmt.Errorf("%s has no disk", a[0])
		}
		if p := n.running(); p != nil {
			p.mount.arm(&fault{kind: o["op"], n: number(o, "n", 1), times: number(o, "times", 1), media: o["on"] == "media", err: err})
		}
		return nil
	})},
	"full": {1, 1, quietly(func(s *Site, a []string, o map[string]string) error {
		_, all := o["all"]
		return s.onDisks(a[0], func(c *condition) { c.full, c.fullAll = true, all })
	})},
	"room": {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error {
		return s.onDisks(a[0], func(c *condition) { c.full = false })
	})},
	"unmount": {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error {
		return s.onDisks(a[0], func(c *condition) { c.gone = true })
	})},
	"mount": {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error {
		return s.onDisks(a[0], func(c *condition) { c.gone = false })
	})},
	"die":    {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.killDisk(a[0]) })},
	"wipe":   {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.wipe(a[0]) })},
	"damage": {1, 1, quietly(func(s *Site, a []string, o map[string]string) error { return s.damage(a[0], o["how"]) })},
	"forget": {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.forget(a[0]) })},
	"freeze": {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.freeze(a[0], true) })},
	"thaw":   {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.freeze(a[0], false) })},
	"lock": {3, 3, func(s *Site, a []string, _ map[string]string) (string, error) {
		from, err := time.ParseDuration(a[1])
		to, err2 := time.ParseDuration(a[2])
		if err := errors.Join(err, err2); err != nil {
			return "", err
		}
		return s.lock(a[0], from, to)
	}},
	"release": {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error {
		n, err := strconv.Atoi(a[0])
		return errors.Join(err, s.release(n))
	})},
	"watch":  {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.watch(a[0]) })},
	"export": {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.exportSlowly(a[0]) })},
	"look":   {1, 1, quietly(func(s *Site, a []string, _ map[string]string) error { return s.look(a[0]) })},
	"partition": {2, 2, quietly(func(s *Site, a []string, o map[string]string) error {
		s.net.block(a[0], a[1], true)
		if _, one := o["oneway"]; !one {
			s.net.block(a[1], a[0], true)
		}
		return nil
	})},
	"slow": {3, 3, quietly(func(s *Site, a []string, _ map[string]string) error {
		d, err := time.ParseDuration(a[2])
		s.net.delay(a[0], a[1], d)
		s.net.delay(a[1], a[0], d)
		return err
	})},
	"cut": {2, 2, quietly(func(s *Site, a []string, _ map[string]string) error { s.net.cut(a[0], a[1]); return nil })},
	"cable": {2, 2, quietly(func(s *Site, a []string, _ map[string]string) error {
		c := s.camera(a[0])
		if c == nil {
			return fmt.Errorf("there is no camera %s", a[0])
		}
		c.power(a[1] == "in")
		return nil
	})},
	"step": {2, 2, quietly(func(s *Site, a []string, _ map[string]string) error {
		d, err := time.ParseDuration(a[1])
		if n := s.nodes[a[0]]; n != nil {
			n.clock.step.Add(int64(d))
		}
		return err
	})},
	"heal": {0, 2, quietly(func(s *Site, a []string, _ map[string]string) error {
		if len(a) < 2 {
			return s.Heal()
		}
		for _, p := range [][2]string{{a[0], a[1]}, {a[1], a[0]}} {
			s.net.block(p[0], p[1], false)
			s.net.delay(p[0], p[1], 0)
		}
		return nil
	})},
	"settle": {0, 0, quietly(func(s *Site, _ []string, o map[string]string) error {
		_, soon := o["soon"]
		return s.Settle(!soon)
	})},
	"check": {0, 0, quietly(func(s *Site, _ []string, _ map[string]string) error { return s.Check() })},
	"timeline": {1, 1, func(s *Site, a []string, o map[string]string) (string, error) {
		_, brief := o["brief"]
		return s.showTimeline(a[0], brief)
	}},
	"copies": {1, 1, func(s *Site, a []string, _ map[string]string) (string, error) { return s.showCopies(a[0]) }},
}

// seconds writes a time as those since the start, to a tenth.
func (s *Site) seconds(t time.Time) string {
	return strconv.FormatFloat(t.Sub(s.start).Round(100*time.Millisecond).Seconds(), 'f', -1, 64)
}

func (s *Site) showTimeline(camera string, brief bool) (string, error) {
	t, err := s.timeline(camera, s.start, time.Now())
	if err != nil {
		return "", err
	}
	var b strings.Builder
	times := func(from, to time.Time) string {
		if brief {
			return ""
		}
		return s.seconds(from) + " … " + s.seconds(to) + " "
	}
	for _, x := range t.Spans {
		slices.Sort(x.Recorders)
		fmt.Fprintf(&b, "%son %s\n", times(x.Start, x.End), strings.Join(x.Recorders, " "))
	}
	for _, x := range t.Gaps {
		fmt.Fprintf(&b, "gap %s%s\n", times(x.Start, x.End), x.Cause)
	}
	for _, x := range t.Unknown {
		fmt.Fprintf(&b, "unknown %s\n", times(x.Start, x.End))
	}
	return b.String(), nil
}

func (s *Site) showCopies(camera string) (string, error) {
	var b strings.Builder
	for i, c := range s.cameras {
		if c.name != camera {
			continue
		}
		for _, r := range s.copies(i) {
			list, err := s.holds(r, camera)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%s:", r)
			for j := 0; j < len(list); {
				k := j + 1
				for k < len(list) && string(list[k].GetEpoch()) == string(list[j].GetEpoch()) && list[k].GetFirst() == list[k-1].GetEnd() {
					k++
				}
				fmt.Fprintf(&b, " %d…%d", list[j].GetFirst(), list[k-1].GetEnd())
				j = k
			}
			b.WriteString("\n")
		}
	}
	return b.String(), nil
}

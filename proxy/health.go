package proxy

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/duet-video/duet/internal/nodepb"
)

const (
	// copyLimit is how long a complete fragment may take to be durable on a copy that
	// counts as healthy.
	copyLimit = 10 * time.Second
	// shortLimit is how long a copy may be missing before there is an alarm.
	shortLimit = 5 * time.Second
	// liveLimit is how long a camera may be away before there is an alarm.
	liveLimit = 5 * time.Second
)

// Codes of alarms.
const (
	alarmNotLive = "camera_not_live"
	alarmCopy    = "copy_missing"
)

// health is what watch has found out about a camera.
type health struct {
	// copies is how many recorders write the camera and are not behind.
	copies atomic.Int32
	// shortNS is since when there are too few, Unix ns; 0: there are enough. shortMono
	// is the same on Clock.Mono.
	shortNS, shortMono atomic.Int64
}

// wantCopies is how many copies a healthy camera has.
func (c *camera) wantCopies() int {
	if c.cfg.Copies == Spare {
		return min(1, len(c.copies))
	}
	return len(c.copies)
}

// healthy reports whether a copy is written, and whether what was complete copyLimit
// ago is durable.
func (c *camera) healthy(k *copyState, mono int64) bool {
	i := k.info()
	return i.Linked && !i.Held && c.log.Knows(i.Durable.Epoch) && c.log.Reached(i.Durable, c.log.DueBy(mono-int64(copyLimit)))
}

// behind returns how many records a copy lacks. A spare that is held lacks none: it is
// not to have them.
func (c *camera) behind(i copyInfo) uint64 {
	if i.Held {
		return 0
	}
	return c.log.Behind(i.Durable)
}

// watch looks at the copies, once a second.
func (c *camera) watch() {
	mono := c.opts.Clock.Mono()
	n := 0
	state, _, _ := c.now()
	if state == stateLive {
		for _, k := range c.copies {
			if c.healthy(k, mono) {
				n++
			}
		}
	}
	c.health.copies.Store(int32(n))
	switch {
	case n >= c.wantCopies() || state != stateLive: // of a camera that is away there is another alarm
		c.health.shortNS.Store(0)
	case c.health.shortNS.Load() == 0:
		c.health.shortMono.Store(mono)
		c.health.shortNS.Store(c.opts.Clock.Now().UnixNano())
	}
}

// alarms returns what is wrong with the camera now.
func (c *camera) alarms() []*nodepb.Alarm {
	var list []*nodepb.Alarm
	mono, now := c.opts.Clock.Mono(), c.opts.Clock.Now()
	state, why, since := c.now()
	if away := time.Duration(mono - since); state != stateLive && away >= liveLimit {
		text := "the camera is " + string(state)
		if why != "" {
			text += ": " + why
		}
		list = append(list, &nodepb.Alarm{
			Code: alarmNotLive, Camera: c.cfg.Name, Message: text, SinceNs: now.Add(-away).UnixNano(),
		})
	}
	if short := c.health.shortNS.Load(); short != 0 && mono-c.health.shortMono.Load() >= int64(shortLimit) {
		list = append(list, &nodepb.Alarm{
			Code: alarmCopy, Camera: c.cfg.Name, SinceNs: short,
			Message: fmt.Sprintf("%d of %d copies are written and durable%s", c.health.copies.Load(), c.wantCopies(), c.missing(mono)),
		})
	}
	return list
}

// missing says which copies are not healthy, and why.
func (c *camera) missing(mono int64) string {
	var parts []string
	for _, k := range c.copies {
		if i := k.info(); i.Held || c.healthy(k, mono) {
			continue
		} else if !i.Linked {
			parts = append(parts, fmt.Sprintf("%s recorder %s is not connected", k.role, k.recorder))
		} else {
			parts = append(parts, fmt.Sprintf("%s recorder %s is behind by %d records", k.role, k.recorder, c.log.Behind(i.Durable)))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

package playback

import (
	"sync"
	"time"
)

// quiet watches for a silence. Its timer runs once per fragment, not once per chunk.
type quiet struct {
	stall           time.Duration
	stalled, giveUp func()

	mu    sync.Mutex
	timer *time.Timer
	spoke bool // since the timer was set
	told  bool
	times int
	over  bool
}

// watchQuiet calls stalled once when nothing was heard for between one and two times
// stall, and giveUp when nothing was heard for giveUp times. Both are called from a
// goroutine of its own, never after stop has returned.
func watchQuiet(stall time.Duration, stalled, giveUp func()) *quiet {
	q := &quiet{stall: stall, stalled: stalled, giveUp: giveUp}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.timer = time.AfterFunc(stall, q.check)
	return q
}

func (q *quiet) heard() {
	q.mu.Lock()
	q.spoke = true
	q.mu.Unlock()
}

func (q *quiet) check() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over {
		return
	}
	if q.spoke {
		q.spoke, q.times = false, 0
	} else {
		q.times++
		if !q.told {
			q.told = true
			q.stalled()
		}
		if q.times >= giveUp {
			q.giveUp()
			return
		}
	}
	q.timer.Reset(q.stall)
}

// stop ends the watch.
func (q *quiet) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = true
	q.timer.Stop()
}

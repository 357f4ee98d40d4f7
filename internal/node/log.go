package node

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// The log formats.
const (
	FormatJSON    = "json"
	FormatConsole = "console"
)

const logTime = "2006-01-02T15:04:05.000Z07:00"

// NewLogger returns a logger that writes lines at or above level (debug, info, warn,
// error) to w, each with one call of Write, stamped in UTC to the millisecond. format
// is FormatJSON or FormatConsole (no colours; for people).
func NewLogger(w io.Writer, level, format string) (zerolog.Logger, error) {
	lv, err := zerolog.ParseLevel(strings.ToLower(level))
	if err != nil || level == "" {
		return zerolog.Nop(), fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	switch format {
	case FormatJSON:
	case FormatConsole:
		w = zerolog.ConsoleWriter{Out: w, NoColor: true, TimeFormat: "15:04:05.000", TimeLocation: time.UTC}
	default:
		return zerolog.Nop(), fmt.Errorf("log format %q: want json or console", format)
	}
	stamp := zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) {
		e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(logTime))
	})
	return zerolog.New(w).Level(lv).Hook(stamp), nil
}

// Every lets one log line through per interval for each repeating cause:
//
//	if n, ok := every.Allow("camera " + name + " unreachable"); ok {
//		log.Warn().Int("suppressed", n).Err(err).Msg("camera unreachable")
//	}
type Every struct {
	interval time.Duration
	now      func() time.Time

	mu     sync.Mutex
	causes map[string]*cause
}

type cause struct {
	last       time.Time
	suppressed int
}

// maxCauses bounds memory when causes carry something that varies.
const maxCauses = 4096

// NewEvery returns a limit of one line per interval (usually a second) and cause. now
// tells the time: clock.Clock's Now, or time.Now.
func NewEvery(interval time.Duration, now func() time.Time) *Every {
	return &Every{interval: interval, now: now, causes: make(map[string]*cause)}
}

// Allow reports whether a line for cause may be written now, and how many were
// suppressed since the last one that was.
func (e *Every) Allow(name string) (suppressed int, ok bool) {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.causes[name]
	switch {
	case c == nil:
		if len(e.causes) >= maxCauses {
			e.forget(now)
		}
		e.causes[name] = &cause{last: now}
		return 0, true
	case now.Sub(c.last) < e.interval:
		c.suppressed++
		return 0, false
	}
	suppressed = c.suppressed
	c.last, c.suppressed = now, 0
	return suppressed, true
}

// forget drops the causes that would be let through anyway, or all when none is.
func (e *Every) forget(now time.Time) {
	for name, c := range e.causes {
		if now.Sub(c.last) >= e.interval {
			delete(e.causes, name)
		}
	}
	if len(e.causes) >= maxCauses {
		clear(e.causes)
	}
}

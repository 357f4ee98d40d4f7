package main

import (
	"fmt"
	"strings"
	"time"
)

const timeForms = `RFC 3339, "2006-01-02 15:04:05" (local), "15:04:05" (today), -5m (before now), or now`

// parseTime reads a time as people write it.
func parseTime(text string, now time.Time) (time.Time, error) {
	s := strings.TrimSpace(text)
	if s == "now" {
		return now, nil
	}
	if strings.HasPrefix(s, "-") {
		if d, err := time.ParseDuration(s); err == nil {
			return now.Add(d), nil
		}
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, form := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, s, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, form := range []string{"15:04:05", "15:04"} {
		if t, err := time.ParseInLocation(form, s, now.Location()); err == nil {
			y, m, d := now.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location()), nil
		}
	}
	return time.Time{}, usagef("time %q: want %s", text, timeForms)
}

// parseRange reads both ends of a range that must not be empty.
func parseRange(from, to string, now time.Time) (start, end time.Time, err error) {
	if start, err = parseTime(from, now); err != nil {
		return start, end, fmt.Errorf("--from: %w", err)
	}
	if end, err = parseTime(to, now); err != nil {
		return start, end, fmt.Errorf("--to: %w", err)
	}
	if !start.Before(end) {
		return start, end, usagef("--from %s is not before --to %s", start.Format(time.RFC3339), end.Format(time.RFC3339))
	}
	return start, end, nil
}

func isRelative(s string) bool { return s == "now" || strings.HasPrefix(s, "-") }

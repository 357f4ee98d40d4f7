package playback

import (
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// stamp is an instant in an answer: UTC, to the nanosecond.
type stamp struct{ time.Time }

func at(ns int64) stamp { return stamp{time.Unix(0, ns).UTC()} }

// atOrNil is for instants that are not known.
func atOrNil(ns int64) *stamp {
	if ns == 0 {
		return nil
	}
	s := at(ns)
	return &s
}

const stampForm = "2006-01-02T15:04:05.000000000Z"

func (s stamp) String() string { return s.UTC().Format(stampForm) }

// MarshalText implements encoding.TextMarshaler.
func (s stamp) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON implements json.Marshaler, in place of that of time.Time.
func (s stamp) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// Schema implements huma.SchemaProvider.
func (stamp) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Format: "date-time",
		Description: "RFC 3339, UTC, nanoseconds.",
		Examples:    []any{"2026-03-01T12:00:00.123456789Z"},
	}
}

// The years in which a camera can have recorded; Unix ns does not reach much further.
const (
	minYear = 1990
	maxYear = 2200
)

// parseTime reads the parameter of that name: RFC 3339, any zone, fractions allowed.
func parseTime(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, &Problem{
			Type: problemTime, Status: http.StatusBadRequest, Title: "The time range cannot be read",
			Detail: fmt.Sprintf("%s is missing; it is a time of RFC 3339, e.g. 2026-03-01T12:00:00.5Z.", name), Field: name,
		}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		hint := ""
		if len(text) > 6 && text[len(text)-6] == ' ' {
			hint = " A + in a URL is a space: write %2B."
		}
		return t, &Problem{
			Type: problemTime, Status: http.StatusBadRequest, Title: "The time range cannot be read",
			Detail: fmt.Sprintf("%s is %q, which is not a time of RFC 3339, e.g. 2026-03-01T12:00:00.5Z or 2026-03-01T13:00:00%%2B01:00.%s", name, text, hint), Field: name,
		}
	}
	if y := t.Year(); y < minYear || y > maxYear {
		return t, &Problem{
			Type: problemTime, Status: http.StatusBadRequest, Title: "The time range cannot be read",
			Detail: fmt.Sprintf("%s is in the year %d, which is not in %d … %d.", name, y, minYear, maxYear), Field: name,
		}
	}
	return t.UTC(), nil
}

// aheadOfNow is by how much clocks of a site may differ before a time is in the future.
const aheadOfNow = 5 * time.Second

// parseRange reads and checks start and end. end may be empty where open is set: it is
// now. An end in the future is allowed only as far as clocks may differ.
func parseRange(start, end string, now time.Time, open bool, longest time.Duration) (stretch, error) {
	from, err := parseTime("start", start)
	if err != nil {
		return stretch{}, err
	}
	to := now
	if end != "" || !open {
		if to, err = parseTime("end", end); err != nil {
			return stretch{}, err
		}
	}
	bad := func(typ, title, field, format string, args ...any) error {
		return &Problem{Type: typ, Status: http.StatusBadRequest, Title: title, Field: field, Detail: fmt.Sprintf(format, args...)}
	}
	show := func(t time.Time) string { return stamp{t}.String() }
	switch {
	case from.After(now.Add(aheadOfNow)):
		return stretch{}, bad(problemFuture, "The time range is in the future", "start",
			"start is %s, and it is now %s.", show(from), show(now))
	case to.After(now.Add(aheadOfNow)):
		return stretch{}, bad(problemFuture, "The time range is in the future", "end",
			"end is %s, and it is now %s.", show(to), show(now))
	case !from.Before(to):
		return stretch{}, bad(problemRange, "The time range is inverted or empty", "end",
			"start is %s, end is %s; end must be after start.", show(from), show(to))
	case to.Sub(from) > longest:
		return stretch{}, bad(problemLong, "The time range is too long", "end",
			"from start to end are %v, the most is %v.", to.Sub(from), longest)
	}
	return stretch{from.UnixNano(), to.UnixNano()}, nil
}

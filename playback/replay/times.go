package replay

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The years in which a camera can have recorded; Unix ns does not reach much further.
const (
	minYear = 1990
	maxYear = 2200
)

var (
	errTime = errors.New("the time cannot be read")
	errUnit = errors.New("the unit of the range is not supported")
)

// clockForm is utc-time of RFC 2326 3.7.
const clockForm = "20060102T150405"

// parseClock reads a utc-time: YYYYMMDDThhmmss[.fraction]Z.
func parseClock(s string) (int64, error) {
	body, ok := strings.CutSuffix(s, "Z")
	if !ok {
		return 0, fmt.Errorf("%w: %.40q does not end with Z", errTime, s)
	}
	whole, fraction, dotted := strings.Cut(body, ".")
	t, err := time.Parse(clockForm, whole)
	if err != nil || dotted && (fraction == "" || len(fraction) > 18) {
		return 0, fmt.Errorf("%w: %.40q is not YYYYMMDDThhmmss.fZ", errTime, s)
	}
	ns := int64(0)
	for i := range 9 {
		digit := byte('0')
		if i < len(fraction) {
			digit = fraction[i]
		}
		if digit < '0' || digit > '9' {
			return 0, fmt.Errorf("%w: %.40q is not YYYYMMDDThhmmss.fZ", errTime, s)
		}
		ns = ns*10 + int64(digit-'0')
	}
	for i := 9; i < len(fraction); i++ {
		if fraction[i] < '0' || fraction[i] > '9' {
			return 0, fmt.Errorf("%w: %.40q is not YYYYMMDDThhmmss.fZ", errTime, s)
		}
	}
	if y := t.Year(); y < minYear || y > maxYear {
		return 0, fmt.Errorf("%w: the year %d is not in %d … %d", errTime, y, minYear, maxYear)
	}
	return t.UnixNano() + ns, nil
}

// formatClock is the reverse of parseClock.
func formatClock(ns int64) string {
	return time.Unix(0, ns).UTC().Format(clockForm + ".000000000Z")
}

// parseRFC3339 reads a time of a URL. A + that the client did not escape is a space.
func parseRFC3339(s string) (int64, error) {
	if n := len(s); n > 6 && s[n-6] == ' ' {
		s = s[:n-6] + "+" + s[n-5:]
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("%w: %.60q is not a time of RFC 3339", errTime, s)
	}
	if y := t.Year(); y < minYear || y > maxYear {
		return 0, fmt.Errorf("%w: the year %d is not in %d … %d", errTime, y, minYear, maxYear)
	}
	return t.UnixNano(), nil
}

// parseNPT reads a normal play time (RFC 2326 3.6): seconds, or hours:minutes:seconds.
func parseNPT(s string) (time.Duration, error) {
	bad := fmt.Errorf("%w: %.40q is no normal play time", errTime, s)
	parts := strings.Split(s, ":")
	if len(parts) != 1 && len(parts) != 3 {
		return 0, bad
	}
	total := 0.0
	for _, p := range parts {
		v, err := strconv.ParseFloat(p, 64)
		if err != nil || v < 0 || math.IsNaN(v) || strings.ContainsAny(p, "eExXpP+") {
			return 0, bad
		}
		total = total*60 + v
	}
	if total > 200*366*86400 {
		return 0, bad
	}
	return time.Duration(math.Round(total*1e6)) * time.Microsecond, nil
}

func formatNPT(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// ntp1900 is the Unix epoch in seconds of NTP (RFC 3550 4).
const ntp1900 = 2208988800

// ntpOf returns an instant as an NTP timestamp: seconds since 1900, and 2^-32 s.
func ntpOf(ns int64) uint64 {
	s, rest := uint64(ns/1e9), uint64(ns%1e9)
	return (s+ntp1900)<<32 | rest<<32/1e9
}

// ticksOf converts an instant or a duration to ticks, rounded down.
func ticksOf(ns int64, rate int) int64 {
	s, rest := ns/1e9, ns%1e9
	if rest < 0 {
		s, rest = s-1, rest+1e9
	}
	return s*int64(rate) + rest*int64(rate)/1e9
}

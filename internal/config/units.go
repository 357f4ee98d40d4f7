package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span: Go's form, and days (d) and weeks (w) in front of it.
type Duration time.Duration

// Bytes is an amount of data: a number, with KB, MB, GB, TB, PB (powers of 1000) or
// KiB … PiB (powers of 1024).
type Bytes int64

// Bitrate is bits per second: a number, with k, M or G and "bit/s" behind it.
type Bitrate int64

// Address is host:port to listen on, and for the nodes that others reach, to dial.
type Address string

func (d *Duration) parse(s string) error {
	const want = "want a time span such as 500ms, 10s, 36h, 30d or 2w"
	rest, total := s, time.Duration(0)
	for _, u := range []struct {
		unit string
		span time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		head, tail, ok := strings.Cut(rest, u.unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil {
			return errors.New(want)
		}
		total += time.Duration(n) * u.span
		rest = tail
	}
	if rest != "" {
		n, err := time.ParseDuration(rest)
		if err != nil || n < 0 {
			return errors.New(want)
		}
		total += n
	}
	if s == "" || total < 0 {
		return errors.New(want)
	}
	*d = Duration(total)
	return nil
}

func (d Duration) String() string {
	t := time.Duration(d)
	const day = 24 * time.Hour
	if t >= day && t%day == 0 {
		return fmt.Sprintf("%dd", t/day)
	}
	return t.String()
}

func (b *Bytes) parse(s string) error {
	n, err := scaled(s, map[string]float64{
		"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15,
		"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40, "PIB": 1 << 50,
	})
	if err != nil {
		return errors.New("want an amount of bytes such as 500MB, 4TB or 64MiB")
	}
	*b = Bytes(n)
	return nil
}

func (b Bytes) String() string { return humanUnits(float64(b), "B", "kB", "MB", "GB", "TB", "PB") }

// ByteRate is bytes per second: an amount of data with /s behind it.
type ByteRate int64

func (b *ByteRate) parse(s string) error {
	var n Bytes
	if err := n.parse(strings.TrimSuffix(strings.TrimSpace(s), "/s")); err != nil {
		return errors.New("want bytes per second such as 8MB/s")
	}
	*b = ByteRate(n)
	return nil
}

func (b ByteRate) String() string { return Bytes(b).String() + "/s" }

func (b *Bitrate) parse(s string) error {
	text := strings.ToUpper(strings.ReplaceAll(s, " ", ""))
	for _, suffix := range []string{"BIT/S", "BPS", "B/S"} {
		text = strings.TrimSuffix(text, suffix)
	}
	n, err := scaled(text, map[string]float64{"": 1, "K": 1e3, "M": 1e6, "G": 1e9})
	if err != nil {
		return errors.New("want a bit rate such as 4Mbit/s or 500kbit/s")
	}
	*b = Bitrate(n)
	return nil
}

func (b Bitrate) String() string {
	return humanUnits(float64(b), "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")
}

func humanUnits(v float64, units ...string) string {
	i := 0
	for math.Abs(v) >= 1000 && i < len(units)-1 {
		v /= 1000
		i++
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) + " " + units[i]
}

func scaled(s string, units map[string]float64) (int64, error) {
	s = strings.TrimSpace(s)
	end := strings.LastIndexAny(s, "0123456789.") + 1
	v, err := strconv.ParseFloat(s[:end], 64)
	if err != nil {
		return 0, err
	}
	unit, ok := units[strings.ToUpper(strings.TrimSpace(s[end:]))]
	if v *= unit; !ok || v < 0 || v >= math.MaxInt64 || v != v {
		return 0, strconv.ErrRange
	}
	return int64(v), nil
}

// check reports what is wrong with the form of a.
func (a Address) check() error {
	host, port, err := net.SplitHostPort(string(a))
	if err != nil {
		return errors.New(`want host:port, or :port for this machine`)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not in 1 … 65535", port)
	}
	if strings.ContainsAny(host, "/ @") {
		return fmt.Errorf("%q is not a host", host)
	}
	return nil
}

// Listen returns the address to listen on.
func (a Address) Listen() string { return string(a) }

// Dial returns the address to reach the node at: where the file names no host, or all
// of them, that is this machine.
func (a Address) Dial() string {
	host, port, err := net.SplitHostPort(string(a))
	if err != nil || host != "" && !isUnspecified(host) {
		return string(a)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

func (a Address) split() (host, port string) {
	host, port, _ = net.SplitHostPort(string(a))
	return host, port
}

func isUnspecified(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

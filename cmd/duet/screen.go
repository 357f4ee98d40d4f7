package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/duet-video/duet/internal/config"
)

// ansi is an ANSI colour.
type ansi string

const (
	red    ansi = "31"
	green  ansi = "32"
	yellow ansi = "33"
	bold   ansi = "1"
)

// painter colours words when it is true.
type painter bool

func (p painter) by(c ansi, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// terminal returns the file descriptor behind w when that is a terminal.
func terminal(w io.Writer) (fd int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), os.Getenv("TERM") != "dumb"
}

// screen draws texts over each other.
type screen struct {
	w     io.Writer
	fd    int
	lines int // drawn last
}

func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(s.fd)
	if err != nil || width <= 0 || height <= 0 {
		return 120, 40
	}
	return width, height
}

// fits reports whether the terminal has enough lines for a text.
func (s *screen) fits(text string) bool {
	_, height := s.size()
	return strings.Count(strings.TrimRight(text, "\n"), "\n")+1 < height
}

// draw replaces what was drawn before. What does not fit the terminal is cut off.
func (s *screen) draw(text string) {
	width, height := s.size()
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = lines[:min(len(lines), height-1)]
	var b strings.Builder
	if s.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", min(s.lines, height-1))
	}
	for _, l := range lines {
		b.WriteString(clip(l, width) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.lines = len(lines)
	_, _ = io.WriteString(s.w, b.String())
}

// clip cuts a line off at a width, leaving colours whole.
func clip(s string, width int) string {
	if printed(s) <= width {
		return s
	}
	var b strings.Builder
	for n := 0; len(s) > 0 && n < width; {
		if strings.HasPrefix(s, "\x1b[") {
			if end := strings.IndexByte(s, 'm'); end > 0 {
				b.WriteString(s[:end+1])
				s = s[end+1:]
				continue
			}
		}
		_, size := utf8.DecodeRuneInString(s)
		b.WriteString(s[:size])
		s = s[size:]
		n++
	}
	return b.String() + "\x1b[0m"
}

func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

func joinTracks(t []string) string { return strings.Join(t, ", ") }

func clockText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Local().Format("15:04:05.0")
}

func size(b uint64) string {
	if b == 0 {
		return "-"
	}
	return config.Bytes(b).String()
}

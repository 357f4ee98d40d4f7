package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with the file.
type Problem struct {
	// Line and Column, from 1; 0: the file as a whole.
	Line, Column int
	// Field is the path of the key, such as cameras[2].source; may be empty.
	Field string
	// Message is one line for people, with the field.
	Message string
	// Source is the line, credentials hidden; may be empty.
	Source string
}

// Error holds all problems of a file, in the order of its lines.
type Error struct {
	File     string
	Problems []Problem
}

// Error returns a line for each problem (file:line:column: field: message), with the
// line of the file under it.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
		b.WriteString(p.Message)
		if p.Source != "" {
			b.WriteString("\n    | ")
			b.WriteString(p.Source)
		}
	}
	return b.String()
}

// mark is where a key or an item is.
type mark struct{ line, column int }

// source is the text of the file.
type source struct {
	name  string
	lines []string
}

func newSource(name string, text []byte) *source {
	return &source{name: name, lines: strings.Split(string(text), "\n")}
}

// secretValue finds values of keys that sound like a secret, well written or not.
var secretValue = regexp.MustCompile(`(?i)([\w-]*(?:pas|pwd|secret|token)[\w-]*["']?\s*:\s*)("[^"]*"?|'[^']*'?|[^,}\]\s]+)`)

const maxSourceLine = 160

// hideValues hides what follows the first colon, or a line without one as a whole.
func hideValues(text string) string {
	key, _, ok := strings.Cut(text, ":")
	if !ok {
		return "***"
	}
	return key + ": ***"
}

// amongReaders reports whether line n belongs to the section that holds passwords,
// whatever its keys are called.
func (s *source) amongReaders(n int) bool {
	for i := n - 1; i >= 0; i-- {
		key, _, ok := strings.Cut(s.lines[i], ":")
		if key == "" || !ok || key[0] == ' ' || key[0] == '-' || key[0] == '#' {
			continue
		}
		return distance(strings.Trim(key, `"' `), "readers") <= 2
	}
	return false
}

// line returns line n (from 1), credentials hidden, cut off after upto bytes if that is
// not 0.
func (s *source) line(n, upto int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	text := strings.TrimRight(s.lines[n-1], "\r")
	cut := upto > 0 && upto < len(text)
	if cut {
		text = text[:upto]
	}
	text = hideUserinfo(text)
	if s.amongReaders(n) {
		text = hideValues(text)
	} else {
		text = secretValue.ReplaceAllString(text, "${1}***")
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.TrimSpace(text))
	if len(text) > maxSourceLine {
		text, cut = strings.ToValidUTF8(text[:maxSourceLine], ""), true
	}
	if cut {
		text += " …"
	}
	return text
}

// report collects problems.
type report struct {
	file     *source
	problems []Problem
}

// maxProblems is enough for anybody.
const maxProblems = 100

func (r *report) add(at mark, upto int, field, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if field != "" {
		msg = field + ": " + msg
	}
	r.problems = append(r.problems, Problem{
		Line: at.line, Column: at.column, Field: field,
		Message: strings.Join(strings.Fields(msg), " "), Source: r.file.line(at.line, upto),
	})
}

func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	all := r.problems
	if len(all) > maxProblems {
		all = append(all[:maxProblems:maxProblems], Problem{
			Message: fmt.Sprintf("and %d problems more", len(r.problems)-maxProblems),
		})
	}
	return &Error{File: r.file.name, Problems: all}
}

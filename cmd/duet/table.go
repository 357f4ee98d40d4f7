package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

// table aligns columns; a head that begins with > is aligned right.
type table struct {
	heads []string
	rows  [][]string
}

func newTable(heads ...string) *table { return &table{heads: heads} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) { _, _ = io.WriteString(w, t.String()) }

// String returns the lines of the table, without spaces at their ends.
func (t *table) String() string {
	width := make([]int, len(t.heads))
	heads := make([]string, len(t.heads))
	for i, h := range t.heads {
		heads[i] = strings.TrimPrefix(h, ">")
	}
	all := append([][]string{heads}, t.rows...)
	for _, r := range all {
		for i, c := range r {
			width[i] = max(width[i], printed(c))
		}
	}
	var b strings.Builder
	for _, r := range all {
		var line strings.Builder
		for i, c := range r {
			pad := strings.Repeat(" ", width[i]-printed(c))
			if strings.HasPrefix(t.heads[i], ">") {
				line.WriteString(pad + c)
			} else {
				line.WriteString(c + pad)
			}
			line.WriteString("  ")
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// printed counts the columns that s takes: colours take none.
func printed(s string) int {
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			return utf8.RuneCountInString(s)
		}
		end := strings.IndexByte(s[i:], 'm')
		if end < 0 {
			return utf8.RuneCountInString(s[:i])
		}
		s = s[:i] + s[i+end+1:]
	}
}

package faults

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The table stands between these lines of the document.
const (
	Begin = "<!-- make faults: from here -->"
	End   = "<!-- make faults: to here -->"
)

// Table returns the table of results, which are those of the catalogue, in Markdown.
func Table(results []Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s.\n\n", results[0].Machine)
	b.WriteString("| fault | the user sees | after | live | record | playback | export | two copies again | both complete | memory | test |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for i, f := range Catalogue() {
		r := &results[i]
		alarm := "none"
		if len(r.Signs) > 0 {
			alarm = seconds(r.Signs[0].After)
		}
		cells := []string{
			f.Name, signs(r.Signs), alarm, r.Live, r.Record, r.Playback, r.Export, r.twice(), r.complete(),
			fmt.Sprintf("%s → %s", megabytes(r.MemoryBefore), megabytes(r.MemoryMost)), "`" + f.Test + "`",
		}
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(c, "|", "/")
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	return b.String()
}

func signs(all []Sign) string {
	parts := make([]string, len(all))
	for i, s := range all {
		parts[i] = fmt.Sprintf("%s `%s`: %s", s.From, s.Code, s.Text)
		if i > 0 {
			parts[i] = fmt.Sprintf("%s `%s` after %s", s.From, s.Code, seconds(s.After))
		}
	}
	return strings.Join(parts, "; ")
}

func (r *Result) twice() string {
	switch {
	case r.Twice < 0:
		return "never away"
	case r.AfterHeal:
		return seconds(r.Twice) + " after its end"
	}
	return seconds(r.Twice)
}

func (r *Result) complete() string {
	if r.Complete < 0 {
		return "—"
	}
	return seconds(r.Complete) + " after its end"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
func megabytes(n int64) string       { return fmt.Sprintf("%d MB", (n+500_000)/1_000_000) }

// Replace puts a table in place of the one in a document.
func Replace(document, table string) (string, error) {
	before, rest, ok := strings.Cut(document, Begin+"\n")
	if !ok {
		return "", errors.New("the document has no line " + Begin)
	}
	_, after, ok := strings.Cut(rest, End+"\n")
	if !ok {
		return "", errors.New("the document has no line " + End)
	}
	return before + Begin + "\n\n" + table + "\n" + End + "\n" + after, nil
}

// Rows returns names and tests of the rows of the table in a document.
func Rows(document string) ([]Fault, error) {
	_, rest, ok := strings.Cut(document, Begin+"\n")
	table, _, ok2 := strings.Cut(rest, End+"\n")
	if !ok || !ok2 {
		return nil, errors.New("the document has no table of faults")
	}
	var rows []Fault
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) < 3 || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[0]) == "fault" {
			continue
		}
		rows = append(rows, Fault{Name: strings.TrimSpace(cells[0]), Test: strings.Trim(strings.TrimSpace(cells[len(cells)-1]), "`")})
	}
	return rows, nil
}

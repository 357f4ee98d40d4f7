package load

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Report is what a work found. It is written as JSON as it is.
type Report interface {
	// Name is that of the work.
	Name() string
	// Where says when and on what it was measured.
	Where() (time.Time, *Machine)
	// Tables returns the figures as Markdown.
	Tables() string
	// Plots returns drawings by their names, without an extension.
	Plots() (map[string][]byte, error)
	// Lossless returns an error when duet lost anything.
	Lossless() error
}

// Markdown returns a report as a person reads it.
func Markdown(r Report) string {
	at, m := r.Where()
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(m.Versions)) {
		versions = append(versions, name+" "+m.Versions[name])
	}
	return fmt.Sprintf("%s, %s: %d × %s, %.0f GiB, Linux %s, %s; %s; %s. %.0f %% of the processors were busy before.\n\n%s",
		r.Name(), at.UTC().Format("2006-01-02 15:04 MST"), m.Processors, m.CPU, m.MemoryGiB, m.Kernel, m.FileSystem, m.Go,
		strings.Join(versions, ", "), 100*m.Busy, r.Tables())
}

// Write writes NAME.json, NAME.md and the plots, NAME-….svg, into a directory.
func Write(r Report, dir string) error {
	b, err := marshal(r)
	if err != nil {
		return err
	}
	files := map[string][]byte{r.Name() + ".json": b, r.Name() + ".md": []byte(Markdown(r))}
	plots, err := r.Plots()
	if err != nil {
		return err
	}
	for name, b := range plots {
		files[name+".svg"] = b
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Insert replaces what stands between the lines "<!-- bench: NAME -->" and "<!-- bench end -->"
// of a Markdown document by a report.
func Insert(r Report, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := "<!-- bench: "+r.Name()+" -->\n", "<!-- bench end -->"
	head, rest, ok := strings.Cut(string(b), begin)
	_, foot, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for %s: want a line %q and a line %q", file, r.Name(), strings.TrimSpace(begin), end)
	}
	text := head + begin + "\n" + strings.TrimSpace(Markdown(r)) + "\n\n" + end + foot
	return os.WriteFile(file, []byte(text), 0o644)
}

// failed lists what could not be measured.
func failed(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return "\nNot measured: " + strings.Join(list, "; ") + ".\n"
}

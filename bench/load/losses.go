package load

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	"github.com/duet-video/duet/bench/source"
)

// Losses are what recordings lack of what cameras sent while they were measured.
type Losses struct {
	// Sent counts access units, Copies how often each should be there.
	Sent   int `json:"sent"`
	Copies int `json:"copies"`
	// Missing counts access units that a copy lacks, over all copies; Everywhere those
	// that all copies lack; Repeated and Reordered those that a copy has twice, or after
	// a later one.
	Missing    int `json:"missing"`
	Everywhere int `json:"missing_everywhere"`
	Repeated   int `json:"repeated"`
	Reordered  int `json:"reordered"`
}

func (l *Losses) none() bool {
	return l.Missing == 0 && l.Repeated == 0 && l.Reordered == 0
}

func (l *Losses) add(m Losses) {
	l.Sent += m.Sent
	l.Copies = m.Copies
	l.Missing += m.Missing
	l.Everywhere += m.Everywhere
	l.Repeated += m.Repeated
	l.Reordered += m.Reordered
}

// window is a range of access units of each camera, the end exclusive.
type window struct{ from, to []int }

// windowOf is what was sent between two looks at the cameras.
func windowOf(before, after []source.State) window {
	var w window
	for i := range before {
		w.from = append(w.from, before[i].Number)
		w.to = append(w.to, after[i].Number)
	}
	return w
}

// copies is how often each access unit should be there.
const copies = 2

// count searches the recordings of all cameras for the access units of the window.
func (w window) count(dirs []string) (Losses, error) {
	var total Losses
	for i := range w.from {
		l, err := countCamera(dirs, i, w.from[i], w.to[i])
		if err != nil {
			return total, err
		}
		total.add(l)
	}
	return total, nil
}

func countCamera(dirs []string, camera, from, to int) (Losses, error) {
	l := Losses{Sent: to - from, Copies: copies}
	held := make([]int, to-from)
	there := 0
	for _, dir := range dirs {
		files, err := filesOf(dir, source.Name(camera))
		if err != nil {
			return l, err
		}
		if len(files) == 0 {
			continue
		}
		there++
		slices.SortFunc(files, func(a, b string) int { return cmp.Compare(a, b) })
		seen := make([]bool, to-from)
		last := -1
		for _, file := range files {
			err := scanFile(file, func(m source.Mark) {
				n := m.Number - from
				if m.Camera != camera || n < 0 || n >= len(seen) {
					return
				}
				switch {
				case seen[n]:
					l.Repeated++
					return
				case n < last:
					l.Reordered++
				}
				seen[n] = true
				held[n]++
				last = max(last, n)
			})
			if err != nil {
				return l, err
			}
		}
		for _, ok := range seen {
			if !ok {
				l.Missing++
			}
		}
	}
	l.Missing += max(copies-there, 0) * (to - from)
	for _, n := range held {
		if n == 0 {
			l.Everywhere++
		}
	}
	return l, nil
}

func scanFile(path string, found func(source.Mark)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := source.Scan(f, found); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

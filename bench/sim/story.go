package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Story is what happens to a site: commands, one a line.
type Story struct {
	Options
	Lines []string
}

// NewStory draws a story from a seed.
func NewStory(seed uint64) Story {
	r := seeded(seed, 0)
	st := Story{Options: Options{Seed: seed, Cameras: 1 + r.IntN(2), Recorders: 2 + r.IntN(2), Log: zerolog.Nop()}}
	add := func(format string, a ...any) { st.Lines = append(st.Lines, fmt.Sprintf(format, a...)) }
	pause := func(most time.Duration) {
		add("run %v", (50*time.Millisecond + time.Duration(r.Int64N(int64(most)))).Round(time.Millisecond))
	}
	recorders := make([]string, st.Recorders)
	for i := range recorders {
		recorders[i] = fmt.Sprintf("r%d", i+1)
	}
	one := func() string { return recorders[r.IntN(len(recorders))] }
	// A long absence lets the proxy's log run out of what is missing.
	absence := func(most time.Duration) {
		pause(most)
		if r.IntN(6) == 0 {
			add("run %v", logWindow+time.Duration(r.IntN(15))*time.Second)
		}
	}
	damaged := false
	pause(6 * time.Second)
	for range 1 + r.IntN(5) {
		who := one()
		switch r.IntN(18) {
		case 0, 1:
			add("kill %s", who)
			absence(10 * time.Second)
			add("start %s", who)
		case 2:
			add("crash %s survive=%d", who, []int{0, 30, 70, 100}[r.IntN(4)])
			absence(10 * time.Second)
			add("start %s", who)
		case 3, 4, 5:
			tear := ""
			if r.IntN(2) == 0 {
				tear = " tear"
			}
			add("crash %s op=%d survive=%d%s", who, 1+r.IntN(60), []int{0, 30, 70, 100}[r.IntN(4)], tear)
			absence(12 * time.Second)
		case 6, 7:
			op := []string{"write", "fsync", "create", "rename", "remove", "mkdir", "open", "list", "stat", "read"}[r.IntN(10)]
			kind := ""
			if r.IntN(3) == 0 {
				kind = " err=nospace"
			}
			add("errorat %s op=%s n=%d times=%d%s", who, op, 1+r.IntN(20), 1+r.IntN(3), kind)
		case 8:
			add("full %s%s", who, []string{"", "", " all"}[r.IntN(3)])
			absence(20 * time.Second)
			add("room %s", who)
		case 9, 10:
			from, to := "p1", who
			if r.IntN(2) == 0 {
				from, to = to, from
			}
			way := []string{"", " oneway"}[r.IntN(2)]
			add("partition %s %s%s", from, to, way)
			absence(20 * time.Second)
			if r.IntN(2) == 0 {
				add("heal %s %s", from, to)
			}
		case 11:
			add("slow p1 %s %dms", who, 1+r.IntN(800))
		case 12:
			add("cut p1 %s", who)
		case 13:
			cam := []string{"gate", "yard"}[r.IntN(st.Cameras)]
			add("cable %s out", cam)
			pause(5 * time.Second)
			add("cable %s in", cam)
		case 14:
			add("kill p1")
			pause(4 * time.Second)
			add("start p1")
		case 16, 17:
			if !damaged {
				damaged = true
				add("corrupt %s", who)
			}
		case 15:
			if r.IntN(3) == 0 {
				// Capture times follow the wall clock of the proxy from one session to the
				// next, so its steps are over before a session may begin.
				node, by := append(recorders, proxyHost)[r.IntN(len(recorders)+1)], time.Duration(r.IntN(20000)-10000)*time.Second
				add("step %s %v", node, by)
				pause(10 * time.Second)
				add("step %s %v", node, -by)
				break
			}
			add("stop %s", who)
			if r.IntN(2) == 0 {
				add("forget %s", who)
			}
			pause(5 * time.Second)
			add("start %s", who)
		}
		pause(8 * time.Second)
	}
	add("heal")
	add("settle")
	add("check")
	return st
}

// Tell plays the story in the bubble that it is called in. The error says what did not
// hold, or which line could not be done.
func (st Story) Tell() error {
	s, err := New(st.Options)
	if err != nil {
		return err
	}
	for _, line := range st.Lines {
		if _, err = s.Do(line); err != nil {
			break
		}
	}
	closed := s.Close()
	if err == nil && closed != nil {
		err = fmt.Errorf("at the end: %w", closed)
	}
	return err
}

// String returns the lines.
func (st Story) String() string {
	return fmt.Sprintf("# seed %d: %d cameras, %d recorders\n%s\n", st.Seed, st.Cameras, st.Recorders, strings.Join(st.Lines, "\n"))
}

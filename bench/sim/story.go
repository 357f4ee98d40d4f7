package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Story is what happens to a site: commands, one a line.
type Story struct {
	Options
	Lines []string
}

// NewStory draws a story from a seed. Each has some of what there is: a site with several
// disks, with retention and locks, with damage and somebody who looks for it, with spares,
// with readers; and a few misfortunes.
func NewStory(seed uint64) Story {
	t := teller{rand: seeded(seed, 0)}
	t.Story = Story{Options: Options{
		Seed: seed, Cameras: 1 + t.IntN(2), Recorders: pick(&t, 2, 2, 3), Log: zerolog.Nop(),
	}}
	for i := range t.Recorders {
		t.recorders = append(t.recorders, fmt.Sprintf("r%d", i+1))
	}
	t.cameras = []string{"gate", "yard"}[:t.Cameras]
	t.features()
	t.begin()
	for range 1 + t.IntN(5) {
		t.misfortune()
		t.meanwhile()
		t.pause(8 * time.Second)
	}
	t.end()
	return t.Story
}

// teller makes a story.
type teller struct {
	Story
	rand               *rand.Rand
	recorders, cameras []string
	// calm: nothing happens to recorders.
	calm bool
	// victim is the recorder that loses disks or has them damaged, so that the other copy
	// is sound; empty: none may.
	victim string
	wiped  bool
	locks  int
}

func (t *teller) IntN(n int) int { return t.rand.IntN(n) }

// in reports true once in n times.
func (t *teller) in(n int) bool { return t.IntN(n) == 0 }

func (t *teller) add(format string, a ...any) { t.Lines = append(t.Lines, fmt.Sprintf(format, a...)) }

func (t *teller) pause(most time.Duration) {
	t.add("run %v", (50*time.Millisecond + time.Duration(t.rand.Int64N(int64(most)))).Round(time.Millisecond))
}

// absence is a pause that may be long enough for the proxy's log to run out of what is missing.
func (t *teller) absence(most time.Duration) {
	t.pause(most)
	if t.in(6) {
		t.add("run %v", logWindow+time.Duration(t.IntN(15))*time.Second)
	}
}

func (t *teller) one() string    { return t.recorders[t.IntN(len(t.recorders))] }
func (t *teller) camera() string { return t.cameras[t.IntN(len(t.cameras))] }

func pick[T any](t *teller, list ...T) T { return list[t.IntN(len(list))] }

// features draws what the site is like.
func (t *teller) features() {
	if t.in(3) {
		t.Volumes = 2 + t.IntN(2)
	}
	switch t.IntN(8) {
	case 0, 1:
		t.Segment = pick(t, 5*time.Second, 10*time.Second)
		t.Quota = int64(15+t.IntN(30)) << 10
		t.calm = t.in(3)
	case 2:
		t.Segment = pick(t, 5*time.Second, 10*time.Second)
		t.Age = time.Duration(25+t.IntN(30)) * time.Second
		t.calm = t.in(3)
	}
	t.Spare = t.in(7)
	if t.in(2) {
		t.victim = t.one()
		t.Scrub = time.Duration(5+t.IntN(10)) * time.Second
	}
}

// begin tells how it begins.
func (t *teller) begin() {
	t.pause(6 * time.Second)
	if t.in(4) {
		t.add("watch %s", t.camera())
	}
	if t.Quota > 0 || t.Age > 0 { // until there is something to delete
		t.add("run %v", time.Duration(15+t.IntN(25))*time.Second)
	}
}

// end tells how it ends.
func (t *teller) end() {
	t.add("heal")
	t.add("settle soon")
	t.add("check")
}

// meanwhile is what people do while things go wrong.
func (t *teller) meanwhile() {
	if t.in(4) {
		t.pause(2 * time.Second)
		t.add("look %s", t.camera())
	}
	if t.in(6) {
		t.add("export %s", t.camera())
	}
	if (t.Quota > 0 || t.Age > 0) && t.in(2) || t.in(16) {
		from := 10 + t.IntN(30)
		t.add("lock %s %ds %ds", t.camera(), from, max(from-1-t.IntN(20), 0))
		t.locks++
	}
	if t.locks > 0 && t.in(3) {
		t.add("release %d", 1+t.IntN(t.locks))
	}
}

// misfortune is something that goes wrong.
func (t *teller) misfortune() {
	if t.calm {
		t.elsewhere()
		return
	}
	switch t.IntN(10) {
	case 0, 1, 2, 3:
		t.death()
	case 4, 5, 6:
		t.badDisk()
	case 7, 8:
		t.badNetwork()
	default:
		t.elsewhere()
	}
}

// death: a recorder ends, and begins anew.
func (t *teller) death() {
	who := t.one()
	survive := pick(t, 0, 30, 70, 100)
	tear := pick(t, "", " tear")
	switch t.IntN(8) {
	case 0, 1:
		t.add("kill %s", who)
		t.away(who, 10*time.Second)
	case 2:
		t.add("crash %s survive=%d", who, survive)
		t.away(who, 10*time.Second)
	case 3, 4, 5:
		kind := ""
		if t.Quota > 0 || t.Age > 0 {
			kind = pick(t, "", " kind=remove")
		}
		n := 1 + t.IntN(60)
		if kind != "" {
			n = 1 + t.IntN(4)
		}
		t.add("crash %s op=%d%s survive=%d%s", who, n, kind, survive, tear)
		t.absence(12 * time.Second)
	case 6:
		t.add("freeze %s", who)
		t.absence(15 * time.Second)
		t.add("thaw %s", who)
	default:
		t.add("stop %s", who)
		if t.in(2) {
			t.add("forget %s", who)
		}
		t.away(who, 5*time.Second)
	}
}

// away: a recorder that is down is away for a while, and may come back with another disk.
func (t *teller) away(who string, most time.Duration) {
	if t.in(4) {
		t.pause(3 * time.Second)
		t.meanwhile()
	}
	t.absence(most)
	if who == t.victim && !t.wiped && t.in(2) {
		t.wiped = true
		t.add("wipe %s", t.disk(who))
	}
	t.add("start %s", who)
}

// disk names a disk of a recorder, or all.
func (t *teller) disk(who string) string {
	if t.Volumes < 2 || t.in(4) {
		return who
	}
	return fmt.Sprintf("%s/%d", who, 1+t.IntN(t.Volumes))
}

// badDisk: a disk fails, in one of many ways.
func (t *teller) badDisk() {
	who := t.one()
	if t.victim != "" && t.in(2) {
		who = t.victim
		switch {
		case t.in(3) || t.wiped:
			t.add("damage %s how=%s", who, pick(t, "bit", "bit", "cut", "gone"))
			t.pause(3 * time.Second)
			t.add("look %s", t.camera())
			return
		case t.Volumes > 1:
			t.wiped = true
			disk := fmt.Sprintf("%s/%d", who, 1+t.IntN(t.Volumes))
			t.add("die %s", disk)
			t.absence(15 * time.Second)
			t.add("kill %s", who)
			t.add("wipe %s", disk)
			t.add("start %s", who)
			return
		}
	}
	switch {
	case t.Volumes > 1 && t.in(3):
		disk := t.disk(who)
		t.add("unmount %s", disk)
		t.absence(15 * time.Second)
		t.add("mount %s", disk)
	case t.in(3):
		disk := t.disk(who)
		t.add("full %s%s", disk, pick(t, "", "", " all"))
		t.absence(20 * time.Second)
		t.add("room %s", disk)
	default:
		op := pick(t, "write", "fsync", "fsync", "create", "rename", "remove", "mkdir", "open", "list", "stat", "read")
		on := ""
		if op == "fsync" || op == "write" {
			on = pick(t, "", " on=media")
		}
		t.add("errorat %s op=%s n=%d times=%d%s%s", who, op, 1+t.IntN(20), 1+t.IntN(3), on, pick(t, "", "", " err=nospace"))
		if on != "" && t.in(2) {
			t.pause(10 * time.Second)
			t.add("crash %s survive=%d", who, pick(t, 0, 100))
			t.away(who, 5*time.Second)
		}
	}
}

// badNetwork: a path fails.
func (t *teller) badNetwork() {
	from, to := "p1", t.one()
	switch t.IntN(6) {
	case 0:
		from = "v1"
	case 1:
		if other := t.one(); other != to {
			from = other
		}
	}
	if t.in(2) {
		from, to = to, from
	}
	switch t.IntN(5) {
	case 0:
		t.add("slow %s %s %dms", from, to, 1+t.IntN(800))
	case 1:
		t.add("cut %s %s", from, to)
	default:
		t.add("partition %s %s%s", from, to, pick(t, "", " oneway"))
		t.absence(20 * time.Second)
		if t.in(2) {
			t.add("heal %s %s", from, to)
		}
	}
}

// elsewhere: something that no recorder is hit by.
func (t *teller) elsewhere() {
	switch t.IntN(4) {
	case 0:
		cam := t.camera()
		t.add("cable %s out", cam)
		t.pause(5 * time.Second)
		t.add("cable %s in", cam)
	case 1:
		t.add("kill p1")
		t.pause(4 * time.Second)
		t.add("start p1")
	case 2:
		t.add("kill v1")
		t.pause(4 * time.Second)
		t.add("start v1")
	default:
		if t.Age > 0 || t.calm { // by which clock it was deleted could not be told
			break
		}
		// Capture times follow the wall clock of the proxy from one session to the
		// next, so its steps are over before a session may begin.
		node, by := pick(t, append(t.recorders, proxyHost)...), time.Duration(t.IntN(20000)-10000)*time.Second
		t.add("step %s %v", node, by)
		t.pause(10 * time.Second)
		t.add("step %s %v", node, -by)
	}
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
	return fmt.Sprintf("# seed %d\n%v%s\n", st.Seed, st.Options, strings.Join(st.Lines, "\n"))
}

package e2e

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/chaos"
	"github.com/duet-video/duet/bench/ledger"
)

// play carries out a schedule and returns when the last event is over.
func (s *site) play(t testing.TB, events []chaos.Event) {
	t.Helper()
	began := time.Now()
	for _, e := range events {
		time.Sleep(e.At - time.Since(began)) // the schedule is in real time
		p := s.procs[e.Recorder]
		switch e.Action {
		case chaos.Kill:
			p.kill()
		case chaos.Restart:
			p.start(t)
		case chaos.Stop:
			p.signal(syscall.SIGSTOP)
		case chaos.Cont:
			p.signal(syscall.SIGCONT)
		}
	}
}

// outages makes a schedule for the site in which no recorder misses anything even by
// itself, and prints it.
func (s *site) outages(t testing.TB, seed uint64, duration time.Duration, copies map[string][]string) []chaos.Event {
	t.Helper()
	o := chaos.Defaults(seed, duration, time.Duration(s.opts.logSeconds)*time.Second, copies)
	o.BothDown = true
	events, err := chaos.Schedule(o)
	require.NoError(t, err)
	for _, d := range chaos.Downs(events) {
		t.Logf("%+v", d)
	}
	return events
}

// TestLedgerChaos: recorders are killed and stopped at random moments, also both copies of
// a camera one shortly after the other. Merged playback has every access unit that the
// cameras sent, once, in order, bit for bit; and so has each recorder by itself, because
// no outage was longer than the log.
func TestLedgerChaos(t *testing.T) {
	const total = 90 * time.Second
	seed := seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	sim, list := cameras(t, camsim.DefaultCameras(8))
	s := startSite(t, siteOptions{cameras: list, recorders: threeRecorders, logSeconds: 20})
	from := time.Now().Add(time.Second).Truncate(time.Millisecond)

	placed := map[string][]string{}
	for _, c := range list {
		placed[c.name] = s.copies(t, c.name)
		require.Len(t, placed[c.name], 2, c.name)
	}
	plan := s.outages(t, seed, total-5*time.Second, placed)
	// One camera is cut off for a moment meanwhile: a real gap, to be reported as one.
	dropped := sim.Cameras()[r.IntN(8)]
	drop := time.AfterFunc(total/2, func() { dropped.Drop(500 * time.Millisecond) })
	defer drop.Stop()

	// excused reports whether both copies of a camera may have been away at some time of a
	// request: one that answers then has to say that it does not know.
	began := time.Now()
	downs := chaos.Downs(plan)
	excused := func(camera string, from, to time.Time) bool {
		const start = 4 * time.Second // of a process, on a machine with little to spare
		away := map[string]bool{}
		for _, d := range downs {
			if began.Add(d.From).Before(to) && began.Add(d.To+start).After(from) {
				away[d.Recorder] = true
			}
		}
		for _, r := range placed[camera] {
			if !away[r] {
				return false
			}
		}
		return true
	}

	// Exports go on all the time, each through whatever is happening to the recorders.
	stop, exported := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		defer func() { exported <- n }()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Millisecond):
			}
			to := time.Now().Add(-8 * time.Second).Truncate(time.Millisecond)
			start := to.Add(-10 * time.Second)
			if start.Before(from) {
				continue
			}
			cam := sim.Cameras()[i%8]
			asked := time.Now()
			tl, err := s.timeline(cam.Name, start, to)
			path := ""
			if err == nil {
				path, err = s.tryExport(cam.Name, start, to)
			}
			if excused(cam.Name, asked, time.Now()) {
				continue
			}
			if err != nil {
				t.Errorf("during the chaos, %v after its start: %v", time.Since(began), err)
				continue
			}
			if cam == dropped {
				// The real gap: that a recorder which is away has it cannot be ruled out.
				for _, u := range tl.Unknown {
					tl.Gaps = append(tl.Gaps, gap{Start: u.Start, End: u.End})
				}
			} else if len(tl.Unknown) > 0 {
				t.Errorf("during the chaos, %v after its start: unknown %+v, though one copy of %s is up", time.Since(began), tl.Unknown, cam.Name)
			}
			if err := compare(t, cam, path, tl, start, to).Err(); err != nil {
				t.Errorf("during the chaos: export of %s from %v: %v", cam.Name, start, err)
			}
			n++
		}
	}()

	s.play(t, plan)
	if rest := total - time.Since(from); rest > 0 {
		time.Sleep(rest) // the site records in peace to the end
	}
	close(stop)
	n := <-exported
	to := time.Now().Add(-3 * time.Second).Truncate(time.Millisecond)
	s.waitDurable(t, to, 30*time.Second)
	t.Logf("%d events; %d exports compared while they went on", len(plan), n)
	require.Positive(t, n, "no export was compared while recorders were away")

	for _, cam := range sim.Cameras() {
		tl, err := s.timeline(cam.Name, from, to)
		require.NoError(t, err)
		require.Empty(t, tl.Unknown)
		report := s.checkExport(t, cam, from, to)
		t.Log(report)
		require.NoError(t, report.Err(), "merged export of %s", cam.Name)
		if cam == dropped {
			require.Len(t, tl.Gaps, 1, "gaps of the camera that was cut off")
			require.Less(t, tl.Gaps[0].End.Sub(tl.Gaps[0].Start), 2500*time.Millisecond, "lost time + 1 GOP + reconnect")
		} else {
			require.Empty(t, tl.Gaps, "gaps of %s", cam.Name)
		}
		gaps := make([]ledger.Gap, 0, len(tl.Gaps))
		for _, g := range tl.Gaps {
			gaps = append(gaps, ledger.Gap{StartNS: g.Start.UnixNano(), EndNS: g.End.UnixNano(), Cause: g.Cause})
		}
		for _, name := range placed[cam.Name] {
			require.NoError(t, s.checkCopy(t, name, cam, from, to, gaps).Err(), "%s by itself", fmt.Sprint(cam.Name, " on ", name))
		}
	}
	s.verifySite(t)
	s.noPanics(t)
}

package e2e

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

// play carries out a plan of outages and returns when the last one is over.
func (s *site) play(t testing.TB, plan []outage) {
	t.Helper()
	began := time.Now()
	var wg sync.WaitGroup
	for _, o := range plan {
		p := s.procs[o.recorder]
		at := func(d time.Duration, f func()) {
			wg.Add(1)
			time.AfterFunc(d-time.Since(began), func() {
				defer wg.Done()
				f()
			})
		}
		if o.kill {
			at(o.from, p.kill)
			at(o.to, func() { p.start(t) })
		} else {
			at(o.from, func() { p.signal(syscall.SIGSTOP) })
			at(o.to, func() { p.signal(syscall.SIGCONT) })
		}
	}
	wg.Wait()
}

// TestLedgerChaos: recorders are killed and stopped at random moments, also both copies of
// a camera one shortly after the other. Merged playback has every access unit that the
// cameras sent, once, in order, bit for bit; and so has each recorder by itself, because
// no outage was longer than the log.
func TestLedgerChaos(t *testing.T) {
	const total = 90 * time.Second
	r := seeded(t)
	sim, list := cameras(t, camsim.DefaultCameras(8))
	s := startSite(t, siteOptions{cameras: list, recorders: threeRecorders, logSeconds: 20})
	from := time.Now().Add(time.Second).Truncate(time.Millisecond)

	plan := planOutages(r, []string{"r1", "r2", "r3"}, total-15*time.Second, 8*time.Second, 9*time.Second)
	for _, o := range plan {
		t.Log(o)
	}
	// One camera is cut off for a moment meanwhile: a real gap, to be reported as one.
	dropped := sim.Cameras()[r.IntN(8)]
	drop := time.AfterFunc(total/2, func() { dropped.Drop(500 * time.Millisecond) })
	defer drop.Stop()

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
			tl, err := s.timeline(cam.Name, start, to)
			if err != nil {
				t.Errorf("during the chaos: timeline of %s: %v", cam.Name, err)
				continue
			}
			path, err := s.tryExport(cam.Name, start, to)
			if err != nil {
				t.Errorf("during the chaos: %v", err)
				continue
			}
			if len(tl.Unknown) > 0 {
				continue // an answer that names who could not be asked is honest; the end is checked below
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
	t.Logf("%d outages; %d exports compared while they went on", len(plan), n)
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
		both := s.copies(t, cam.Name)
		require.Len(t, both, 2)
		for _, name := range both {
			require.NoError(t, s.checkCopy(t, name, cam, from, to, gaps).Err(), "%s by itself", fmt.Sprint(cam.Name, " on ", name))
		}
	}
	s.verifySite(t)
	s.noPanics(t)
}

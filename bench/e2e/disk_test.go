package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
)

type recordersAnswer struct {
	Recorders []struct {
		Name  string `json:"name"`
		Disks []struct {
			Path  string `json:"path"`
			State string `json:"state"`
		} `json:"disks"`
		Alarms []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"alarms"`
	} `json:"recorders"`
}

// diskAlarms returns the alarms of a recorder that name a path.
func (s *site) diskAlarms(recorder, path string) (codes []string, text string, err error) {
	var a recordersAnswer
	if err := s.get("/v1/recorders", &a); err != nil {
		return nil, "", err
	}
	for _, r := range a.Recorders {
		for _, al := range r.Alarms {
			if r.Name == recorder && strings.Contains(al.Message, path) {
				codes = append(codes, al.Code)
				text += al.Message + "\n"
			}
		}
	}
	return codes, text, nil
}

// waitAlarm waits until an alarm about a path is raised, and returns how long it took.
func (s *site) waitAlarm(t testing.TB, recorder, path, code, says string) time.Duration {
	t.Helper()
	began := time.Now()
	waitFor(t, alarmLimit, "alarm "+code, func() error {
		codes, text, err := s.diskAlarms(recorder, path)
		if err != nil {
			return err
		}
		for _, c := range codes {
			if strings.Contains(code, c) && strings.Contains(text, says) {
				return nil
			}
		}
		return fmt.Errorf("alarms %v: %s", codes, text)
	})
	return time.Since(began)
}

// waitNoAlarm waits until nothing about a path is wrong.
func (s *site) waitNoAlarm(t testing.TB, recorder, path string) {
	t.Helper()
	waitFor(t, 30*time.Second, "no alarm about "+path, func() error {
		codes, text, err := s.diskAlarms(recorder, path)
		if err == nil && len(codes) > 0 {
			err = fmt.Errorf("alarms %v: %s", codes, text)
		}
		return err
	})
}

// waitAdvanced waits until a recorder has everything up to a moment durable.
func (s *site) waitAdvanced(t testing.TB, recorder string, until time.Time, limit time.Duration) {
	t.Helper()
	waitFor(t, limit, recorder+" records", func() error {
		var a camerasAnswer
		if err := s.get("/v1/cameras", &a); err != nil {
			return err
		}
		for _, c := range a.Cameras {
			for _, r := range c.Recorders {
				if r.Recorder == recorder && (r.Protected == nil || r.Protected.Before(until)) {
					return fmt.Errorf("%s is durable up to %v", c.Name, r.Protected)
				}
			}
		}
		return nil
	})
}

// lostOffsets returns what a recorder says it could not record.
func (s *site) lostOffsets(t testing.TB, recorder string) (n uint64) {
	t.Helper()
	var a camerasAnswer
	require.NoError(t, s.get("/v1/cameras", &a))
	for _, c := range a.Cameras {
		for _, r := range c.Recorders {
			if r.Recorder == recorder {
				n += r.OffsetsLost
			}
		}
	}
	return n
}

// checkAll compares merged playback with the ledgers: nothing is missing.
func (s *site) checkAll(t testing.TB, sim *camsim.Sim, from time.Time) {
	t.Helper()
	to := time.Now().Add(-2 * time.Second).Truncate(time.Millisecond)
	s.waitAdvanced(t, "r2", to, 30*time.Second)
	for _, cam := range sim.Cameras() {
		tl, err := s.timeline(cam.Name, from, to)
		require.NoError(t, err)
		require.Empty(t, tl.Gaps, cam.Name)
		require.NoError(t, s.checkExport(t, cam, from, to).Err(), cam.Name)
	}
	s.noPanics(t)
}

type diskFault struct {
	id           string // of the catalogue
	disk         *realDisk
	alarm, says  string
	happen, heal func()
}

// TestDiskFaultsMoveCamerasToTheOtherDisk: a recorder has two disks; one after the other
// fails in every way that a disk can, and comes back. Its cameras go on at the other one,
// from the proxy's log, so that this recorder, by itself, loses nothing.
func TestDiskFaultsMoveCamerasToTheOtherDisk(t *testing.T) {
	needDisks(t)
	t.Parallel()
	a := newDisk(t, 256, 0, "-N", "1024")
	b := newDisk(t, 512, 96)
	sim, list := cameras(t, camsim.DefaultCameras(3))
	s := startSite(t, siteOptions{cameras: list, logSeconds: 30, recorders: []siteRecorder{
		{name: "r1", role: "primary", data: fmt.Sprintf("[%q, %q]", a.data, b.data)}, {name: "r2", role: "redundant"},
	}})
	g := newStage(t, s, sim.Cameras())
	away := b.data + ".away"
	faults := []diskFault{
		{"hung-2", a, "disk_hung", "", a.freeze, a.thaw},
		{"unmounted-2", b, "disk_gone", "", b.unmount, b.mount},
		{"read-only-2", a, "disk_failing", "read-only", a.breakFS, func() {
			a.unmount()
			a.repair()
			a.mount()
		}},
		{
			"removed-2", b, "disk_gone", "",
			func() { require.NoError(t, os.Rename(b.data, away)) },
			func() { require.NoError(t, os.Rename(away, b.data)) },
		},
		{"full-2", a, "disk_full", "", a.fill, a.unfill},
		{"inodes-2", a, "disk_full", "inodes", a.fillInodes, a.unfill},
		{"dead-2", b, "disk_failing", "", b.fill, func() {}},
	}
	for _, f := range faults {
		tr := g.trial(f.id, "r1", f.happen)
		tr.waitSign("r1", f.alarm, f.disk.data, f.says)
		tr.twice()
		tr.plays()
		require.Zero(t, s.lostOffsets(t, "r1"), "the log had everything (%s)", f.id)
		tr.heal(f.heal)
		if f.id != "dead-2" {
			s.waitNoAlarm(t, "r1", f.disk.data)
			tr.complete()
		}
		if f.id == "inodes-2" { // the last one after which the disk is whole again
			tr.converged()
		}
		tr.end()
	}
	s.checkAll(t, sim, g.from)
	began := time.Now()
	s.procs["r1"].terminate(t, 15*time.Second)
	t.Logf("ended %.1f s after SIGTERM", time.Since(began).Seconds())
}

// TestDiskFaultsOfAnOnlyDisk: a recorder with one disk says what is wrong, serves what it
// can, and goes on by itself when the disk is back.
func TestDiskFaultsOfAnOnlyDisk(t *testing.T) {
	needDisks(t)
	t.Parallel()
	d := newDisk(t, 256, 0)
	sim, list := cameras(t, camsim.DefaultCameras(2))
	s := startSite(t, siteOptions{cameras: list, logSeconds: 30, recorders: []siteRecorder{
		{name: "r1", role: "primary", data: fmt.Sprintf("%q", d.data)}, {name: "r2", role: "redundant"},
	}})
	g := newStage(t, s, sim.Cameras())
	for _, f := range []diskFault{
		{"hung-1", d, "disk_hung", "", d.freeze, d.thaw},
		{"unmounted-1", d, "disk_gone", "", d.unmount, d.mount},
		{"wrong-1", d, "disk_gone", "another disk", func() {
			d.unmount()
			d.mountOther()
		}, func() {
			d.unmount()
			d.mount()
		}},
		{"full-1", d, "disk_full", "", d.fill, d.unfill},
	} {
		tr := g.trial(f.id, "r1", f.happen)
		tr.waitSign("r1", f.alarm, d.data, f.says)
		tr.plays() // playback does not wait for it
		tr.heal(f.heal)
		s.waitNoAlarm(t, "r1", d.data)
		tr.twice()
		tr.complete()
		tr.end()
	}

	// While it does not run, the index is damaged, and the newest segments.
	tr := g.start("torn-1", "r1", false, func() {
		s.procs["r1"].kill()
		d.tear()
	})
	tr.waitSign("r1", "down")
	tr.plays()
	tr.heal(func() { s.procs["r1"].start(t) })
	s.waitNoAlarm(t, "r1", d.data)
	tr.twice()
	tr.converged()
	tr.end()
	log, err := os.ReadFile(s.procs["r1"].log)
	require.NoError(t, err)
	require.Contains(t, string(log), "rebuilding the index")
	s.checkAll(t, sim, g.from)

	// It ends although the disk hangs: the listener is closed, and nothing waits.
	d.freeze()
	s.waitAlarm(t, "r1", d.data, "disk_hung", "")
	went := time.AfterFunc(15*time.Second, d.thaw) // or the kernel keeps the process
	defer went.Stop()
	s.procs["r1"].terminate(t, 25*time.Second)
	log, err = os.ReadFile(s.procs["r1"].log)
	require.NoError(t, err)
	require.Contains(t, string(log), "stopped without a disk")
}

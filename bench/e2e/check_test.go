package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

// tolerance is how far capture times may be from the times at which a camera on a loaded
// machine sent: what lies so near to an end of a range or gap is not judged.
const tolerance = 400 * time.Millisecond

// cameras runs simulated cameras and returns them with what a site needs to know of them.
func cameras(t testing.TB, options []camsim.CameraOptions) (*camsim.Sim, []siteCamera) {
	t.Helper()
	sim, err := camsim.New(camsim.Options{LedgerDir: t.TempDir(), Cameras: options, Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	var list []siteCamera
	for i, c := range sim.Cameras() {
		url := c.URL
		if o := options[i]; o.User != "" {
			url = strings.Replace(url, "rtsp://", "rtsp://"+o.User+":"+o.Pass+"@", 1)
		}
		list = append(list, siteCamera{name: c.Name, source: url})
	}
	return sim, list
}

type camerasAnswer struct {
	Cameras []struct {
		Name      string     `json:"name"`
		State     string     `json:"state"`
		Error     string     `json:"error"`
		Protected *time.Time `json:"protectedUntil"`
		Healthy   int        `json:"healthyCopies"`
		Recorders []struct {
			Recorder    string     `json:"recorder"`
			State       string     `json:"state"`
			Healthy     bool       `json:"healthy"`
			Standby     bool       `json:"standby"`
			Protected   *time.Time `json:"protectedUntil"`
			Fragments   uint64     `json:"fragments"`
			OffsetsLost uint64     `json:"offsetsLost"`
		} `json:"recorders"`
	} `json:"cameras"`
}

// waitFor asks until ok says yes, or fails the test with what it said last.
func waitFor(t testing.TB, limit time.Duration, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(100 * time.Millisecond) // between two questions to another process
	}
}

// waitRecording waits until both copies of every camera are written and durable.
func (s *site) waitRecording(t testing.TB, limit time.Duration) {
	t.Helper()
	waitFor(t, limit, "every camera recorded twice", func() error {
		var a camerasAnswer
		if err := s.get("/v1/cameras", &a); err != nil {
			return err
		}
		if len(a.Cameras) != len(s.opts.cameras) {
			return fmt.Errorf("%d cameras of %d", len(a.Cameras), len(s.opts.cameras))
		}
		for _, c := range a.Cameras {
			if c.Healthy < 2 {
				return fmt.Errorf("%s: %d healthy copies, state %s %s", c.Name, c.Healthy, c.State, c.Error)
			}
		}
		return nil
	})
}

// waitDurable waits until every copy of every camera (of those recorders that run) is
// durable up to the instant.
func (s *site) waitDurable(t testing.TB, until time.Time, limit time.Duration) {
	t.Helper()
	waitFor(t, limit, "every copy durable up to "+until.Format(time.TimeOnly), func() error {
		var a camerasAnswer
		if err := s.get("/v1/cameras", &a); err != nil {
			return err
		}
		for _, c := range a.Cameras {
			for _, r := range c.Recorders {
				if r.Protected == nil || r.Protected.Before(until) {
					return fmt.Errorf("%s on %s (%s): durable up to %v", c.Name, r.Recorder, r.State, r.Protected)
				}
			}
		}
		return nil
	})
}

// checkExport exports [from, to) and compares it with the camera's ledger, together with
// the gaps that the timeline reports.
func (s *site) checkExport(t testing.TB, cam *camsim.Camera, from, to time.Time) *ledger.Report {
	t.Helper()
	tl, err := s.timeline(cam.Name, from, to)
	require.NoError(t, err)
	path := s.export(t, cam.Name, from, to)
	return compare(t, cam, path, tl, from, to)
}

// exported reads the access units of an export that begins at from.
func exported(t testing.TB, path string, l *ledger.Ledger, from time.Time) []ledger.AccessUnit {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	units, err := ledger.FromMP4(bufio.NewReaderSize(f, 1<<20), &l.Header, from.UnixNano())
	require.NoError(t, err, "read the export of %s", l.Camera)
	return units
}

func compare(t testing.TB, cam *camsim.Camera, path string, tl timeline, from, to time.Time) *ledger.Report {
	t.Helper()
	l, err := ledger.ReadFile(cam.Ledger)
	require.NoError(t, err)
	units := exported(t, path, l, from)
	o := ledger.Options{FromNS: from.UnixNano(), ToNS: to.UnixNano(), Tolerance: tolerance}
	for _, g := range tl.Gaps {
		o.Gaps = append(o.Gaps, ledger.Gap{StartNS: g.Start.UnixNano(), EndNS: g.End.UnixNano(), Cause: g.Cause})
	}
	return ledger.Check(l, units, o)
}

// checkCopy compares the media files of one recorder, read without duet, with the ledger.
func (s *site) checkCopy(t testing.TB, recorder string, cam *camsim.Camera, from, to time.Time, gaps []ledger.Gap) *ledger.Report {
	t.Helper()
	l, err := ledger.ReadFile(cam.Ledger)
	require.NoError(t, err)
	units, err := ledger.FromSegments(filepath.Join(s.dir, recorder), cam.Name, &l.Header)
	require.NoError(t, err, "read the segments of %s on %s", cam.Name, recorder)
	return ledger.Check(l, within(units, from, to), ledger.Options{FromNS: from.UnixNano(), ToNS: to.UnixNano(), Gaps: gaps, Tolerance: tolerance})
}

// within returns the units of [from, to).
func within(units []ledger.AccessUnit, from, to time.Time) []ledger.AccessUnit {
	return slices.DeleteFunc(units, func(a ledger.AccessUnit) bool {
		return a.CaptureNS < from.UnixNano() || a.CaptureNS >= to.UnixNano()
	})
}

// copies returns the recorders that a camera is placed on.
func (s *site) copies(t testing.TB, camera string) []string {
	t.Helper()
	var a camerasAnswer
	require.NoError(t, s.get("/v1/cameras", &a))
	var names []string
	for _, c := range a.Cameras {
		if c.Name == camera {
			for _, r := range c.Recorders {
				names = append(names, r.Recorder)
			}
		}
	}
	return names
}

// segments returns the media files of a recorder.
func (s *site) segments(t testing.TB, recorder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, recorder, "*", "*", "*.mp4"))
	require.NoError(t, err)
	return files
}

// verifySite compares both copies of everything by hashes that the recorders compute
// anew from their files.
func (s *site) verifySite(t testing.TB) {
	t.Helper()
	out, code := run(t, "verify", "--site", "-c", s.config)
	require.Zero(t, code, "duet verify --site:\n%s", out)
	t.Log("duet verify --site:\n" + out)
}

// noPanics looks for what must not be in any log.
func (s *site) noPanics(t testing.TB) {
	t.Helper()
	for name, p := range s.procs {
		b, err := os.ReadFile(p.log)
		require.NoError(t, err)
		for _, bad := range []string{"panic:", "goroutine 1 [", "fatal error:", "DATA RACE"} {
			require.NotContains(t, string(b), bad, "log of %s", name)
		}
	}
}

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/faults"
	"github.com/duet-video/duet/bench/ledger"
)

// Bits that flip and files that are cut off on one recorder, while it runs and while it
// does not, are never shown: merged exports are complete and proven, the damage is found
// by reading and by the scrubber, told with camera and time, and filled from the other
// recorder.
func TestDamageOnOneRecorderIsNeverShown(t *testing.T) {
	t.Parallel() // it mostly waits
	sim, list := cameras(t, []camsim.CameraOptions{{Name: "gate", Video: "h264", Audio: "aac"}})
	cam := sim.Cameras()[0]
	s := startSite(t, siteOptions{cameras: list, extra: "segment: {duration: 10s}\nscrub: {rate: 100MB/s, every: 1m}\n"})
	g := newStage(t, s, sim.Cameras())
	from := g.from
	to := from.Add(22 * time.Second)
	s.waitDurable(t, to, 60*time.Second)
	proven := func() {
		t.Helper()
		path := s.export(t, cam.Name, from, to)
		out, code := run(t, "verify", path, "--ca", filepath.Join(s.dir, "tls", "ca.crt"))
		require.Zero(t, code, "%s", out)
		require.NoError(t, s.checkExport(t, cam, from, to).Err())
	}
	proven()
	// whole: both copies of everything are there again, by hashes of what is on the disks.
	whole := func() error {
		out, _ := run(t, "verify", "--site", "--json", "-c", s.config, "--from", from.Add(-time.Minute).Format(time.RFC3339Nano), "--to", to.Format(time.RFC3339Nano))
		var all []struct{ Fragments, Equal int }
		start := strings.Index(out, "[")
		if start < 0 || json.NewDecoder(strings.NewReader(out[start:])).Decode(&all) != nil || len(all) != 1 {
			return fmt.Errorf("duet verify --site:\n%s", out)
		}
		if all[0].Fragments == 0 || all[0].Equal != all[0].Fragments {
			return fmt.Errorf("%d of %d fragments have two equal copies:\n%s", all[0].Equal, all[0].Fragments, out)
		}
		return nil
	}

	t.Log("while it runs")
	files := s.segments(t, "r1")
	require.GreaterOrEqual(t, len(files), 2)
	tr := g.trial("bits", "r1", func() { flip(t, files[:2]) }) // closed ones
	proven()
	_ = whole() // reads it, too
	tr.found()
	tr.plays()
	waitFor(t, 60*time.Second, "what is damaged is copied from the other recorder", whole)
	tr.result.Complete = time.Since(tr.began)
	tr.footage(from, to)
	tr.end()
	proven()

	t.Log("while it is stopped")
	var out string
	var code int
	tr = g.start("truncated", "r1", false, func() {
		s.procs["r1"].kill()
		out, code = run(t, "verify", "--data", filepath.Join(s.dir, "r1"))
		require.Zero(t, code, "%s", out)
		fresh := slices.DeleteFunc(s.segments(t, "r1"), func(f string) bool { return slices.Contains(files[:2], f) })
		require.GreaterOrEqual(t, len(fresh), 2)
		flip(t, fresh[1:2])
		info, err := os.Stat(fresh[0])
		require.NoError(t, err)
		require.NoError(t, os.Truncate(fresh[0], info.Size()*2/3))
		out, code = run(t, "verify", "--data", filepath.Join(s.dir, "r1"))
		require.Equal(t, 1, code, "%s", out)
		require.Contains(t, out, "camera gate")
		proven()
	})
	s.procs["r1"].start(t)
	tr.restart()
	s.waitRecording(t, 30*time.Second)
	proven()
	_ = whole()
	tr.found()
	tr.plays()
	waitFor(t, 60*time.Second, "what is damaged is copied from the other recorder", whole)
	tr.result.Complete = time.Since(tr.began)
	tr.footage(from, to)
	tr.end()
	proven()
	out, code = run(t, "verify", "--data", filepath.Join(s.dir, "r1"))
	require.NotZero(t, code)
	require.Contains(t, out, "in use")
	s.noPanics(t)
}

// flip flips bits all over files, in place: a recorder has them open. They are bits of
// footage: what precedes a fragment is no part of its hash, and mended by the scrubber.
func flip(t testing.TB, files []string) {
	t.Helper()
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		for i := len(data) / 5; i < len(data); i += len(data) / 3 {
			at := i
			const near = 400
			if bytes.Contains(data[max(0, at-near):min(len(data), at+near)], []byte("uuid")) {
				at -= 3 * near
			}
			flipAt(t, f, int64(at))
		}
	}
}

func flipAt(t testing.TB, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	b[0] ^= 0x40
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
}

// found waits until the recorder has told of the damage, by an alarm or, where that has
// gone again because the other copy was there, in its metrics.
func (tr *trial) found() {
	tr.t.Helper()
	const metric = "duet_recorder_fragments_damaged_total"
	waitFor(tr.t, alarmLimit, "the damage is told", func() error {
		if tr.seen(tr.node, "footage_damaged") {
			tr.waitSign(tr.node, "footage_damaged")
			return nil
		}
		if time.Since(tr.began) < alarmLimit/3 {
			return errors.New("no alarm yet")
		}
		resp, err := http.Get(tr.recorderHTTP[tr.node] + "/metrics")
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, metric+`{camera="gate"} `); ok {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				tr.signs = append([]faults.Sign{{From: tr.node, Code: metric, Text: strings.TrimSpace(rest), After: time.Since(tr.began)}}, tr.signs...)
				tr.pinned = true
				return nil
			}
		}
		return errors.New("no alarm, no count")
	})
}

// TestDamageOfEveryCopyIsAGapAndNeverShown: bits flip in a fragment on both recorders. It
// is never served; what is told instead is a gap, and why, and two alarms; everything
// around it is there. The files are still ones that other programs play.
func TestDamageOfEveryCopyIsAGapAndNeverShown(t *testing.T) {
	t.Parallel()
	sim, list := cameras(t, []camsim.CameraOptions{{Name: "gate", Video: "h264", Audio: "aac"}})
	cam := sim.Cameras()[0]
	s := startSite(t, siteOptions{cameras: list, extra: "segment: {duration: 5s}\nfragment: {max: 2s}\n"})
	g := newStage(t, s, sim.Cameras())
	to := g.from.Add(13 * time.Second)
	s.waitDurable(t, to, 60*time.Second)
	var inside []string // the files that begin within the range: the last one is still open
	for _, f := range s.segments(t, "r1") {
		day, name := filepath.Base(filepath.Dir(f)), filepath.Base(f)
		start, err := time.Parse("2006-01-02 15-04-05.000Z", day+" "+strings.Split(name, "_")[0])
		require.NoError(t, err)
		if start.After(g.from) {
			inside = append(inside, f)
		}
	}
	require.GreaterOrEqual(t, len(inside), 2)
	file := inside[0]
	twin := filepath.Join(s.dir, "r2", strings.TrimPrefix(file, filepath.Join(s.dir, "r1")))
	one, err := os.ReadFile(file)
	require.NoError(t, err)
	two, err := os.ReadFile(twin)
	require.NoError(t, err)
	require.True(t, bytes.Equal(one, two), "both recorders have the same file")
	packets := countPackets(t, file)
	l, err := ledger.ReadFile(cam.Ledger)
	require.NoError(t, err)
	units, err := ledger.FromSegments(filepath.Join(s.dir, "r1"), cam.Name, &l.Header)
	require.NoError(t, err)

	tr := g.trial("bits-all", "r1", func() {
		flipAt(t, file, int64(len(one)/2))
		flipAt(t, twin, int64(len(one)/2))
	})
	// Who reads it first gets an error or what is whole, and nothing that is wrong; who
	// tries again soon gets everything else.
	var tl timeline
	var path string
	broken := 0
	waitFor(t, 30*time.Second, "an export with a gap", func() error {
		if path, err = s.tryExport(cam.Name, g.from, to); err != nil {
			broken++
			return err
		}
		tl, err = s.timeline(cam.Name, g.from, to)
		require.NoError(t, err)
		if len(tl.Gaps) == 0 {
			return errors.New("no gap yet")
		}
		return nil
	})
	again := time.Since(tr.began)
	tr.waitSign("r1", "footage_damaged")
	waitFor(t, alarmLimit, "r2 tells it, too", func() error {
		if !tr.seen("r2", "footage_damaged") {
			return errors.New("not yet")
		}
		return nil
	})
	check := func() {
		t.Helper()
		var tl timeline
		waitFor(t, 20*time.Second, "both recorders say what they have", func() (err error) {
			if tl, err = s.timeline(cam.Name, g.from, to); err == nil && len(tl.Unknown) > 0 {
				err = fmt.Errorf("%+v", tl)
			}
			return err
		})
		require.Len(t, tl.Gaps, 1, "%+v", tl)
		require.Equal(t, "damaged", tl.Gaps[0].Cause)
		require.Less(t, tl.Gaps[0].End.Sub(tl.Gaps[0].Start), 3*time.Second, "one fragment")
		path := s.export(t, cam.Name, g.from, to)
		require.NoError(t, compare(t, cam, path, tl, g.from, to).Err())
		out, code := run(t, "verify", path, "--ca", filepath.Join(s.dir, "tls", "ca.crt"))
		require.Zero(t, code, "%s", out)
	}
	check()
	require.NoError(t, compare(t, cam, path, tl, g.from, to).Err(), "the first one that was whole")
	tr.recording()
	tr.livePictures(tr.began, time.Now())
	tr.result.Playback = "complete but for a gap of one fragment, `damaged`"
	tr.result.Export = fmt.Sprintf("complete but for the gap, after %.1f s; before, %d that broke off", again.Seconds(), broken)
	tr.end()

	// Other programs play the files around it, with duet gone.
	hole := tl.Gaps[0]
	missing := len(slices.DeleteFunc(within(units, hole.Start, hole.End), func(a ledger.AccessUnit) bool { return a.Track != 0 }))
	require.Positive(t, missing)
	for _, f := range []string{file, twin} {
		waitFor(t, 20*time.Second, "the fragment is in quarantine", func() error {
			if n := countPackets(t, f); n != packets-missing {
				return fmt.Errorf("%d packets of %d, %d of them damaged", n, packets, missing)
			}
			return nil
		})
		out, errOut, err := tool(t, time.Minute, "ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", f, "-f", "null", "-")
		require.NoError(t, err, "%s%s", out, errOut)
		require.Empty(t, errOut, "ffmpeg of %s", f)
	}

	s.procs["r1"].terminate(t, 15*time.Second)
	s.procs["r1"].start(t)
	s.waitRecording(t, 30*time.Second)
	check()
	s.noPanics(t)
}

// countPackets returns how many pictures another program finds in a file.
func countPackets(t testing.TB, file string) int {
	t.Helper()
	out, errOut, err := tool(t, time.Minute, "ffprobe", "-v", "error", "-select_streams", "v", "-count_packets",
		"-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", file)
	require.NoError(t, err, errOut)
	n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(out), ","))
	require.NoError(t, err, out)
	return n
}

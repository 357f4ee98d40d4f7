package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/faults"
	"github.com/duet-video/duet/bench/ledger"
)

const (
	// alarmLimit is how long an alarm may take to be seen at playback.
	alarmLimit = 10 * time.Second
	// goesOnLimit is how long recording may take to go on, and both copies to be complete.
	goesOnLimit = 60 * time.Second
)

// stage is a site on which one fault after the other is tried, while live readers watch
// every camera.
type stage struct {
	*site
	t    testing.TB
	cams []*camsim.Camera // what is looked at
	live *latencies
	// from is where the footage begins that playback is asked for.
	from time.Time
	// growth is how much the anonymous memory of a recorder may grow in a trial: two
	// fragments a camera, the window of the link (8 MiB), what is being read for playback
	// (8 MiB), and the same again as garbage.
	growth int64
}

// newStage begins to watch a site that records.
func newStage(t testing.TB, s *site, cams []*camsim.Camera) *stage {
	t.Helper()
	g := &stage{site: s, t: t, cams: cams, live: &latencies{}, growth: 32 << 20}
	ctx, cancel := context.WithCancel(context.Background())
	g.live.watch(ctx, t, s, cams)
	t.Cleanup(func() {
		cancel()
		g.live.done.Wait()
	})
	g.from = time.Now().Add(time.Second).Truncate(time.Millisecond)
	for _, r := range s.opts.recorders {
		s.waitAdvanced(t, r.name, g.from.Add(2*time.Second), 30*time.Second)
	}
	return g
}

// trial is one fault, as it is seen from outside: at playback's API, by live readers, in
// exports.
type trial struct {
	stage
	node    string // the recorder that it concerns
	answers bool   // it is to answer all the time
	result  faults.Result

	began, healed time.Time
	before        map[string]bool // signs that were there already
	stop          chan struct{}
	quit          func() // ends watching

	mu      sync.Mutex
	signs   []faults.Sign
	pinned  bool          // the first sign is the one that was waited for
	fewest  int           // copies that are written and durable, of any camera
	behind  time.Duration // of the better copy
	slowest time.Duration // answer of the recorder's /healthz
}

type alarmAnswer struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Camera  string `json:"camera"`
}

type nodeAnswer struct {
	Name   string        `json:"name"`
	State  string        `json:"state"`
	Error  string        `json:"error"`
	Alarms []alarmAnswer `json:"alarms"`
}

// trial makes a fault happen, and watches from then on.
func (g *stage) trial(id, node string, happen func()) *trial {
	g.t.Helper()
	return g.start(id, node, true, happen)
}

// start is trial; answers says whether the recorder is to answer all the time.
func (g *stage) start(id, node string, answers bool, happen func()) *trial {
	g.t.Helper()
	tr := &trial{
		stage: *g, node: node, answers: answers, before: map[string]bool{}, stop: make(chan struct{}), fewest: 2,
		result: faults.Result{Fault: id, Twice: -1, Complete: -1},
	}
	first, err := tr.see()
	require.NoError(g.t, err)
	for _, s := range first {
		tr.before[s.From+s.Code] = true
	}
	tr.result.MemoryBefore = g.procs[node].rss(g.t)
	tr.result.MemoryMost, tr.result.MemoryBound = tr.result.MemoryBefore, tr.result.MemoryBefore+g.growth
	tr.began = time.Now()
	happen()
	var both sync.WaitGroup
	both.Go(func() { tr.watch(tr.sample) })
	both.Go(func() { tr.watch(tr.sampleNode) })
	tr.quit = sync.OnceFunc(func() {
		close(tr.stop)
		both.Wait()
	})
	g.t.Cleanup(tr.quit) // of a test that fails
	return tr
}

// see returns what a user sees of nodes now.
func (tr *trial) see() ([]faults.Sign, error) {
	var r struct{ Recorders []nodeAnswer }
	var p struct{ Proxies []nodeAnswer }
	if err := errors.Join(tr.get("/v1/recorders", &r), tr.get("/v1/proxies", &p)); err != nil {
		return nil, err
	}
	var out []faults.Sign
	for _, n := range append(r.Recorders, p.Proxies...) {
		if n.State == "down" {
			out = append(out, faults.Sign{From: n.Name, Code: "down", Text: n.Error})
			continue // the rest is what it said last
		}
		for _, a := range n.Alarms {
			out = append(out, faults.Sign{From: n.Name, Code: a.Code, Text: a.Message})
		}
	}
	return out, nil
}

// watch samples until the trial is over.
func (tr *trial) watch(sample func()) {
	for {
		select {
		case <-tr.stop:
			return
		case <-time.After(200 * time.Millisecond):
		}
		sample()
	}
}

// sample asks playback.
func (tr *trial) sample() {
	signs, err := tr.see()
	var a camerasAnswer
	if err = errors.Join(err, tr.get("/v1/cameras", &a)); err != nil {
		tr.t.Errorf("%s: playback does not answer: %v", tr.result.Fault, err)
		return
	}
	now := time.Now()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !tr.healed.IsZero() {
		return
	}
	for _, s := range signs {
		i := slices.IndexFunc(tr.signs, func(k faults.Sign) bool { return k.From == s.From && k.Code == s.Code })
		switch {
		case tr.before[s.From+s.Code]:
		case i < 0:
			s.After = now.Sub(tr.began)
			tr.signs = append(tr.signs, s)
		case i > 0 || !tr.pinned:
			tr.signs[i].Text = s.Text
		}
	}
	for _, c := range a.Cameras {
		tr.fewest = min(tr.fewest, c.Healthy)
		if c.Protected != nil {
			tr.behind = max(tr.behind, now.Sub(*c.Protected))
		}
	}
}

// sampleNode asks the recorder for its health, and the kernel for its memory.
func (tr *trial) sampleNode() {
	rss, err := anonymous(tr.procs[tr.node].pid())
	if err != nil && tr.answers {
		tr.t.Errorf("%s: %s is not there: %v", tr.result.Fault, tr.node, err)
	}
	asked := time.Now()
	if err := tr.healthz(); err != nil && tr.answers {
		tr.t.Errorf("%s: health of %s: %v", tr.result.Fault, tr.node, err)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.answers {
		tr.slowest = max(tr.slowest, time.Since(asked))
	}
	tr.result.MemoryMost = max(tr.result.MemoryMost, rss)
}

// healthz asks the recorder whether it is worth keeping.
func (tr *trial) healthz() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, tr.recorderHTTP[tr.node]+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// waitSign waits for an alarm (or the state "down") of a node whose text says something. The
// first one that is waited for is what counts: it is held against the limit.
func (tr *trial) waitSign(from, code string, says ...string) {
	tr.t.Helper()
	var after time.Duration
	first := false
	waitFor(tr.t, 2*alarmLimit, from+" "+code, func() error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		i := slices.IndexFunc(tr.signs, func(s faults.Sign) bool {
			return s.From == from && s.Code == code && !slices.ContainsFunc(says, func(say string) bool { return !strings.Contains(s.Text, say) })
		})
		if i < 0 {
			return fmt.Errorf("signs %+v, those before %v", tr.signs, tr.before)
		}
		s := tr.signs[i]
		if !tr.pinned {
			tr.signs = slices.Insert(slices.Delete(tr.signs, i, i+1), 0, s)
			after, first, tr.pinned = s.After, true, true
		}
		return nil
	})
	if first {
		require.LessOrEqual(tr.t, after, alarmLimit, "%s: %s is raised", tr.result.Fault, code)
	}
}

// sent returns how many bytes the cameras have sent since the beginning.
func (tr *trial) sent() (n int64) {
	tr.t.Helper()
	for _, cam := range tr.cams {
		l, err := ledger.ReadFile(cam.Ledger)
		require.NoError(tr.t, err)
		for _, track := range l.Entries {
			for _, e := range track {
				if !e.At().Before(tr.began) {
					n += int64(e.Size)
				}
			}
		}
	}
	return n
}

// gone waits until an alarm is there no more.
func (tr *trial) gone(from, code string) {
	tr.t.Helper()
	waitFor(tr.t, goesOnLimit, from+" "+code+" goes", func() error {
		signs, err := tr.see()
		if err == nil && slices.ContainsFunc(signs, func(s faults.Sign) bool { return s.From == from && s.Code == code }) {
			err = fmt.Errorf("signs %+v", signs)
		}
		return err
	})
}

// seen reports whether a node has raised an alarm.
func (tr *trial) seen(from, code string) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.ContainsFunc(tr.signs, func(s faults.Sign) bool { return s.From == from && s.Code == code })
}

// behindBy returns how far the better copy of any camera was behind, at most.
func (tr *trial) behindBy() time.Duration {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.behind
}

// advanced returns an error as long as fewer than n copies of a camera have everything up
// to a moment.
func (tr *trial) advanced(n int, until time.Time) error {
	var a camerasAnswer
	if err := tr.get("/v1/cameras", &a); err != nil {
		return err
	}
	for _, c := range a.Cameras {
		have := 0
		for _, r := range c.Recorders {
			if r.Protected != nil && !r.Protected.Before(until) {
				have++
			}
		}
		if have < n {
			return fmt.Errorf("%d copies of %s are durable up to %v: %+v", have, c.Name, until, c.Recorders)
		}
	}
	return nil
}

// recording waits until something that came in after the beginning is durable, and once
// more: recording goes on.
func (tr *trial) recording() {
	tr.t.Helper()
	waitFor(tr.t, 30*time.Second, "recording goes on", func() error { return tr.advanced(1, tr.began.Add(2*time.Second)) })
}

// twice waits until what comes in is recorded twice again: during the fault, or, when
// that is over, after it.
func (tr *trial) twice() {
	tr.t.Helper()
	since := tr.began
	if tr.result.AfterHeal = !tr.healed.IsZero(); tr.result.AfterHeal {
		since = tr.healed
	}
	waitFor(tr.t, goesOnLimit, "two copies again", func() error { return tr.advanced(2, since) })
	tr.result.Twice = time.Since(since)
}

// complete waits until both copies hold the same up to the end of the fault, where that is
// to be measured.
func (tr *trial) complete() {
	tr.t.Helper()
	if os.Getenv(faults.Dir) != "" {
		tr.converged()
	}
}

// converged waits until both copies hold the same up to the end of the fault.
func (tr *trial) converged() {
	tr.t.Helper()
	waitFor(tr.t, goesOnLimit, "both copies complete", func() error {
		var a struct {
			Cameras []struct {
				Name     string     `json:"name"`
				Complete *time.Time `json:"completeUntil"`
			} `json:"cameras"`
		}
		if err := tr.get("/v1/cameras", &a); err != nil {
			return err
		}
		for _, c := range a.Cameras {
			if c.Complete == nil || c.Complete.Before(tr.healed) {
				return fmt.Errorf("%s: both copies are complete until %v", c.Name, c.Complete)
			}
		}
		return nil
	})
	tr.result.Complete = time.Since(tr.healed)
}

// plays looks at live readers, playback and an export, while the fault lasts: everything
// is there, as the ledgers say.
func (tr *trial) plays() {
	tr.t.Helper()
	tr.recording()
	tr.livePictures(tr.began, time.Now())
	tr.footage(tr.began.Truncate(time.Millisecond), tr.best())
}

// livePictures checks that readers got every picture that was sent in [from, to).
func (tr *trial) livePictures(from, to time.Time) {
	tr.t.Helper()
	var took []time.Duration
	waitFor(tr.t, 10*time.Second, "live readers get every picture", func() (err error) {
		took, err = tr.live.took(tr.cams, from, to)
		return err
	})
	tr.result.Live = fmt.Sprintf("all %d pictures, 99 %% within %d ms", len(took), quantile(took, 0.99).Milliseconds())
}

// best returns the moment up to which every camera has a copy, at least.
func (tr *trial) best() time.Time {
	tr.t.Helper()
	var names []string
	for _, c := range tr.cams {
		names = append(names, c.Name)
	}
	return tr.bestOf(tr.t, names...)
}

// bestOf is best of some cameras.
func (s *site) bestOf(t testing.TB, cameras ...string) time.Time {
	t.Helper()
	var a camerasAnswer
	require.NoError(t, s.get("/v1/cameras", &a))
	to := time.Now()
	for _, c := range a.Cameras {
		if !slices.Contains(cameras, c.Name) {
			continue
		}
		require.NotNil(t, c.Protected, c.Name)
		if c.Protected.Before(to) {
			to = *c.Protected
		}
	}
	return to.Truncate(time.Millisecond)
}

// restart begins to count only now.
func (tr *trial) restart() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.began, tr.signs = time.Now(), nil
	tr.before[tr.node+"down"] = true
}

// outlast waits until the fault has lasted so long.
func (tr *trial) outlast(d time.Duration) { time.Sleep(d - time.Since(tr.began)) }

// footage checks what is played back: of [since, to), which was recorded meanwhile, and an
// export that begins 5 s before.
func (tr *trial) footage(since, to time.Time) {
	tr.t.Helper()
	start := since.Add(-5 * time.Second)
	if start.Before(tr.from) {
		start = tr.from
	}
	var first, whole time.Duration
	for _, cam := range tr.cams {
		asked := time.Now()
		tl, err := tr.timeline(cam.Name, start, to)
		first = max(first, time.Since(asked))
		require.NoError(tr.t, err)
		require.Empty(tr.t, tl.Gaps, "%s: %s", tr.result.Fault, cam.Name)
		require.Empty(tr.t, tl.Unknown, "%s: %s", tr.result.Fault, cam.Name)
		player := newHLSClient(tr.http + "/v1/cameras/" + cam.Name + "/index.m3u8" + rangeQuery(since, to))
		ended, err := player.step()
		require.NoError(tr.t, err, "%s: %s", tr.result.Fault, cam.Name)
		require.True(tr.t, ended)
		require.Empty(tr.t, player.gaps)
		player.check(tr.t, cam, since.UnixNano(), to.UnixNano())
		asked = time.Now()
		path := tr.export(tr.t, cam.Name, start, to)
		whole = max(whole, time.Since(asked))
		require.NoError(tr.t, compare(tr.t, cam, path, tl, start, to).Err(), "%s: %s", tr.result.Fault, cam.Name)
	}
	require.Less(tr.t, whole, 20*time.Second, "%s: an export waits for nobody", tr.result.Fault)
	tr.result.Playback = fmt.Sprintf("complete (HLS), timeline in %d ms", first.Milliseconds())
	tr.result.Export = fmt.Sprintf("complete, %.0f s in %.1f s", to.Sub(start).Seconds(), whole.Seconds())
}

// heal ends the fault.
func (tr *trial) heal(how func()) {
	tr.t.Helper()
	tr.recorded()
	how()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.healed = time.Now()
}

// recorded notes how recording went on while the fault lasted.
func (tr *trial) recorded() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.result.Record == "" {
		tr.result.Record = fmt.Sprintf("%s, at most %.1f s behind", []string{"no copy", "one copy", "two copies"}[tr.fewest], tr.behind.Seconds())
	}
}

// end saves what was measured.
func (tr *trial) end() {
	tr.t.Helper()
	tr.quit()
	tr.recorded()
	r := &tr.result
	for _, s := range tr.signs {
		s.Text = tr.anonymize(s.Text)
		r.Signs = append(r.Signs, s)
	}
	tr.t.Logf("%s: %+v; /healthz within %v", r.Fault, *r, tr.slowest.Round(time.Millisecond))
	require.Less(tr.t, tr.slowest, 4*time.Second, "%s: health does not wait", r.Fault)
	require.LessOrEqual(tr.t, r.MemoryMost, r.MemoryBound, "%s: memory of %s", r.Fault, tr.node)
	require.NoError(tr.t, faults.Save(r))
}

var (
	paths     = regexp.MustCompile(`/\S*/(data|r\d)\b`)
	addresses = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	epochs    = regexp.MustCompile(`(\b|_)[0-9a-v]{26,}\b`)
)

// anonymize takes out of a text what is of this run only, and shortens it.
func (tr *trial) anonymize(text string) string {
	text = paths.ReplaceAllString(text, "DATA")
	text = addresses.ReplaceAllString(text, "ADDRESS")
	text = epochs.ReplaceAllString(text, "…")
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > 160 {
		text = string(r[:159]) + "…"
	}
	return text
}

// took returns how long the pictures took to readers that were sent in [from, to), sorted;
// an error says which one has not been seen.
func (l *latencies) took(cams []*camsim.Camera, from, to time.Time) ([]time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var d []time.Duration
	for _, cam := range cams {
		led, err := ledger.ReadFile(cam.Ledger)
		if err != nil {
			return nil, err
		}
		got := map[uint64]time.Time{}
		for _, s := range l.all[cam.Name] {
			got[s.number] = s.at
		}
		for _, e := range led.Entries[0] {
			if e.At().Before(from) || !e.At().Before(to) {
				continue
			}
			at, ok := got[e.Number]
			if !ok {
				return nil, fmt.Errorf("%s: picture %d, sent %v ago", cam.Name, e.Number, time.Since(e.At()))
			}
			d = append(d, at.Sub(e.At()))
		}
	}
	if len(d) == 0 {
		return nil, errors.New("no picture was sent")
	}
	slices.Sort(d)
	return d, nil
}

package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/duet-video/duet/bench/ledger"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

// Check checks what must hold of a site that has healed and come to rest. No camera may
// be sending any more.
func (s *Site) Check() error {
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	add(s.readers.judge(s))
	for i, c := range s.cameras { // while copies may still differ
		add(s.checkSessions(c))
		add(s.checkTogether(i, c))
	}
	add(s.converge())
	acked := s.acknowledged()
	s.seen.mu.Lock()
	said := map[string]bool{}
	for _, err := range s.seen.faults {
		if !said[err.Error()] {
			said[err.Error()] = true
			add(err)
		}
	}
	s.seen.mu.Unlock()
	for i, c := range s.cameras {
		held := map[string][]*nodepb.Fragment{}
		for _, r := range s.copies(i) {
			list, err := s.holds(r, c.name)
			if err != nil {
				add(err)
				continue
			}
			held[r] = list
			if s.spare(i, r) {
				continue
			}
			key := copyKey{c.name, r}
			if err := s.covers(key, coverageOf(list), acked[key]); err != nil {
				add(ackedIsPlayed.broken("%s, %s: %w", r, c.name, err))
			}
		}
		add(equalBytes(c.name, held))
		add(s.checkPlayback(c))
	}
	s.seen.mu.Lock()
	locks := slices.Clone(s.seen.evidence)
	s.seen.mu.Unlock()
	for _, e := range locks {
		add(s.checkEvidence(e))
	}
	for _, r := range s.order {
		add(s.checkIndex(r))
	}
	return errors.Join(errs...)
}

func coverageOf(list []*nodepb.Fragment) coverage {
	held := coverage{}
	for _, f := range list {
		e := record.Epoch(f.GetEpoch())
		held[e] = append(held[e], extent{f.GetFirst(), f.GetEnd()})
	}
	return held
}

// checkSessions checks that a camera's session has not ended for anything that was done to
// recorders.
func (s *Site) checkSessions(c *camera) error {
	s.seen.mu.Lock()
	excused := s.seen.anyTrouble([]string{c.name, proxyHost})
	s.seen.mu.Unlock()
	if n := c.sessionCount(); n > 1 && !excused {
		return faultsStayApart.broken("%s has had %d sessions, although nobody touched it or the proxy", c.name, n)
	}
	return nil
}

// checkTogether checks, for copies of which one is a spare, that both together have what
// either has acknowledged, unless a disk was lost.
func (s *Site) checkTogether(i int, c *camera) error {
	if !s.opts.Spare {
		return nil
	}
	acked, together := map[record.Epoch]uint64{}, coverage{}
	forgiven := false
	for _, r := range s.copies(i) {
		list, err := s.holds(r, c.name)
		if err != nil {
			return err
		}
		for e, x := range coverageOf(list) {
			together[e] = append(together[e], x...)
		}
		key := copyKey{c.name, r}
		for e, end := range s.acknowledged()[key] {
			acked[e] = max(acked[e], end)
		}
		s.seen.mu.Lock()
		forgiven = forgiven || s.seen.lost[key] || s.seen.wiped[r]
		s.seen.mu.Unlock()
	}
	primary := copyKey{c.name, s.copies(i)[0]}
	if forgiven {
		return nil
	}
	if err := s.covers(primary, together, acked); err != nil {
		return ackedIsPlayed.broken("%s, primary and spare together: %w", c.name, err)
	}
	return nil
}

// checkIndex stops a recorder and checks that its indexes name exactly what its media
// hold, which is what indexes made anew would name.
func (s *Site) checkIndex(recorder string) error {
	n := s.nodes[recorder]
	p := n.running()
	if p == nil {
		return fmt.Errorf("%s does not run", recorder)
	}
	hurt := p.mount.touched()
	if err := s.Stop(recorder); err != nil {
		return fmt.Errorf("stop %s: %w", recorder, err)
	}
	if hurt { // what could not be cut off then is cut off by the next start
		if err := s.Start(recorder); err != nil {
			return err
		}
		time.Sleep(3 * time.Second)
		if err := s.Stop(recorder); err != nil {
			return fmt.Errorf("stop %s: %w", recorder, err)
		}
	}
	for disk := range n.disks.broken {
		if err := s.checkIndexOf(n, disk); err != nil {
			return indexEqualsMedia.broken("%s: %w", recorder, err)
		}
	}
	return nil
}

func (s *Site) checkIndexOf(n *node, disk int) error {
	mem := n.disks.copied()
	store, err := openIndex(mem, disk)
	if err != nil {
		return fmt.Errorf("open the index after its end: %w", err)
	}
	defer store.Close()
	whole, err := wholeFragments(mem, disk)
	if err != nil {
		return err
	}
	type start struct {
		camera string
		epoch  record.Epoch
		first  uint64
	}
	ends := map[start]uint64{}
	for _, c := range store.Cameras() {
		for ref, err := range store.Fragments(c.Name, 0, math.MaxInt64) {
			if err != nil {
				return err
			}
			at := place{ref.Segment, ref.At}
			if got, ok := whole[at]; !ok || got.Hash != ref.Hash {
				return fmt.Errorf("the index names fragment %s+%d at %d of %s, which is not there", ref.Epoch, ref.First, ref.At, ref.Segment)
			}
			delete(whole, at)
			ends[start{c.Name, ref.Epoch, ref.First}] = ref.End
		}
	}
	for at, i := range whole {
		// One whose end had not been seen is followed, once it has, by the whole one; and
		// the link and repair may write the same one between two commits. The index names
		// the later one, the bytes of the first go with their segment.
		if ends[start{i.Camera, i.Epoch, i.First}] >= i.End {
			continue
		}
		return fmt.Errorf("%d whole fragments are in no index, one at %d of %s", len(whole), at.at, at.path)
	}
	return s.checkFiles(n, mem, disk)
}

// checkFiles checks that media files are whole to their ends, as a player wants them: what
// a crash has torn was cut off.
func (s *Site) checkFiles(n *node, mem vfs.FS, disk int) error {
	names, err := segments(mem, disk)
	if err != nil {
		return err
	}
	for _, name := range names {
		if s.seen.isSpoiled(n.name, disk, name) {
			continue
		}
		items, err := scan(mem, mem.PathJoin(dataDir(disk), name), false)
		if err != nil {
			return err
		}
		for _, it := range items {
			if it.Kind == media.ItemTail || it.Kind == media.ItemDamage {
				return fmt.Errorf("%s has %d bytes at %d that are nothing", name, it.Len, it.At)
			}
		}
	}
	return nil
}

// timeline is what playback answers.
type timeline struct {
	Spans []struct {
		Start, End time.Time
		Recorders  []string
	}
	Gaps []struct {
		Start, End time.Time
		Cause      string
	}
	Unknown []struct{ Start, End time.Time }
}

// end returns the end of what the timeline tells of: what comes after it is still to be
// recorded.
func (t *timeline) end() (end time.Time) {
	later := func(at time.Time) {
		if at.After(end) {
			end = at
		}
	}
	for _, x := range t.Spans {
		later(x.End)
	}
	for _, x := range t.Gaps {
		later(x.End)
	}
	for _, x := range t.Unknown {
		later(x.End)
	}
	return end
}

// answer is what playback says.
type answer struct {
	code   int
	status string
	header http.Header
	body   []byte
}

// request asks playback from a host. The answer's body is the caller's to read and close.
func (s *Site) request(ctx context.Context, from, method, path string, q url.Values, body io.Reader) (*http.Response, error) {
	dial := s.net.dialer(from)
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, playbackHost) },
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+playbackHost+path+"?"+q.Encode(), body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return (&http.Client{Transport: tr}).Do(req)
}

// ask asks playback and reads the answer.
func (s *Site) ask(method, path string, q url.Values, body io.Reader, limit time.Duration) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	resp, err := s.request(ctx, checkerHost, method, path, q, body)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Status, resp.Header, b}, err
}

func (s *Site) timeline(camera string, from, to time.Time) (*timeline, error) {
	got, err := s.ask(http.MethodGet, "/v1/cameras/"+camera+"/timeline", rangeOf(from, to), nil, 20*time.Second)
	if err != nil {
		return nil, err
	}
	if got.code != http.StatusOK {
		return nil, fmt.Errorf("timeline of %s: %s: %s", camera, got.status, got.body)
	}
	var t timeline
	return &t, json.Unmarshal(got.body, &t)
}

func rangeOf(from, to time.Time) url.Values {
	return url.Values{"start": {from.UTC().Format(time.RFC3339Nano)}, "end": {to.UTC().Format(time.RFC3339Nano)}}
}

// errUnknown: somebody who did not answer may have more than what came.
var errUnknown = errors.New("a recorder did not answer")

// export reads a recording.
func (s *Site) export(c *camera, from, to time.Time) ([]ledger.AccessUnit, error) {
	got, err := s.ask(http.MethodGet, "/v1/cameras/"+c.name+"/recording.mp4", rangeOf(from, to), nil, time.Minute)
	if err != nil {
		return nil, fmt.Errorf("export of %s: %w", c.name, err)
	}
	switch got.code {
	case http.StatusOK:
		if u := got.header.Get("Duet-Unknown"); u != "" {
			return nil, fmt.Errorf("export of %s: %w: %s", c.name, errUnknown, u)
		}
		return unitsOf(c, got.header, got.body)
	case http.StatusNotFound:
		return nil, nil
	}
	return nil, fmt.Errorf("export of %s: %s: %s", c.name, got.status, got.body)
}

func unitsOf(c *camera, h http.Header, body []byte) ([]ledger.AccessUnit, error) {
	start, err := time.Parse(time.RFC3339Nano, h.Get("Duet-Start"))
	if err != nil {
		return nil, fmt.Errorf("export of %s: %w", c.name, err)
	}
	return ledger.FromMP4(bytes.NewReader(body), &c.book.Header, start.UnixNano())
}

// compare compares what playback gave of a range, and what it said that is missing, with
// what the camera sent.
func (s *Site) compare(c *camera, t *timeline, units []ledger.AccessUnit, from, to time.Time) error {
	o := ledger.Options{FromNS: from.UnixNano(), ToNS: to.UnixNano(), Tolerance: frameEvery / 3}
	for _, g := range t.Gaps {
		o.Gaps = append(o.Gaps, ledger.Gap{StartNS: g.Start.UnixNano(), EndNS: g.End.UnixNano(), Cause: g.Cause})
	}
	for _, g := range t.Unknown {
		o.Gaps = append(o.Gaps, ledger.Gap{StartNS: g.Start.UnixNano(), EndNS: g.End.UnixNano()})
	}
	r := ledger.Check(c.ledger(), units, o)
	if len(t.Unknown) > 0 { // who did not answer may have had nothing to say
		r.Faults = slices.DeleteFunc(r.Faults, func(f ledger.Fault) bool { return f.Kind == ledger.Phantom })
	}
	if err := r.Err(); err != nil {
		return gapsAreReal.broken("%s: merged playback: %w", c.name, err)
	}
	return nil
}

// checkPlayback compares what playback gives with what the camera sent.
func (s *Site) checkPlayback(c *camera) error {
	entries := c.ledger().Entries[0]
	if len(entries) == 0 {
		return nil
	}
	from, to := s.start, time.Unix(0, entries[len(entries)-1].AtNS).Add(frameEvery)
	var err error
	for range 3 { // retention may delete between two questions
		var t *timeline
		if t, err = s.timeline(c.name, from, to); err != nil {
			return err
		}
		if len(t.Unknown) > 0 {
			return gapsAreReal.broken("%s: the timeline has %d unknown stretches, although every recorder is there", c.name, len(t.Unknown))
		}
		var units []ledger.AccessUnit
		if units, err = s.export(c, from, to); err != nil {
			return ackedIsPlayed.broken("%w", err)
		}
		if err = s.compare(c, t, units, from, to); err == nil || s.opts.Quota == 0 && s.opts.Age == 0 {
			return err
		}
	}
	return err
}

// look checks what playback says in the middle of a story: it says of nothing that nobody
// has it which a recorder that runs has, and what it gives is what the camera sent.
func (s *Site) look(camera string) error {
	c := s.camera(camera)
	if c == nil {
		return fmt.Errorf("there is no camera %s", camera)
	}
	i := slices.Index(s.cameras, c)
	if s.nodes[playbackHost].running() == nil {
		return nil
	}
	held := func() map[fragmentKey]*nodepb.Fragment {
		out := map[fragmentKey]*nodepb.Fragment{}
		for _, r := range s.copies(i) {
			if s.nodes[r].running() == nil {
				continue
			}
			if list, err := s.holds(r, camera); err == nil {
				for _, f := range list {
					out[keyOf(f)] = f
				}
			}
		}
		return out
	}
	before := held()
	from, to := s.start, time.Now().Add(-behindMost)
	if !to.After(from) {
		return nil
	}
	t, err := s.timeline(camera, from, to)
	if err != nil {
		return nil //nolint:nilerr // nobody may be there to answer; at the end somebody is
	}
	units, err := s.export(c, from, to)
	if err != nil {
		return nil //nolint:nilerr // likewise
	}
	after := held()
	for k, f := range before {
		start, end := time.Unix(0, f.GetStartNs()), time.Unix(0, f.GetEndNs())
		if after[k] == nil {
			continue
		}
		for _, g := range t.Gaps {
			if min(g.End.Sub(start), end.Sub(g.Start)) > time.Millisecond {
				return gapsAreReal.broken("%s: playback says that nobody has %s … %s (%s), and somebody holds %s … %s", camera,
					s.seconds(g.Start), s.seconds(g.End), g.Cause, s.seconds(start), s.seconds(end))
			}
		}
	}
	if len(after) < len(before) { // retention deletes
		return nil
	}
	if err := s.compare(c, t, units, from, t.end()); err != nil {
		// A recorder may have come back, or have been repaired, between two questions.
		t, err2 := s.timeline(camera, from, to)
		units, err3 := s.export(c, from, to)
		if err2 == nil && err3 == nil {
			return s.compare(c, t, units, from, t.end())
		}
	}
	return nil
}

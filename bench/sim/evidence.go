package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/duet-video/duet/index"
)

// evidence is a lock that was placed.
type evidence struct {
	name, id, camera string
	from, to         int64 // Unix ns
	at               time.Time
	// inForce are the recorders that had it when it was answered.
	inForce []string
	// held is what they had of the range then: it has to stay.
	held []heldStretch
	// leaving are the files, by fileKey, whose deletion they had decided before: the index
	// has forgotten them, and the lock does not bring them back.
	leaving map[string]bool
	// released: nothing keeps its footage, or nothing may. unsure: the answer did not come.
	released, unsure bool
}

type heldStretch struct {
	from, to  time.Time
	recorders []string
}

func (e *evidence) String() string { return "lock " + e.name + " of " + e.camera }

func (e *evidence) overlaps(camera string, start, end int64) bool {
	return e.camera == camera && start < e.to && e.from < end
}

// holds reports whether a recorder must keep footage for the lock.
func (e *evidence) holds(key copyKey, start, end int64) bool {
	return !e.released && !e.unsure && slices.Contains(e.inForce, key.recorder) && e.overlaps(key.camera, start, end)
}

// mayHold reports whether a recorder may keep it.
func (e *evidence) mayHold(camera string, start, end int64) bool {
	return (!e.released || e.unsure) && e.overlaps(camera, start, end)
}

// lock places a lock on what a camera sent from one age to another, and says what came of
// it. A refusal is none of an error.
func (s *Site) lock(camera string, from, to time.Duration) (string, error) {
	now := time.Now()
	e := &evidence{camera: camera, from: now.Add(-from).UnixNano(), to: now.Add(-to).UnixNano()}
	body, err := json.Marshal(map[string]string{
		"camera": camera, "start": now.Add(-from).UTC().Format(time.RFC3339Nano), "end": now.Add(-to).UTC().Format(time.RFC3339Nano),
		"reason": "a story",
	})
	if err != nil {
		return "", err
	}
	s.seen.mu.Lock()
	s.seen.locked[camera] = true
	e.name = fmt.Sprint(len(s.seen.evidence) + 1)
	s.seen.mu.Unlock()
	got, err := s.ask(http.MethodPost, "/v1/locks", nil, bytes.NewReader(body), 20*time.Second)
	var view struct {
		ID, Title string
		InForce   []string
	}
	switch {
	case err != nil: // it may have been placed
		e.unsure = true
	case got.code != http.StatusCreated:
		if got.code/100 == 5 && got.code != http.StatusServiceUnavailable && got.code != http.StatusInsufficientStorage {
			return "", fmt.Errorf("place a lock: %s: %s", got.status, got.body)
		}
		_ = json.Unmarshal(got.body, &view)
		e.unsure = got.code == http.StatusServiceUnavailable
		if !e.unsure {
			return "refused: " + view.Title + "\n", nil
		}
	default:
		if err := json.Unmarshal(got.body, &view); err != nil {
			return "", err
		}
		e.id, e.inForce = view.ID, view.InForce
		slices.Sort(e.inForce)
		e.leaving = s.leaving(e.inForce)
		if t, err := s.timeline(camera, now.Add(-from), now.Add(-to)); err == nil {
			for _, x := range t.Spans {
				e.held = append(e.held, heldStretch{x.Start, x.End, x.Recorders})
			}
		}
	}
	e.at = time.Now()
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	s.seen.evidence = append(s.seen.evidence, e)
	if e.unsure {
		return "no answer\n", nil
	}
	return fmt.Sprintf("%s in force on %v\n", e, e.inForce), nil
}

// leaving returns the files that recorders have marked for deletion and not yet removed,
// because a disk failed or a process died in between. Where no index can be read there
// are none.
func (s *Site) leaving(recorders []string) map[string]bool {
	out := map[string]bool{}
	for _, name := range recorders {
		n := s.nodes[name]
		for disk := range n.disks.broken {
			store, err := openIndex(n.disks.copied(), disk)
			if err != nil {
				continue
			}
			for _, seg := range store.Deleting() {
				out[fileKey(name, disk, seg.Path)] = true
			}
			_ = store.Close()
		}
	}
	return out
}

// locked reports whether a recorder must keep footage for any lock.
func (s *Site) locked(key copyKey, f *footage) bool {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	return slices.ContainsFunc(s.seen.evidence, func(e *evidence) bool { return e.holds(key, f.start, f.end) })
}

// neverNamed reports whether a file never came into the index: it neither names a fragment
// of it nor has it marked for deletion. That is a file that was condemned before a commit, of
// which nothing was acknowledged and which comes again. With an index that cannot be read,
// or does not name all that there is, nobody knows, and it is none.
func (s *Site) neverNamed(recorder string, disk int, f *footage) bool {
	mem := s.nodes[recorder].disks.copied()
	if _, err := mem.Stat(mem.PathJoin(dataDir(disk), ".duet", "adopting.json")); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	store, err := openIndex(mem, disk)
	if err != nil {
		return false
	}
	defer store.Close()
	if slices.ContainsFunc(store.Deleting(), func(seg index.Segment) bool { return seg.Path == f.path }) {
		return false
	}
	for i := range f.fragments {
		x := &f.fragments[i]
		ref, err := store.Lookup(x.Camera, x.StartNS, index.Key{Epoch: x.Epoch, First: x.First})
		if err == nil && ref.Segment == f.path || err != nil && !errors.Is(err, index.ErrNotFound) {
			return false
		}
	}
	return true
}

// unmark forgets which files of a disk were marked for deletion: so does its index, and
// one that is made anew names them again.
func (o *observations) unmark(disk string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.evidence {
		maps.DeleteFunc(e.leaving, func(file string, _ bool) bool { return strings.HasPrefix(file, disk) })
	}
}

// release releases the lock that was placed as the n-th. One that was refused has no
// number, and then it does nothing.
func (s *Site) release(n int) error {
	s.seen.mu.Lock()
	var e *evidence
	if n > 0 && n <= len(s.seen.evidence) {
		e = s.seen.evidence[n-1]
	}
	s.seen.mu.Unlock()
	if e == nil || e.released || e.id == "" {
		return nil
	}
	if err := s.checkEvidence(e); err != nil {
		return err
	}
	s.seen.mu.Lock()
	e.released = true
	s.seen.mu.Unlock()
	got, err := s.ask(http.MethodDelete, "/v1/locks/"+e.id, nil, nil, 20*time.Second)
	if err != nil || got.code != http.StatusOK {
		s.seen.mu.Lock()
		e.unsure = true
		s.seen.mu.Unlock()
	}
	return nil
}

// checkEvidence checks that what a lock keeps is not missing from the timeline.
func (s *Site) checkEvidence(e *evidence) error {
	if e.released || e.unsure || len(e.held) == 0 {
		return nil
	}
	t, err := s.timeline(e.camera, e.held[0].from, e.held[len(e.held)-1].to)
	if err != nil { // playback may be down
		return nil //nolint:nilerr // at the end it is not
	}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	for _, h := range e.held {
		sound := func(r string) bool { return slices.Contains(e.inForce, r) && !s.seen.wiped[r] }
		if !slices.ContainsFunc(h.recorders, sound) || len(s.seen.spoiledFiles) > 0 && len(e.inForce) < 2 {
			continue
		}
		for _, g := range t.Gaps {
			if g.Start.Before(h.to) && h.from.Before(g.End) {
				return evidenceStays.broken("%s, on %v, keeps %s … %s, and the timeline lacks %s … %s (%s)", e, e.inForce,
					s.seconds(h.from), s.seconds(h.to), s.seconds(g.Start), s.seconds(g.End), g.Cause)
			}
		}
	}
	return nil
}

package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// disksOf returns the recorder and the disks that a word names: r1 or r1/2.
func (s *Site) disksOf(word string) (n *node, list []int, err error) {
	name, number, one := strings.Cut(word, "/")
	n = s.nodes[name]
	if n == nil || n.disks == nil {
		return nil, nil, fmt.Errorf("%s has no disk", name)
	}
	if !one {
		for i := range n.disks.broken {
			list = append(list, i)
		}
		return n, list, nil
	}
	i, err := strconv.Atoi(number)
	if err != nil || i < 1 || i > len(n.disks.broken) {
		return nil, nil, fmt.Errorf("%s has no disk %q", name, number)
	}
	return n, []int{i - 1}, nil
}

// onDisks changes what is wrong with disks.
func (s *Site) onDisks(word string, f func(*condition)) error {
	n, list, err := s.disksOf(word)
	for _, i := range list {
		n.disks.set(i, f)
	}
	return err
}

// lose notes that a recorder has lost a disk: of what it held nothing is promised any more
// but that the other copy has it.
func (s *Site) lose(n *node) {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	s.seen.wiped[n.name] = true
	for key := range s.seen.horizon {
		if key.recorder == n.name {
			delete(s.seen.horizon, key)
		}
	}
}

// killDisk makes every operation of a disk fail, for good.
func (s *Site) killDisk(word string) error {
	n, list, err := s.disksOf(word)
	if err != nil {
		return err
	}
	s.lose(n)
	for _, i := range list {
		n.disks.set(i, func(c *condition) { c.dead = true })
	}
	return nil
}

// wipe puts an empty disk in the place of one. The recorder must be down: while it runs it
// waits for the disk that it had.
func (s *Site) wipe(word string) error {
	n, list, err := s.disksOf(word)
	if err != nil {
		return err
	}
	if n.running() != nil {
		return fmt.Errorf("%s runs", n.name)
	}
	s.lose(n)
	mem := n.disks.memory()
	for _, i := range list {
		if err := mem.RemoveAll(root(i)); err != nil {
			return err
		}
		if err := begin(mem, i); err != nil {
			return err
		}
		n.disks.set(i, func(c *condition) { *c = condition{} })
	}
	return nil
}

// forget removes the indexes of a recorder that is down.
func (s *Site) forget(word string) error {
	n, list, err := s.disksOf(word)
	if err != nil {
		return err
	}
	if n.running() != nil {
		return fmt.Errorf("%s runs", n.name)
	}
	mem := n.disks.memory()
	for _, i := range list {
		if err := mem.RemoveAll(mem.PathJoin(dataDir(i), ".duet", "index")); err != nil {
			return err
		}
		s.seen.unmark(fileKey(n.name, i, ""))
	}
	return nil
}

// freeze makes a machine hang, as far as others see.
func (s *Site) freeze(name string, yes bool) error {
	if s.nodes[name] == nil {
		return fmt.Errorf("there is no node %s", name)
	}
	s.net.change(func() { s.net.frozen[name] = yes })
	return nil
}

// damage damages a media file of a recorder, of which every fragment is durable at the
// other recorder of the camera too; where there is no such file, it does nothing.
func (s *Site) damage(word, how string) error {
	n, list, err := s.disksOf(word)
	if err != nil {
		return err
	}
	type file struct {
		disk int
		footage
	}
	var candidates []file
	for i, c := range s.cameras {
		copies := s.copies(i)
		at := slices.Index(copies, n.name)
		if at < 0 {
			continue
		}
		there := s.durable(s.nodes[copies[1-at]])
		for _, disk := range list {
			files, _, err := stored(n.disks.memory(), disk)
			if err != nil {
				return err
			}
			files = slices.DeleteFunc(files, func(f footage) bool { return !strings.HasPrefix(f.path, c.name+"/") })
			var newest int64
			for _, f := range files {
				newest = max(newest, f.end)
			}
			for j, f := range files {
				if len(f.fragments) == 0 || how != "bit" && (j == len(files)-1 || f.end == newest) { // it may be being written
					continue
				}
				if !slices.ContainsFunc(f.fragments, func(i media.Info) bool { return !there[i.Hash] }) {
					candidates = append(candidates, file{disk, f})
				}
			}
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	f := candidates[s.rand.IntN(len(candidates))]
	key := copyKey{f.fragments[0].Camera, n.name}
	s.seen.mu.Lock()
	s.seen.spoiledFiles[fileKey(n.name, f.disk, f.path)] = true
	s.seen.damagedAt = time.Now()
	if s.seen.spoiled[key] == nil {
		s.seen.spoiled[key] = coverage{}
	}
	for i := range f.fragments {
		s.seen.spoiled[key].add(&f.fragments[i])
	}
	s.seen.mu.Unlock()
	mem := n.disks.memory()
	return spoil(mem, mem.PathJoin(dataDir(f.disk), f.path), how, s.rand)
}

// durable returns the hashes of the fragments that would survive a power cut.
func (s *Site) durable(n *node) map[media.Hash]bool {
	out := map[media.Hash]bool{}
	mem := clone(n.disks.memory(), n.disks.rand, 0, len(n.disks.broken))
	for i := range n.disks.broken {
		whole, err := wholeFragments(mem, i)
		if err != nil {
			continue
		}
		for at, info := range whole {
			if !s.seen.isSpoiled(n.name, i, at.path) {
				out[info.Hash] = true
			}
		}
	}
	return out
}

// failureChecks bounds how often a disk is looked at for one process: one that is dead fails
// all the time. failureTime is how long after an operation failed it is looked at, each time
// that more is acknowledged.
const (
	failureChecks = 4
	failureTime   = 4 * time.Second
	failureLook   = 100 * time.Millisecond
)

// failed is told when an operation of a disk was made to fail. As soon as more than before
// is acknowledged, that must be there, before repair can fill a hole.
func (s *Site) failed(recorder string) func(*mount) {
	return func(m *mount) {
		s.seen.mu.Lock()
		enough := s.seen.checking[recorder] || s.seen.checked[m] >= failureChecks
		if !enough {
			s.seen.checking[recorder] = true
		}
		s.seen.mu.Unlock()
		if !enough {
			s.work.Go(func() { s.afterFailure(recorder, m) })
		}
	}
}

func (s *Site) afterFailure(recorder string, m *mount) {
	n := s.nodes[recorder]
	sum := func(acked map[copyKey]map[record.Epoch]uint64) (all uint64) {
		for key, byEpoch := range acked {
			for _, end := range byEpoch {
				if key.recorder == recorder {
					all += end
				}
			}
		}
		return all
	}
	last := sum(s.acknowledged())
	for began := time.Now(); time.Since(began) < failureTime; time.Sleep(failureLook) {
		if p := n.running(); p == nil || p.mount != m {
			break
		}
		acked := s.acknowledged()
		now := sum(acked)
		if now == last {
			continue
		}
		last = now
		s.seen.mu.Lock()
		s.seen.checked[m]++
		s.seen.mu.Unlock()
		if err := s.checkDisk(n, acked); err != nil {
			s.seen.fault(fmt.Errorf("after an operation failed: %w", err))
			break
		}
	}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	s.seen.checking[recorder] = false
}

package sim

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/duet-video/duet/internal/media"
)

// perFragment is what a fragment counts for on a disk, beside its bytes.
const perFragment = 256

// footage is what a media file holds.
type footage struct {
	path       string
	fragments  []media.Info
	start, end int64 // Unix ns
	bytes      int64
}

func footageOf(mem vfs.FS, disk int, path string) (footage, error) {
	f := footage{path: path}
	items, err := scan(mem, mem.PathJoin(dataDir(disk), path), false)
	for _, it := range items {
		if it.Kind != media.ItemFragment {
			continue
		}
		if len(f.fragments) == 0 || it.Info.StartNS < f.start {
			f.start = it.Info.StartNS
		}
		f.end = max(f.end, it.Info.EndNS)
		f.bytes += it.Info.Size + perFragment
		f.fragments = append(f.fragments, it.Info)
	}
	return f, err
}

// stored returns what all media files of a disk hold.
func stored(mem vfs.FS, disk int) (files []footage, bytes int64, err error) {
	names, err := segments(mem, disk)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range names {
		f, err := footageOf(mem, disk, name)
		if errors.Is(err, fs.ErrNotExist) { // it went meanwhile
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		files, bytes = append(files, f), bytes+f.bytes
	}
	return files, bytes, nil
}

// removing judges a media file that a recorder is about to remove. What retention may
// delete is noted as expired. What goes for another reason (a file that a crash has torn,
// one that was condemned) must not have been acknowledged, which covers finds out.
func (s *Site) removing(recorder string) func(*mount, int, string) {
	return func(m *mount, disk int, name string) {
		path := strings.TrimPrefix(name, dataDir(disk)+"/")
		f, err := footageOf(m.mem, disk, path)
		if err != nil || len(f.fragments) == 0 {
			return
		}
		key := copyKey{f.fragments[0].Camera, recorder}
		never := s.locked(key, &f) && s.neverNamed(recorder, disk, &f)
		s.seen.mu.Lock()
		defer s.seen.mu.Unlock()
		file := fileKey(recorder, disk, path)
		for _, e := range s.seen.evidence {
			left := e.leaving[file]
			delete(e.leaving, file) // another one of the name is another one
			if !left && !never && e.holds(key, f.start, f.end) {
				s.seen.faults = append(s.seen.faults, evidenceStays.broken("%s removes %s, which %s keeps since %v", recorder, path, e, e.at.Sub(s.start)))
			}
		}
		if !s.mayExpire(m, disk, recorder, &f) {
			return
		}
		if s.seen.expired[key] == nil {
			s.seen.expired[key] = coverage{}
		}
		for i := range f.fragments {
			s.seen.expired[key].add(&f.fragments[i])
		}
		s.seen.horizon[key] = max(s.seen.horizon[key], f.end)
	}
}

// mayExpire reports whether the rules of retention want a file to go.
func (s *Site) mayExpire(m *mount, disk int, recorder string, f *footage) bool {
	clock := s.nodes[recorder].clock
	now := max(time.Now().UnixNano(), clock.Now().UnixNano())
	if s.opts.Age > 0 && f.end < now-int64(s.opts.Age) {
		return true
	}
	if s.opts.Quota == 0 {
		return false
	}
	files, bytes, err := stored(m.mem, disk)
	if err != nil {
		return false
	}
	// Several go in one batch, in another order than they were chosen in.
	largest := slices.MaxFunc(files, func(a, b footage) int { return int(a.bytes - b.bytes) }).bytes
	return bytes > s.opts.Quota-largest
}

// crowdedTime is how long a disk may have more than its quota and what is being written:
// after its start a recorder waits for the locks of the others before it deletes.
const crowdedTime = 50 * time.Second

// checkQuota checks that disks hold no more than they may.
func (s *Site) checkQuota() {
	for _, name := range s.order {
		n := s.nodes[name]
		p := n.running()
		for disk := range n.disks.broken {
			if err := s.checkDiskUse(n, p, disk); err != nil {
				s.seen.fault(err)
			}
		}
	}
}

func (s *Site) checkDiskUse(n *node, p *process, disk int) error {
	key := fileKey(n.name, disk, "")
	over, err := s.overQuota(n, disk)
	if err != nil {
		return err
	}
	o := &s.seen
	o.mu.Lock()
	defer o.mu.Unlock()
	if over <= 0 || p == nil || p.mount.touched() || n.disks.condition(disk) != (condition{}) {
		delete(o.crowded, key)
		return nil
	}
	if o.crowded[key].IsZero() {
		o.crowded[key] = time.Now()
	}
	if since := o.crowded[key]; time.Since(since) > crowdedTime && time.Since(o.trouble[n.name]) > crowdedTime {
		return boundsHold.broken("disk %d of %s has had %d bytes more than it may since %v", disk+1, n.name, over, since.Sub(s.start))
	}
	return nil
}

// overQuota returns by how many bytes a disk holds more than its quota, what is locked,
// and the file that each camera writes to.
func (s *Site) overQuota(n *node, disk int) (int64, error) {
	files, bytes, err := stored(n.disks.memory(), disk)
	if err != nil {
		return 0, err
	}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	newest := map[string]int64{}
	for i := range files {
		f := &files[i]
		if len(f.fragments) == 0 {
			continue
		}
		camera := f.fragments[0].Camera
		if slices.ContainsFunc(s.seen.evidence, func(e *evidence) bool { return e.mayHold(camera, f.start, f.end) }) {
			bytes -= f.bytes
			continue
		}
		newest[camera] = max(newest[camera], f.bytes)
	}
	for _, b := range newest {
		bytes -= 2 * b // what is recorded, and what is copied
	}
	return bytes - s.opts.Quota, nil
}

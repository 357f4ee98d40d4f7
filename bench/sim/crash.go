package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// checkDisk checks what a crash has left of a recorder: every fragment that an index
// names is there, whole, and everything that was acknowledged is named.
func (s *Site) checkDisk(n *node, acked map[copyKey]map[record.Epoch]uint64) error {
	held := map[string]coverage{} // by camera
	for i := range n.disks.broken {
		if err := s.checkVolume(n, i, acked, held); err != nil {
			return err
		}
	}
	for i, c := range s.cameras {
		key := copyKey{c.name, n.name}
		if !slices.Contains(s.copies(i), n.name) || s.spare(i, n.name) {
			continue
		}
		if err := s.covers(key, held[c.name], acked[key]); err != nil {
			return crashCostsNothing.broken("%s, %s, after a crash: %w", n.name, c.name, err)
		}
	}
	return nil
}

// spare reports whether a recorder's copy of a camera is made only now and then.
func (s *Site) spare(camera int, recorder string) bool {
	return s.opts.Spare && s.copies(camera)[0] != recorder
}

// checkVolume is checkDisk for one disk. It adds what the disk holds to held.
func (s *Site) checkVolume(n *node, disk int, acked map[copyKey]map[record.Epoch]uint64, held map[string]coverage) error {
	mem := n.disks.copied() // looking at it must not change it
	dir := mem.PathJoin(dataDir(disk), ".duet", "index")
	if _, err := mem.Stat(dir); err != nil {
		if disk == 0 && len(n.disks.broken) == 1 && len(ackedBy(acked, n.name)) > 0 && !s.seen.isWiped(n.name) {
			return crashCostsNothing.broken("%s has acknowledged, and after the crash there is no index: %w", n.name, err)
		}
		return nil
	}
	store, err := openIndex(mem, disk)
	if err != nil {
		return crashCostsNothing.broken("open the index of %s as the crash left it: %w", n.name, err)
	}
	defer store.Close()
	whole, err := wholeFragments(mem, disk)
	if err != nil {
		return err
	}
	for _, c := range s.cameras {
		if held[c.name] == nil {
			held[c.name] = coverage{}
		}
		for ref, err := range store.Fragments(c.name, 0, math.MaxInt64) {
			if err != nil {
				return crashCostsNothing.broken("index of %s after the crash: %w", n.name, err)
			}
			if got, ok := whole[place{ref.Segment, ref.At}]; (!ok || got.Hash != ref.Hash) && !s.seen.isSpoiled(n.name, disk, ref.Segment) {
				return crashCostsNothing.broken("%s: the index names fragment %s+%d at %d of %s, which the crash has not left whole",
					n.name, ref.Epoch, ref.First, ref.At, ref.Segment)
			}
			held[c.name].add(&ref.Info)
		}
		for _, d := range store.Damaged(c.name, 0, math.MaxInt64) {
			held[c.name].add(&d.Info) // it is being fetched again
		}
	}
	for _, seg := range store.Deleting() { // a deletion is under way; it is judged when the file goes
		for at, i := range whole {
			if at.path == seg.Path && held[seg.Camera] != nil {
				held[seg.Camera].add(&i)
			}
		}
	}
	return nil
}

func openIndex(mem vfs.FS, disk int) (*index.Store, error) {
	return index.Open(index.Options{
		FS: mem, Dir: mem.PathJoin(dataDir(disk), ".duet", "index"), CacheBytes: 1 << 20, Log: zerolog.Nop(), MustExist: true,
	})
}

func ackedBy(acked map[copyKey]map[record.Epoch]uint64, recorder string) []copyKey {
	var out []copyKey
	for k := range acked {
		if k.recorder == recorder {
			out = append(out, k)
		}
	}
	return out
}

// place is where a fragment is on a disk.
type place struct {
	path string // below the data directory
	at   int64
}

// wholeFragments reads all media of a disk.
func wholeFragments(mem vfs.FS, disk int) (map[place]media.Info, error) {
	names, err := segments(mem, disk)
	if err != nil {
		return nil, err
	}
	out := map[place]media.Info{}
	for _, name := range names {
		items, err := scan(mem, mem.PathJoin(dataDir(disk), name), true)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if it.Kind == media.ItemFragment && !it.BadHash {
				out[place{name, it.At}] = it.Info
			}
		}
	}
	return out, nil
}

// scan returns what a media file is made of.
func scan(mem vfs.FS, name string, verify bool) ([]media.Item, error) {
	b, err := readAll(mem, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	var out []media.Item
	for sc := media.NewScanner(bytes.NewReader(b), int64(len(b)), verify); ; {
		it, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, it)
	}
}

// extent are offsets: first ≤ offset < end.
type extent struct{ first, end uint64 }

// coverage are the offsets that fragments have, by epoch, in any order.
type coverage map[record.Epoch][]extent

func (c coverage) add(i *media.Info) { c[i.Epoch] = append(c[i.Epoch], extent{i.First, i.End}) }

// covers reports, with an error, what a copy has acknowledged and does not hold, unless it
// may have lost it: its disk was wiped, retention has deleted it, the copy was away for
// longer than the log. What was sent before it first came counts for nothing.
func (s *Site) covers(key copyKey, held coverage, acked map[record.Epoch]uint64) error {
	o := &s.seen
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lost[key] || o.wiped[key.recorder] {
		return nil
	}
	// Retention takes the oldest. There is a hole before what it left only where locks
	// are, or where it spared what was the only copy.
	holes := o.locked[key.camera] || o.anyTrouble(s.order)
	for epoch, end := range acked {
		list := append(slices.Clone(held[epoch]), o.spoiled[key][epoch]...)
		if holes {
			list = append(list, o.expired[key][epoch]...)
		}
		slices.SortFunc(list, func(a, b extent) int { return int(a.first) - int(b.first) })
		if len(list) == 0 {
			if len(o.expired[key][epoch]) > 0 {
				continue
			}
			return fmt.Errorf("acknowledged %s up to offset %d, holds nothing of it", epoch, end)
		}
		at := list[0].first
		for _, x := range list {
			// Behind the end nothing was promised; what retention has passed does not come back.
			if x.first > at && at < end && (!holes || len(o.expired[key]) == 0) {
				return fmt.Errorf("acknowledged %s up to offset %d, holds nothing of %d … %d", epoch, end, at, x.first)
			}
			at = max(at, x.end)
		}
		if at < end {
			return fmt.Errorf("acknowledged %s up to offset %d, holds it up to %d", epoch, end, at)
		}
	}
	return nil
}

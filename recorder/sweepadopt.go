package recorder

import (
	"context"

	"github.com/duet-video/duet/index"
)

// While an index is being made anew, what it does not name yet takes room all the same, and
// may be older than all that it names.

// storedOf is what a camera takes of the disk.
func (v *volume) storedOf(c *index.Camera) int64 {
	unnamed, _, _ := v.adopt.waiting(c.Name)
	return stored(c.Bytes, c.Fragments) + unnamed
}

// adoptOldest makes the index name the oldest footage of those cameras of which something
// has to go. It reports whether it is known what is the oldest.
func (v *volume) adoptOldest(ctx context.Context, s *index.Store, room diskRoom, now int64) (known bool, err error) {
	if !v.adopt.adopting() {
		return true, nil
	}
	due := map[string]bool{}
	var total int64
	for _, c := range s.Cameras() {
		_, oldest, known := v.adopt.waiting(c.Name)
		if !known {
			return false, nil
		}
		total += v.storedOf(&c)
		h := held{rule: v.opts.retention(c.Name), bytes: v.storedOf(&c)}
		due[c.Name] = h.due(min(c.StartNS, oldest), now)
	}
	pressed := room.pressure(total, room.free) != ""
	return true, v.adopt.oldest(ctx, func(camera string) bool { return pressed || due[camera] }, sweepLimit, v.disk.sweeping.begin)
}

// olderUnnamed reports whether the index does not name something that is older than a
// segment which has to go, and would have to go before it.
func (v *volume) olderUnnamed(d *doomed) bool {
	switch d.cause {
	case goesAge: // that is no matter of order
		return false
	case goesBytes:
		_, oldest, _ := v.adopt.waiting(d.camera)
		return oldest < d.startNS
	}
	return v.adopt.oldestOf() < d.startNS
}

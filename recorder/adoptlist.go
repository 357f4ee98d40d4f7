package recorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/nodepb"
)

const (
	// clockSlack is by how much the clock of the proxy, which stamps footage, may be ahead
	// of that of the disk, which stamps files.
	clockSlack = 2 * time.Minute
	// segmentMost is how long a segment lasts at most.
	segmentMost = 24 * time.Hour
)

// unnamed is a media file that the index does not name yet, or not wholly.
type unnamed struct {
	camera, path string
	// No footage in it starts before startNS or ends after untilNS.
	startNS, untilNS int64
	size, modNS      int64
	fresh            bool // it was written to just before the process ended
	tries            int
	done             bool
}

// unnamedFiles are all of a disk.
type unnamedFiles struct {
	queue    []*unnamed // the latest end first
	next     int        // of queue: all before are done
	byCamera map[string]*cameraFiles

	count, done     int
	bytes, donBytes int64
	newestMod       int64
}

// cameraFiles are those of a camera.
type cameraFiles struct {
	byStart, byEnd   []*unnamed // the oldest, the latest end first
	nextOld, nextEnd int
	bytes            int64 // not done
}

// skip returns the first index from n on of a file that is not done.
func skip(list []*unnamed, n int) int {
	for n < len(list) && list[n].done {
		n++
	}
	return n
}

// untilOf bounds the time at which the footage of a file ends: it was captured before it
// was written, and a segment does not last longer than a day. What a clock that was wrong
// has stamped is not believed.
func untilOf(startNS, modNS int64) int64 {
	last := startNS + int64(segmentMost+clockSlack)
	if modNS < startNS {
		return last
	}
	return min(last, modNS+int64(clockSlack))
}

// list finds the files that the index does not name, unless that was done.
func (a *adopter) list(ctx context.Context) (round int, err error) {
	a.mu.Lock()
	round, listed, mark := a.round, a.listed, a.mark
	a.mu.Unlock()
	if listed {
		a.rewind()
		return round, nil
	}
	if err := a.index.err(); err != nil {
		return round, err
	}
	found, err := a.find(ctx, mark)
	if err != nil {
		return round, fmt.Errorf("look for segments: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.round != round {
		return round, errors.New("the index failed again")
	}
	a.files, a.listed, a.said = *found, true, a.clock.Now()
	a.log.Warn().Int("segments", found.count).Int64("bytes", found.bytes).Msg("rebuilding the index; recording goes on meanwhile")
	return round, nil
}

func (a *adopter) find(ctx context.Context, mark adoptMark) (*unnamedFiles, error) {
	all, err := a.all()
	if err != nil {
		return nil, err
	}
	out := &unnamedFiles{byCamera: map[string]*cameraFiles{}}
	partial := map[string]bool{}
	for _, p := range mark.Partial {
		partial[p] = true
	}
	for camera, paths := range all {
		known := map[string]bool{}
		for seg, err := range a.index.store().Segments(camera) {
			if err != nil {
				return nil, err
			}
			known[seg.Path] = seg.Fragments > 0
		}
		c := &cameraFiles{}
		for _, p := range paths {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			info, err := a.fs.Stat(a.fs.PathJoin(a.dir, p))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			modNS := info.ModTime().UnixNano()
			out.newestMod = max(out.newestMod, modNS)
			if name, ok := parseSegmentPath(p); ok && (!known[p] || partial[p]) {
				start := name.startMS * 1e6
				c.byStart = append(c.byStart, &unnamed{
					camera: camera, path: p, startNS: start, untilNS: untilOf(start, modNS), size: info.Size(), modNS: modNS,
				})
				c.bytes += info.Size()
			}
		}
		if len(c.byStart) == 0 {
			continue
		}
		slices.SortFunc(c.byStart, func(a, b *unnamed) int { return cmp.Compare(a.startNS, b.startNS) })
		c.byEnd = slices.Clone(c.byStart)
		slices.SortFunc(c.byEnd, laterEnd)
		out.byCamera[camera] = c
		out.queue = append(out.queue, c.byEnd...)
		out.count += len(c.byStart)
		out.bytes += c.bytes
	}
	for _, f := range out.queue {
		f.fresh = f.modNS >= out.newestMod-int64(freshFor)
	}
	slices.SortFunc(out.queue, laterEnd)
	return out, nil
}

func laterEnd(a, b *unnamed) int {
	return cmp.Or(cmp.Compare(b.untilNS, a.untilNS), cmp.Compare(b.startNS, a.startNS), cmp.Compare(a.path, b.path))
}

// rewind begins again at the first file that is not done.
func (a *adopter) rewind() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files.next = 0
}

// pick returns the file that is next; nil: there is none, or another round began.
func (a *adopter) pick(round int) *unnamed {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := &a.files
	for a.round == round && a.listed && u.next < len(u.queue) {
		f := u.queue[u.next]
		u.next++
		if !f.done {
			return f
		}
	}
	return nil
}

// pickOldest returns the oldest file of the cameras that want says.
func (a *adopter) pickOldest(want func(string) bool) (oldest *unnamed) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for camera, c := range a.files.byCamera {
		if !want(camera) {
			continue
		}
		c.nextOld = skip(c.byStart, c.nextOld)
		if c.nextOld == len(c.byStart) {
			continue
		}
		if f := c.byStart[c.nextOld]; oldest == nil || f.startNS < oldest.startNS {
			oldest = f
		}
	}
	return oldest
}

func (a *adopter) settled(f *unnamed) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return f.done
}

// again counts a failure, and reports whether the file is to be tried again.
func (a *adopter) again(f *unnamed) bool {
	a.mu.Lock()
	f.tries++
	tries := f.tries
	if tries >= adoptTries {
		a.mark.left = true
	}
	a.mu.Unlock()
	if tries < adoptTries {
		return true
	}
	a.done(f)
	return false
}

// done notes that a file is named.
func (a *adopter) done(f *unnamed) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.files.byCamera[f.camera]
	if f.done || c == nil {
		return
	}
	f.done = true
	c.bytes -= f.size
	a.files.done++
	a.files.donBytes += f.size
}

// since returns the time from which on all that is there of a camera is named; 0: all of
// it is, math.MaxInt64: that is not known. Unix ns.
func (a *adopter) since(camera string) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sinceLocked(camera)
}

func (a *adopter) sinceLocked(camera string) int64 {
	if !a.active {
		return 0
	}
	if !a.listed {
		return math.MaxInt64
	}
	c := a.files.byCamera[camera]
	if c == nil {
		return 0
	}
	if c.nextEnd = skip(c.byEnd, c.nextEnd); c.nextEnd == len(c.byEnd) {
		return 0
	}
	return max(c.byEnd[c.nextEnd].untilNS, 1)
}

// waiting returns how many bytes of a camera the index does not name, and where the oldest
// of them begins; false: it is not known yet.
func (a *adopter) waiting(camera string) (bytes, startNS int64, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.files.byCamera[camera]
	if !a.active || a.listed && c == nil {
		return 0, math.MaxInt64, true
	}
	if !a.listed {
		return 0, math.MaxInt64, false
	}
	startNS = math.MaxInt64
	if c.nextOld = skip(c.byStart, c.nextOld); c.nextOld < len(c.byStart) {
		startNS = c.byStart[c.nextOld].startNS
	}
	return c.bytes, startNS, true
}

// oldestOf returns where the oldest file begins that is not named.
func (a *adopter) oldestOf() int64 {
	if f := a.pickOldest(func(string) bool { return true }); f != nil {
		return f.startNS
	}
	return math.MaxInt64
}

// locked adds up the files that are not named and that locks keep, and those that one
// more, if it is not nil, would keep beside them.
func (a *adopter) locked(locks lock.Set, more *lock.Lock) (locked, added int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for camera, c := range a.files.byCamera {
		if len(locks.Active(camera)) == 0 && (more == nil || more.Camera != camera) {
			continue
		}
		for _, f := range c.byStart {
			switch {
			case f.done:
			case locks.Holds(camera, f.startNS, f.untilNS):
				locked += f.size
			case more != nil && more.Camera == camera && more.Overlaps(f.startNS, f.untilNS):
				added += f.size
			}
		}
	}
	return locked, added
}

// tell logs now and then how far it is.
func (a *adopter) tell(round int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.clock.Now(); a.round == round && now.Sub(a.said) >= adoptSay {
		a.said = now
		a.log.Info().Int("segments", a.files.done).Int("of", a.files.count).Msg("rebuilding the index")
	}
}

// finish ends the work: everything is named, durably.
func (a *adopter) finish(round int) error {
	a.mu.Lock()
	current, left := a.round, a.mark.left
	a.mu.Unlock()
	if current != round {
		return nil
	}
	if !left { // else the next start tries again
		if err := removeMark(a.archive); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.round != round {
		return nil
	}
	a.active, a.listed = false, false
	a.log.Info().Int("segments", a.files.count).Bool("leftOut", left).Dur("took", a.clock.Now().Sub(a.began)).Msg("the index is complete again")
	a.files = unnamedFiles{}
	return nil
}

// status tells how far it is; nil: there is nothing to do.
func (a *adopter) status() *nodepb.Adoption {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.active {
		return nil
	}
	u := &a.files
	out := &nodepb.Adoption{
		SinceNs: a.began.UnixNano(), Segments: uint64(u.count), SegmentsDone: uint64(u.done), Bytes: uint64(u.bytes), BytesDone: uint64(u.donBytes),
	}
	if !a.listed {
		return out
	}
	for camera := range u.byCamera {
		out.CompleteFromNs = max(out.CompleteFromNs, a.sinceLocked(camera))
	}
	if took := a.clock.Now().Sub(a.began); u.donBytes > 0 && took > 0 {
		out.RemainingNs = int64(float64(took) / float64(u.donBytes) * float64(u.bytes-u.donBytes))
	}
	return out
}

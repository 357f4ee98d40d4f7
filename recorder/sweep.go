package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/duet-video/duet/index"
)

const (
	sweepInterval = 3 * time.Second
	// sweepLimit is how many segments go in one round, sweepLook how many of each
	// camera are considered.
	sweepLimit = 16
	sweepLook  = 16
	// sweepFragments is how many fragments leave the index in one batch, or those of
	// one segment.
	sweepFragments = 1000

	minFreeMost  = 10 << 30
	minFreeShare = 100
)

// runSweeper looks after room and retention until ctx ends.
func (v *volume) runSweeper(ctx context.Context) {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	for {
		v.disk.sweeping.begin()
		v.disk.look()
		err := v.sweep(ctx)
		v.disk.sweeping.end()
		if err != nil && ctx.Err() == nil {
			if n, ok := v.every.Allow("retention"); ok {
				v.opts.Log.Error().Err(err).Int("suppressed", n).Msg("retention")
			}
		}
		select {
		case <-t.C:
		case <-v.sweepNow:
		case <-ctx.Done():
			return
		}
	}
}

// sweep deletes what has to go, a few segments at a time.
func (v *volume) sweep(ctx context.Context) error {
	for {
		gone, err := v.sweepOnce(ctx)
		if err != nil || gone == 0 || gone+v.stuck < sweepLimit || ctx.Err() != nil {
			return err
		}
		v.disk.sweeping.begin() // it gets on
		v.disk.look()
		if !pause(ctx, 50*time.Millisecond) { // others want the disk too
			return nil
		}
	}
}

// sweepOnce deletes up to sweepLimit segments. Files that cannot be unlinked count as some
// of them, so that no more leave the index than these where nothing can be unlinked.
func (v *volume) sweepOnce(ctx context.Context) (gone int, err error) {
	s := v.index.store()
	if s == nil || v.index.err() != nil {
		return 0, nil
	}
	if err := v.unlinkMarked(s); err != nil || v.stuck >= sweepLimit { // what a failure has interrupted
		return 0, err
	}
	if err := v.measureLocked(s); err != nil {
		return 0, err
	}
	if why := v.hold(); why != "" {
		return 0, nil
	}
	room := v.room()
	newest := int64(0)
	for _, c := range s.Cameras() {
		newest = max(newest, c.EndNS)
	}
	now := ageNow(v.opts.Clock.Now().UnixNano(), v.steady(), newest)
	if known, err := v.adoptOldest(ctx, s, room, now); err != nil || !known {
		return 0, err
	}
	cameras, err := v.candidates(s, room, now)
	if err != nil {
		return 0, err
	}
	list := slices.DeleteFunc(expire(now, cameras, room, sweepLimit-v.stuck), func(d doomed) bool { return v.disk.isLive(d.path) || v.olderUnnamed(&d) })
	var went []doomed
	err = v.locks.unlessLocked(ctx, list, func(free []doomed) error {
		went, err = forget(s, free)
		return err
	})
	if len(went) > 0 {
		err = errors.Join(err, v.unlinkMarked(s))
		v.changed()
	}
	for _, d := range went {
		v.meters.deleted.WithLabelValues(d.cause).Inc()
		v.meters.deletedBytes.Add(float64(d.bytes))
		v.opts.Log.Debug().Str("camera", d.camera).Str("segment", d.path).Str("cause", d.cause).Bool("sole", d.sole).Msg("segment deleted")
	}
	return len(went), err
}

// room returns what there is to share.
func (v *volume) room() diskRoom {
	room := diskRoom{quota: v.place.Quota, minFree: v.place.MinFree, free: -1}
	if u := v.disk.room.Load(); u != nil {
		room.free = int64(u.AvailBytes)
		room.minFree = v.minFree(u)
	}
	if v.disk.files.Load().short(2) { // a file goes, which is a segment
		room.free, room.minFree = 0, 1
	}
	return room
}

// candidates returns what is held of each camera and what of it may go, where anything
// has to.
func (v *volume) candidates(s *index.Store, room diskRoom, now int64) (cameras []held, err error) {
	all := s.Cameras()
	var total int64
	for _, c := range all {
		total += v.storedOf(&c)
	}
	pressed := room.pressure(total, room.free) != ""
	locks, live := v.locks.current(), v.disk.livePaths()
	for _, c := range all {
		h := held{camera: c.Name, rule: v.opts.retention(c.Name), bytes: v.storedOf(&c)}
		if !pressed && !h.due(c.StartNS, now) {
			cameras = append(cameras, h)
			continue
		}
		pick := candidates{camera: c.Name, locks: locks, live: func(p string) bool { return live[p] }, want: sweepLook}
		if pressed {
			if pick.sole, err = v.sole(s, c.Name); err != nil {
				return nil, err
			}
		}
		for seg, err := range s.Segments(c.Name) {
			if err != nil {
				return nil, fmt.Errorf("list segments of camera %s: %w", c.Name, err)
			}
			if !pick.take(&seg) {
				break
			}
		}
		h.oldest = pick.oldest
		cameras = append(cameras, h)
	}
	return cameras, nil
}

// sole returns what tells the only copies of a camera's footage; nil: nobody knows.
func (v *volume) sole(s *index.Store, camera string) (func(*index.Segment) bool, error) {
	others := v.others(camera)
	if len(others) == 0 {
		return nil, nil
	}
	mine, err := s.Spans(camera, 0, math.MaxInt64)
	if err != nil {
		return nil, fmt.Errorf("list spans of camera %s: %w", camera, err)
	}
	return func(seg *index.Segment) bool { return soleCopy(seg, mine, others) }, nil
}

// forget takes segments out of the index, a limited number of fragments at a time:
// commits wait for it.
func forget(s *index.Store, list []doomed) (went []doomed, err error) {
	return forgetBy(s.ExpireSegments, list)
}

func forgetBy(expire func([]index.SegmentName) ([]index.Segment, error), list []doomed) (went []doomed, err error) {
	for len(list) > 0 {
		var names []index.SegmentName
		fragments := int64(0)
		for _, d := range list {
			if len(names) > 0 && fragments+d.fragments > sweepFragments {
				break
			}
			fragments += d.fragments
			names = append(names, index.SegmentName{Camera: d.camera, Path: d.path})
		}
		if _, err := expire(names); err != nil {
			return went, fmt.Errorf("delete segments: %w", err)
		}
		went = append(went, list[:len(names)]...)
		list = list[len(names):]
	}
	return went, nil
}

// unlinkMarked is the second and the third step of deletions. A file that cannot be
// unlinked keeps its mark, is tried again in the next round, and does not hold up the
// others.
func (v *volume) unlinkMarked(s *index.Store) error {
	var names []index.SegmentName
	var dirs []string
	v.stuck = 0
	for _, m := range s.Deleting() {
		name := v.disk.name(m.Path)
		err := v.opts.FS.Remove(name)
		if errors.Is(err, fs.ErrNotExist) { // or it is the disk that is not there, which comes back with the file
			err = v.disk.present()
			if err != nil {
				return fmt.Errorf("delete segment %s: %w", m.Path, err)
			}
		}
		if err != nil {
			v.stuck++
			v.complain(m.Path, err)
			continue
		}
		names = append(names, index.SegmentName{Camera: m.Camera, Path: m.Path})
		if dir := v.opts.FS.PathDir(name); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if len(names) == 0 {
		return nil
	}
	for _, dir := range dirs {
		if err := syncDir(v.opts.FS, dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete segments in %s: %w", dir, err)
		}
	}
	if err := s.DropSegments(names); err != nil {
		return err
	}
	for _, dir := range dirs {
		v.prune(dir)
	}
	return nil
}

// complain tells of a file that cannot be unlinked.
func (v *volume) complain(path string, err error) {
	if n, ok := v.every.Allow("unlink"); ok {
		v.opts.Log.Error().Err(err).Str("segment", path).Int("suppressed", n).
			Msg("cannot delete a file that retention has taken out of the index; trying again")
	}
}

// prune removes the directory of a date when it is empty. One that is in use, or that
// gets a file just now, is not empty, and stays.
func (v *volume) prune(dir string) {
	names, err := v.opts.FS.List(dir)
	if err != nil || len(names) > 0 || v.disk.uses(dir) {
		return
	}
	if err := v.opts.FS.Remove(dir); err != nil {
		v.opts.Log.Debug().Err(err).Str("directory", dir).Msg("an empty directory stays")
	}
}

// minFree returns how much of the disk stays free: always more than what the writer
// needs to go on, or neither would do anything about a full disk.
func (v *volume) minFree(u *vfs.DiskUsage) int64 {
	least := v.place.MinFree
	if least == 0 {
		least = int64(min(u.TotalBytes/minFreeShare, minFreeMost))
	}
	return max(least, 2*int64(reserve(u)))
}

package recorder

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	sweepInterval = 3 * time.Second
	// sweepLimit is how many segments go in one round, sweepLook how many of each
	// camera are considered.
	sweepLimit = 16
	sweepLook  = 16

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
		if err != nil || gone < sweepLimit || ctx.Err() != nil {
			return err
		}
		v.disk.sweeping.begin() // it gets on
		v.disk.look()
		if !pause(ctx, 50*time.Millisecond) { // others want the disk too
			return nil
		}
	}
}

func (v *volume) sweepOnce(ctx context.Context) (gone int, err error) {
	s := v.index.store()
	if s == nil || v.index.err() != nil {
		return 0, nil
	}
	for _, m := range s.Deleting() { // what a failure has interrupted
		if err := unlink(v.archive, s, m.Camera, m.Path); err != nil {
			return 0, err
		}
	}
	room := diskRoom{quota: v.place.Quota, minFree: v.place.MinFree, free: -1}
	if u := v.disk.room.Load(); u != nil {
		room.free = int64(u.AvailBytes)
		room.minFree = v.minFree(u)
	}
	var cameras []held
	var newest int64
	for _, c := range s.Cameras() {
		newest = max(newest, c.EndNS)
		h := held{camera: c.Name, rule: v.opts.retention(c.Name), bytes: c.Bytes}
		for seg, err := range s.Segments(c.Name) {
			if err != nil {
				return 0, fmt.Errorf("list segments of camera %s: %w", c.Name, err)
			}
			if v.disk.isLive(seg.Path) {
				continue
			}
			h.oldest = append(h.oldest, heldSegment{path: seg.Path, startNS: seg.StartNS, endNS: seg.EndNS, bytes: seg.Bytes})
			if len(h.oldest) == sweepLook {
				break
			}
		}
		cameras = append(cameras, h)
	}
	now := ageNow(v.opts.Clock.Now().UnixNano(), v.steady(), newest)
	for _, d := range expire(now, cameras, room, sweepLimit) {
		if ctx.Err() != nil {
			break
		}
		if v.disk.isLive(d.path) {
			continue
		}
		if _, err := s.DeleteSegment(d.camera, d.path); err != nil {
			return gone, fmt.Errorf("delete segment %s: %w", d.path, err)
		}
		if err := unlink(v.archive, s, d.camera, d.path); err != nil {
			return gone, err
		}
		v.prune(d.path)
		gone++
		v.meters.deleted.WithLabelValues(d.cause).Inc()
		v.meters.deletedBytes.Add(float64(d.bytes))
		v.opts.Log.Debug().Str("camera", d.camera).Str("segment", d.path).Str("cause", d.cause).Msg("segment deleted")
	}
	if gone > 0 {
		v.changed()
	}
	return gone, nil
}

// prune removes the directory of a date when it is empty. One that is in use, or that
// gets a file just now, is not empty, and stays.
func (v *volume) prune(path string) {
	dir := v.opts.FS.PathDir(v.disk.name(path))
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

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
func (r *Recorder) runSweeper(ctx context.Context) {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	for {
		r.disk.look()
		if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
			if n, ok := r.every.Allow("retention"); ok {
				r.opts.Log.Error().Err(err).Int("suppressed", n).Msg("retention")
			}
		}
		select {
		case <-t.C:
		case <-r.sweepNow:
		case <-ctx.Done():
			return
		}
	}
}

// sweep deletes what has to go, a few segments at a time.
func (r *Recorder) sweep(ctx context.Context) error {
	for {
		gone, err := r.sweepOnce(ctx)
		if err != nil || gone < sweepLimit || ctx.Err() != nil {
			return err
		}
		r.disk.look()
		if !pause(ctx, 50*time.Millisecond) { // others want the disk too
			return nil
		}
	}
}

func (r *Recorder) sweepOnce(ctx context.Context) (gone int, err error) {
	s := r.index.store()
	if s == nil || r.index.err() != nil {
		return 0, nil
	}
	for _, m := range s.Deleting() { // what a failure has interrupted
		if err := unlink(r.archive, s, m.Camera, m.Path); err != nil {
			return 0, err
		}
	}
	room := diskRoom{quota: r.opts.Quota, minFree: r.opts.MinFree, free: -1}
	if u := r.disk.room.Load(); u != nil {
		room.free = int64(u.AvailBytes)
		room.minFree = r.minFree(u)
	}
	var cameras []held
	var newest int64
	for _, c := range s.Cameras() {
		newest = max(newest, c.EndNS)
		h := held{camera: c.Name, rule: r.retention(c.Name), bytes: c.Bytes}
		for seg, err := range s.Segments(c.Name) {
			if err != nil {
				return 0, fmt.Errorf("list segments of camera %s: %w", c.Name, err)
			}
			if r.disk.isLive(seg.Path) {
				continue
			}
			h.oldest = append(h.oldest, heldSegment{path: seg.Path, startNS: seg.StartNS, endNS: seg.EndNS, bytes: seg.Bytes})
			if len(h.oldest) == sweepLook {
				break
			}
		}
		cameras = append(cameras, h)
	}
	now := ageNow(r.opts.Clock.Now().UnixNano(), r.steadyNow(), newest)
	for _, d := range expire(now, cameras, room, sweepLimit) {
		if ctx.Err() != nil {
			break
		}
		if r.disk.isLive(d.path) {
			continue
		}
		if _, err := s.DeleteSegment(d.camera, d.path); err != nil {
			return gone, fmt.Errorf("delete segment %s: %w", d.path, err)
		}
		if err := unlink(r.archive, s, d.camera, d.path); err != nil {
			return gone, err
		}
		r.prune(d.path)
		gone++
		r.meters.deleted.WithLabelValues(d.cause).Inc()
		r.meters.deletedBytes.Add(float64(d.bytes))
		r.opts.Log.Debug().Str("camera", d.camera).Str("segment", d.path).Str("cause", d.cause).Msg("segment deleted")
	}
	if gone > 0 {
		r.refresh()
	}
	return gone, nil
}

// prune removes the directory of a date when it is empty. One that is in use, or that
// gets a file just now, is not empty, and stays.
func (r *Recorder) prune(path string) {
	dir := r.opts.FS.PathDir(r.disk.name(path))
	names, err := r.opts.FS.List(dir)
	if err != nil || len(names) > 0 || r.disk.uses(dir) {
		return
	}
	if err := r.opts.FS.Remove(dir); err != nil {
		r.opts.Log.Debug().Err(err).Str("directory", dir).Msg("an empty directory stays")
	}
}

// minFree returns how much of the disk stays free: always more than what the writer
// needs to go on, or neither would do anything about a full disk.
func (r *Recorder) minFree(u *vfs.DiskUsage) int64 {
	least := r.opts.MinFree
	if least == 0 {
		least = int64(min(u.TotalBytes/minFreeShare, minFreeMost))
	}
	return max(least, 2*int64(reserve(u)))
}

// retention returns the rule of a camera. What is left of one that is not configured
// any more keeps to the recorder's.
func (r *Recorder) retention(camera string) Retention {
	for i := range r.opts.Cameras {
		if r.opts.Cameras[i].Name == camera {
			return r.opts.Cameras[i].Retention
		}
	}
	return r.opts.Retention
}

// steadyNow is the wall time by a clock that does not step, Unix ns.
func (r *Recorder) steadyNow() int64 {
	return r.started.UnixNano() + r.opts.Clock.Mono() - r.startedMono
}

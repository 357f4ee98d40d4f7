package recorder

import (
	"context"
	"fmt"
	"time"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/nodepb"
)

const (
	// lockShare is how much of a disk, or of its quota, locks may keep, in percent.
	lockShare = 80
	// measureEvery is how often it is measured how much they keep.
	measureEvery = 10 * time.Second
)

// lockable returns how many bytes of a volume may be locked; 0: that is not known.
func (v *volume) lockable() int64 {
	whole := v.place.Quota
	if u := v.disk.room.Load(); u != nil && (whole == 0 || int64(u.TotalBytes) < whole) {
		whole = int64(u.TotalBytes)
	}
	return whole / 100 * lockShare
}

// lockedBytes adds up the segments that locks keep, and those that one more, if it is
// not nil, would keep beside them.
func lockedBytes(s *index.Store, locks lock.Set, more *lock.Lock) (locked, added int64, err error) {
	cameras := locks.Cameras()
	if more != nil && len(locks.Active(more.Camera)) == 0 {
		cameras = append(cameras, more.Camera)
	}
	for _, camera := range cameras {
		for seg, err := range s.Segments(camera) {
			switch {
			case err != nil:
				return 0, 0, fmt.Errorf("list segments of camera %s: %w", camera, err)
			case locks.Holds(camera, seg.StartNS, seg.EndNS):
				locked += stored(seg.Bytes, seg.Fragments)
			case more != nil && more.Camera == camera && more.Overlaps(seg.StartNS, seg.EndNS):
				added += stored(seg.Bytes, seg.Fragments)
			}
		}
	}
	return locked, added, nil
}

// measureLocked measures what locks keep, now and then. Only the sweeper calls it.
func (v *volume) measureLocked(s *index.Store) error {
	set, now := v.locks.current(), v.opts.Clock.Mono()
	if set.Len() == 0 && v.lockedAt == 0 || set.Same(v.lockedSet) && now-v.lockedAt < int64(measureEvery) {
		return nil
	}
	locked, _, err := lockedBytes(s, set, nil)
	if err != nil {
		return err
	}
	unnamed, _ := v.adopt.locked(set, nil)
	v.locked.Store(locked + unnamed)
	v.lockedSet, v.lockedAt = set, max(now, 1)
	return nil
}

// LockRoom implements nodepb.RecorderServer.
func (s *server) LockRoom(_ context.Context, q *nodepb.LockRoomRequest) (*nodepb.LockRoomReply, error) {
	vols, err := s.volumes()
	if err != nil {
		return nil, err
	}
	if err := checkRange(q.GetStartNs(), q.GetEndNs()); err != nil {
		return nil, err
	}
	locks := s.r.locks.current()
	more := &lock.Lock{Camera: q.GetCamera(), StartNS: q.GetStartNs(), EndNS: q.GetEndNs()}
	out := &nodepb.LockRoomReply{}
	for _, v := range vols {
		locked, added, err := lockedBytes(v.index.store(), locks, more)
		if err != nil {
			return nil, s.fail("measure what locks keep", err)
		}
		unnamed, unnamedAdded := v.adopt.locked(locks, more)
		locked, added = locked+unnamed, added+unnamedAdded
		limit := v.lockable()
		out.Disks = append(out.Disks, &nodepb.LockRoom{
			Path: v.place.Dir, LockedBytes: uint64(locked), AddedBytes: uint64(added), LimitBytes: uint64(limit),
			Refused: added > 0 && limit > 0 && locked+added > limit,
		})
	}
	return out, nil
}

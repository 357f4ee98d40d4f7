package recorder

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

const (
	linkDownAfter = 2 * time.Second
	behindAfter   = 30 * time.Second
	// failedFor is how long a failure is told that is over at once, as one of fsync is: the
	// next one succeeds, whatever became of the bytes. It has to be seen by somebody.
	failedFor = 5 * time.Second
)

// The codes of alarms.
const (
	alarmRecovering = "recovering"
	alarmDiskFull   = "disk_full"
	alarmDiskFails  = "disk_failing"
	alarmDiskHung   = "disk_hung"
	alarmDiskGone   = "disk_gone"
	alarmDiskSlow   = "disk_slow"
	alarmLinkDown   = "link_down"
	alarmRejected   = "camera_rejected"
	alarmBehind     = "camera_behind"
	alarmDamaged    = "footage_damaged"
	alarmLocksLarge = "locks_large"
	alarmLocksLost  = "locks_damaged"
	alarmRebuilding = "index_rebuilding"
)

// status tells the state of the recorder, from memory.
func (r *Recorder) status() *nodepb.RecorderStatus {
	out := &nodepb.RecorderStatus{
		Name: r.opts.Name, Role: r.opts.Role, Zone: r.opts.Zone, Version: r.opts.Version,
		StartedNs: r.started.UnixNano(),
	}
	cameras := map[string]*nodepb.RecorderCamera{}
	of := func(name string) *nodepb.RecorderCamera {
		c := cameras[name]
		if c == nil {
			c = &nodepb.RecorderCamera{Camera: name}
			cameras[name] = c
		}
		return c
	}
	for _, c := range r.opts.Cameras {
		of(c.Name)
	}
	for _, s := range r.slots {
		d := s.diskStatus()
		for name, c := range s.known() {
			d.UsedBytes += uint64(c.Bytes)
			addStats(of(name), &c)
		}
		out.Disks = append(out.Disks, d)
	}
	for _, f := range r.allFeeds() {
		c := of(f.camera)
		c.RecordsIn += f.counts.records.Load()
		c.BytesIn += f.counts.bytes.Load()
		c.OffsetsLost += f.counts.offsetsLost()
		c.Linked = c.Linked || f.counts.linked.Load()
	}
	for _, name := range slices.Sorted(maps.Keys(cameras)) {
		if r.repair != nil {
			cameras[name].Repair = r.repair.status(name)
		}
		out.Cameras = append(out.Cameras, cameras[name])
	}
	r.tellDamage(out)
	out.Alarms = r.alarms()
	return out
}

// diskStatus tells the state of the disk.
func (s *slot) diskStatus() *nodepb.Disk {
	state, _, _ := s.status()
	d := &nodepb.Disk{Path: s.place.Dir, State: state, QuotaBytes: uint64(s.place.Quota)}
	if v := s.volume(); v != nil {
		d.Id, d.Generation = v.held.identity.ID, v.held.identity.Generation
		if u := v.disk.room.Load(); u != nil {
			d.CapacityBytes, d.FreeBytes = u.TotalBytes, u.AvailBytes
		}
		d.LockedBytes = uint64(v.locked.Load())
		d.Scrub = v.scrub.status()
		d.Adoption = v.adopt.status()
	}
	return d
}

// addStats adds what one volume holds of a camera.
func addStats(out *nodepb.RecorderCamera, c *cameraStats) {
	at := record.Position{Offset: out.GetDurable().GetOffset()}
	copy(at.Epoch[:], out.GetDurable().GetEpoch())
	if c.Position.Compare(at) > 0 {
		out.Durable = positionOf(c.Position)
	}
	out.DurableEndNs = max(out.GetDurableEndNs(), c.EndNS)
	if c.StartNS > 0 && (out.GetFirstStartNs() == 0 || c.StartNS < out.GetFirstStartNs()) {
		out.FirstStartNs = c.StartNS
	}
	out.BytesStored += uint64(c.Bytes)
	out.FragmentsStored += uint64(c.Fragments)
	if !c.advanced.IsZero() {
		out.DurableAtNs = max(out.GetDurableAtNs(), c.advanced.UnixNano())
	}
}

func positionOf(p record.Position) *nodepb.Position {
	if p.IsZero() {
		return nil
	}
	return &nodepb.Position{Epoch: p.Epoch[:], Offset: p.Offset}
}

// alarms returns what is wrong now.
func (r *Recorder) alarms() []*nodepb.Alarm {
	var out []*nodepb.Alarm
	raise := func(code, camera string, since time.Time, format string, a ...any) {
		out = append(out, &nodepb.Alarm{Code: code, Camera: camera, SinceNs: since.UnixNano(), Message: fmt.Sprintf(format, a...)})
	}
	now := r.opts.Clock.Now()
	for _, s := range r.slots {
		raise := func(code string, since time.Time, format string, a ...any) { raise(code, "", since, format, a...) }
		if doing := s.recovering(); doing != "" {
			raise(alarmRecovering, r.started, "not recording yet to %s: %s", s.place.Dir, doing)
		}
		switch state, why, since := s.status(); state {
		case diskFull:
			raise(alarmDiskFull, since, "the disk of %s is full: %s", s.place.Dir, why)
		case diskFailing:
			raise(alarmDiskFails, since, "the disk of %s is failing: %s", s.place.Dir, why)
		case diskHung:
			raise(alarmDiskHung, since, "the disk of %s hangs: %s", s.place.Dir, why)
		case diskGone:
			raise(alarmDiskGone, since, "the disk of %s is gone: %s", s.place.Dir, why)
		case diskSlow:
			raise(alarmDiskSlow, since, "the disk of %s is slow: %s", s.place.Dir, why)
		}
		if at, why := s.failedLately(now); why != "" {
			raise(alarmDiskFails, at, "the disk of %s has failed, and works again: %s", s.place.Dir, why)
		}
		if v := s.serving(); v != nil {
			if st := v.adopt.status(); st != nil {
				raise(alarmRebuilding, time.Unix(0, st.GetSinceNs()), "the index of %s is being made anew from the media, %d of %d segments are done: it records, and does not serve all of what is older yet",
					s.place.Dir, st.GetSegmentsDone(), st.GetSegments())
			}
			if locked, most := v.locked.Load(), v.lockable(); most > 0 && locked > most {
				raise(alarmLocksLarge, now, "evidence locks keep %d bytes of %s, more than %d %% of it: the rest is deleted early", locked, s.place.Dir, lockShare)
			}
		}
	}
	for camera, d := range r.damageByCamera() {
		raise(alarmDamaged, camera, time.Unix(0, d.oldest.FoundNS), "camera %s: %d fragments are damaged on this recorder and not served, the first one at %s: another recorder may have them",
			camera, d.count, time.Unix(0, d.oldest.StartNS).UTC().Format(time.RFC3339))
	}
	if why := r.locks.doubts(); why != "" {
		raise(alarmLocksLost, "", now, "evidence locks may be missing, so nothing is deleted until another recorder told its own: %s", why)
	}
	for _, s := range r.streams {
		if since, why := s.down(); !since.IsZero() && now.Sub(since) > linkDownAfter {
			raise(alarmLinkDown, "", since, "no link to proxy %s: %s", s.proxy.Name, why)
		}
		for _, f := range s.feeds {
			if why := s.rejection(f); why != "" {
				raise(alarmRejected, f.camera, now, "proxy %s does not send camera %s: %s", s.proxy.Name, f.camera, why)
			}
			_, durable := f.state()
			durable = max(durable, f.counts.firstNS.Load())
			if behind := time.Duration(f.counts.lastNS.Load() - durable); f.counts.lastNS.Load() > 0 && behind > behindAfter {
				raise(alarmBehind, f.camera, now.Add(-behind), "camera %s: the newest %s that came in are not durable", f.camera, behind.Round(time.Second))
			}
		}
	}
	return out
}

// failedLately says why the disk failed less than failedFor ago, if it works now.
func (s *slot) failedLately(now time.Time) (at time.Time, why string) {
	v := s.serving()
	if v == nil {
		return at, ""
	}
	if state, _, _ := s.status(); state != diskGood && state != diskSlow {
		return at, ""
	}
	if at, why = v.disk.state.failed(); at.IsZero() || now.Sub(at) > failedFor {
		return at, ""
	}
	return at, why
}

// ready says why the recorder does not record, if it does not: no disk takes anything.
func (r *Recorder) ready() error {
	var errs []error
	for _, s := range r.slots {
		state, why, _ := s.status()
		switch {
		case state != diskGood && state != diskSlow:
			errs = append(errs, fmt.Errorf("disk %s: %s", state, why))
		case s.serving() == nil:
			errs = append(errs, errors.New("not recording yet: "+s.recovering()))
		default:
			return nil
		}
	}
	return errors.Join(errs...)
}

package recorder

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

const (
	linkDownAfter = 10 * time.Second
	behindAfter   = 30 * time.Second
)

// The codes of alarms.
const (
	alarmRecovering = "recovering"
	alarmDiskFull   = "disk_full"
	alarmDiskFails  = "disk_failing"
	alarmLinkDown   = "link_down"
	alarmRejected   = "camera_rejected"
	alarmBehind     = "camera_behind"
)

// status tells the state of the recorder, from memory.
func (r *Recorder) status() *nodepb.RecorderStatus {
	out := &nodepb.RecorderStatus{
		Name: r.opts.Name, Role: r.opts.Role, Zone: r.opts.Zone, Version: r.opts.Version,
		StartedNs: r.started.UnixNano(),
	}
	r.mu.Lock()
	stats := make(map[string]cameraStats, len(r.stats))
	names := make([]string, 0, len(r.stats)+len(r.opts.Cameras))
	var used int64
	for name, c := range r.stats {
		stats[name] = c
		used += c.Bytes
		names = append(names, name)
	}
	r.mu.Unlock()
	for _, c := range r.opts.Cameras {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		out.Cameras = append(out.Cameras, r.cameraStatus(name, stats[name]))
	}
	state, _, _ := r.disk.status()
	d := &nodepb.Disk{Path: r.opts.DataDir, State: state, UsedBytes: uint64(used), QuotaBytes: uint64(r.opts.Quota)}
	if u := r.disk.room.Load(); u != nil {
		d.CapacityBytes, d.FreeBytes = u.TotalBytes, u.AvailBytes
	}
	out.Disks = []*nodepb.Disk{d}
	out.Alarms = r.alarms()
	return out
}

func (r *Recorder) cameraStatus(name string, c cameraStats) *nodepb.RecorderCamera {
	out := &nodepb.RecorderCamera{
		Camera: name, Durable: positionOf(c.Position), DurableEndNs: c.EndNS, FirstStartNs: c.StartNS,
		BytesStored: uint64(c.Bytes), FragmentsStored: uint64(c.Fragments),
	}
	if !c.advanced.IsZero() {
		out.DurableAtNs = c.advanced.UnixNano()
	}
	for _, f := range r.allFeeds() {
		if f.camera == name {
			out.RecordsIn += f.counts.records.Load()
			out.BytesIn += f.counts.bytes.Load()
			out.OffsetsLost += f.counts.offsetsLost()
			out.Linked = out.Linked || f.counts.linked.Load()
		}
	}
	return out
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
	if doing := r.recovering(); doing != "" {
		raise(alarmRecovering, "", r.started, "not recording yet: %s", doing)
	}
	switch state, why, since := r.disk.status(); state {
	case diskFull:
		raise(alarmDiskFull, "", since, "the disk of %s is full: %s", r.opts.DataDir, why)
	case diskFailing:
		raise(alarmDiskFails, "", since, "the disk of %s is failing: %s", r.opts.DataDir, why)
	}
	for _, s := range r.allStreams() {
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

// ready says why the recorder does not record, if it does not.
func (r *Recorder) ready() error {
	if doing := r.recovering(); doing != "" {
		return errors.New("not recording yet: " + doing)
	}
	if state, why, _ := r.disk.status(); state != diskGood {
		return fmt.Errorf("disk %s: %s", state, why)
	}
	return nil
}

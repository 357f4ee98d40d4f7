package recorder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	probeEach = time.Second
	// quietAfter is how long nothing was written before the probe writes: a disk that
	// nobody uses may fail too, and one that was left must be known to be good again.
	quietAfter = 3 * time.Second
	probeFile  = "probe"
	probeSize  = 4096
)

// probe looks after the disk until ctx ends: that it is there, its room, and, where
// nobody else does, that it can be written. It is apart from the write path, which may
// hang.
func (s *slot) probe(ctx context.Context, v *volume, gone context.CancelCauseFunc) {
	for pause(ctx, probeEach) {
		s.probing.begin()
		err := v.present()
		if err == nil {
			v.probe()
		}
		s.probing.end()
		if err != nil {
			gone(err)
			return
		}
	}
}

// probe asks the disk how it is.
func (v *volume) probe() {
	d := v.disk
	d.look()
	state, _, _ := d.state.get()
	err := d.hasRoom()
	if err == nil {
		if state == diskGood && d.clock.Mono()-d.wrote.Load() < int64(quietAfter) {
			return
		}
		err = v.tryWrite()
	}
	d.note(byProbe, err)
	if err != nil {
		if isFull(err) {
			v.sweepSoon()
		}
		return
	}
	// Who has nothing to write does not find out that it would work again.
	if d.putting.long() == 0 && len(d.queue) == 0 {
		d.note(byWriter, nil)
	}
	if d.settled() && v.index.err() == nil {
		d.note(byCommitter, nil)
	}
}

// settled reports whether everything that was written is durable.
func (d *disk) settled() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.lanes) == 0
}

// tryWrite writes a little, durably.
func (v *volume) tryWrite() error {
	name := v.opts.FS.PathJoin(v.place.Dir, metaDir, probeFile)
	f, err := v.opts.FS.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("probe the disk: %w", err)
	}
	var b [probeSize]byte
	copy(b[:], v.opts.Clock.Now().UTC().Format(time.RFC3339Nano)) // not the bytes that are there
	_, err = f.WriteAt(b[:], 0)
	if err == nil {
		err = v.disk.timed(f.SyncData)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("probe the disk: %w", err)
	}
	return nil
}

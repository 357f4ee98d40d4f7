package recorder

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// A segment is a media file that fragments are appended to. Only the writer touches the
// file, but for fdatasync and, once it is sealed and durable, close: the committer's.
type segment struct {
	path string // below the data directory, with slashes
	lane *lane
	file vfs.File
	// What every fragment of the file has in common.
	epoch    record.Epoch
	windowNS int64
	initHash media.Hash
	init     []byte

	// Guarded by the disk's mu:

	// size is where the next fragment goes: the end of the last one that was written
	// whole. durable is how much of it the index names.
	size, durable int64
	// refs are the fragments that are written and that the index does not name yet.
	refs []index.Ref
	// sealed: nothing is appended any more.
	sealed bool
	// condemned: an fsync has failed. What is not durable is cut off.
	condemned bool
	// named: the directories that lead to the file are durable.
	named bool
}

// takes reports whether the fragment may be appended to s.
func (s *segment) takes(info *media.Info) bool {
	return !s.sealed && s.epoch == info.Epoch && s.windowNS == info.WindowNS && s.initHash == info.InitHash
}

// createSegment makes an empty file for the lane's fragment.
func (d *disk) createSegment(l *lane, fragment *media.Fragment) (*segment, error) {
	info := &fragment.Info
	if err := d.present(); err != nil { // or the file would be on the bare mount point
		return nil, err
	}
	for sibling := range maxSiblings {
		p := segmentPath(l.feed.camera, info.StartNS, info.Epoch, sibling)
		name := d.name(p)
		if _, err := d.fs.Stat(name); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("create segment %s: %w", p, err)
		}
		if known, err := d.index.names(l.feed.camera, p); err != nil {
			return nil, fmt.Errorf("create segment %s: %w", p, err)
		} else if known {
			continue
		}
		d.mu.Lock()
		d.born = p
		d.mu.Unlock()
		if err := d.fs.MkdirAll(d.fs.PathDir(name), 0o755); err != nil {
			return nil, fmt.Errorf("create directory of segment %s: %w", p, err)
		}
		file, err := d.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return nil, fmt.Errorf("create segment %s: %w", p, err)
		}
		return &segment{
			path: p, lane: l, file: file,
			epoch: info.Epoch, windowNS: info.WindowNS, initHash: info.InitHash, init: fragment.Init,
		}, nil
	}
	return nil, fmt.Errorf("create segment of camera %s: %d files begin with the fragment at %d of %s", l.feed.camera, maxSiblings, info.First, info.Epoch)
}

// syncNames makes the directory entries that lead to the segment durable. Directories
// of this process's making and of an earlier one's look alike, so each is synced once.
func (d *disk) syncNames(s *segment) error {
	dateDir := d.fs.PathDir(d.name(s.path))
	cameraDir := d.fs.PathDir(dateDir)
	d.mu.Lock()
	known, ok := d.named[s.lane.feed.camera]
	d.mu.Unlock()
	if err := d.timedSync(func() error { return syncDir(d.fs, dateDir) }); err != nil {
		return err
	}
	if known == dateDir {
		return nil
	}
	if err := d.timedSync(func() error { return syncDir(d.fs, cameraDir) }); err != nil {
		return err
	}
	if !ok {
		if err := d.timedSync(func() error { return syncDir(d.fs, d.dir) }); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.named[s.lane.feed.camera] = dateDir
	d.mu.Unlock()
	return nil
}

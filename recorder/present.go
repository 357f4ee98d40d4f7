package recorder

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errGone is wrapped where the directory is not the one that was taken possession of:
// its disk was unmounted, another one was mounted, or somebody removed it.
var errGone = errors.New("the disk is gone")

// present reports, with an error, that the directory is no longer the one that was
// opened. Files that are open still work then, on a disk that nobody sees.
func (v *volume) present() error {
	id, err := readIdentity(v.opts.FS, v.opts.FS.PathJoin(v.place.Dir, metaDir, identityFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s has no %s/%s any more: it was unmounted or removed", errGone, v.place.Dir, metaDir, identityFile)
	case err != nil: // a disk that fails to read is there
		return nil
	case id != v.held.identity:
		return fmt.Errorf("%w: another one (id %s) is at %s", errGone, id.ID, v.place.Dir)
	}
	if info, err := v.opts.FS.Stat(v.place.Dir); err == nil && info.DeviceID() != v.held.device {
		return fmt.Errorf("%w: %s is on another device than before", errGone, v.place.Dir)
	}
	return nil
}

// mounted reports, with an error, a directory that is on the same disk as its parent.
func mounted(fsys vfs.FS, dir string) error {
	own, err := fsys.Stat(dir)
	if err != nil {
		return accessError(dir, err)
	}
	parent, err := fsys.Stat(fsys.PathJoin(dir, ".."))
	if err != nil {
		return accessError(dir, err)
	}
	if own.DeviceID() == parent.DeviceID() {
		return fmt.Errorf("data directory %s is to be a mount point (mounted: true), and no disk is mounted there", dir)
	}
	return nil
}

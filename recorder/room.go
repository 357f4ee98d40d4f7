package recorder

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// indexRoom is what writing leaves of the disk, so that the index, which allocates
	// its log in advance, never has to go without: 32 MiB, or an eighth of a tiny disk.
	indexRoom = 32 << 20
	// indexFiles is how many inodes it leaves, or an eighth of those of a tiny disk.
	indexFiles     = 64
	indexRoomShare = 8
)

var (
	errNoRoom   = errors.New("the disk has no room but what the index needs")
	errNoInodes = errors.New("the disk has no inodes but what the index needs")
)

func isFull(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, errNoRoom, errNoInodes} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// fileRoom is how many files there is room for.
type fileRoom struct{ free, total uint64 }

// short reports whether fewer inodes are free than n times what the index needs.
func (f *fileRoom) short(n uint64) bool {
	return f != nil && f.total > 0 && f.free <= n*min(indexFiles, f.total/indexRoomShare)
}

// look asks how much room the file system has.
func (d *disk) look() {
	if u, err := d.fs.GetDiskUsage(d.dir); err == nil {
		d.room.Store(&u)
	}
	if i, ok := d.fs.(inodeFS); ok {
		if free, total, err := i.Inodes(d.dir); err == nil {
			d.files.Store(&fileRoom{free, total})
		}
	}
}

// hasRoom says, with an error, that the index would not have room after more was written.
func (d *disk) hasRoom() error {
	if u := d.room.Load(); u != nil && u.AvailBytes <= reserve(u) {
		return errNoRoom
	}
	if f := d.files.Load(); f.short(1) {
		return fmt.Errorf("%w: %d of %d are free", errNoInodes, f.free, f.total)
	}
	return nil
}

// reserve returns the bytes of a disk that media is not written to.
func reserve(u *vfs.DiskUsage) uint64 { return min(indexRoom, u.TotalBytes/indexRoomShare) }

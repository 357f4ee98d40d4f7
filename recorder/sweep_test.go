package recorder

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// sickDay is a day with files that cannot be unlinked: those for which refuse has an
// error.
func sickDay(t *testing.T, cameras int, quota int64) (d *day, refuse func(func(path string) error)) {
	d = newDay(t, cameras, quota)
	t.Cleanup(d.close)
	why := func(string) error { return nil }
	d.opts.FS = errorfs.Wrap(d.opts.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRemove && isMedia(op) {
			return why(op.Path)
		}
		return nil
	}))
	return d, func(f func(string) error) { why = f }
}

// record writes minutes [from, to) of all cameras, and sweeps until nothing has to go.
func (d *day) record(from, to int64) {
	d.t.Helper()
	for minute := from; minute < to; minute++ {
		d.clock.ns.Store(day0 + (minute+1)*min1)
		for camera := range d.lanes {
			d.put(camera, minute)
		}
		d.vol.disk.commit()
		require.NoError(d.t, d.vol.sweep(d.t.Context()))
	}
}

func (d *day) segments() (n int) {
	for _, c := range d.opts.Cameras {
		for _, err := range d.vol.index.store().Segments(c.Name) {
			require.NoError(d.t, err)
			n++
		}
	}
	return n
}

func TestAFileThatCannotBeUnlinkedHoldsUpNoOther(t *testing.T) {
	const quota, segment = 120 * 2300, 10 * 2300
	d, refuse := sickDay(t, 4, quota)
	stuck := ""
	refuse(func(path string) error {
		if stuck == "" {
			stuck = path // the first one that is to go
		}
		if path == stuck {
			return syscall.EPERM
		}
		return nil
	})
	d.record(0, 240)
	_, use := d.files()
	require.LessOrEqual(t, use, int64(quota+segment+segment), "it stays, and all others go")
	require.Zero(t, d.covered("cam00", 0, 190))
	marked := d.vol.index.store().Deleting()
	require.Len(t, marked, 1)
	require.Equal(t, stuck, d.vol.disk.name(marked[0].Path))

	refuse(func(string) error { return nil })
	d.record(240, 241)
	require.LessOrEqual(t, d.check(), int64(quota+segment), "it is tried again")
}

// Where nothing can be unlinked, deleting frees nothing: what leaves the index is lost to
// who looks for it, and takes its room all the same.
func TestADiskThatUnlinksNothingKeepsItsIndex(t *testing.T) {
	for name, c := range map[string]struct {
		unlink, present error
	}{
		"it is read-only": {unlink: syscall.EROFS},
		"it is away":      {unlink: fs.ErrNotExist, present: errGone},
	} {
		t.Run(name, func(t *testing.T) {
			d, refuse := sickDay(t, 4, 0)
			d.record(0, 240)
			before := d.segments()
			require.Equal(t, 4*24, before)
			refuse(func(string) error { return c.unlink })
			d.vol.disk.present = func() error { return c.present }
			d.vol.place.Quota = 2300
			for range 10 {
				if err := d.vol.sweep(t.Context()); c.present == nil || !errors.Is(err, c.present) {
					require.NoError(t, err)
				}
			}
			require.Equal(t, before-sweepLimit, d.segments(), "one round")
			require.Len(t, d.vol.index.store().Deleting(), sweepLimit)

			refuse(func(string) error { return nil })
			d.vol.disk.present = func() error { return nil }
			require.NoError(t, d.vol.sweep(t.Context()))
			require.Less(t, d.segments(), before-2*sweepLimit, "it goes on")
			d.check()
		})
	}
}

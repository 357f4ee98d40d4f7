package recorder

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

func mustPossess(t *testing.T, fsys vfs.FS, dir, name string) *possession {
	t.Helper()
	p, err := possess(fsys, dir, name, time.Now())
	require.NoError(t, err)
	return p
}

func TestEmptyDirectoryBecomesTheRecordersAndStaysSo(t *testing.T) {
	for _, fsys := range []vfs.FS{DiskFS(), vfs.NewMem()} {
		dir := filepath.Join(t.TempDir(), "r1")
		require.NoError(t, fsys.MkdirAll(filepath.Join(dir, "lost+found"), 0o755))
		p := mustPossess(t, fsys, dir, "r1")
		require.True(t, p.fresh)
		require.NoError(t, p.lock.Close())
		again := mustPossess(t, fsys, dir, "r1")
		require.False(t, again.fresh)
		require.Equal(t, p.identity, again.identity)
		require.NoError(t, again.lock.Close())
	}
}

func TestDirectoryThatDoesNotExistIsMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r1")
	p := mustPossess(t, DiskFS(), dir, "r1")
	require.NoError(t, p.lock.Close())
}

func TestDirectoryInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	p := mustPossess(t, DiskFS(), dir, "r1")
	_, err := possess(DiskFS(), dir, "r1", time.Now())
	require.ErrorContains(t, err, "in use by another process")
	require.NoError(t, p.lock.Close())
	p = mustPossess(t, DiskFS(), dir, "r1")
	require.NoError(t, p.lock.Close())
}

func TestDirectoryOfAnotherRecorderIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, mustPossess(t, DiskFS(), dir, "r1").lock.Close())
	_, err := possess(DiskFS(), dir, "r2", time.Now())
	require.ErrorContains(t, err, `belongs to recorder "r1"`)
}

func TestForeignDirectoryIsRefusedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "holiday.jpg"), nil, 0o600))
	_, err := possess(DiskFS(), dir, "r1", time.Now())
	require.ErrorContains(t, err, "holiday.jpg")
	require.ErrorContains(t, err, "give an empty directory")
	names, err := DiskFS().List(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"holiday.jpg"}, names)
}

func TestFootageWithoutAnIdentityIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, mustPossess(t, DiskFS(), dir, "r1").lock.Close())
	require.NoError(t, os.Mkdir(filepath.Join(dir, metaDir, indexDir), 0o700))
	require.NoError(t, os.Remove(filepath.Join(dir, metaDir, identityFile)))
	_, err := possess(DiskFS(), dir, "r1", time.Now())
	require.ErrorContains(t, err, ".duet/index")
}

func TestDamagedIdentityIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, mustPossess(t, DiskFS(), dir, "r1").lock.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, metaDir, identityFile), []byte(`{"recorder":`), 0o600))
	_, err := possess(DiskFS(), dir, "r1", time.Now())
	require.ErrorContains(t, err, "is damaged")
}

func TestUnmountedDiskIsRefusedUntilItsMarkerIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r1")
	old := mustPossess(t, DiskFS(), dir, "r1")
	require.NoError(t, old.lock.Close())
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Mkdir(dir, 0o700)) // the bare mount point
	_, err := possess(DiskFS(), dir, "r1", time.Now())
	require.ErrorContains(t, err, "not mounted")
	require.NoError(t, os.Remove(markerPath(DiskFS(), dir)))
	p := mustPossess(t, DiskFS(), dir, "r1")
	require.NoError(t, p.lock.Close())
	require.NotEqual(t, old.identity.Generation, p.identity.Generation)
}

func TestDirectoryThatCannotBeWrittenSaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{syscall.EROFS, "mounted read-only"},
		{fs.ErrPermission, "change its owner or mode"},
		{syscall.EACCES, "change its owner or mode"},
		{syscall.ENOSPC, "free some space"},
		{syscall.ENOTDIR, "not a directory"},
	} {
		fail := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				return c.err
			}
			return nil
		})
		_, err := possess(errorfs.Wrap(vfs.NewMem(), fail), "/data/r1", "r1", time.Now())
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "/data/r1")
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := possess(DiskFS(), file, "r1", time.Now())
	require.ErrorContains(t, err, "not a directory")
}

func TestFirstStartCutShortAnywhereCanBeRepeated(t *testing.T) {
	for at := range 100 {
		mem := vfs.NewCrashableMem()
		require.NoError(t, mem.MkdirAll("/data", 0o755))
		n := 0
		crash := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				if n++; n > at {
					return syscall.EIO
				}
			}
			return nil
		})
		p, err := possess(errorfs.Wrap(mem, crash), "/data/r1", "r1", time.Now())
		done := err == nil
		if done {
			require.NoError(t, p.lock.Close())
		}
		for _, clone := range []*vfs.MemFS{mem, mem.CrashClone(vfs.CrashCloneCfg{})} {
			require.NoError(t, clone.MkdirAll("/data", 0o755))
			again := mustPossess(t, clone, "/data/r1", "r1")
			if done {
				require.Equal(t, p.identity, again.identity)
			}
			require.NoError(t, again.lock.Close())
		}
		if done {
			require.Greater(t, at, 5)
			return
		}
	}
	t.Fatal("never succeeds")
}

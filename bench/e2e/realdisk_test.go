package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// realDisk is an ext4 file system in a file, mounted by loop.
type realDisk struct {
	t     testing.TB
	image string
	mnt   string
	data  string // the recorder's directory on it
}

// needDisks skips a test that cannot mount; where the project is built it must.
func needDisks(t testing.TB) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "mounting disks needs root"
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount", "losetup", "findmnt", "fsfreeze", "e2fsck"} {
		if _, err := exec.LookPath(tool); err != nil {
			why = "this test needs " + tool + ": `make setup` installs it"
		}
	}
	cannot(t, why)
}

// cannot ends a test that the machine cannot do, where why says so: it is skipped, and
// where the project is built it fails.
func cannot(t testing.TB, why string) {
	t.Helper()
	switch {
	case why == "":
	case os.Getenv("CI") != "":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}

// newDisk makes and mounts a disk of a size. The image is sparse: where room is not zero,
// what holds it has only so much, and what does not fit fails with EIO.
func newDisk(t testing.TB, mb, roomMB int, mkfs ...string) *realDisk {
	t.Helper()
	base := t.TempDir()
	d := &realDisk{t: t, image: filepath.Join(base, "image"), mnt: filepath.Join(base, "mnt")}
	d.data = filepath.Join(d.mnt, "data")
	if roomMB > 0 {
		small := filepath.Join(base, "small")
		require.NoError(t, os.Mkdir(small, 0o755))
		d.must("mount", "-t", "tmpfs", "-o", "size="+strconv.Itoa(roomMB)+"m", "tmpfs", small)
		t.Cleanup(func() { _ = exec.Command("umount", "-l", small).Run() })
		d.image = filepath.Join(small, "image")
	}
	f, err := os.Create(d.image)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(int64(mb)<<20))
	require.NoError(t, f.Close())
	require.NoError(t, os.Mkdir(d.mnt, 0o755))
	d.must("mkfs.ext4", append([]string{"-q", "-F", "-J", "size=4"}, append(mkfs, d.image)...)...)
	d.mount()
	t.Cleanup(func() {
		_ = exec.Command("fsfreeze", "-u", d.mnt).Run() // or nothing that waits for it ends
		for exec.Command("umount", "-l", d.mnt).Run() == nil {
		}
	})
	return d
}

func (d *realDisk) must(name string, args ...string) {
	d.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(d.t, err, "%s %s: %s", name, strings.Join(args, " "), out)
}

func (d *realDisk) mount() {
	d.t.Helper()
	d.released()
	d.must("mount", "-o", "loop,errors=remount-ro", d.image, d.mnt)
}

// released waits until nobody has a file open on the unmounted disk any more: it lives on
// until then, and must not be there twice.
func (d *realDisk) released() {
	d.t.Helper()
	waitFor(d.t, 30*time.Second, "the unmounted disk is let go", func() error {
		out, err := exec.Command("losetup", "-j", d.image).CombinedOutput()
		if err == nil && len(out) > 0 {
			err = errors.New(string(out))
		}
		return err
	})
}

func (d *realDisk) unmount() {
	d.t.Helper()
	d.must("umount", "-l", d.mnt)
}

func (d *realDisk) freeze() {
	d.t.Helper()
	d.must("fsfreeze", "-f", d.mnt)
}

func (d *realDisk) thaw() { _ = exec.Command("fsfreeze", "-u", d.mnt).Run() }

// breakFS makes ext4 find an error, whereupon it is read-only.
func (d *realDisk) breakFS() {
	d.t.Helper()
	out, err := exec.Command("findmnt", "-n", "-o", "SOURCE", d.mnt).Output()
	require.NoError(d.t, err)
	trigger := "/sys/fs/ext4/" + filepath.Base(strings.TrimSpace(string(out))) + "/trigger_fs_error"
	require.NoError(d.t, os.WriteFile(trigger, []byte("test"), 0o200))
}

// fill leaves no byte to others.
func (d *realDisk) fill() {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.mnt, "filler"))
	require.NoError(d.t, err)
	block := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	_ = f.Sync()
	_ = f.Close()
}

func (d *realDisk) unfill() {
	require.NoError(d.t, os.RemoveAll(filepath.Join(d.mnt, "filler")))
}

// fillInodes leaves no inode to others.
func (d *realDisk) fillInodes() {
	dir := filepath.Join(d.mnt, "filler")
	require.NoError(d.t, os.Mkdir(dir, 0o755))
	for i := 0; ; i++ {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			require.ErrorIs(d.t, err, syscall.ENOSPC)
			return
		}
		_ = f.Close()
	}
}

// repair checks an unmounted disk as an operator would.
func (d *realDisk) repair() {
	d.t.Helper()
	d.released()
	out, err := exec.Command("e2fsck", "-fy", d.image).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() >= 4) {
		d.t.Fatalf("e2fsck: %v: %s", err, out)
	}
}

// mountOther mounts, in place of the unmounted disk, one with a data directory that is
// another recorder's.
func (d *realDisk) mountOther() {
	d.t.Helper()
	d.must("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", d.mnt)
	meta := filepath.Join(d.data, ".duet")
	require.NoError(d.t, os.MkdirAll(meta, 0o750))
	identity := `{"recorder": "r9", "id": "0123456789abcdef0123456789abcdef", "generation": "0123456789abcdef", "created": "2026-01-01T00:00:00Z"}`
	require.NoError(d.t, os.WriteFile(filepath.Join(meta, "identity.json"), []byte(identity), 0o600))
}

// tear damages the index and the ends or the middle of all media files.
func (d *realDisk) tear() {
	d.t.Helper()
	index, err := filepath.Glob(filepath.Join(d.data, ".duet", "index", "MANIFEST-*"))
	require.NoError(d.t, err)
	require.NotEmpty(d.t, index)
	for _, name := range index {
		require.NoError(d.t, os.WriteFile(name, []byte("this is no manifest"), 0o600))
	}
	files, err := filepath.Glob(filepath.Join(d.data, "*", "*", "*.mp4"))
	require.NoError(d.t, err)
	for i, name := range files {
		info, err := os.Stat(name)
		require.NoError(d.t, err)
		if i%2 == 0 {
			require.NoError(d.t, os.Truncate(name, info.Size()*3/4))
			continue
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		require.NoError(d.t, err)
		_, err = f.WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, info.Size()/2)
		require.NoError(d.t, err)
		require.NoError(d.t, f.Close())
	}
}

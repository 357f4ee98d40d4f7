package recorder

import (
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

// faults is an injector whose rule can be changed while it works.
type faults struct {
	mu   sync.Mutex
	rule func(errorfs.Op) error
}

func (f *faults) set(rule func(errorfs.Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rule = rule
}

func (f *faults) String() string { return "faults" }

func (f *faults) MaybeError(op errorfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rule == nil {
		return nil
	}
	return f.rule(op)
}

func isMedia(op errorfs.Op) bool { return strings.HasSuffix(op.Path, segmentExt) }

func TestBytesAreSyncedBeforeTheIndexAndTheIndexBeforeTheAcknowledgement(t *testing.T) {
	var ops []string
	say := func(what string) {
		if len(ops) == 0 || ops[len(ops)-1] != what { // Pebble may write in pieces
			ops = append(ops, what)
		}
	}
	f := &faults{}
	g := openRig(t, errorfs.Wrap(vfs.NewMem(), f))
	defer g.close()
	l := newTestLog(t, "gate", testBase, 11, 12*time.Second)
	f.set(func(op errorfs.Op) error {
		name := strings.TrimPrefix(op.Path, rigDir)
		switch {
		case strings.HasPrefix(name, "/"+metaDir+"/"+indexDir):
			name = "index"
		case isMedia(op):
			name = path.Base(name)[:13] + ".mp4"
		case name == "":
			name = "/"
		}
		switch op.Kind {
		case errorfs.OpMkdirAll:
			say("mkdir " + name)
		case errorfs.OpFileWrite, errorfs.OpFileWriteAt:
			say("write " + name)
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			say("sync  " + name)
		case errorfs.OpFileClose:
			if isMedia(op) {
				say("close " + name)
			}
		}
		return nil
	})
	feed := g.feed("gate")
	fragments := 0
	g.steps = func() {
		if fragments++; fragments%2 == 0 {
			before, _ := feed.state()
			g.disk.commit()
			if now, _ := feed.state(); now != before {
				say("acknowledge")
			}
		}
	}
	l.play(t, feed, 25)
	f.set(nil)
	g.steps = func() {}
	require.Equal(t, []string{
		"mkdir /gate/2026-05-01",
		"write 11-59-50.000Z.mp4",
		"sync  11-59-50.000Z.mp4",
		"sync  /gate/2026-05-01", // names the file,
		"sync  /gate",            // names the date,
		"sync  /",                // names the camera
		"write index",
		"sync  index",
		"acknowledge",
		"write 11-59-50.000Z.mp4",
		"sync  11-59-50.000Z.mp4",
		"write index",
		"sync  index",
		"acknowledge",
		"write 11-59-50.000Z.mp4",
		"sync  11-59-50.000Z.mp4",
		"write index",
		"sync  index",
		"acknowledge",
		"write 11-59-50.000Z.mp4",
		"sync  11-59-50.000Z.mp4",
		"write index",
		"sync  index",
		"acknowledge",
		"write 11-59-50.000Z.mp4",
		"sync  11-59-50.000Z.mp4",
		"write index",
		"sync  index",
		"acknowledge",
	}, ops)
}

func TestFirstFsyncErrorCondemnsTheFileAndNothingIsLost(t *testing.T) {
	for _, after := range []int{0, 1} { // with nothing durable in the file, and with something
		f := &faults{}
		mem := vfs.NewMem()
		g := openRig(t, errorfs.Wrap(mem, f))
		l := newTestLog(t, "gate", testBase, 8, time.Hour)
		other := newTestLog(t, "yard", testBase, 2, time.Hour)
		var restarted []string
		g.disk.restart = func(lanes []*lane) {
			for _, l := range lanes {
				restarted = append(restarted, l.feed.camera)
			}
		}
		feed := g.feed("gate")
		play := func(l *testLog, from, to int) {
			part := *l
			part.records = l.records[:to*perFragment+1]
			require.Equal(t, uint64(from*perFragment), feed.resume().Offset)
			part.play(t, feed, 50)
			feed.drop() // the cut that ended the last one
			feed.next.Offset--
		}
		if after > 0 {
			play(l, 0, after)
			g.commit()
		}
		play(l, after, 4)
		other.play(t, g.feed("yard"), 50)
		durable, _ := feed.state()
		failed := 0
		f.set(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSyncData && strings.Contains(op.Path, "/gate/") && failed == 0 {
				failed++
				return syscall.EIO
			}
			return nil
		})
		g.commit()
		require.Equal(t, []string{"gate"}, restarted)
		state, why, _ := g.disk.state.get()
		require.Equal(t, diskFailing, state)
		require.Contains(t, why, "gate/")
		now, _ := feed.state()
		require.Equal(t, durable, now, "nothing of it is acknowledged")
		require.Len(t, g.fragments("gate"), after)
		require.Len(t, g.fragments("yard"), 1, "another file's fragments are not held up")

		// The stream begins anew, at the durable position.
		play(l, after, 7)
		g.commit()
		require.Len(t, g.fragments("gate"), 7)
		state, _, _ = g.disk.state.get()
		require.Equal(t, diskGood, state)
		g.check()
		files := g.files()
		require.Len(t, files, 2+after, "the condemned file is gone, or cut down to what was durable")
		g.close()
	}
}

// tornFS makes writes to segments end in the middle.
type tornFS struct {
	vfs.FS
	err *error
}

type tornFile struct {
	vfs.File
	err *error
}

func (f tornFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	if err != nil || !strings.HasSuffix(name, segmentExt) {
		return file, err
	}
	return tornFile{file, f.err}, nil
}

func (f tornFile) WriteAt(b []byte, at int64) (int, error) {
	if *f.err == nil {
		return f.File.WriteAt(b, at)
	}
	n, _ := f.File.WriteAt(b[:len(b)/2], at)
	return n, *f.err
}

func TestWriteThatFailsHalfwayIsRepeatedUntilItSucceeds(t *testing.T) {
	for _, c := range []struct {
		err   error
		state string
	}{{syscall.ENOSPC, diskFull}, {syscall.EDQUOT, diskFull}, {syscall.EIO, diskFailing}, {syscall.EROFS, diskFailing}} {
		for _, at := range []int{0, 2} { // at a new file, and in the middle of one
			var fault error
			g := openRig(t, tornFS{vfs.NewMem(), &fault})
			l := newTestLog(t, "gate", testBase, 5, time.Hour)
			l.ended = true
			fragments := 0
			full := 0
			g.disk.onFull = func() { full++ }
			feed := testFeed("gate", record.Position{}, func(fin *finished) {
				defer fin.done()
				if fragments == at {
					fault = c.err
					for range 3 {
						err := g.disk.write(fin)
						require.ErrorIs(t, err, c.err)
						g.disk.note(byWriter, err)
						state, why, _ := g.disk.state.get()
						require.Equal(t, c.state, state)
						require.Contains(t, why, c.err.Error())
						g.disk.commit() // what is before it can be made durable all the same
						require.Len(t, g.fragments("gate"), at)
					}
					fault = nil
				}
				err := g.disk.write(fin)
				require.NoError(t, err)
				g.disk.note(byWriter, err)
				fragments++
			})
			l.play(t, feed, 50)
			g.commit()
			state, _, _ := g.disk.state.get()
			require.Equal(t, diskGood, state)
			require.Len(t, g.fragments("gate"), 5)
			durable, _ := feed.state()
			require.Equal(t, record.Position{Epoch: l.epoch, Offset: l.end()}, durable)
			g.check()
			g.close()
		}
	}
}

func TestIndexThatFailsIsOpenedAnewAndNothingIsLost(t *testing.T) {
	f := &faults{}
	g := openRig(t, errorfs.Wrap(vfs.NewMem(), f))
	l := newTestLog(t, "gate", testBase, 6, time.Hour)
	l.ended = true
	part := *l
	part.records, part.ended = l.records[:3*perFragment+1], false
	part.play(t, g.feed("gate"), 50)
	f.set(func(op errorfs.Op) error {
		if strings.Contains(op.Path, indexDir) && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	})
	for range 3 {
		g.commit()
		state, _, _ := g.disk.state.get()
		require.Equal(t, diskFull, state)
		durable, _ := g.feed("gate").state()
		require.Zero(t, durable)
	}
	f.set(nil)
	g.commit()
	require.Len(t, g.fragments("gate"), 3)
	l.play(t, g.feed("gate"), 50)
	g.commit()
	require.Len(t, g.fragments("gate"), 6)
	state, _, _ := g.disk.state.get()
	require.Equal(t, diskGood, state)
	g.check()
	g.close()
}

func TestTheIndexAlwaysHasRoom(t *testing.T) {
	mem := vfs.NewMem()
	g := openRig(t, mem)
	defer g.close()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: indexRoom / 2, TotalBytes: 1 << 40})
	g.disk.look()
	l := newTestLog(t, "gate", testBase, 2, time.Hour)
	var fin *finished
	feed := testFeed("gate", record.Position{}, func(f *finished) { fin = f })
	l.play(t, feed, 50)
	require.ErrorIs(t, g.disk.write(fin), errNoRoom)
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 2 * indexRoom, TotalBytes: 1 << 40})
	g.disk.look()
	require.NoError(t, g.disk.write(fin))
}

func TestRealFilesAreWrittenAsTheOnesInMemory(t *testing.T) {
	l := newTestLog(t, "gate", testBase, 4, 12*time.Second)
	l.ended = true
	mem := openRig(t, vfs.NewMem())
	l.play(t, mem.feed("gate"), 50)
	mem.commit()

	dir := t.TempDir()
	file, err := DiskFS().OpenReadWrite(path.Join(dir, "x.mp4"), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	var scratch []byte
	var want []byte
	for p, b := range mem.files() {
		_ = p
		pieces := make([][]byte, 0, 3000)
		for i := range b { // more than a system call takes
			if i%7 == 0 {
				pieces = append(pieces, b[i:min(i+7, len(b))], nil)
			}
		}
		n, err := writeAt(file, pieces, int64(len(want)), &scratch)
		require.NoError(t, err)
		require.EqualValues(t, len(b), n)
		want = append(want, b...)
	}
	require.NoError(t, file.SyncData())
	file.(cacheFile).DropCache()
	got, err := readFile(DiskFS(), path.Join(dir, "x.mp4"), 1<<30)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, file.Close())
	require.NoError(t, truncate(DiskFS(), path.Join(dir, "x.mp4"), 10))
	got, err = readFile(DiskFS(), path.Join(dir, "x.mp4"), 1<<30)
	require.NoError(t, err)
	require.Equal(t, want[:10], got)
	mem.close()
}

package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// recorded returns a file system with two segments of a camera, and what they hold.
func recorded(t *testing.T) (*vfs.MemFS, *testLog, []media.Info) {
	mem := vfs.NewMem()
	g := openRig(t, mem)
	l := newTestLog(t, "gate", testBase, 14, 12*time.Second)
	l.ended = true
	l.play(t, g.feed("gate"), 50)
	g.commit()
	infos := g.fragments("gate")
	require.Len(t, infos, 14)
	require.Len(t, g.files(), 2)
	g.close()
	return mem, l, infos
}

func segmentsOf(g *rig) []string {
	all, err := g.rec.all()
	require.NoError(g.t, err)
	return all["gate"]
}

func rewrite(t *testing.T, fsys vfs.FS, name string, b []byte) {
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(b)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestIndexThatIsGoneOrCorruptIsMadeAnewOfTheMedia(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, mem *vfs.MemFS, dir string){
		"gone": func(t *testing.T, mem *vfs.MemFS, dir string) { require.NoError(t, mem.RemoveAll(dir)) },
		"no manifest": func(t *testing.T, mem *vfs.MemFS, dir string) {
			names, err := mem.List(dir)
			require.NoError(t, err)
			for _, n := range names {
				if strings.HasPrefix(n, "MANIFEST") || strings.HasPrefix(n, "marker.manifest") {
					require.NoError(t, mem.Remove(path.Join(dir, n)))
				}
			}
		},
		"garbage": func(t *testing.T, mem *vfs.MemFS, dir string) {
			names, err := mem.List(dir)
			require.NoError(t, err)
			for _, n := range names {
				if strings.HasPrefix(n, "MANIFEST") {
					rewrite(t, mem, path.Join(dir, n), []byte(strings.Repeat("not a manifest ", 1000)))
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem, l, infos := recorded(t)
			g := openRig(t, mem)
			want := dump(t, g.disk.index.store())
			g.close()
			damage(t, mem, path.Join(rigDir, metaDir, indexDir))
			g = openWhole(t, mem)
			require.True(t, g.rec.report.rebuilt)
			require.Equal(t, want, dump(t, g.disk.index.store()))
			require.Equal(t, infos, g.fragments("gate"))
			require.Equal(t, record.Position{Epoch: l.epoch, Offset: l.end()}, g.resume["gate"])
			g.close()
			g = openRig(t, mem)
			require.Equal(t, recoveryReport{}, g.rec.report)
			g.close()
		})
	}
}

func TestIndexEntryWhoseBytesAreMissingIsDroppedAndFetchedAgain(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, g *rig){
		"a file is gone":  func(t *testing.T, g *rig) { require.NoError(t, g.opts.FS.Remove(g.disk.name(segmentsOf(g)[0]))) },
		"a file is empty": func(t *testing.T, g *rig) { rewrite(t, g.opts.FS, g.disk.name(segmentsOf(g)[1]), nil) },
		"a file is short": func(t *testing.T, g *rig) {
			name := g.disk.name(segmentsOf(g)[1])
			b, err := readFile(g.opts.FS, name, math.MaxInt64)
			require.NoError(t, err)
			rewrite(t, g.opts.FS, name, b[:len(b)-100])
		},
		"a directory is gone": func(t *testing.T, g *rig) { require.NoError(t, g.opts.FS.RemoveAll(g.disk.name("gate"))) },
	} {
		t.Run(name, func(t *testing.T) {
			mem, l, infos := recorded(t)
			g := openRig(t, mem)
			damage(t, g)
			g.close()
			g = openRig(t, mem)
			require.Positive(t, g.rec.report.dropped)
			require.Less(t, len(g.fragments("gate")), len(infos))
			l.play(t, g.feed("gate"), 50) // the log still has it
			g.commit()
			require.Equal(t, infos, g.fragments("gate"))
			g.check()
			g.close()
		})
	}
}

func TestInterruptedDeletionIsFinished(t *testing.T) {
	mem, _, infos := recorded(t)
	g := openRig(t, mem)
	gone := segmentsOf(g)[0]
	seg, err := g.disk.index.store().DeleteSegment("gate", gone)
	require.NoError(t, err)
	g.close() // before it is unlinked
	g = openRig(t, mem)
	require.Equal(t, infos[seg.Fragments:], g.fragments("gate"))
	require.NotContains(t, segmentsOf(g), gone)
	require.Empty(t, g.disk.index.store().Deleting())
	g.check()
	g.close()
}

func TestWhatIsNotARecordersIsLeftAlone(t *testing.T) {
	mem, _, infos := recorded(t)
	for _, name := range []string{"notes.txt", "gate/2026-05-01/holiday.mp4", "gate/readme", "gate/2026-05-01/x.tmp"} {
		rewrite(t, mem, path.Join(rigDir, name), []byte("mine"))
	}
	// Another camera's segment under this one's name.
	g := openRig(t, mem)
	other := newTestLog(t, "gate", testBase.Add(time.Minute), 1, time.Hour)
	other.camera, other.ended = "yard", true
	other.play(t, g.feed("yard"), 50)
	g.commit()
	for p, b := range g.files() {
		if strings.HasPrefix(p, "yard/") {
			rewrite(t, mem, g.disk.name("gate"+strings.TrimPrefix(p, "yard")), b)
		}
	}
	g.close()
	for range 2 {
		g = openRig(t, mem)
		require.Equal(t, infos, g.fragments("gate"))
		for _, name := range []string{"notes.txt", "gate/2026-05-01/holiday.mp4", "gate/readme", "gate/2026-05-01/x.tmp"} {
			b, err := readFile(mem, path.Join(rigDir, name), 100)
			require.NoError(t, err)
			require.Equal(t, "mine", string(b))
		}
		require.Len(t, g.files(), 4)
		g.close()
	}
}

func TestFragmentWhoseEndWasNotSeenIsAskedForAgain(t *testing.T) {
	mem := vfs.NewMem()
	g := openRig(t, mem)
	l := newTestLog(t, "gate", testBase, 3, time.Hour)
	part := *l
	part.records = l.records[:120]
	part.play(t, g.feed("gate"), 10)
	g.feed("gate").abandon()
	g.commit()
	require.Len(t, g.fragments("gate"), 3)
	g.close()
	g = openRig(t, mem)
	require.Equal(t, record.Position{Epoch: l.epoch, Offset: 100}, g.resume["gate"])
	l.ended = true
	l.play(t, g.feed("gate"), 50)
	g.commit()
	infos := g.fragments("gate")
	require.Len(t, infos, 3)
	require.Zero(t, infos[2].Flags)
	require.EqualValues(t, 150, infos[2].End)
	g.check()
	g.close()
}

// fragmentsIn returns what the index has of a segment, in order.
func fragmentsIn(t testing.TB, g *rig, segment string) (refs []index.Ref) {
	t.Helper()
	for ref, err := range g.disk.index.store().Fragments("gate", 0, math.MaxInt64) {
		require.NoError(t, err)
		if ref.Segment == segment {
			refs = append(refs, ref)
		}
	}
	return refs
}

func TestDamageInTheTailIsNotAdopted(t *testing.T) {
	mem, l, infos := recorded(t)
	g := openRig(t, mem)
	tail := segmentsOf(g)[1]
	// The index has forgotten the tail, as after a crash, and a power cut has left a
	// fragment in the middle of it without its bytes.
	refs := fragmentsIn(t, g, tail)
	require.Len(t, refs, 4)
	b, err := readFile(mem, g.disk.name(tail), math.MaxInt64)
	require.NoError(t, err)
	clear(b[refs[0].At+boxLen(&refs[0].Info)+refs[0].Size-500:][:400])
	rewrite(t, mem, g.disk.name(tail), b)
	require.NoError(t, g.disk.index.store().DeleteFragments(refs))
	g.close()
	g = openRig(t, mem)
	require.NotContains(t, g.fragments("gate"), refs[0].Info)
	l.play(t, g.feed("gate"), 50)
	g.commit()
	require.Equal(t, infos, g.fragments("gate"))
	g.check()
	g.close()
}

func TestHolesOfAPowerCutBecomeBoxesThatPlayersSkip(t *testing.T) {
	holes := map[string]struct {
		cut  func(b []byte, init int64, refs []index.Ref)
		lost []int
		kept bool // a hole is left: what is there is none of a crash's
	}{
		"the header and the first": {cut: func(b []byte, _ int64, refs []index.Ref) { clear(b[:refs[1].At]) }, lost: []int{0}},
		"the header alone":         {cut: func(b []byte, init int64, _ []index.Ref) { clear(b[:init]) }},
		"the box of one":           {cut: func(b []byte, _ int64, refs []index.Ref) { clear(b[refs[1].At:][:30]) }, lost: []int{1}},
		"two":                      {cut: func(b []byte, _ int64, refs []index.Ref) { clear(b[refs[1].At:refs[3].At]) }, lost: []int{1, 2}},
		"behind the box of one": {cut: func(b []byte, _ int64, refs []index.Ref) {
			clear(b[refs[1].At+boxLen(&refs[1].Info) : refs[2].At])
		}, lost: []int{1}},
		"something else": {cut: func(b []byte, _ int64, refs []index.Ref) { copy(b[refs[1].At:], "something that nobody knows") }, lost: []int{1}, kept: true},
	}
	for name, c := range holes {
		for _, adopted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, adopted %v", name, adopted), func(t *testing.T) {
				mem, l, infos := recorded(t)
				g := openRig(t, mem)
				tail := segmentsOf(g)[1]
				refs := fragmentsIn(t, g, tail)
				require.Len(t, refs, 4)
				whole, err := readFile(mem, g.disk.name(tail), math.MaxInt64)
				require.NoError(t, err)
				b := bytes.Clone(whole)
				c.cut(b, refs[0].At, refs)
				rewrite(t, mem, g.disk.name(tail), b)
				require.NoError(t, g.disk.index.store().DeleteFragments(refs))
				if adopted { // while it records, not at the start
					require.NoError(t, g.adopt.one(t.Context(), tail))
				}
				g.close()
				g = openRig(t, mem)
				want := slices.Clone(infos)
				for _, i := range slices.Backward(c.lost) {
					want = slices.DeleteFunc(want, func(info media.Info) bool { return info == refs[i].Info })
				}
				require.True(t, slices.Equal(want, g.fragments("gate")))
				after := g.files()[tail]
				require.Len(t, after, len(whole))
				require.Equal(t, c.kept, damagedBytes(t, after) > 0)
				if c.kept {
					require.Equal(t, b, after)
				} else {
					require.Equal(t, whole[:refs[0].At], after[:refs[0].At], "the header")
				}
				g.check()
				if !adopted { // the start knows what to ask for again
					l.play(t, g.feed("gate"), 50)
					g.commit()
					want = infos
					require.True(t, slices.Equal(want, g.fragments("gate")))
					g.check()
				}
				g.close()
				g = openRig(t, mem)
				require.True(t, slices.Equal(want, g.fragments("gate")))
				require.Zero(t, g.rec.report)
				g.close()
			})
		}
	}
}

// damagedBytes counts those that are in no box.
func damagedBytes(t *testing.T, file []byte) (n int64) {
	for s := media.NewScanner(bytes.NewReader(file), int64(len(file)), false); ; {
		it, err := s.Next()
		if errors.Is(err, io.EOF) {
			return n
		}
		require.NoError(t, err)
		if it.Kind == media.ItemDamage || it.Kind == media.ItemTail {
			n += it.Len
		}
	}
}

func TestStartReadsOnlyTheNewestFiles(t *testing.T) {
	mem := vfs.NewMem()
	g := openRig(t, mem)
	for day := range 20 {
		l := newTestLog(t, "gate", testBase.Add(time.Duration(day)*24*time.Hour), 3, time.Hour)
		l.ended = true
		l.play(t, g.feed("gate"), 50)
	}
	g.close()
	read := map[string]bool{}
	listed := map[string]bool{}
	watch := errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch {
		case isMedia(op) && op.Kind == errorfs.OpFileReadAt:
			read[op.Path] = true
		case op.Kind == errorfs.OpList:
			listed[op.Path] = true
		}
		return nil
	})
	g = openRig(t, errorfs.Wrap(mem, watch))
	require.Len(t, read, 1, "%v", read)
	require.Less(t, len(listed), 10, "%v", listed)
	require.Len(t, g.fragments("gate"), 60)
	g.close()
}

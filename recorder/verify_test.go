package recorder

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
)

func TestVerifyingADataDirectoryFindsWhatIsWrong(t *testing.T) {
	const fragments = 6
	record := func(t *testing.T) (vfs.FS, string) {
		fsys := vfs.NewMem()
		l := newTestLog(t, "gate", testBase, fragments, time.Hour)
		l.ended = true
		g := openRig(t, fsys)
		l.play(t, g.feed("gate"), 50)
		g.close()
		files, err := g.rec.all()
		require.NoError(t, err)
		require.Len(t, files["gate"], 1)
		return fsys, g.disk.name(files["gate"][0])
	}
	writeFile := func(t *testing.T, fsys vfs.FS, name string, b []byte) {
		f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = f.Write(b)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	rewrite := func(t *testing.T, fsys vfs.FS, name string, change func([]byte) []byte) {
		b, err := readFile(fsys, name, 1<<30)
		require.NoError(t, err)
		writeFile(t, fsys, name, change(b))
	}
	for name, tc := range map[string]struct {
		harm func(t *testing.T, fsys vfs.FS, segment string)
		want DataReport
		ok   bool
		says []string // in order
	}{
		"whole": {
			harm: func(*testing.T, vfs.FS, string) {},
			want: DataReport{Segments: 1, Fragments: fragments, Equal: fragments}, ok: true,
		},
		"a flipped bit": {
			harm: func(t *testing.T, fsys vfs.FS, segment string) {
				rewrite(t, fsys, segment, func(b []byte) []byte {
					b[len(b)-100] ^= 1
					return b
				})
			},
			want: DataReport{Segments: 1, Fragments: fragments, Equal: fragments - 1, Mismatch: 1},
			says: []string{"camera gate, 2026-05-01T11:59:55.000Z: its media does not hash to", "takes the fragment out, and copies it"},
		},
		"a file cut short": {
			harm: func(t *testing.T, fsys vfs.FS, segment string) {
				rewrite(t, fsys, segment, func(b []byte) []byte { return b[:len(b)-100] })
			},
			want: DataReport{Segments: 1, Fragments: fragments, Equal: fragments - 1, Missing: 1},
			says: []string{"bytes at the end are no whole fragment", "cuts it off", "the index names it, and the file does not hold it", "copies it from another recorder"},
		},
		"a file gone": {
			harm: func(t *testing.T, fsys vfs.FS, segment string) { require.NoError(t, fsys.Remove(segment)) },
			want: DataReport{Fragments: fragments, Missing: fragments},
			says: []string{"the index names it, and the file is gone", "copies it from another recorder"},
		},
		"a torn end": {
			harm: func(t *testing.T, fsys vfs.FS, segment string) {
				rewrite(t, fsys, segment, func(b []byte) []byte { return append(b, "moof"...) })
			},
			want: DataReport{Segments: 1, Fragments: fragments, Equal: fragments, Torn: 4}, ok: true,
			says: []string{"4 bytes at the end are no whole fragment", "cuts it off"},
		},
		"a file that the index does not know": {
			harm: func(t *testing.T, fsys vfs.FS, segment string) {
				b, err := readFile(fsys, segment, 1<<30)
				require.NoError(t, err)
				writeFile(t, fsys, strings.Replace(segment, "gate/2026-05-01/11", "gate/2026-05-01/10", 1), b)
			},
			want: DataReport{Segments: 2, Fragments: 2 * fragments, Equal: fragments, NotIndexed: fragments}, ok: true,
			says: []string{"gate/2026-05-01/10-59-50.000Z_", "at byte 0: the index does not know this file of", "adopts it"},
		},
		"fragments that the index does not know": {
			harm: func(t *testing.T, fsys vfs.FS, _ string) {
				g := openRig(t, fsys)
				var refs []index.Ref
				for ref, err := range g.disk.index.store().Fragments("gate", 0, math.MaxInt64) {
					require.NoError(t, err)
					refs = append(refs, ref)
				}
				require.NoError(t, g.disk.index.store().DeleteFragments(refs[4:]))
				g.close()
			},
			want: DataReport{Segments: 1, Fragments: fragments, Equal: fragments - 2, NotIndexed: 2}, ok: true,
			says: []string{"the index does not know 2 of its fragments", "adopts it"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, segment := record(t)
			tc.harm(t, fsys, segment)
			got, err := VerifyData(t.Context(), fsys, rigDir, LevelHash, nil)
			require.NoError(t, err)
			require.Equal(t, tc.ok, got.OK())
			require.Equal(t, "r1", got.Recorder)
			if !tc.ok {
				require.NotEmpty(t, got.Bad)
			}
			tc.want.Recorder, tc.want.Bytes, tc.want.Bad, tc.want.Level, tc.want.Total = got.Recorder, got.Bytes, got.Bad, LevelHash, got.Total
			if name == "a file cut short" {
				require.Positive(t, got.Torn)
				got.Torn = 0
			}
			require.Equal(t, &tc.want, got)
			told := ""
			for _, b := range got.Bad {
				require.Contains(t, b.String(), "gate/2026-05-01/1", "the file is named")
				require.NotEmpty(t, b.Do, "and what to do")
				told += b.String() + "\n"
			}
			at := 0
			for _, s := range tc.says {
				i := strings.Index(told[at:], s)
				require.GreaterOrEqual(t, i, 0, "%q in %s", s, told)
				at += i
			}
		})
	}
	t.Run("no data directory", func(t *testing.T) {
		_, err := VerifyData(t.Context(), vfs.NewMem(), "/elsewhere", LevelHash, nil)
		require.ErrorContains(t, err, "/elsewhere is not the data directory of a recorder")
	})
	t.Run("one that is in use", func(t *testing.T) {
		g := openRig(t, vfs.NewMem())
		_, err := VerifyData(t.Context(), g.opts.FS, rigDir, LevelHash, nil)
		require.ErrorContains(t, err, "in use")
		g.close()
	})
	t.Run("levels", func(t *testing.T) {
		for _, level := range []string{LevelPresent, LevelSize, LevelHash} {
			for harm, finds := range map[string][]string{"none": nil, "bit": {LevelHash}, "cut": {LevelSize, LevelHash}, "gone": {LevelPresent, LevelSize, LevelHash}} {
				fsys, segment := record(t)
				switch harm {
				case "bit":
					rewrite(t, fsys, segment, func(b []byte) []byte { b[len(b)-100] ^= 1; return b })
				case "cut":
					rewrite(t, fsys, segment, func(b []byte) []byte { return b[:len(b)-100] })
				case "gone":
					require.NoError(t, fsys.Remove(segment))
				}
				got, err := VerifyData(t.Context(), fsys, rigDir, level, nil)
				require.NoError(t, err)
				require.Equal(t, slices.Contains(finds, level), !got.OK(), "%s at level %s", harm, level)
				for _, b := range got.Bad {
					require.Equal(t, "gate", b.Camera)
					require.Equal(t, b.Epoch != "", !b.Time.IsZero())
					require.Contains(t, b.String(), "gate/2026-05-01/")
				}
			}
		}
		fsys, _ := record(t)
		_, err := VerifyData(t.Context(), fsys, rigDir, "all", nil)
		require.ErrorContains(t, err, "present, size, hash")
	})
}

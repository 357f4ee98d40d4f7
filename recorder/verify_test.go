package recorder

import (
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
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
	rewrite := func(t *testing.T, fsys vfs.FS, name string, change func([]byte) []byte) {
		b, err := readFile(fsys, name, 1<<30)
		require.NoError(t, err)
		f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = f.Write(change(b))
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	for name, tc := range map[string]struct {
		harm func(t *testing.T, fsys vfs.FS, segment string)
		want DataReport
		ok   bool
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
		},
		"a file cut short": {
			harm: func(t *testing.T, fsys vfs.FS, segment string) {
				rewrite(t, fsys, segment, func(b []byte) []byte { return b[:len(b)-100] })
			},
			want: DataReport{Segments: 1, Fragments: fragments, Equal: fragments - 1, Missing: 1},
		},
		"a file gone": {
			harm: func(t *testing.T, fsys vfs.FS, segment string) { require.NoError(t, fsys.Remove(segment)) },
			want: DataReport{Fragments: fragments, Missing: fragments},
		},
		"a torn end": {
			harm: func(t *testing.T, fsys vfs.FS, segment string) {
				rewrite(t, fsys, segment, func(b []byte) []byte { return append(b, "moof"...) })
			},
			want: DataReport{Segments: 1, Fragments: fragments, Equal: fragments, Torn: 4}, ok: true,
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
					require.False(t, b.Time.IsZero())
					require.Contains(t, b.String(), "gate/2026-05-01/")
				}
			}
		}
		fsys, _ := record(t)
		_, err := VerifyData(t.Context(), fsys, rigDir, "all", nil)
		require.ErrorContains(t, err, "present, size, hash")
	})
}

package recorder

import (
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/record"
)

// Repair copies what retention deletes at the same moment. Until the deletion is over, the
// index refuses the fragments of the file, so that one of the same name would be in no index.
func TestANewFileDoesNotTakeTheNameOfOneThatTheIndexKnows(t *testing.T) {
	gone := func(g *rig, refs []index.Ref) {
		_, err := g.disk.index.store().ExpireSegments([]index.SegmentName{{Camera: "gate", Path: refs[0].Segment}})
		require.NoError(t, err)
	}
	for name, c := range map[string]struct {
		forget  func(*rig, []index.Ref)
		opening bool
	}{
		"marked for deletion":                           {gone, false},
		"marked for deletion, the index is opened anew": {gone, true},
		"found damaged": {func(g *rig, refs []index.Ref) {
			var marks []index.Damage
			for _, r := range refs {
				marks = append(marks, index.Damage{Ref: r, Why: "the file is gone"})
			}
			require.NoError(t, g.disk.index.store().MarkDamaged(marks))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := openRig(t, vfs.NewMem())
			defer g.close()
			l := newTestLog(t, "gate", testBase, 3, time.Hour)
			l.ended = true
			refs := func() (out []index.Ref) {
				for ref, err := range g.disk.index.store().Fragments("gate", 0, 1<<62) {
					require.NoError(t, err)
					out = append(out, ref)
				}
				return out
			}
			l.play(t, g.feed("gate"), 50)
			g.disk.left = append(g.disk.left, g.feed("gate").lane) // its file is complete
			g.disk.cutCondemned()
			g.commit()
			old := refs()
			require.Len(t, old, 3)
			p := old[0].Segment
			require.False(t, g.disk.isLive(p))
			c.forget(g, old)
			require.NoError(t, g.opts.FS.Remove(g.disk.name(p)))

			g.disk.index.opening.Store(c.opening)
			l.play(t, testFeed("gate", record.Position{}, func(fin *finished) { g.disk.put(t.Context(), fin) }), 50)
			g.disk.index.opening.Store(false)
			g.commit()
			again := refs()
			require.Len(t, again, 3, "what was written anew is in the index")
			require.False(t, slices.ContainsFunc(again, func(r index.Ref) bool { return r.Segment == p }))
			require.NoError(t, unlink(g.rec.archive, g.disk.index.store(), "gate", p))
			require.Len(t, g.files(), 1, "the end of the deletion leaves the new file alone")
			require.Len(t, refs(), 3)
		})
	}
}

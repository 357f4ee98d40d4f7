package recorder

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fileOps notes what is done to files, in order.
type fileOps struct {
	g   *rig
	ops []string
	on  bool
}

func (o *fileOps) say(what string) {
	if n := len(o.ops); o.on && (n == 0 || o.ops[n-1] != what) { // Pebble may write in pieces
		o.ops = append(o.ops, what)
	}
}

func (o *fileOps) see(op errorfs.Op) error {
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
		o.say("mkdir  " + name)
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt:
		o.say("write  " + name)
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		o.say("sync   " + name)
	case errorfs.OpRemove:
		if !isMedia(op) {
			break
		}
		mark := "without a mark"
		for _, d := range o.g.disk.index.store().Deleting() {
			if strings.HasSuffix(op.Path, d.Path) {
				mark = "its mark is durable"
			}
		}
		o.say("unlink " + name + " (" + mark + ")")
	case errorfs.OpFileClose:
		if isMedia(op) {
			o.say("close  " + name)
		}
	}
	return nil
}

// requireOrder checks what holds for any list: bytes and names are synced before the index
// names them, an acknowledgement comes after the index, and an unlink after its mark.
// fresh: there was nothing before, so the directories are new, too.
func requireOrder(t *testing.T, ops []string, fresh bool) {
	dirty := map[string]bool{}
	for i, op := range ops {
		verb, name, _ := strings.Cut(op, " ")
		name = strings.TrimSpace(name)
		where := fmt.Sprintf("%d: %s in\n%s", i, op, strings.Join(ops, "\n"))
		switch verb {
		case "mkdir":
			dirty[name] = true // a file is about to be made in it
			if fresh {
				dirty[path.Dir(name)], dirty["/"] = true, true
			}
		case "write":
			if name == "index" {
				require.Empty(t, dirty, "the index names what is not durable, %s", where)
				delete(dirty, name)
			}
			dirty[name] = true
		case "sync":
			delete(dirty, name)
		case "unlink":
			require.Contains(t, op, "its mark is durable", where)
			require.NotContains(t, dirty, "index", where)
		case "acknowledge":
			require.Empty(t, dirty, where)
		}
	}
	require.Empty(t, dirty, "at the end of\n%s", strings.Join(ops, "\n"))
}

// The order of file operations is a golden file for each kind of change: whoever changes
// it has to look at it. -update writes them anew.
func TestOrderOfFileOperations(t *testing.T) {
	ahead := func(g *rig, l *testLog, fragments uint64) { // what was there before
		part := *l
		part.records = l.records[:fragments*perFragment]
		part.play(g.t, g.feed("gate"), perFragment)
		g.commit()
	}
	for name, c := range map[string]struct {
		before uint64 // fragments that are there
		do     func(o *fileOps, l *testLog)
	}{
		"create": {0, func(o *fileOps, l *testLog) { ahead(o.g, l, 2) }},
		"append": {3, func(o *fileOps, l *testLog) { ahead(o.g, l, 5) }},
		"rotate": {9, func(o *fileOps, l *testLog) { ahead(o.g, l, 13) }}, // the tenth ends the file
		"expire": {13, func(o *fileOps, _ *testLog) {
			v := &volume{opts: o.g.opts, disk: o.g.disk, index: o.g.disk.index}
			var doomed []doomed
			for seg, err := range v.index.store().Segments("gate") {
				require.NoError(t, err)
				doomed = append(doomed, doomedOf(&seg))
				break
			}
			went, err := forget(v.index.store(), doomed)
			require.NoError(t, err)
			require.Len(t, went, 1)
			require.NoError(t, v.unlinkMarked(v.index.store()))
		}},
		"repair": {0, func(o *fileOps, l *testLog) {
			from := openRig(t, vfs.NewMem())
			defer from.close()
			ahead(from, l, 4)
			f := newFeed("gate", "repair")
			way := &lane{feed: f, free: make(chan *media.Builder, 1)}
			f.attach(way, progress{})
			for ref, err := range from.disk.index.store().Fragments("gate", 0, 1<<62) {
				require.NoError(t, err)
				init, err := from.disk.index.store().Init("gate", ref.InitHash)
				require.NoError(t, err)
				data := from.files()[ref.Segment][ref.At+boxLen(&ref.Info):][:ref.Size]
				fin := &finished{lane: way, fragment: fragmentFrom(ref.Info, init, data), generation: f.current(), once: true}
				o.g.disk.put(t.Context(), fin)
				<-way.free
				require.NoError(t, fin.err)
			}
			way.seg.sealed, way.seg = true, nil // as settle does
			o.g.commit()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &faults{}
			o := &fileOps{g: openRig(t, errorfs.Wrap(vfs.NewMem(), f))}
			f.set(o.see)
			l := newTestLog(t, "gate", testBase, 20, 12*time.Second)
			if c.before > 0 {
				ahead(o.g, l, c.before)
			}
			feed := o.g.feed("gate")
			last, _ := feed.state()
			o.g.steps = func() {
				if now, _ := feed.state(); now != last {
					last = now
					o.say("acknowledge")
				}
			}
			o.on = true
			c.do(o, l)
			o.on = false
			o.g.steps = func() {}
			o.g.close()
			requireOrder(t, o.ops, c.before == 0)
			golden := filepath.Join("testdata", "order", name+".txt")
			got := strings.Join(o.ops, "\n") + "\n"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func doomedOf(seg *index.Segment) doomed {
	return doomed{camera: seg.Camera, heldSegment: heldSegment{path: seg.Path, startNS: seg.StartNS, endNS: seg.EndNS, bytes: seg.Bytes, fragments: seg.Fragments}}
}

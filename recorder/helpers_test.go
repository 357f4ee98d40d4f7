package recorder

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// testBase is the capture time at which test cameras begin: ten seconds before a
// segment ends.
var testBase = time.Date(2026, 5, 1, 11, 59, 50, 0, time.UTC)

// testLog is the log of a camera: the records of one epoch, and where it is cut.
type testLog struct {
	camera  string
	epoch   record.Epoch
	records [][]byte // wire form, by offset
	cuts    []uint64
	ended   bool
}

// perFragment is how many records a test fragment has: a second of 20 ms packets.
const perFragment = 50

// newTestLog makes a log of µ-law audio, which needs the least to be a camera.
func newTestLog(t require.TestingT, camera string, epochAt time.Time, fragments int, segment time.Duration) *testLog {
	l := &testLog{camera: camera, epoch: testEpoch(t, epochAt, byte(len(camera)))}
	d := media.Description{
		SegmentMS: segment.Milliseconds(), Since: media.CauseStart,
		Tracks: []media.Track{{Kind: media.KindAudio, Codec: media.PCMU, ClockRate: 8000, SampleRate: 8000, Channels: 1}},
	}
	ext, err := d.Encode()
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(uint64(epochAt.UnixNano()), uint64(len(camera))))
	for i := range fragments * perFragment {
		r := record.Record{Flags: record.AccessUnit | record.RandomAccess, CaptureNS: epochAt.UnixNano() + int64(i)*20e6}
		if i%perFragment == 0 {
			r.Flags |= record.Cut
			r.Ext = ext
			l.cuts = append(l.cuts, uint64(i))
		}
		r.Packet = []byte{0x80, 0}
		r.Packet = binary.BigEndian.AppendUint16(r.Packet, uint16(i))
		r.Packet = binary.BigEndian.AppendUint32(r.Packet, uint32(i*160))
		r.Packet = append(r.Packet, 1, 2, 3, 4)
		for range 20 {
			r.Packet = binary.BigEndian.AppendUint64(r.Packet, random.Uint64())
		}
		l.records = append(l.records, record.Append(nil, &r))
	}
	return l
}

func (l *testLog) end() uint64 { return uint64(len(l.records)) }

// batch returns the frame of records [from, to).
func (l *testLog) batch(channel uint32, from, to uint64) link.Batch {
	return link.Batch{Channel: channel, First: from, Count: uint32(to - from), Records: bytes.Join(l.records[from:to], nil)}
}

// play gives the feed everything from its position on, in batches of n records.
func (l *testLog) play(t require.TestingT, f *feed, n uint64) {
	ctx := context.Background()
	at := f.resume()
	from := uint64(0)
	if at.Epoch == l.epoch {
		from = at.Offset
	}
	if from < l.end() {
		require.NoError(t, f.take(ctx, link.Open{Epoch: l.epoch, Offset: from}))
	}
	for from < l.end() {
		to := min(from+n, l.end())
		require.NoError(t, f.take(ctx, l.batch(0, from, to)))
		from = to
	}
	if l.ended {
		require.NoError(t, f.take(ctx, link.End{Epoch: l.epoch, End: l.end(), Cause: media.CauseConnection}))
	}
}

// rig is a disk that is driven by hand, without goroutines.
type rig struct {
	t      testing.TB
	opts   *Options
	held   *possession
	rec    *recovery
	adopt  *adopter
	disk   *disk
	resume map[string]record.Position
	feeds  map[string]*feed
	// steps is called after each write and each commit.
	steps func()
}

const rigDir = "/data/r1"

// openRig starts a recorder's disk on fsys, with recovery.
func openRig(t testing.TB, fsys vfs.FS) *rig {
	t.Helper()
	o := &Options{Name: "r1", DataDir: rigDir, FS: fsys, Clock: clock.System(), Log: zerolog.Nop(), Registry: prometheus.NewRegistry()}
	held, err := possess(fsys, rigDir, "r1", time.Now())
	require.NoError(t, err)
	m, err := newMeters(o.Registry)
	require.NoError(t, err)
	g := &rig{t: t, opts: o, held: held, feeds: map[string]*feed{}, steps: func() {}}
	h := &indexHandle{open: func(err error) (*index.Store, error) { return g.rec.openIndex(t.Context(), err) }}
	g.adopt = newAdopter(archive{fs: fsys, dir: rigDir}, h, o.Clock, o.Log)
	g.rec = &recovery{archive: g.adopt.archive, log: o.Log, adopt: g.adopt, say: func(string) {}}
	s, err := g.rec.openIndex(t.Context(), nil)
	require.NoError(t, err)
	h.set(s)
	g.resume, err = g.rec.run(t.Context(), s)
	require.NoError(t, err)
	g.disk = newDisk(o, rigDir, h, m, 100)
	g.disk.syncers = 1
	g.adopt.isLive = g.disk.isLive
	return g
}

// openWhole starts a recorder's disk and waits until its index is complete.
func openWhole(t testing.TB, fsys vfs.FS) *rig {
	t.Helper()
	g := openRig(t, fsys)
	require.NoError(t, g.adopt.work(t.Context()))
	require.False(t, g.adopt.adopting())
	return g
}

// testFeed returns a feed whose fragments are given to emit.
func testFeed(camera string, from record.Position, emit func(*finished)) *feed {
	f := newFeed(camera, "p1")
	f.attach(newLane(f, emit), progress{at: from})
	f.resume()
	return f
}

// feed returns the feed of a camera, whose fragments are written at once.
func (g *rig) feed(camera string) *feed {
	f := g.feeds[camera]
	if f == nil {
		f = testFeed(camera, g.resume[camera], func(fin *finished) {
			g.disk.cutCondemned()
			g.disk.put(g.t.Context(), fin)
			g.steps()
		})
		g.feeds[camera] = f
	}
	return f
}

func (g *rig) commit() {
	g.disk.commit()
	g.steps()
}

// close ends it like a shutdown does.
func (g *rig) close() {
	g.disk.cutCondemned()
	g.commit()
	g.disk.cutCondemned()
	g.disk.closeAll()
	require.NoError(g.t, g.disk.index.close())
	require.NoError(g.t, g.held.lock.Close())
}

// fragments lists what the index names, each "epoch+first-end hash".
func (g *rig) fragments(camera string) []media.Info {
	var out []media.Info
	for ref, err := range g.disk.index.store().Fragments(camera, 0, math.MaxInt64) {
		require.NoError(g.t, err)
		out = append(out, ref.Info)
	}
	return out
}

// check makes sure that what the index names is what the files hold, and that the index
// equals one that is made of the files.
func (g *rig) check() {
	g.t.Helper()
	s := g.disk.index.store()
	for _, c := range s.Cameras() {
		for ref, err := range s.Fragments(c.Name, 0, math.MaxInt64) {
			require.NoError(g.t, err)
			f, err := g.opts.FS.Open(g.disk.name(ref.Segment))
			require.NoError(g.t, err)
			good, err := hashIs(f, ref.At+boxLen(&ref.Info), &ref.Info)
			require.NoError(g.t, err)
			require.NoError(g.t, f.Close())
			require.True(g.t, good, "%s at %d", ref.Segment, ref.At)
		}
	}
	again := remade(g.t, g.rec.archive)
	defer func() { require.NoError(g.t, again.Close()) }()
	require.Equal(g.t, dump(g.t, again), dump(g.t, s), "the index equals one made anew of the media")
}

// remade is an index that is made of the media, by no more than committing what is there.
func remade(t testing.TB, a archive) *index.Store {
	t.Helper()
	s, err := index.Open(index.Options{FS: vfs.NewMem(), Dir: "again", Log: zerolog.Nop()})
	require.NoError(t, err)
	files, err := a.all()
	require.NoError(t, err)
	var damaged []index.Damage
	for camera, paths := range files {
		for _, p := range paths {
			f, err := a.scan(p, 0, func(*index.Ref) bool { return true })
			require.NoError(t, err)
			require.NoError(t, s.Commit(f.refs, []index.Init{{Camera: camera, Hash: hashOf(f.init), Data: f.init}}))
			damaged = append(damaged, f.quarantined...)
		}
	}
	require.NoError(t, s.MarkDamaged(damaged))
	return s
}

func dump(t testing.TB, s *index.Store) string {
	var b bytes.Buffer
	require.NoError(t, s.Dump(&b))
	return b.String()
}

// files returns all files of a directory and what they hold.
func (g *rig) files() map[string][]byte {
	out := map[string][]byte{}
	all, err := g.rec.all()
	require.NoError(g.t, err)
	for _, paths := range all {
		sort.Strings(paths)
		for _, p := range paths {
			b, err := readFile(g.opts.FS, g.disk.name(p), math.MaxInt64)
			require.NoError(g.t, err)
			out[p] = b
		}
	}
	return out
}

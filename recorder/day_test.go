package recorder

import (
	"bytes"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/record"
)

// dayClock is a clock that is set by hand.
type dayClock struct{ ns atomic.Int64 }

func (c *dayClock) Now() time.Time { return time.Unix(0, c.ns.Load()) }
func (c *dayClock) Mono() int64    { return c.ns.Load() }

// day is a volume that is driven by hand, and cameras that send a fragment a minute.
type day struct {
	t     testing.TB
	clock *dayClock
	opts  *Options
	vol   *volume
	lanes []*lane
	epoch record.Epoch
	init  []byte
	body  []byte
	// real: a scan takes the media for what it is.
	real bool
}

const dayDir = "/data/r1"

func newDay(t testing.TB, cameras int, quota int64) *day {
	t.Helper()
	d := &day{t: t, clock: &dayClock{}, init: bytes.Repeat([]byte("i"), 300), body: bytes.Repeat([]byte("m"), 2000)}
	d.clock.ns.Store(day0)
	d.epoch = testEpoch(t, d.clock.Now(), 1)
	d.opts = &Options{
		Name: "r1", FS: vfs.NewMem(), Clock: d.clock, Log: zerolog.Nop(), Registry: prometheus.NewRegistry(),
	}
	for i := range cameras {
		d.opts.Cameras = append(d.opts.Cameras, Camera{Name: fmt.Sprintf("cam%02d", i)})
	}
	place := Volume{Dir: dayDir, Quota: quota}
	held, err := possess(d.opts.FS, dayDir, "r1", d.clock.Now())
	require.NoError(t, err)
	m, err := newMeters(d.opts.Registry)
	require.NoError(t, err)
	d.vol = newVolume(d.opts, place, held, m, node.NewEvery(time.Second, d.clock.Now))
	require.NoError(t, d.vol.recover(t.Context()))
	require.NoError(t, d.vol.locks.open(dayDir))
	d.vol.disk.syncers = 1
	for _, c := range d.opts.Cameras {
		f := newFeed(c.Name, "p1")
		l := newLane(f, func(*finished) {})
		f.attach(l, progress{})
		f.resume()
		d.lanes = append(d.lanes, l)
	}
	return d
}

func (d *day) close() {
	d.vol.locks.close()
	d.vol.disk.closeAll()
	require.NoError(d.t, d.vol.close())
}

// put writes the fragment of a minute of a camera.
func (d *day) put(camera int, minute int64) {
	l := d.lanes[camera]
	start := day0 + minute*min1
	window := start - start%(10*min1)
	info := media.Info{
		Camera: l.feed.camera, Epoch: d.epoch, First: uint64(minute) * 100, End: uint64(minute+1) * 100,
		StartNS: start, EndNS: start + min1, MinNS: start, MaxNS: start + min1, WindowNS: window,
		Size: int64(len(d.body)), InitHash: hashOf(d.init), Hash: media.Hash{byte(camera), byte(minute), byte(minute >> 8)},
	}
	if d.real {
		info.Hash = hashOf(d.body)
	}
	b := <-l.free
	d.vol.disk.put(d.t.Context(), &finished{
		lane: l, builder: b, generation: l.feed.current(),
		fragment: &media.Fragment{Info: info, Init: d.init, Box: media.AppendBox(nil, &info), Moof: d.body[:100], Mdat: [][]byte{d.body[100:]}},
	})
}

// files returns the sizes of all media files.
func (d *day) files() (sizes map[string]int64, total int64) {
	all, err := d.vol.archive.all()
	require.NoError(d.t, err)
	sizes = map[string]int64{}
	for _, paths := range all {
		for _, p := range paths {
			st, err := d.opts.FS.Stat(d.vol.disk.name(p))
			require.NoError(d.t, err)
			sizes[p] = st.Size()
			total += st.Size()
		}
	}
	return sizes, total
}

// check makes sure that there is neither a file that the index does not name nor an entry
// without its bytes, and returns how many bytes the files have.
func (d *day) check() int64 {
	d.t.Helper()
	sizes, total := d.files()
	named := map[string]bool{}
	s := d.vol.index.store()
	for _, c := range s.Cameras() {
		for ref, err := range s.Fragments(c.Name, 0, math.MaxInt64) {
			require.NoError(d.t, err)
			named[ref.Segment] = true
			require.GreaterOrEqual(d.t, sizes[ref.Segment], ref.At+boxLen(&ref.Info)+ref.Size, "the bytes of %d in %s", ref.First, ref.Segment)
		}
	}
	for p := range sizes {
		require.True(d.t, named[p], "nobody knows %s", p)
	}
	require.Empty(d.t, s.Deleting())
	return total
}

// covered returns how much of [from, to) minutes is held of a camera.
func (d *day) covered(camera string, from, to int64) (minutes int64) {
	for ref, err := range d.vol.index.store().Fragments(camera, day0+from*min1, day0+to*min1) {
		require.NoError(d.t, err)
		if ref.StartNS >= day0+from*min1 && ref.EndNS <= day0+to*min1 {
			minutes++
		}
	}
	return minutes
}

// A day of 50 cameras, in seconds: the disk's use stays within the quota, give or take a
// segment, whatever is locked; what is locked stays, and goes when it is released.
func TestADayOfFiftyCamerasStaysWithinTheQuotaAndKeepsWhatIsLocked(t *testing.T) {
	t.Parallel()
	const (
		cameras = 50
		perStep = 10 // fragments between two commits: those of a segment
		minutes = 24 * 60
		segment = perStep * 2300
		quota   = cameras * 150 * 2300 // two and a half hours
	)
	d := newDay(t, cameras, quota)
	defer d.close()
	d.opts.Cameras[3].Retention.Age = time.Hour
	d.opts.Cameras[4].Retention.Bytes = 100_000
	evidence := lock.Lock{
		ID: "evidence0001", Camera: "cam07", StartNS: day0 + 600*min1 + 5, EndNS: day0 + 635*min1, Reason: "theft", CreatedNS: 1,
	}
	most := int64(0)
	for minute := range int64(minutes) {
		d.clock.ns.Store(day0 + (minute+1)*min1)
		if minute == 660 {
			require.NoError(t, d.vol.locks.add(t.Context(), evidence))
		}
		for camera := range cameras {
			d.put(camera, minute)
			if camera%perStep != perStep-1 {
				continue
			}
			d.vol.disk.commit()
			if minute%40 == 39 {
				_, use := d.files()
				most = max(most, use)
				require.LessOrEqual(t, use, int64(quota+segment), "minute %d, before retention", minute)
			}
			_, err := d.vol.sweepOnce(t.Context())
			require.NoError(t, err)
		}
		if minute%120 == 119 {
			use := d.check()
			require.LessOrEqual(t, use, int64(quota+segment), "minute %d", minute)
			if minute > 300 {
				require.Greater(t, use, int64(quota*9/10), "it deletes no more than it must")
			}
		}
	}
	require.Greater(t, most, int64(quota)*9/10)
	require.EqualValues(t, 40, d.covered("cam07", 600, 640), "whole segments")
	require.Zero(t, d.covered("cam07", 590, 600))
	require.Zero(t, d.covered("cam07", 640, 700))
	require.Zero(t, d.covered("cam06", 600, 640))
	require.Zero(t, d.covered("cam03", 0, minutes-75), "an hour, and the segment that it ends in")
	require.EqualValues(t, 60, d.covered("cam03", minutes-60, minutes))
	require.LessOrEqual(t, d.covered("cam04", 0, minutes)*2000, int64(100_000))

	// After a restart the lock is still there.
	again := newLockbook(d.opts.FS, zerolog.Nop())
	require.NoError(t, again.open(dayDir))
	require.True(t, again.current().Holds("cam07", evidence.StartNS, evidence.EndNS))

	evidence.ReleasedNS = 5
	require.NoError(t, d.vol.locks.add(t.Context(), evidence))
	for range 3 { // it is the oldest now
		d.clock.ns.Add(min1)
		for camera := range cameras {
			d.put(camera, (d.clock.ns.Load()-day0)/min1-1)
		}
		d.vol.disk.commit()
		for gone := sweepLimit; gone == sweepLimit; {
			var err error
			gone, err = d.vol.sweepOnce(t.Context())
			require.NoError(t, err)
		}
	}
	require.Zero(t, d.covered("cam07", 600, 640))
	d.check()
}

func TestUnderPressureWhatTheOtherRecorderHasNotGoesLast(t *testing.T) {
	d := newDay(t, 2, 80*2300)
	defer d.close()
	// The other one was away from minute 10 to 20.
	theirs := footage{stretchOf(d.epoch, 0, 10), stretchOf(d.epoch, 20, 1000)}
	d.vol.others = func(string) []footage { return []footage{theirs} }
	for minute := range int64(60) {
		d.clock.ns.Store(day0 + (minute+1)*min1)
		for camera := range 2 {
			d.put(camera, minute)
		}
		d.vol.disk.commit()
		_, err := d.vol.sweepOnce(t.Context())
		require.NoError(t, err)
	}
	for _, c := range []string{"cam00", "cam01"} {
		require.Zero(t, d.covered(c, 0, 10))
		require.EqualValues(t, 10, d.covered(c, 10, 20), "the only copy")
		require.Less(t, d.covered(c, 20, 40), int64(20))
	}
	theirs = footage{stretchOf(d.epoch, 50, 1000)} // the other one let go of what is older, by its own rules
	for minute := int64(60); minute < 70; minute++ {
		d.clock.ns.Store(day0 + (minute+1)*min1)
		for camera := range 2 {
			d.put(camera, minute)
		}
		d.vol.disk.commit()
		_, err := d.vol.sweepOnce(t.Context())
		require.NoError(t, err)
	}
	require.Zero(t, d.covered("cam00", 10, 20), "nothing is kept for ever for being the only copy")
	d.check()
}

func TestALockThatComesInAsASegmentIsAboutToGoSavesIt(t *testing.T) {
	d := newDay(t, 1, 0)
	defer d.close()
	for minute := range int64(30) {
		d.put(0, minute)
	}
	d.vol.disk.commit()
	d.clock.ns.Store(day0 + 100*min1)
	s := d.vol.index.store()
	var decided []doomed
	for seg, err := range s.Segments("cam00") {
		require.NoError(t, err)
		decided = append(decided, doomed{camera: "cam00", heldSegment: heldSegment{path: seg.Path, startNS: seg.StartNS, endNS: seg.EndNS}})
	}
	require.Len(t, decided, 3)
	require.NoError(t, d.vol.locks.add(t.Context(), lock.Lock{
		ID: "evidence0002", Camera: "cam00", StartNS: day0 + 15*min1, EndNS: day0 + 16*min1, Reason: "x", CreatedNS: 1,
	}))
	require.NoError(t, d.vol.locks.unlessLocked(t.Context(), decided, func(free []doomed) error {
		require.Len(t, free, 2)
		_, err := forget(s, free)
		return err
	}))
	require.NoError(t, d.vol.unlinkMarked(s))
	require.EqualValues(t, 10, d.covered("cam00", 0, 30))
	require.EqualValues(t, 10, d.covered("cam00", 10, 20))
	d.check()
	locked, added, err := lockedBytes(s, d.vol.locks.current(), &lock.Lock{Camera: "cam00", StartNS: day0, EndNS: day0 + 100*min1})
	require.NoError(t, err)
	require.Equal(t, stored(20000, 10), locked)
	require.Zero(t, added, "what is locked already")
}

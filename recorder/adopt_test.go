package recorder

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

// lose ends a day's volume, takes its index away, and opens it again on fsys.
func (d *day) lose(fsys vfs.FS) {
	d.t.Helper()
	d.close()
	require.NoError(d.t, d.opts.FS.RemoveAll(path.Join(dayDir, metaDir, indexDir)))
	d.opts.FS, d.opts.Registry = fsys, prometheus.NewRegistry()
	place := d.vol.place
	held, err := possess(fsys, dayDir, "r1", d.clock.Now())
	require.NoError(d.t, err)
	m, err := newMeters(d.opts.Registry)
	require.NoError(d.t, err)
	d.vol = newVolume(d.opts, place, held, m, node.NewEvery(time.Second, d.clock.Now))
	require.NoError(d.t, d.vol.locks.open(dayDir))
	require.NoError(d.t, d.vol.recover(d.t.Context()))
	d.vol.disk.syncers = 1
	for _, l := range d.lanes {
		l.seg, l.written, l.feed.counts = nil, progress{}, feedCounts{}
		l.feed.attach(l, progress{at: d.vol.resume[l.feed.camera]})
		l.feed.resume()
	}
}

// names returns what the index names of a camera, by first offset.
func (d *day) names(camera string) map[uint64]bool {
	out := map[uint64]bool{}
	for ref, err := range d.vol.index.store().Fragments(camera, 0, math.MaxInt64) {
		require.NoError(d.t, err)
		out[ref.First] = true
	}
	return out
}

func TestRecordingGoesOnAtOnceWhileTheIndexIsMadeAnew(t *testing.T) {
	const cameras, minutes = 3, 100
	d := newDay(t, cameras, 0)
	d.realMedia()
	for m := range int64(minutes) {
		for c := range cameras {
			d.put(c, m)
		}
		d.vol.disk.commit()
	}
	want := dump(t, d.vol.index.store())
	read := map[string]bool{}
	var mu sync.Mutex
	d.lose(errorfs.Wrap(d.opts.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isMedia(op) && op.Kind == errorfs.OpFileReadAt {
			mu.Lock()
			defer mu.Unlock()
			read[op.Path] = true
		}
		return nil
	})))
	require.LessOrEqual(t, len(read), cameras*tailFiles, "only the newest files are read before it records: %v", read)
	a := d.vol.adopt
	for c := range cameras {
		name := d.opts.Cameras[c].Name
		require.Equal(t, record.Position{Epoch: d.epoch, Offset: minutes * 100}, d.vol.resume[name])
		require.EqualValues(t, math.MaxInt64, a.since(name), "nothing is told before it is known what there is")
	}
	require.NotNil(t, a.status())
	require.Zero(t, a.status().GetSegments())

	round, err := a.list(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, cameras*minutes/10, a.status().GetSegments())
	minute, last := int64(minutes), map[string]int64{}
	for f := a.pick(round); f != nil; f = a.pick(round) {
		// It records: what is new is durable, acknowledged and served.
		for c := range cameras {
			d.put(c, minute)
			d.vol.disk.commit()
			at, _ := d.lanes[c].feed.state()
			require.EqualValues(t, (minute+1)*100, at.Offset)
			require.True(t, d.names(d.opts.Cameras[c].Name)[uint64(minute)*100])
		}
		minute++
		// What is said to be told is: whatever ends after it is named.
		for c := range cameras {
			name := d.opts.Cameras[c].Name
			since := a.since(name)
			if l, ok := last[name]; ok {
				require.LessOrEqual(t, since, l, "it never goes back")
			}
			last[name] = since
			names := d.names(name)
			for m := range minute {
				if day0+(m+1)*min1 > since {
					require.True(t, names[uint64(m)*100], "minute %d of %s, told since %d", m, name, (since-day0)/min1)
				}
			}
		}
		a.working.Lock()
		require.NoError(t, a.adopt(t.Context(), f))
		a.working.Unlock()
	}
	require.True(t, a.adopting())
	require.NoError(t, a.finish(round))
	require.False(t, a.adopting())
	require.Zero(t, a.since("cam00"))
	require.Nil(t, a.status())
	d.vol.disk.commit()
	again := remade(t, d.vol.archive)
	require.Equal(t, dump(t, again), dump(t, d.vol.index.store()), "the index equals one made anew of the media at once")
	require.NoError(t, again.Close())
	for c := range cameras {
		require.Len(t, d.names(d.opts.Cameras[c].Name), int(minute), "nothing is lost and nothing is there twice")
	}
	_, marked, err := readMark(d.vol.archive)
	require.NoError(t, err)
	require.False(t, marked)
	d.check()
	// Without what came meanwhile it is what was lost.
	var young []index.Ref
	for _, c := range d.opts.Cameras {
		for ref, err := range d.vol.index.store().Fragments(c.Name, day0+minutes*min1, math.MaxInt64) {
			require.NoError(t, err)
			young = append(young, ref)
		}
	}
	require.NotEmpty(t, young)
	require.NotEqual(t, want, dump(t, d.vol.index.store()))
	d.close()
}

// realMedia makes the media such that a scan takes it for fragments.
func (d *day) realMedia() {
	binary.BigEndian.PutUint32(d.body, 100)
	copy(d.body[4:], "moof")
	binary.BigEndian.PutUint32(d.body[100:], uint32(len(d.body)-100))
	copy(d.body[104:], "mdat")
	for i, box := range []string{"ftyp", "moov"} {
		binary.BigEndian.PutUint32(d.init[150*i:], 150)
		copy(d.init[150*i+4:], box)
	}
	d.real = true
}

func TestACrashAnywhereWhileTheIndexIsMadeAnewLosesNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	mem := vfs.NewCrashableMem()
	require.NoError(t, mem.MkdirAll("/data", 0o755))
	logs := crashLogs(t)
	more := newTestLog(t, "a", testBase.Add(time.Minute), 4, 4*time.Second)
	more.ended = true
	g := openRig(t, mem)
	playAll(g, logs)
	g.commit()
	g.close()
	require.NoError(t, mem.RemoveAll(path.Join(rigDir, metaDir, indexDir)))
	require.NoError(t, syncDir(mem, path.Join(rigDir, metaDir)))
	mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: random})
	require.NoError(t, mem.MkdirAll("/data", 0o755))

	whole := openWhole(t, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: random}))
	playAll(whole, []*testLog{more})
	whole.commit()
	want := map[string]int{"a": len(whole.fragments("a")), "bb": len(whole.fragments("bb"))}
	wantA, wantB := whole.fragments("a"), whole.fragments("bb")
	require.Equal(t, map[string]int{"a": 11, "bb": 5}, want)
	whole.check()
	whole.close()

	type crash struct {
		op    string
		fs    *vfs.MemFS
		acked map[string]record.Position
	}
	var mu sync.Mutex
	var crashes []crash
	var feeds []*feed
	g = openRig(t, errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		now := map[string]record.Position{}
		for _, f := range feeds {
			now[f.camera], _ = f.state()
		}
		crashes = append(crashes, crash{
			op: fmt.Sprintf("%d: before %d of %s", len(crashes), op.Kind, op.Path), acked: now,
			fs: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(3) * 50, RNG: random}),
		})
		return nil
	})))
	require.True(t, g.adopt.adopting())
	round, err := g.adopt.list(t.Context())
	require.NoError(t, err)
	g.steps = func() { // a file between any two steps of recording
		mu.Lock()
		feeds = slices.Collect(maps.Values(g.feeds))
		mu.Unlock()
		if f := g.adopt.pick(round); f != nil {
			require.NoError(t, g.adopt.adopt(t.Context(), f))
		}
	}
	playAll(g, []*testLog{more})
	g.commit()
	require.NoError(t, g.adopt.work(t.Context()))
	require.False(t, g.adopt.adopting())
	g.check()
	g.close()
	t.Logf("%d crashes", len(crashes))
	require.Greater(t, len(crashes), 100)

	unfinished := 0
	for _, c := range crashes {
		ok := t.Run(c.op, func(t *testing.T) {
			require.NoError(t, c.fs.MkdirAll("/data", 0o755))
			g := openRig(t, c.fs)
			for camera, at := range c.acked {
				require.GreaterOrEqual(t, g.disk.index.store().Position(camera).Compare(at), 0, "%s: acknowledged %s", camera, at)
			}
			if g.adopt.adopting() {
				unfinished++
			}
			playAll(g, []*testLog{more}) // before anything is adopted
			g.commit()
			require.NoError(t, g.adopt.work(t.Context()))
			require.False(t, g.adopt.adopting())
			require.Equal(t, wantA, g.fragments("a"))
			require.Equal(t, wantB, g.fragments("bb"))
			g.check()
			g.close()
		})
		if !ok {
			return
		}
	}
	require.Positive(t, unfinished)
	require.Less(t, unfinished, len(crashes))
}

func TestWhatIsNotAdoptedYetIsUnknownAndRecordingIsNot(t *testing.T) {
	p, mem := newFakeProxy(t), vfs.NewMem()
	require.NoError(t, mem.MkdirAll("/data", 0o755))
	old, l := newTestLog(t, "gate", testBase.Add(-time.Hour), 20, 4*time.Second), newTestLog(t, "gate", testBase, 40, 4*time.Second)
	old.ended = true
	p.show(old, old.end())
	g := start(t, "r1", rigDir, mem, p.address, Camera{Name: "gate"})
	p.show(l, 30*perFragment)
	g.wait(l, 29*perFragment)
	g.stop()
	require.NoError(t, mem.RemoveAll(path.Join(rigDir, metaDir, indexDir)))

	// The older files cannot be read for now.
	release := make(chan struct{})
	opened := sync.OnceFunc(func() { close(release) })
	defer opened()
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isMedia(op) && op.Kind == errorfs.OpFileReadAt && strings.Contains(op.Path, old.epoch.String()) {
			<-release
		}
		return nil
	}))
	g = start(t, "r1", rigDir, fsys, p.address, Camera{Name: "gate"})
	p.show(l, l.end())
	g.wait(l, l.end()-perFragment)
	require.Zero(t, g.camera("gate").GetOffsetsLost())
	require.NoError(t, g.ready())
	ask := func() *nodepb.SpansReply {
		r, err := g.client.Spans(t.Context(), &nodepb.SpansRequest{Camera: "gate", StartNs: 0, EndNs: math.MaxInt64})
		require.NoError(t, err)
		return r
	}
	alarms := func() (codes []string) {
		for _, a := range g.state().GetAlarms() {
			codes = append(codes, a.GetCode())
		}
		return codes
	}
	require.NotEmpty(t, ask().GetLacking())
	require.Contains(t, alarms(), alarmRebuilding)
	require.NotContains(t, alarms(), alarmRecovering)
	require.NotNil(t, g.state().GetDisks()[0].GetAdoption())
	require.Eventually(t, func() bool { return len(g.fragments("gate")) == 39 }, patience, 5*time.Millisecond, "the newest come first")
	if before := ask().GetLackingBeforeNs(); before != 0 { // 0: of anything
		require.GreaterOrEqual(t, before, testBase.Add(20*time.Second-time.Hour).UnixNano())
	}
	opened()
	require.Eventually(t, func() bool { return ask().GetLacking() == "" && g.state().GetDisks()[0].GetAdoption() == nil }, patience, 5*time.Millisecond)
	require.Equal(t, 59, len(g.fragments("gate"))) //nolint:testifylint // of a failure, the number says enough
	require.Len(t, ask().GetSpans(), 2)
	require.NotContains(t, alarms(), alarmRebuilding)
	require.Contains(t, g.log.String(), "the index is complete again")
}

func TestRetentionCountsWhatIsNotAdoptedYetAndDeletesTheOldestFirst(t *testing.T) {
	const cameras, minutes = 4, 200
	d := newDay(t, cameras, 0)
	d.realMedia()
	for m := range int64(minutes) {
		for c := range cameras {
			d.put(c, m)
		}
		d.vol.disk.commit()
	}
	set, _ := lock.Set{}.With(lock.Lock{ID: "lock0000001", Camera: "cam01", StartNS: day0 + 12*min1, EndNS: day0 + 13*min1, Reason: "theft", CreatedNS: 1})
	require.NoError(t, d.vol.locks.add(t.Context(), set.All()...))
	_, before := d.files()
	d.lose(d.opts.FS)
	d.vol.place.Quota = before / 2
	gone, err := d.vol.sweepOnce(t.Context())
	require.NoError(t, err)
	require.Zero(t, gone, "nothing goes before it is known what there is")
	_, err = d.vol.adopt.list(t.Context())
	require.NoError(t, err)
	for gone = 1; gone > 0; {
		gone, err = d.vol.sweepOnce(t.Context())
		require.NoError(t, err)
	}
	require.True(t, d.vol.adopt.adopting())
	_, total := d.files()
	require.LessOrEqual(t, total, before/2)
	require.NoError(t, d.vol.adopt.work(t.Context()))
	gone, err = d.vol.sweepOnce(t.Context())
	require.NoError(t, err)
	require.Zero(t, gone, "what was not named was counted")
	require.Greater(t, total, before/2-before/5, "and no more went than has to")
	d.check()
	oldest := map[string]uint64{}
	for _, c := range d.opts.Cameras {
		names := slices.Sorted(maps.Keys(d.names(c.Name)))
		if c.Name == "cam01" {
			require.EqualValues(t, 1000, names[0], "the locked segment stays")
			require.EqualValues(t, 1900, names[9])
			names = names[10:]
		}
		oldest[c.Name] = names[0]
		require.EqualValues(t, minutes*100-names[0], len(names)*100, "the newest are left, without a hole")
	}
	for _, first := range oldest {
		require.InDelta(t, oldest["cam00"], first, 1000, "the oldest of all cameras went first: %v", oldest)
	}
	d.close()
}

func TestWhatIsToldIsWhollyTold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newAdopter(archive{}, &indexHandle{}, &dayClock{}, zerolog.Nop())
		c := &cameraFiles{}
		ends := map[*unnamed]int64{}
		for i := range rapid.IntRange(1, 8).Draw(t, "files") {
			start := rapid.Int64Range(1, 100).Draw(t, "start") * int64(time.Hour)
			end := start + rapid.Int64Range(1, int64(segmentMost)).Draw(t, "length")
			// Written when it was captured, by a clock that is a little behind; or later, copied;
			// or the clock was wrong altogether.
			mod := end - int64(clockSlack)/2
			switch rapid.IntRange(0, 2).Draw(t, "written") {
			case 1:
				mod = end + rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "later")
			case 2:
				mod = 0
			}
			f := &unnamed{camera: "gate", path: fmt.Sprint(i), startNS: start, untilNS: untilOf(start, mod)}
			ends[f] = end
			c.byStart = append(c.byStart, f)
		}
		c.byEnd = slices.Clone(c.byStart)
		slices.SortFunc(c.byEnd, laterEnd)
		a.begin(adoptMark{})
		a.listed = true
		a.files = unnamedFiles{queue: c.byEnd, byCamera: map[string]*cameraFiles{"gate": c}}
		for left := maps.Clone(ends); ; {
			since := a.since("gate")
			for f, end := range left {
				require.LessOrEqual(t, end, since, "file %s", f.path)
			}
			f := a.pick(1)
			if f == nil {
				require.Zero(t, since)
				return
			}
			if rapid.Bool().Draw(t, "another one first") {
				other := rapid.SampledFrom(c.byStart).Draw(t, "other")
				a.done(other)
				delete(left, other)
			}
			a.done(f)
			delete(left, f)
		}
	})
}

func TestTheScrubberAdoptsAFileThatTheIndexDoesNotKnow(t *testing.T) {
	g, s := scrubRig(t)
	other := openRig(t, vfs.NewMem()) // what a crash in the middle of a repair leaves behind, long ago
	l := newTestLog(t, "gate", testBase.Add(-50*24*time.Hour), 5, time.Hour)
	l.ended = true
	l.play(t, other.feed("gate"), 50)
	other.commit()
	var name string
	for p, b := range other.files() {
		name = p
		require.NoError(t, g.opts.FS.MkdirAll(path.Dir(g.disk.name(p)), 0o755))
		rewrite(t, g.opts.FS, g.disk.name(p), append(b, "torn"...))
	}
	other.close()
	before := len(g.refs())
	clock := &dayClock{}
	clock.ns.Store(time.Now().Add(time.Hour).UnixNano()) // the file is not one of just now
	s.clock = clock
	require.NoError(t, s.step(t.Context()))
	require.EqualValues(t, 1, s.progress().Unlisted)
	require.Len(t, g.refs(), before+5)
	require.Equal(t, name, g.refs()[0].Segment)
	g.check()
	s.set(scrubState{})
	require.NoError(t, s.step(t.Context()))
	require.Zero(t, s.progress().Unlisted, "it is known now")
	g.close()
}

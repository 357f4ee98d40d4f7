package recorder

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/media"
)

// planned is fragment n of a test camera, with a number of records. A negative one: its
// end was never seen.
func planned(n int, records int, salt byte) index.Ref {
	i := media.Info{Camera: "gate", First: uint64(n) * 100, StartNS: int64(n) * 1e9, MinNS: int64(n) * 1e9, Size: 1000}
	if records < 0 {
		records, i.Flags = -records, media.Truncated
	}
	i.End, i.EndNS = i.First+uint64(records), i.StartNS+int64(records)*1e7
	i.MaxNS, i.WindowNS = i.EndNS, i.StartNS/10e9*10e9
	i.Hash = hashOf([]byte(fmt.Sprint(i.First, i.End, i.Flags, salt)))
	return index.Ref{Info: i}
}

func TestWhatIsLackingIsWhatOthersHoldMoreOf(t *testing.T) {
	whole := func(n int) index.Ref { return planned(n, 100, 0) }
	for name, c := range map[string]struct {
		own       []index.Ref
		others    [][]index.Ref
		want      []string // first-end@sources
		conflicts int
	}{
		"nothing anywhere":             {nil, nil, nil, 0},
		"the same":                     {[]index.Ref{whole(1), whole(2)}, [][]index.Ref{{whole(1), whole(2)}}, nil, 0},
		"a hole in the middle":         {[]index.Ref{whole(1), whole(3)}, [][]index.Ref{{whole(1), whole(2), whole(3)}}, []string{"200-300@[0]"}, 0},
		"everything":                   {nil, [][]index.Ref{{whole(1), whole(2)}}, []string{"100-200@[0]", "200-300@[0]"}, 0},
		"more here than there":         {[]index.Ref{whole(1), whole(2)}, [][]index.Ref{{whole(2)}}, nil, 0},
		"parts at two others":          {[]index.Ref{whole(2)}, [][]index.Ref{{whole(1)}, {whole(2), whole(3)}}, []string{"100-200@[0]", "300-400@[1]"}, 0},
		"both others have it":          {nil, [][]index.Ref{{whole(1)}, {whole(1)}}, []string{"100-200@[0 1]"}, 0},
		"a longer one replaces":        {[]index.Ref{planned(1, -50, 0)}, [][]index.Ref{{whole(1)}}, []string{"100-200@[0]"}, 0},
		"an end that was seen wins":    {[]index.Ref{planned(1, -100, 0)}, [][]index.Ref{{whole(1)}}, []string{"100-200@[0]"}, 0},
		"a shorter one does not":       {[]index.Ref{whole(1)}, [][]index.Ref{{planned(1, -50, 0)}}, nil, 0},
		"the longest of the others":    {nil, [][]index.Ref{{planned(1, -50, 0)}, {whole(1)}}, []string{"100-200@[1]"}, 0},
		"other bytes cannot be mended": {[]index.Ref{planned(1, 100, 1)}, [][]index.Ref{{whole(1)}}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, conflicts := difference(c.own, c.others)
			var text []string
			for _, l := range got {
				text = append(text, fmt.Sprintf("%d-%d@%v", l.info.First, l.info.End, l.sources))
			}
			require.Equal(t, c.want, text)
			require.Equal(t, c.conflicts, conflicts)
		})
	}
}

// After each has copied what it lacks, all recorders hold the same.
func TestCopiesConvergeFromWhateverTheyHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(t, "recorders")
		lists := make([][]index.Ref, n)
		for i := range lists {
			for f := range rapid.IntRange(0, 12).Draw(t, "fragments") {
				if r := rapid.SampledFrom([]int{0, 100, 100, -30, -60, -100}).Draw(t, "records"); r != 0 {
					lists[i] = append(lists[i], planned(f, r, 0))
				}
			}
		}
		for i := range lists {
			var others [][]index.Ref
			for j := range lists {
				if j != i {
					others = append(others, lists[j])
				}
			}
			lacking, conflicts := difference(lists[i], others)
			require.Zero(t, conflicts)
			for _, l := range lacking {
				require.NotEmpty(t, l.sources)
				lists[i] = slices.DeleteFunc(lists[i], func(r index.Ref) bool { return r.First == l.info.First })
				lists[i] = append(lists[i], index.Ref{Info: l.info})
			}
			slices.SortFunc(lists[i], func(a, b index.Ref) int { return index.Compare(&a, &b) })
		}
		// The first ones lack nothing that the later ones had: one round is enough.
		for i := range lists {
			require.Equal(t, lists[0], lists[i])
			again, _ := difference(lists[i], lists)
			require.Empty(t, again)
		}
	})
}

func TestFilesAreCopiedInTheOrderThatWasAskedForAndEachFromItsStart(t *testing.T) {
	var list []lacking
	for _, n := range []int{25, 3, 11, 12, 24, 1} {
		list = append(list, lacking{info: planned(n, 100, 0).Info})
	}
	firsts := func() (out []uint64) {
		for _, l := range list {
			out = append(out, l.info.First/100)
		}
		return out
	}
	arrange(list, true)
	require.Equal(t, []uint64{24, 25, 11, 12, 1, 3}, firsts())
	arrange(list, false)
	require.Equal(t, []uint64{1, 3, 11, 12, 24, 25}, firsts())
}

func TestWhatIsNotWanted(t *testing.T) {
	const hour = int64(time.Hour)
	have := index.Camera{Fragments: 10, Bytes: 1000, StartNS: 50 * hour, EndNS: 60 * hour}
	for name, c := range map[string]struct {
		rule     copyRule
		have     index.Camera
		from, to int64
	}{
		"everything that has settled":            {copyRule{placed: true}, have, 0, 99 * hour},
		"a new copy wants everything":            {copyRule{placed: true}, index.Camera{}, 0, 99 * hour},
		"what is too old":                        {copyRule{placed: true, keep: Retention{Age: 30 * time.Hour}}, have, 70 * hour, 99 * hour},
		"what retention has deleted":             {copyRule{placed: true}, index.Camera{HorizonNS: 40 * hour}, 40 * hour, 99 * hour},
		"older than all, when there is no room":  {copyRule{placed: true, pressed: true}, have, 50 * hour, 99 * hour},
		"older than all, of a camera with much":  {copyRule{placed: true, keep: Retention{Bytes: 1000}}, have, 50 * hour, 99 * hour},
		"an empty disk wants all, however small": {copyRule{placed: true, pressed: true}, index.Camera{}, 0, 99 * hour},
		"not placed here, but footage is":        {copyRule{}, have, 50 * hour, 60 * hour},
		"not placed here, and no footage":        {copyRule{}, index.Camera{}, 0, 0},
		"a spare":                                {copyRule{placed: true, spare: true}, have, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.rule.wanted(c.have, 100*hour, 99*hour)
			require.Equal(t, []int64{c.from, c.to}, []int64{w.fromNS, w.toNS})
		})
	}
}

func TestWhatALockCoversIsWantedHoweverOldItIs(t *testing.T) {
	hour := int64(time.Hour)
	locks, _ := lock.Set{}.With(
		lock.Lock{ID: "lock0000001", Camera: "gate", StartNS: 10 * hour, EndNS: 12 * hour, Reason: "theft", CreatedNS: 1},
		lock.Lock{ID: "lock0000002", Camera: "gate", StartNS: 69 * hour, EndNS: 75 * hour, Reason: "theft", CreatedNS: 1},
		lock.Lock{ID: "lock0000003", Camera: "gate", StartNS: 20 * hour, EndNS: 30 * hour, Reason: "theft", CreatedNS: 1, ReleasedNS: 2},
		lock.Lock{ID: "lock0000004", Camera: "yard", StartNS: 30 * hour, EndNS: 40 * hour, Reason: "theft", CreatedNS: 1},
	)
	rule := copyRule{placed: true, pressed: true, keep: Retention{Age: 30 * time.Hour}, locks: locks}
	w := rule.wanted(index.Camera{Name: "gate", Fragments: 1, StartNS: 60 * hour, EndNS: 90 * hour, HorizonNS: 65 * hour}, 100*hour, 99*hour)
	require.Equal(t, []index.Stretch{{StartNS: 10 * hour, EndNS: 12 * hour}, {StartNS: 69 * hour, EndNS: 70 * hour}}, w.evidence())
	for name, c := range map[string]struct {
		start, end       int64
		wanted, evidence bool
	}{
		"young":                           {80 * hour, 81 * hour, true, false},
		"young and locked":                {71 * hour, 72 * hour, true, false},
		"still on its way":                {99 * hour, 100 * hour, false, false},
		"old":                             {50 * hour, 51 * hour, false, false},
		"old and locked":                  {11 * hour, 11*hour + 1, true, true},
		"old, and reaches into a lock":    {9 * hour, 10*hour + 1, true, true},
		"old, and ends where one begins":  {9 * hour, 10 * hour, false, false},
		"old, and begins where one ends":  {12 * hour, 13 * hour, false, false},
		"old, of a lock that is released": {25 * hour, 26 * hour, false, false},
		"old, of another camera's lock":   {35 * hour, 36 * hour, false, false},
	} {
		wanted, evidence := w.has(&media.Info{StartNS: c.start, EndNS: c.end})
		require.Equal(t, []bool{c.wanted, c.evidence}, []bool{wanted, evidence}, name)
		if wanted {
			require.True(t, w.touches(c.start, c.end), name)
		}
	}
	require.False(t, w.touches(40*hour, 60*hour))

	rule.since = 11 * hour // what is older the index does not name yet
	w = rule.wanted(index.Camera{Name: "gate", Fragments: 1, StartNS: 60 * hour}, 100*hour, 99*hour)
	require.Equal(t, index.Stretch{StartNS: 11 * hour, EndNS: 12 * hour}, w.evidence()[0])
	for _, r := range []copyRule{{locks: locks}, {placed: true, spare: true, locks: locks}} {
		w = r.wanted(index.Camera{Name: "gate", Fragments: 1, StartNS: 60 * hour, EndNS: 90 * hour}, 100*hour, 99*hour)
		require.Empty(t, w.evidence(), "a copy that is not meant to be whole")
	}
}

// roomHost is a host of which only the room matters.
type roomHost struct {
	repairHost
	bytes int64
}

func (h roomHost) room(string) (disk any, bytes, evidence int64) { return "disk", h.bytes, 0 }

func TestOldestFirstCopiesNothingThatWhatIsNewerWouldDriveOut(t *testing.T) {
	hour := int64(time.Hour)
	r := &repairer{host: roomHost{bytes: 250}, tasks: map[taskKey]*task{}, wants: map[string]want{"gate": {fromNS: 2 * hour, heldNS: 90 * hour}}}
	for i := range int64(10) {
		r.tasks[taskKey{"gate", i * hour}] = &task{taskKey: taskKey{"gate", i * hour}, fromNS: i * hour, toNS: (i + 1) * hour, bytes: 100}
	}
	r.fit()
	for key, t2 := range r.tasks {
		require.Equal(t, key.hourNS >= 2*hour && key.hourNS < 8*hour, t2.unfit, "hour %d", key.hourNS/hour)
	}
	r.wants["gate"] = want{heldNS: 4*hour + 1} // what is newer than that takes the room of the oldest
	r.fit()
	for key, t2 := range r.tasks {
		require.Equal(t, key.hourNS < 4*hour, t2.unfit, "hour %d", key.hourNS/hour)
	}
	r.newest = true
	r.tasks[taskKey{"gate", 0}].unfit = false
	r.fit()
	require.False(t, r.tasks[taskKey{"gate", 0}].unfit)
}

func TestHoursDifferByTheirDigests(t *testing.T) {
	a, b := planned(1, 100, 0), planned(2, 100, 0)
	var one, two, other index.Digest
	one.Add(&a)
	two.Add(&a)
	two.Add(&b)
	other.Add(&b)
	require.Empty(t, differing([]index.Digest{one}, []index.Digest{one}))
	require.Empty(t, differing([]index.Digest{one}, nil))
	require.Equal(t, []index.Digest{two}, differing(nil, []index.Digest{two}))
	got := differing([]index.Digest{one}, []index.Digest{two})
	require.Len(t, got, 1)
	require.EqualValues(t, 1, got[0].Fragments)
	require.EqualValues(t, 1000, got[0].Bytes)
	got = differing([]index.Digest{one}, []index.Digest{other})
	require.Len(t, got, 1)
	require.Zero(t, got[0].Bytes, "as many here: how many are lacking, the list tells")
}

// handClock is a clock that a test moves.
type handClock struct{ ns int64 }

func (c *handClock) Now() time.Time { return time.Unix(0, c.ns) }
func (c *handClock) Mono() int64    { return c.ns }

func TestRepairKeepsToItsRate(t *testing.T) {
	for _, perSecond := range []int64{1, 1000, 1 << 20, 64 << 20} {
		c := &handClock{ns: 1e9}
		p := newPace(c, perSecond)
		began := c.ns
		var waited time.Duration
		p.pause = func(_ context.Context, d time.Duration) bool {
			waited += d
			c.ns += int64(d)
			return true
		}
		total := int64(0)
		for total < 20*perSecond {
			n := min(20*perSecond-total, readChunk)
			require.True(t, p.take(t.Context(), int(n)))
			total += n
		}
		took := time.Duration(c.ns - began).Seconds()
		require.InDelta(t, 20, took, 1.01, "at %d bytes per second", perSecond)
		require.Equal(t, waited, time.Duration(c.ns-began))
	}
	p := newPace(&handClock{ns: 1e9}, 1)
	p.pause = func(context.Context, time.Duration) bool { return false }
	require.False(t, p.take(t.Context(), 10), "the end is not waited for")
}

func TestTheRateThatIsToldIsThatOfTheLastSeconds(t *testing.T) {
	c := &handClock{ns: 1e9}
	var m rateMeter
	require.Zero(t, m.now(c))
	for range 30 {
		for range 10 {
			m.add(c, 100)
			c.ns += 1e8
		}
	}
	require.InDelta(t, 1000, m.now(c), 60)
	c.ns += int64(time.Minute)
	require.Zero(t, m.now(c))
}

func FuzzRefOf(f *testing.F) {
	f.Add(uint64(1), uint64(2), int64(0), int64(1), int64(100), 16, 32)
	f.Fuzz(func(t *testing.T, first, end uint64, start, stop, size int64, epoch, hash int) {
		pb := fragmentOf(&media.Info{First: first, End: end, StartNS: start, EndNS: stop, MinNS: start, MaxNS: stop, Size: size})
		pb.Epoch, pb.Hash = make([]byte, min(max(epoch, 0), 64)), make([]byte, min(max(hash, 0), 64))
		ref, err := refOf("gate", pb)
		if err != nil {
			require.ErrorIs(t, err, errWrongBytes)
			return
		}
		require.Less(t, ref.First, ref.End)
		require.Less(t, ref.StartNS, ref.EndNS)
		require.Less(t, ref.Size, int64(math.MaxInt32))
	})
}

func FuzzIsFragment(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08moof\x00\x00\x00\x08mdat"))
	f.Fuzz(func(_ *testing.T, b []byte) { isFragment(b) })
}

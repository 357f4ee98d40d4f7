package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawn is a site that rapid makes up.
type drawn struct {
	cameras   []Camera
	recorders []Recorder
}

type choices struct {
	least              int // cameras
	zones, hand, spare bool
	capacity           bool
}

func draw(t *rapid.T, o choices) drawn {
	var d drawn
	salt := rapid.StringMatching(`[a-z]{1,6}`).Draw(t, "salt")
	zones := []string{"", "a", "b", "c"}
	if !o.zones {
		zones = zones[:1]
	}
	for _, role := range roles {
		for i := range rapid.IntRange(1, 6).Draw(t, string(role)) {
			r := Recorder{Name: fmt.Sprintf("%.1s%d", role, i), Role: role, Zone: rapid.SampledFrom(zones).Draw(t, "zone")}
			if o.capacity && rapid.Bool().Draw(t, "declared") {
				r.Capacity = mega * rapid.Int64Range(1, 200).Draw(t, "capacity")
			}
			d.recorders = append(d.recorders, r)
		}
	}
	for i := range rapid.IntRange(o.least, o.least+60).Draw(t, "cameras") {
		c := Camera{Name: fmt.Sprintf("%s-%d", salt, i), Bitrate: mega * rapid.Int64Range(0, 12).Draw(t, "rate")}
		if o.hand && rapid.IntRange(0, 3).Draw(t, "hand") == 0 {
			switch r := rapid.SampledFrom(d.recorders).Draw(t, "recorder"); r.Role {
			case Primary:
				c.Primary = r.Name
			case Redundant:
				c.Redundant = r.Name
			}
		}
		if o.spare && rapid.Bool().Draw(t, "spare") {
			c.Copies = Spare
		}
		d.cameras = append(d.cameras, c)
	}
	return d
}

func (d *drawn) recorder(name string) Recorder {
	for _, r := range d.recorders {
		if r.Name == name {
			return r
		}
	}
	panic("the plan names an unknown recorder " + name)
}

func (d *drawn) rate(c Camera) int64 {
	if c.Bitrate == 0 {
		return DefaultBitrate
	}
	return c.Bitrate
}

func TestEveryPlanIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, choices{zones: true, hand: true, spare: true, capacity: true})
		plan, err := New(d.cameras, d.recorders)
		require.NotNil(t, plan, "%v", err)
		require.Len(t, plan.Cameras, len(d.cameras))
		cameras, sum, always := map[string]int{}, map[string]int64{}, map[string]int64{}
		spare := map[[2]string]int64{}
		for _, c := range d.cameras {
			pair := plan.Cameras[c.Name]
			require.NotEqual(t, pair.Primary, pair.Redundant)
			require.Equal(t, Primary, d.recorder(pair.Primary).Role)
			require.Equal(t, Redundant, d.recorder(pair.Redundant).Role)
			if c.Primary != "" {
				require.Equal(t, c.Primary, pair.Primary)
			}
			if c.Redundant != "" {
				require.Equal(t, c.Redundant, pair.Redundant)
			}
			for _, name := range []string{pair.Primary, pair.Redundant} {
				cameras[name]++
				sum[name] += d.rate(c)
				if name == pair.Redundant && pair.Copies == Spare {
					spare[[2]string{name, pair.Primary}] += d.rate(c)
				} else {
					always[name] += d.rate(c)
				}
			}
		}
		over := false
		for i, l := range plan.Loads {
			name := l.Recorder.Name
			require.Equal(t, d.recorders[i], l.Recorder)
			worst := int64(0)
			for _, p := range d.recorders {
				worst = max(worst, spare[[2]string{name, p.Name}])
			}
			require.Equal(t, [3]int64{int64(cameras[name]), sum[name], always[name] + worst}, [3]int64{int64(l.Cameras), l.Bitrate, l.Peak})
			over = over || l.Recorder.Capacity > 0 && l.Peak > l.Recorder.Capacity
		}
		require.Equal(t, over, err != nil, "%v", err)
	})
}

func TestCopiesAreInDifferentZonesWhereThereIsRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, choices{zones: true, capacity: true})
		plan, err := New(d.cameras, d.recorders)
		if err != nil {
			t.Skip("overloaded")
		}
		for _, c := range d.cameras {
			pair := plan.Cameras[c.Name]
			zone := d.recorder(pair.Primary).Zone
			if zone == "" || zone != d.recorder(pair.Redundant).Zone {
				continue
			}
			require.NotEmpty(t, plan.Warnings)
			for _, l := range plan.Loads {
				if l.Recorder.Role == Redundant && l.Recorder.Zone != zone {
					require.NotZero(t, l.Recorder.Capacity)
					require.Greater(t, l.Peak+d.rate(c), l.Recorder.Capacity, "%s would have had room for %s", l.Recorder.Name, c.Name)
				}
			}
		}
	})
}

func TestLoadIsWithinTheBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, choices{})
		// Capacities as weights, large enough not to bound anything.
		weighted := rapid.Bool().Draw(t, "weighted")
		of := map[Role]float64{}
		for i := range d.recorders {
			r := &d.recorders[i]
			if weighted {
				r.Capacity = 1e12 * rapid.Int64Range(1, 5).Draw(t, "weight")
			}
			of[r.Role] += max(float64(r.Capacity), 1)
		}
		total, largest := 0.0, 0.0
		for _, c := range d.cameras {
			total += float64(d.rate(c))
			largest = max(largest, float64(d.rate(c)))
		}
		plan, err := New(d.cameras, d.recorders)
		require.NoError(t, err)
		for _, l := range plan.Loads {
			share := total * max(float64(l.Recorder.Capacity), 1) / of[l.Recorder.Role]
			require.LessOrEqual(t, float64(l.Bitrate), (slack*share+largest)*(1+1e-12), l.Recorder.Name)
		}
	})
}

func TestOrderOfTheInputDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, choices{zones: true, hand: true, spare: true, capacity: true})
		a, errA := New(d.cameras, d.recorders)
		b, errB := New(rapid.Permutation(d.cameras).Draw(t, "cameras"), rapid.Permutation(d.recorders).Draw(t, "recorders"))
		require.Equal(t, a.Cameras, b.Cameras)
		require.ElementsMatch(t, a.Loads, b.Loads)
		require.Equal(t, errA == nil, errB == nil)
	})
}

// moved counts the copies of role that are elsewhere in b, of the cameras of both.
func moved(a, b *Plan, role Role) int {
	n := 0
	for name, pa := range a.Cameras {
		pb, ok := b.Cameras[name]
		if ok && (role == Primary && pa.Primary != pb.Primary || role == Redundant && pa.Redundant != pb.Redundant) {
			n++
		}
	}
	return n
}

func TestFewCamerasMoveWhenARecorderComesOrGoes(t *testing.T) {
	for _, n := range []int{2, 4, 8} {
		// Fixed sites, so that the numbers are too: the mean over many, and the worst.
		sum, worst, sumOfCamera := 0, 0, 0
		const sites, cameras = 60, 120
		for s := range sites {
			random := rand.New(rand.NewPCG(uint64(s), 1))
			c, r := site(cameras, 1, n)
			for i := range c {
				c[i].Name = fmt.Sprintf("site%d-%d", s, i)
				c[i].Bitrate = mega * (2 + random.Int64N(7))
			}
			before, err := New(c, r)
			require.NoError(t, err)
			after, err := New(c, append(r[:len(r):len(r)], Recorder{Name: "new", Role: Redundant}))
			require.NoError(t, err)
			require.Zero(t, moved(before, after, Primary), "the other role has nothing to do with it")
			m := moved(before, after, Redundant)
			sum += m
			worst = max(worst, m)
			more, err := New(append(c, Camera{Name: "new"}), r)
			require.NoError(t, err)
			sumOfCamera += moved(before, more, Redundant)
		}
		must := float64(cameras) / float64(n+1) // what the new one's share is
		mean := float64(sum) / sites
		t.Logf("%d recorders and one more: %.0f of %d cameras must move, %.1f do, %d at worst", n, must, cameras, mean, worst)
		require.Less(t, mean, 2*must)
		require.Less(t, float64(worst), 3*must)
		meanOfCamera := float64(sumOfCamera) / sites
		t.Logf("%d recorders, one more camera: %.1f of %d others move", n, meanOfCamera, cameras)
		require.Less(t, meanOfCamera, 0.05*cameras)
	}
}

func TestFewCamerasMoveInAnySite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, choices{least: 60})
		primaries := d.recorders[:0:0]
		for i := range 7 {
			primaries = append(primaries, Recorder{Name: fmt.Sprintf("p%d", i), Role: Primary})
		}
		spare := Recorder{Name: "s", Role: Redundant}
		with, err := New(d.cameras, append(primaries, spare))
		require.NoError(t, err)
		gone := rapid.IntRange(0, 6).Draw(t, "gone")
		without, err := New(d.cameras, append(append(primaries[:gone:gone], primaries[gone+1:]...), spare))
		require.NoError(t, err)
		// Four sevenths; without stability it would be six.
		require.LessOrEqual(t, 7*moved(with, without, Primary), 4*len(d.cameras))
	})
}

func TestFewCamerasMoveWhenACameraComes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, choices{least: 40})
		before, err := New(d.cameras, d.recorders)
		require.NoError(t, err)
		after, err := New(append(d.cameras, Camera{Name: "new"}), d.recorders)
		require.NoError(t, err)
		for _, role := range roles {
			require.LessOrEqual(t, moved(before, after, role), len(d.cameras)/2)
		}
	})
}

func TestNothingMakesItPanic(t *testing.T) {
	name := rapid.SampledFrom([]string{"", "a", "b", "c"})
	rate := rapid.SampledFrom([]int64{-1, 0, 1, mega, 1<<63 - 1})
	rapid.Check(t, func(t *rapid.T) {
		cameras := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Camera {
			return Camera{
				Name: name.Draw(t, "name"), Bitrate: rate.Draw(t, "rate"), Primary: name.Draw(t, "primary"), Redundant: name.Draw(t, "redundant"),
				Copies: rapid.SampledFrom([]Copies{"", Dual, Spare, "x"}).Draw(t, "copies"),
			}
		}), 0, 3).Draw(t, "cameras")
		recorders := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Recorder {
			return Recorder{
				Name: name.Draw(t, "name"), Role: rapid.SampledFrom([]Role{Primary, Redundant, "x"}).Draw(t, "role"), Zone: name.Draw(t, "zone"),
				Capacity: rate.Draw(t, "capacity"), Quota: rate.Draw(t, "quota"),
			}
		}), 0, 4).Draw(t, "recorders")
		plan, err := New(cameras, recorders)
		if err == nil {
			require.Len(t, plan.Cameras, len(cameras))
			return
		}
		for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
			require.NotEmpty(t, e.Error())
			require.NotContains(t, e.Error(), "\n")
		}
	})
}

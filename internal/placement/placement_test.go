package placement

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

const mega = 1_000_000

// site returns cameras c0 … and recorders p0 …, s0 …, without zones and capacities.
func site(cameras, primaries, redundants int) ([]Camera, []Recorder) {
	c := make([]Camera, cameras)
	for i := range c {
		c[i].Name = fmt.Sprintf("c%d", i)
	}
	var r []Recorder
	for i := range primaries {
		r = append(r, Recorder{Name: fmt.Sprintf("p%d", i), Role: Primary})
	}
	for i := range redundants {
		r = append(r, Recorder{Name: fmt.Sprintf("s%d", i), Role: Redundant})
	}
	return c, r
}

func problemsOf(t *testing.T, err error) []*Problem {
	t.Helper()
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	require.ErrorAs(t, err, &joined)
	var all []*Problem
	for _, e := range joined.Unwrap() {
		var p *Problem
		require.ErrorAs(t, e, &p)
		all = append(all, p)
	}
	return all
}

func TestAHundredCamerasOverFourAndTwo(t *testing.T) {
	cameras, recorders := site(100, 4, 2)
	for i, zone := range []string{"a", "a", "b", "b", "a", "b"} {
		recorders[i].Zone = zone
		recorders[i].Quota = 4e12
	}
	plan, err := New(cameras, recorders)
	require.NoError(t, err)
	require.Len(t, plan.Cameras, 100)
	require.Empty(t, plan.Warnings)
	of := map[string]Load{}
	var table []string
	for _, l := range plan.Loads {
		of[l.Recorder.Name] = l
		table = append(table, fmt.Sprintf("%s %s %d", l.Recorder.Name, rate(l.Bitrate), l.Retention/3600))
		require.Equal(t, int64(l.Cameras)*DefaultBitrate, l.Bitrate)
		require.Equal(t, l.Bitrate, l.Peak)
	}
	for name, pair := range plan.Cameras {
		require.NotEqual(t, of[pair.Primary].Recorder.Zone, of[pair.Redundant].Recorder.Zone, name)
		require.Equal(t, Dual, pair.Copies)
	}
	// The plan of a site that exists: a change here moves cameras of those who upgrade.
	require.Equal(t, []string{
		"p0 92 Mbit/s 96",
		"p1 112 Mbit/s 79",
		"p2 84 Mbit/s 105",
		"p3 112 Mbit/s 79",
		"s0 196 Mbit/s 45",
		"s1 204 Mbit/s 43",
	}, table)
	require.Equal(t, Pair{"p0", "s1", Dual}, plan.Cameras["c0"])
	require.Equal(t, Pair{"p2", "s0", Dual}, plan.Cameras["c99"])
}

func TestNegLog2(t *testing.T) {
	const one = 1 << logBits
	require.EqualValues(t, 65*one, negLog2(0))
	require.EqualValues(t, 64*one, negLog2(1))
	require.EqualValues(t, 1*one, negLog2(1<<63))
	require.EqualValues(t, 2*one, negLog2(1<<62))
	require.EqualValues(t, 1, negLog2(1<<64-1))
	require.InDelta(t, 0.41503749927884376*one, negLog2(3<<62), 2) // log2(3) - 2
}

func TestFewCamerasSpreadEvenly(t *testing.T) {
	for n := 1; n <= 6; n++ {
		cameras, recorders := site(2*n, n, 1)
		plan, err := New(cameras, recorders)
		require.NoError(t, err)
		for _, l := range plan.Loads[:n] {
			require.Equal(t, 2, l.Cameras, "%d recorders, %s", n, l.Recorder.Name)
		}
	}
}

func TestCapacityIsTheWeight(t *testing.T) {
	cameras, recorders := site(300, 3, 1)
	recorders[0].Capacity, recorders[1].Capacity = 3000*mega, 1000*mega // p2 counts like 2000
	plan, err := New(cameras, recorders)
	require.NoError(t, err)
	for i, share := range []float64{150, 50, 100} {
		require.InDelta(t, share, plan.Loads[i].Cameras, share*(slack-1)+15)
	}
}

func TestEveryRefusal(t *testing.T) {
	big := []Recorder{{Name: "p0", Role: Primary}, {Name: "s0", Role: Redundant}}
	tight := []Recorder{{Name: "p0", Role: Primary, Capacity: 10 * mega}, {Name: "s0", Role: Redundant}}
	hundred, _ := site(100, 0, 0)
	for name, tc := range map[string]struct {
		cameras   []Camera
		recorders []Recorder
		want      []Problem
		plan      bool // that a plan is shown all the same
	}{
		"no recorder": {
			recorders: nil,
			want: []Problem{
				{Message: "there is no primary recorder, and every camera needs a primary and a redundant one: add a recorder with role primary"},
				{Message: "there is no redundant recorder, and every camera needs a primary and a redundant one: add a recorder with role redundant"},
			},
		},
		"no redundant recorder": {
			cameras: []Camera{{Name: "gate", Redundant: "p0"}}, recorders: big[:1],
			want: []Problem{
				{"gate", "p0", "the redundant recorder of camera gate is p0, which has role primary: add a recorder with role redundant"},
				{Message: "there is no redundant recorder, and every camera needs a primary and a redundant one: add a recorder with role redundant"},
			},
		},
		"no primary recorder": {
			cameras: []Camera{{Name: "gate"}}, recorders: big[1:],
			want: []Problem{{Message: "there is no primary recorder, and every camera needs a primary and a redundant one: add a recorder with role primary"}},
		},
		"unknown recorder": {
			cameras: []Camera{{Name: "gate", Primary: "p9"}}, recorders: big,
			want: []Problem{{"gate", "p9", "the primary recorder of camera gate is p9, which is not there: give p0, or none to have it computed"}},
		},
		"both copies on one recorder": {
			cameras: []Camera{{Name: "gate", Primary: "p0", Redundant: "p0"}}, recorders: big,
			want: []Problem{{"gate", "p0", "both copies of camera gate would be on recorder p0, and one fault would take both: give another recorder, or leave one out to have it computed"}},
		},
		"wrong roles": {
			cameras: []Camera{{Name: "gate", Primary: "s0", Redundant: "p0"}}, recorders: big,
			want: []Problem{
				{"gate", "s0", "the primary recorder of camera gate is s0, which has role redundant: give p0, or none to have it computed"},
				{"gate", "p0", "the redundant recorder of camera gate is p0, which has role primary: give s0, or none to have it computed"},
			},
		},
		"no role": {
			recorders: append(slices.Clone(big), Recorder{Name: "x", Role: "boss"}),
			want:      []Problem{{"", "x", `recorder x has role "boss": make it primary or redundant`}},
		},
		"names twice": {
			cameras: []Camera{{Name: "gate"}, {Name: "gate"}}, recorders: append(slices.Clone(big), Recorder{Name: "p0", Role: Redundant}),
			want: []Problem{
				{"gate", "", "camera gate is there twice: give each camera a name of its own"},
				{"", "p0", "recorder p0 is there twice: give each recorder a name of its own"},
			},
		},
		"less than nothing": {
			cameras: []Camera{{Name: "gate", Bitrate: -1}}, recorders: []Recorder{big[1], {Name: "p0", Role: Primary, Capacity: -2, Quota: 3}},
			want: []Problem{
				{"gate", "", "camera gate has bit rate -1 bit/s: it cannot be less than 0"},
				{"", "p0", "recorder p0 has capacity -2 bit/s and quota 3 bytes: neither can be less than 0"},
			},
		},
		"unknown copies": {
			cameras: []Camera{{Name: "gate", Copies: "triple"}}, recorders: big,
			want: []Problem{{"gate", "", `camera gate has copies "triple": make it dual or spare`}},
		},
		"over capacity by hand": {
			cameras: []Camera{{Name: "a", Primary: "p0", Bitrate: 8 * mega}, {Name: "b", Primary: "p0", Bitrate: 4.5 * mega}}, recorders: tight,
			want: []Problem{{"", "p0", "recorder p0 has a capacity of 10 Mbit/s, and the 2 cameras placed on it by hand need 12.5 Mbit/s, 2.5 Mbit/s more: move some of them, or raise its capacity"}},
			plan: true,
		},
		"a camera that no longer fits": {
			cameras: []Camera{{Name: "a"}, {Name: "b"}, {Name: "c"}}, recorders: tight,
			want: []Problem{{"c", "", "camera c needs 4 Mbit/s, and no primary recorder has room for it (left: 2 Mbit/s on p0): add a primary recorder, raise a capacity, or lower the camera's bit rate"}},
			plan: true,
		},
		"a camera that never fits": {
			cameras: []Camera{{Name: "a", Bitrate: 11 * mega}, {Name: "b"}}, recorders: tight,
			want: []Problem{{"a", "", "camera a needs 11 Mbit/s, and no primary recorder has room for it (left: 6 Mbit/s on p0): add a primary recorder, raise a capacity, or lower the camera's bit rate"}},
			plan: true,
		},
		"an absurd rate": {
			cameras: []Camera{{Name: "a", Bitrate: 1<<63 - 1, Primary: "p0"}, {Name: "b", Bitrate: 1<<63 - 1, Primary: "p0"}}, recorders: tight,
			want: []Problem{{"", "p0", "recorder p0 has a capacity of 10 Mbit/s, and the 2 cameras placed on it by hand need 9223372.04 Tbit/s, 9223372.04 Tbit/s more: move some of them, or raise its capacity"}},
			plan: true,
		},
		"a whole site over capacity": {
			cameras: hundred,
			recorders: []Recorder{
				{Name: "p0", Role: Primary, Capacity: 300 * mega},
				{Name: "p1", Role: Primary, Capacity: 86 * mega},
				{Name: "s0", Role: Redundant},
			},
			want: []Problem{{Message: "4 of 100 cameras find no room on the primary recorders: they need 16 Mbit/s, all need 400 Mbit/s, and the capacity is 386 Mbit/s in all (left: 2 Mbit/s on p1): add a primary recorder, raise capacities, or lower bit rates"}},
			plan: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := New(tc.cameras, tc.recorders)
			var have []Problem
			for _, p := range problemsOf(t, err) {
				have = append(have, *p)
			}
			require.Equal(t, tc.want, have)
			require.Equal(t, tc.plan, plan != nil)
			if plan != nil {
				require.Len(t, plan.Cameras, len(tc.cameras))
			}
		})
	}
}

func TestProblemsAreInTheOrderOfTheInput(t *testing.T) {
	cameras := []Camera{
		{Name: "z", Bitrate: mega, Primary: "p1"},
		{Name: "big1", Bitrate: 90 * mega},
		{Name: "a", Primary: "p1", Bitrate: mega},
		{Name: "big0", Bitrate: 95 * mega},
	}
	recorders := []Recorder{
		{Name: "s0", Role: Redundant, Capacity: 89 * mega}, {Name: "p1", Role: Primary, Capacity: mega}, {Name: "p0", Role: Primary, Capacity: 92 * mega},
	}
	plan, err := New(cameras, recorders)
	require.NotNil(t, plan)
	var about []string
	for _, p := range problemsOf(t, err) {
		about = append(about, p.Camera+"/"+p.Recorder)
	}
	require.Equal(t, []string{"big1/", "big0/", "big0/", "/p1"}, about)
}

func TestRoomUpToTheLastBitIsUsed(t *testing.T) {
	cameras, recorders := site(100, 4, 2)
	for i := range recorders {
		recorders[i].Capacity = 100 * mega
		if recorders[i].Role == Redundant {
			recorders[i].Capacity = 200 * mega
		}
	}
	plan, err := New(cameras, recorders)
	require.NoError(t, err)
	for _, l := range plan.Loads {
		require.Equal(t, l.Recorder.Capacity, l.Peak)
	}
}

func TestSparesNeedTheCapacityOfOneFailure(t *testing.T) {
	cameras, recorders := site(40, 4, 1)
	for i := range cameras {
		cameras[i].Primary = fmt.Sprintf("p%d", i%4)
	}
	recorders[4].Capacity = 40 * mega // of ten cameras: one primary
	_, err := New(cameras, recorders)
	require.Error(t, err, "a redundant recorder that always records needs room for all")

	for i := range cameras {
		cameras[i].Copies = Spare
	}
	plan, err := New(cameras, recorders)
	require.NoError(t, err)
	require.EqualValues(t, 40*mega, plan.Loads[4].Peak)
	require.EqualValues(t, 160*mega, plan.Loads[4].Bitrate)
	require.Equal(t, 40, plan.Loads[4].Cameras)
	require.Equal(t, Spare, plan.Cameras["c0"].Copies)

	recorders[4].Capacity--
	_, err = New(cameras, recorders)
	require.Error(t, err)
}

func TestHandGivenPlacesCountFirst(t *testing.T) {
	cameras, recorders := site(20, 2, 1)
	for i := range 10 {
		cameras[19-i].Primary = "p1"
	}
	plan, err := New(cameras, recorders)
	require.NoError(t, err)
	for i := range 10 {
		require.Equal(t, "p1", plan.Cameras[cameras[19-i].Name].Primary)
	}
	require.LessOrEqual(t, plan.Loads[1].Cameras, 11, "p1 had its share by hand")
	require.GreaterOrEqual(t, plan.Loads[0].Cameras, 9)
}

func TestBothCopiesInOneZoneAreAWarning(t *testing.T) {
	cameras, recorders := site(6, 2, 1)
	recorders[0].Zone, recorders[1].Zone, recorders[2].Zone = "a", "b", "a"
	for i := range cameras {
		cameras[i].Primary = fmt.Sprintf("p%d", min(i, 1)^1)
	}
	plan, err := New(cameras, recorders)
	require.NoError(t, err)
	require.Len(t, plan.Warnings, 1)
	require.Equal(t, Problem{"c1", "", "both copies of 5 cameras (c1, c2, c3, c4 and 1 more) are in zone a, and what takes the zone takes both: add a redundant recorder in another zone, or capacity there, or give recorders by hand"}, *plan.Warnings[0])
}

func TestAZoneThatIsNotDeclaredComesAfterAnotherZone(t *testing.T) {
	cameras, recorders := site(10, 1, 3)
	recorders[0].Zone, recorders[1].Zone, recorders[2].Zone = "a", "a", "b" // s2 has none
	for _, tc := range []struct {
		capacityB, capacityUnknown int64
		want                       []int
	}{
		{0, 0, []int{0, 10, 0}},
		{4 * DefaultBitrate, 0, []int{0, 4, 6}},
		{4 * DefaultBitrate, 4 * DefaultBitrate, []int{2, 4, 4}},
	} {
		recorders[2].Capacity, recorders[3].Capacity = tc.capacityB, tc.capacityUnknown
		plan, err := New(cameras, recorders)
		require.NoError(t, err)
		var have []int
		for _, l := range plan.Loads[1:] {
			have = append(have, l.Cameras)
		}
		require.Equal(t, tc.want, have)
	}
}

func TestTheErrorIsJoinedEvenForOneProblem(t *testing.T) {
	_, err := New(nil, []Recorder{{Name: "p0", Role: Primary}})
	require.Error(t, err)
	require.Len(t, problemsOf(t, err), 1)
	var p *Problem
	require.True(t, errors.As(err, &p))
}

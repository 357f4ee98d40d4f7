package placement

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAHundredCamerasOverFourAndTwo(t *testing.T) {
	var cameras []Camera
	for i := range 100 {
		cameras = append(cameras, Camera{Name: fmt.Sprintf("cam%03d", i)})
	}
	recorders := []Recorder{
		{Name: "r1", Role: Primary, Zone: "a"}, {Name: "r2", Role: Primary, Zone: "a"},
		{Name: "r3", Role: Primary, Zone: "b"}, {Name: "r4", Role: Primary, Zone: "b"},
		{Name: "s1", Role: Redundant, Zone: "a"}, {Name: "s2", Role: Redundant, Zone: "b"},
	}
	plan, err := New(cameras, recorders)
	require.NoError(t, err)
	require.Len(t, plan.Cameras, 100)
	require.Empty(t, plan.Warnings)
	zone := map[string]string{}
	for _, l := range plan.Loads {
		t.Logf("%s %d", l.Recorder.Name, l.Cameras)
		zone[l.Recorder.Name] = l.Recorder.Zone
		share := 25.0
		if l.Recorder.Role == Redundant {
			share = 50
		}
		require.LessOrEqual(t, float64(l.Cameras), 1.25*share+1)
	}
	for name, pair := range plan.Cameras {
		require.NotEqual(t, zone[pair.Primary], zone[pair.Redundant], name)
	}
}

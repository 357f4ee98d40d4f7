package recorder

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/lock"
	"github.com/duet-video/duet/internal/nodepb"
)

// starts returns the seconds after testBase at which the fragments of a recorder start.
func starts(g *running) (out []int64) {
	for _, f := range g.list("gate") {
		out = append(out, (f.GetStartNs()-testBase.UnixNano())/1e9)
	}
	return out
}

func TestLockedFootageIsCopiedHoweverOldItIsAndStaysUntilItIsReleased(t *testing.T) {
	p := newPair(t)
	p.options = func(name string, o *Options) {
		if name == "r1" { // everything is months older than that
			o.Cameras[0].Retention.Age = time.Hour
		}
	}
	l := newTestLog(t, "gate", testBase, 40, 12*time.Second)
	p.proxy.show(l, 30*perFragment)
	p.start("r1").wait(l, 29*perFragment)
	p.start("r2").wait(l, 29*perFragment)
	r1, r2 := p.running["r1"], p.running["r2"]
	sweep := func() { r1.vol().sweepSoon() }
	last := []int64{22, 23, 24, 25, 26, 27, 28} // of the file that is being written, which stays
	require.Eventually(t, func() bool { sweep(); return len(starts(r1)) == len(last) }, patience, 20*time.Millisecond, "%v", starts(r1))
	require.Len(t, starts(r2), 29)

	at := func(s float64) int64 { return testBase.Add(time.Duration(s * float64(time.Second))).UnixNano() }
	evidence := lock.Lock{ID: "lock0000001", Camera: "gate", StartNS: at(4.5), EndNS: at(8), Reason: "theft", CreatedNS: 1}
	place := func(l lock.Lock) {
		_, err := r2.client.ExchangeLocks(t.Context(), &nodepb.ExchangeLocksRequest{Locks: []*nodepb.Lock{l.ToProto()}})
		require.NoError(t, err)
	}
	place(evidence)
	want := append([]int64{4, 5, 6, 7}, last...)
	require.Eventually(t, func() bool { sweep(); return len(starts(r1)) >= len(want) }, 2*patience, 20*time.Millisecond)
	require.Equal(t, want, starts(r1), "exactly what the lock covers")
	require.Eventually(t, func() bool { // it is done, and nothing of it goes again
		sweep()
		s := r1.camera("gate").GetRepair()
		return s.GetLackingFragments() == 0 && s.GetCompleteUntilNs() > at(20)
	}, patience, 20*time.Millisecond)
	require.EqualValues(t, 4, r1.camera("gate").GetRepair().GetRepairedFragments(), "nothing was copied twice")
	require.Equal(t, want, starts(r1))

	evidence.ReleasedNS = 2
	place(evidence)
	require.Eventually(t, func() bool { sweep(); return len(starts(r1)) == len(last) }, 2*patience, 20*time.Millisecond)
	require.Equal(t, last, starts(r1))
	require.EqualValues(t, 4, r1.camera("gate").GetRepair().GetRepairedFragments(), "and it is not fetched to be deleted")
}

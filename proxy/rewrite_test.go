package proxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestNumbersGoOnOverEpochs(t *testing.T) {
	w := newRewriter(90000, 65535, 1<<32-1000)
	seq, ts := w.next(10, 5000, 0)
	require.EqualValues(t, 65535, seq)
	require.EqualValues(t, uint32(1<<32-1000), ts)
	seq, ts = w.next(12, 8600, 40*ms) // one was lost on the way
	require.EqualValues(t, 1, seq)
	require.EqualValues(t, 2600, ts)
	seq, ts = w.next(13, 6800, 20*ms) // a B-frame
	require.EqualValues(t, 2, seq)
	require.EqualValues(t, 800, ts)
	w.restart()
	seq, ts = w.next(40000, 77, 40*ms+int64(2*time.Second))
	require.EqualValues(t, 3, seq)
	require.EqualValues(t, 2600+180000, ts)
	seq, _ = w.next(1, 77, 40*ms+int64(2*time.Second)) // the camera's numbers were reset
	require.EqualValues(t, 4, seq)
	require.EqualValues(t, 5, w.extra())
	require.EqualValues(t, 2600+180000+90, w.at(41*ms+int64(2*time.Second)))
}

func TestTimestampsNeverGoBackFromOneEpochToTheNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newRewriter(8000, rapid.Uint16().Draw(t, "seq"), rapid.Uint32().Draw(t, "ts"))
		capture, raw, rawSeq := int64(0), rapid.Uint32().Draw(t, "raw"), uint16(0)
		var lastSeq uint16
		var lastTS uint32
		for i := range rapid.IntRange(1, 100).Draw(t, "n") {
			step := rapid.Int64Range(1, 8*600_000).Draw(t, "step") * 125_000 // whole ticks
			capture += step
			if rapid.IntRange(0, 5).Draw(t, "restart") == 0 {
				w.restart()
				raw, rawSeq = rapid.Uint32().Draw(t, "raw"), rapid.Uint16().Draw(t, "rawSeq")
			} else {
				raw += uint32(step * 8 / 1e6)
				rawSeq++
			}
			seq, ts := w.next(rawSeq, raw, capture)
			if i > 0 {
				require.EqualValues(t, 1, seq-lastSeq)
				require.GreaterOrEqual(t, int32(ts-lastTS), int32(0))
				require.InDelta(t, step*8/1e6, int32(ts-lastTS), 1)
			}
			lastSeq, lastTS = seq, ts
		}
	})
}

package record

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEpochTextSortsLikeEpochs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mk := func(name string) Epoch {
			ms := rapid.Int64Range(0, 1<<47).Draw(t, name)
			seed := rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, name+"-random")
			e, err := NewEpoch(time.UnixMilli(ms), bytes.NewReader(seed))
			require.NoError(t, err)
			require.Equal(t, ms, e.Time().UnixMilli())
			back, err := ParseEpoch(e.String())
			require.NoError(t, err)
			require.Equal(t, e, back)
			return e
		}
		a, b := mk("a"), mk("b")
		require.Equal(t, a.Compare(b), bytes.Compare([]byte(a.String()), []byte(b.String())))
	})
}

func TestWireFormRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 20).Draw(t, "n")
		var wire []byte
		var want []Record
		for range n {
			r := Record{
				Track:     rapid.Byte().Draw(t, "track"),
				Flags:     Flags(rapid.Uint16Range(0, uint16(knownFlags)).Draw(t, "flags")) &^ Cut,
				CaptureNS: rapid.Int64().Draw(t, "capture"),
				Packet:    rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "packet"),
			}
			if rapid.Bool().Draw(t, "cut") {
				r.Flags |= Cut
				r.Ext = rapid.SliceOfN(rapid.Byte(), 1, 30).Draw(t, "ext")
			}
			want = append(want, r)
			wire = Append(wire, &r)
		}
		count, err := Count(wire)
		require.NoError(t, err)
		require.Equal(t, n, count)
		for i := range want {
			var got Record
			var err error
			wire, err = Next(wire, &got)
			require.NoError(t, err)
			require.Equal(t, want[i], got)
		}
	})
}

func FuzzNext(f *testing.F) {
	f.Add(Append(nil, &Record{Flags: Cut | AccessUnit, Ext: []byte("{}"), Packet: []byte{0x80, 96}}))
	f.Add([]byte{20, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		rest, err := Next(b, &r)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			return
		}
		require.Equal(t, b[:len(b)-len(rest)], Append(nil, &r))
	})
}

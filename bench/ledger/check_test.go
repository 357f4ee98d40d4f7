package ledger

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const frameNS = int64(40 * time.Millisecond)

// at is when number n of the hand-made ledgers was sent.
func at(n int) int64 { return 1_800_000_000_000_000_000 + int64(n)*frameNS }

func made(t byte, n int) Hash { return HashBytes([]byte{t, byte(n >> 8), byte(n)}) }

// handMade is a ledger of n pictures and as many audio frames.
func handMade(n int) *Ledger {
	l := &Ledger{Header: Header{Format: 1, Camera: "gate", Tracks: []Track{{H264, 90000}, {AAC, 48000}}}}
	l.Entries = make([][]Entry, 2)
	for t := range l.Entries {
		for i := range n {
			l.Entries[t] = append(l.Entries[t], Entry{
				Track: t, Number: uint64(i), Hash: made(byte(t), i), AtNS: at(i), Sent: []string{"s1"},
			})
		}
	}
	return l
}

// recorded is a recording that has all of both tracks, interleaved.
func recorded(l *Ledger) []AccessUnit {
	var got []AccessUnit
	for i := range l.Entries[0] {
		for t := range l.Entries {
			e := l.Entries[t][i]
			got = append(got, AccessUnit{
				Track: t, Hash: e.Hash, Marked: true, CaptureNS: e.AtNS + 5e6,
				Mark: Mark{Camera: CameraID(l.Camera), Number: e.Number},
			})
		}
	}
	return got
}

// without removes the numbers from … to of a track.
func without(got []AccessUnit, track int, from, to uint64) []AccessUnit {
	return slices.DeleteFunc(got, func(a AccessUnit) bool {
		return a.Track == track && a.Mark.Number >= from && a.Mark.Number <= to
	})
}

func find(got []AccessUnit, track int, n uint64) int {
	return slices.IndexFunc(got, func(a AccessUnit) bool { return a.Track == track && a.Mark.Number == n })
}

func TestCheckerFindsEachKindOfFault(t *testing.T) {
	gap := func(from, to int) Gap { return Gap{StartNS: at(from), EndNS: at(to), Cause: "connection_lost"} }
	tests := []struct {
		name string
		// spoil makes the recording and what was asked for.
		spoil func(l *Ledger, got []AccessUnit, o *Options) []AccessUnit
		want  []string
	}{
		{"nothing is wrong", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit { return got }, nil},
		{"some are missing", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			return without(got, 0, 20, 24)
		}, []string{"track 0 h264 20…24 missing (5): sent 08:00:00.800"}},
		{"one is missing, of the audio", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			return without(got, 1, 7, 7)
		}, []string{"track 1 aac 7 missing: sent 08:00:00.280"}},
		{"a track is missing", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			return without(got, 1, 0, 99)
		}, []string{"track 1 aac 0 missing: and all others: the recording has nothing of the track"}},
		{"a track is missing from a time on", func(_ *Ledger, got []AccessUnit, o *Options) []AccessUnit {
			o.FromNS = at(0)
			return without(got, 1, 0, 99)
		}, []string{"track 1 aac 0 missing: and all others: the recording has nothing of the track"}},
		{"the beginning is missing of what was asked for", func(_ *Ledger, got []AccessUnit, o *Options) []AccessUnit {
			o.FromNS, o.ToNS = at(10), at(90)
			return without(without(without(got, 0, 0, 29), 1, 0, 9), 0, 91, 99)
		}, []string{"track 0 h264 15…29 missing (15): sent 08:00:00.600", "track 1 aac 96…99 outside (4): sent 08:00:03.840"}},
		{"the end is missing of what was asked for", func(_ *Ledger, got []AccessUnit, o *Options) []AccessUnit {
			o.FromNS, o.ToNS = at(0), at(99)
			return without(got, 1, 80, 99)
		}, []string{"track 1 aac 80…94 missing (15): sent 08:00:03.200"}},
		{"one is repeated", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			i := find(got, 0, 33)
			return slices.Insert(got, i+4, got[i])
		}, []string{"track 0 h264 33 repeated"}},
		{"two are exchanged", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			i, j := find(got, 0, 33), find(got, 0, 34)
			got[i], got[j] = got[j], got[i]
			return got
		}, []string{"track 0 h264 33 reordered: after 34"}},
		{"one is altered", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			got[find(got, 0, 50)].Hash[3] ^= 1
			return got
		}, []string{"track 0 h264 50 altered: 0 bytes, sent were 0"}},
		{"one is of another camera", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			got[find(got, 0, 50)].Mark.Camera++
			return got
		}, []string{"track 0 h264 50 extra: of another camera", "track 0 h264 50 missing: sent 08:00:02.000"}},
		{"one was never sent", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			return append(got, AccessUnit{Marked: true, Mark: Mark{Camera: CameraID("gate"), Number: 1000}})
		}, []string{"track 0 h264 1000 extra: not in the ledger"}},
		{"one has no mark", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			return append(got, AccessUnit{Track: 1, Size: 77})
		}, []string{"track 1 aac 0 extra: 77 bytes without a mark, after number 99"}},
		{"a track that is not there", func(_ *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			return append(got, AccessUnit{Track: 2})
		}, []string{"track 2  0 extra: a track that the camera does not have"}},
		{"what is missing lies in a gap", func(_ *Ledger, got []AccessUnit, o *Options) []AccessUnit {
			o.Gaps = []Gap{gap(40, 60)}
			return without(without(got, 0, 40, 59), 1, 40, 59)
		}, nil},
		{"the gap is shorter than what is missing", func(_ *Ledger, got []AccessUnit, o *Options) []AccessUnit {
			o.Gaps = []Gap{gap(50, 60)}
			return without(without(got, 0, 40, 59), 1, 40, 59)
		}, []string{"track 0 h264 40…44 missing (5): sent 08:00:01.600", "track 1 aac 40…44 missing (5): sent 08:00:01.600"}},
		{"nothing is missing in the gap", func(_ *Ledger, got []AccessUnit, o *Options) []AccessUnit {
			o.Gaps = []Gap{gap(40, 45)}
			return got
		}, []string{"phantom gap: 08:00:01.600 – 08:00:01.800 (connection_lost): nothing is missing there"}},
		{"the gap is longer than what is missing", func(_ *Ledger, got []AccessUnit, o *Options) []AccessUnit {
			o.Gaps = []Gap{gap(40, 60)}
			return without(without(got, 0, 40, 44), 1, 40, 44)
		}, []string{"phantom gap: 08:00:01.600 – 08:00:02.400 (connection_lost): 18 access units of it are there"}},
		{"a gap from before the camera began", func(_ *Ledger, got []AccessUnit, o *Options) []AccessUnit {
			o.Gaps = []Gap{{StartNS: 0, EndNS: at(0), Cause: "not_started"}}
			return got
		}, nil},
		{"pre-roll is not repeated and not outside, but genuine", func(_ *Ledger, got []AccessUnit, o *Options) []AccessUnit {
			o.FromNS = at(30)
			for i := range got {
				got[i].Preroll = got[i].Mark.Number < 25
			}
			got[find(got, 0, 3)].Hash[0] ^= 1
			return got
		}, []string{"track 0 h264 3 altered: 0 bytes, sent were 0"}},
		{"packets that the camera withheld", func(l *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			l.Entries[0][50].Lost = 1
			l.Entries[0][51].Lost = 2
			l.Entries[0][52].Lost = 1
			got[find(got, 0, 50)].Hash[3] ^= 1
			got[find(got, 0, 52)].Marked = false // the mark was in what was withheld
			return without(got, 0, 51, 51)
		}, nil},
		{"one without a mark far from what the camera withheld", func(l *Ledger, got []AccessUnit, _ *Options) []AccessUnit {
			l.Entries[0][50].Lost = 1
			got[find(got, 0, 70)].Marked = false
			return got
		}, []string{"track 0 h264 0 extra: 0 bytes without a mark, after number 69", "track 0 h264 70 missing: sent 08:00:02.800"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := handMade(100)
			var o Options
			got := tt.spoil(l, recorded(l), &o)
			r := Check(l, got, o)
			var faults []string
			for _, f := range r.Faults {
				faults = append(faults, f.String())
			}
			require.Equal(t, tt.want, faults)
			if tt.want == nil {
				require.NoError(t, r.Err())
			} else {
				require.ErrorContains(t, r.Err(), tt.want[0])
			}
		})
	}
}

func TestCheckerKnowsUnmarkedAccessUnitsByTheirHash(t *testing.T) {
	l := handMade(50)
	l.Unmarked = true
	l.Entries[0][21].Hash = l.Entries[0][20].Hash // two of the same bytes
	got := recorded(l)
	for i := range got {
		got[i].Marked, got[i].Mark = false, Mark{}
	}
	require.NoError(t, Check(l, got, Options{}).Err())

	cut := slices.Delete(slices.Clone(got), 60, 62)
	r := Check(l, cut, Options{})
	require.Equal(t, 2, r.Count(Missing))
	require.Len(t, r.Faults, 2, "%s", r)

	again := append(slices.Clone(got), got[10])
	require.Equal(t, 1, Check(l, again, Options{}).Count(Repeated))

	strange := append(slices.Clone(got), AccessUnit{Track: 0, Hash: made(9, 9)})
	require.Equal(t, 1, Check(l, strange, Options{}).Count(Extra))
}

func TestReportCountsAndBoundsSkew(t *testing.T) {
	l := handMade(10)
	r := Check(l, recorded(l), Options{})
	require.Equal(t, 10, r.Tracks[0].Matched)
	require.Equal(t, int64(5e6), r.Tracks[0].MinSkewNS)
	require.Equal(t, int64(5e6), r.Tracks[0].MaxSkewNS)
	r.fault(Fault{Kind: Missing, First: 3, Last: 3})
	r.fault(Fault{Kind: Missing, First: 4, Last: 4})
	r.fault(Fault{Kind: Altered, First: 5, Last: 5})
	require.Equal(t, 2, r.Count(Missing))
	require.Equal(t, 1, r.Count(Altered))
}

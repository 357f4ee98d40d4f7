package media

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

// FuzzBuilderPush builds a fragment of whatever b says: a list of packets, each with a
// byte of flags, one of track and time, and one of length.
func FuzzBuilderPush(f *testing.F) {
	for i := range randomTracks {
		f.Add(uint8(i), uint8(7), []byte{1, 0, 4, 0x65, 1, 2, 3, 0, 0, 5, 28, 0x85, 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, first, second uint8, b []byte) {
		d := Description{SegmentMS: 60_000, Tracks: []Track{
			randomTracks[int(first)%len(randomTracks)], randomTracks[int(second)%len(randomTracks)],
		}}
		ext, err := d.Encode()
		require.NoError(t, err)
		var records []record.Record
		for seq := uint16(0); len(b) >= 3; seq++ {
			n := min(int(b[2]), len(b)-3)
			r := record.Record{
				Track: b[1] & 3, Flags: record.Flags(b[0]) &^ (record.Cut | record.Forced),
				CaptureNS: captureBase + int64(int8(b[1]))*1e7, Packet: rtpBytes(seq, b[0]&0x80 != 0, b[3:3+n]),
			}
			if b[0] == 0xff {
				r.Packet = b[3 : 3+n]
			}
			if len(records) == 0 {
				r.Track, r.Flags, r.Ext = 0, r.Flags|record.Cut|record.AccessUnit, ext
			}
			records = append(records, r)
			b = b[3+n:]
		}
		if len(records) == 0 {
			return
		}
		one, two := newConsumer(0), newConsumer(0)
		for one.step(t, records) {
		}
		for two.step(t, records) {
		}
		require.Equal(t, one.out, two.out)
		checkFragment(t, one.out[0])
	})
}

func FuzzParseInit(f *testing.F) {
	_, frags := smallSegment(f, 1)
	f.Add(frags[0].Init)
	f.Fuzz(func(t *testing.T, b []byte) {
		init, err := ParseInit(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		m, err := MergeInits([]*Init{init, init}, Edit{StartNS: 1e9})
		require.NoError(t, err)
		again, err := ParseInit(m.Header)
		require.NoError(t, err)
		require.Len(t, again.Tracks, len(init.Tracks))
		for _, tr := range init.Tracks {
			p, ok := m.Place(1, tr.ID)
			require.True(t, ok)
			require.Equal(t, tr.ID, p.TrackID)
		}
	})
}

func FuzzParseFragment(f *testing.F) {
	_, frags := smallSegment(f, 1)
	init, err := ParseInit(frags[0].Init)
	require.NoError(f, err)
	m, err := MergeInits([]*Init{init}, Edit{})
	require.NoError(f, err)
	f.Add(frags[0].bytes(), frags[0].Info.WindowNS, int64(0))
	f.Fuzz(func(t *testing.T, b []byte, window, from int64) {
		p, err := ParseFragment(b, int64(len(b)), init, window)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
		} else {
			for _, roll := range []bool{false, true} {
				tr := p.Trim(Trim{FromNS: from, ToNS: from + 1e9, PreRoll: roll, PostRoll: roll})
				require.EqualValues(t, tr.Size, len(tr.Append(nil, b)))
			}
		}
		c := bytes.Clone(b)
		if m.Retime(c, Retiming{Sequence: 1, WindowNS: window, BaseNS: from}) != nil {
			require.Equal(t, b, c)
		}
	})
}

func FuzzParseDescription(f *testing.F) {
	f.Add(encodeDescription(f, randomTracks...))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDescription(b)
		if err != nil {
			return
		}
		again, err := d.Encode()
		require.NoError(t, err)
		same, err := ParseDescription(again)
		require.NoError(t, err)
		once, err := same.Encode()
		require.NoError(t, err)
		require.Equal(t, again, once)
	})
}

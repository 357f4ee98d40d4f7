package proxy

import (
	"bytes"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/node"
)

type noStream struct{}

func (noStream) Write(int, *rtp.Packet, time.Time, bool) {}
func (noStream) Report(int, *rtcp.SenderReport)          {}
func (noStream) SetParams(int, [][]byte)                 {}
func (noStream) Flush()                                  {}
func (noStream) Close()                                  {}

// TestHistoryGivesTheLogItsMemoryBack: packets stay as they are while they are in the
// history or with a reader that joined, and the log gets their memory back after that.
func TestHistoryGivesTheLogItsMemoryBack(t *testing.T) {
	b := NewBudget(1 << 30)
	l := NewLog(LogOptions{Window: time.Millisecond, MaxBytes: 1 << 30, Budget: b, Clock: clock.System()})
	f := &liveFeed{
		name: "gate", log: l, clock: clock.System(), logger: zerolog.Nop(), every: node.NewEvery(time.Second, time.Now), random: randomNumber,
		wanted: make(chan struct{}, 1), open: func([]media.Track) (liveStream, error) { return noStream{}, nil },
	}
	p := &pusher{t: t, log: l}
	p.begin(1, 1, h264Track())
	p.in.cut = newCutter(p.in.tracks, time.Nanosecond, time.Hour) // at each key frame
	f.join(false)
	cursor := f.cursor
	filler := bytes.Repeat([]byte{0x61}, 1300)
	largeUnit := make([][]byte, 40)
	for i := range largeUnit {
		largeUnit[i] = filler
	}
	check := func(packets []sentPacket) {
		for i := range packets {
			raw := packets[i].raw
			require.NotEqual(t, byte(0xdb), raw[0])
			require.NotEqual(t, byte(0xdb), raw[len(raw)-1])
		}
	}
	take := func(units int) {
		for range units {
			p.next(largeUnit...)
			for k, ok := cursor.TryNext(liveBatch); ok; k, ok = cursor.TryNext(liveBatch) {
				f.take(k)
			}
			b.slabs.spoil()
			check(f.history.packets)
			require.Less(t, len(f.history.chunks), 20, "no more than of a group of pictures")
		}
	}
	take(100)
	require.NotZero(t, b.slabs.spare())

	joined := f.begin(true, func(liveStream) {})
	require.NotEmpty(t, joined.packets)
	var want [][]byte
	for i := range joined.packets {
		want = append(want, bytes.Clone(joined.packets[i].raw))
	}
	take(100)
	for i := range want {
		require.True(t, bytes.Equal(want[i], joined.packets[i].raw), "packet %d", i)
	}

	f.leave()
	require.Empty(t, f.history.packets)
	require.Empty(t, f.history.chunks)
}

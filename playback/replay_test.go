package playback

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/playback/replay"
)

func TestReplayIsToldThatNobodyHasAFragmentAnyMoreOnlyWhenAllSaySo(t *testing.T) {
	f := makeFootage(t, footageOptions{})
	r1, r2 := newFake(t, "r1"), newFake(t, "r2")
	f.on(r1, r2)
	s := newSite(t, func(o *Options) { o.Deadlines.Patience = 250 * time.Millisecond }, r1, r2)
	footage := replayFootage{s.Service}
	l, err := footage.List(t.Context(), "gate", frameNS(0), frameNS(100), nil)
	require.NoError(t, err)
	gone, damaged := status.Error(codes.NotFound, "deleted"), status.Error(codes.DataLoss, "input/output error")
	for name, c := range map[string]struct {
		one, two error
		none     bool
	}{
		"both say that it is gone":         {gone, gone, true},
		"one has it and cannot deliver it": {gone, damaged, false},
		"neither can deliver it":           {damaged, damaged, false},
	} {
		t.Run(name, func(t *testing.T) {
			r1.script(func(int, stored, readStream) error { return c.one })
			r2.script(func(int, stored, readStream) error { return c.two })
			_, err := footage.Read(t.Context(), "gate", &l.Fragments[1])
			require.Error(t, err)
			if c.none {
				require.ErrorIs(t, err, replay.ErrNone)
			} else {
				require.NotErrorIs(t, err, replay.ErrNone)
			}
		})
	}
	// One that is away may have it.
	r1.script(func(int, stored, readStream) error { return gone })
	r2.kill()
	_, err = footage.Read(t.Context(), "gate", &l.Fragments[1])
	require.Error(t, err)
	require.NotErrorIs(t, err, replay.ErrNone)
}

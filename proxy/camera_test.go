package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

func testOptions() *Options {
	o := &Options{Name: "p1", Clock: clock.System(), Random: rand.Reader, Log: zerolog.Nop()}
	o.setDefaults()
	return o
}

func TestReconnectBacksOffAndBeginsAnewAfterSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		var c *camera
		n := 0
		c = newCamera(Camera{Name: "gate"}, testOptions(), nil, func(_ context.Context, _ sessionConfig, s sessionSink) error {
			at = append(at, time.Since(start))
			if n++; n == 12 {
				_, err := s.Begin([]media.Track{{Codec: media.H264, ClockRate: 90000}})
				require.NoError(t, err)
				_, err = s.Append(&record.Record{Flags: record.Cut | record.AccessUnit, Ext: []byte("{}"), CaptureNS: 1}, nil)
				require.NoError(t, err)
				s.Publish()
			}
			return errors.New("refused")
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		c.run(ctx)
		require.Greater(t, len(at), 13)
		require.Zero(t, at[0])
		gap := func(i int) time.Duration { return at[i] - at[i-1] }
		require.InDelta(t, leastRetry, gap(1), float64(leastRetry)*0.31)
		for i := 9; i < 12; i++ {
			require.InDelta(t, mostRetry, gap(i), float64(mostRetry)*0.31)
		}
		require.InDelta(t, leastRetry, gap(12), float64(leastRetry)*0.31, "after success it begins anew")
		state, why, _ := c.now()
		require.Equal(t, stateFailed, state)
		require.Equal(t, "refused", why)
		require.Equal(t, uint64(1), c.sessions.Load())
	})
}

func TestARefusalIsNotRepeatedOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		c := newCamera(Camera{Name: "gate"}, testOptions(), nil, func(context.Context, sessionConfig, sessionSink) error {
			at = append(at, time.Since(start))
			if len(at) > 14 { // the password is right now, and the camera is away
				return errors.New("connection refused")
			}
			return fmt.Errorf("describe: %w", refusalError{"401"})
		})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		c.run(ctx)
		gap := func(i int) time.Duration { return at[i] - at[i-1] }
		for i := 10; i < 14; i++ {
			require.InDelta(t, mostRefused, gap(i), float64(mostRefused)*0.31)
		}
		for i := 17; i < 25; i++ {
			require.InDelta(t, mostRetry, gap(i), float64(mostRetry)*0.31)
		}
	})
}

func TestEpochsOfACameraAscendWhateverTheWallClockDoes(t *testing.T) {
	clk := &steppedClock{}
	clk.wall.Store(time.Now().UnixNano())
	o := testOptions()
	o.Clock = clk
	var starts []epochStart
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newCamera(Camera{Name: "gate"}, o, nil, func(_ context.Context, _ sessionConfig, s sessionSink) error {
		st, err := s.Begin(nil)
		require.NoError(t, err)
		_, err = s.Append(&record.Record{Flags: record.Cut | record.AccessUnit, Ext: []byte("{}"), CaptureNS: st.FloorNS + 10}, nil)
		require.NoError(t, err)
		starts = append(starts, st)
		clk.wall.Add(-int64(time.Hour)) // set back
		if len(starts) == 4 {
			cancel()
		}
		return &sessionError{Cause: media.CauseFormat, Err: errors.New("other tracks")}
	})
	c.run(ctx)
	require.Len(t, starts, 4)
	for i := 1; i < len(starts); i++ {
		require.Positive(t, starts[i].Epoch.Compare(starts[i-1].Epoch))
		require.Equal(t, media.CauseFormat, starts[i].Since)
		require.Equal(t, int64(10*i), starts[i].FloorNS)
	}
}

type steppedClock struct{ wall, mono atomic.Int64 }

func (c *steppedClock) Now() time.Time { return time.Unix(0, c.wall.Load()) }
func (c *steppedClock) Mono() int64    { return c.mono.Load() }

func TestCopiesAndAlarms(t *testing.T) {
	clk := &steppedClock{}
	clk.wall.Store(1_700_000_000_000_000_000)
	o := testOptions()
	o.Clock = clk
	c := newCamera(Camera{Name: "gate", Primary: "r1", Redundant: "r2"}, o, nil, nil)
	pass := func(d time.Duration) { clk.wall.Add(int64(d)); clk.mono.Add(int64(d)); c.watch() }
	codes := func() (list []string) {
		for _, a := range c.alarms() {
			list = append(list, a.GetCode())
		}
		return list
	}
	pass(0)
	require.Empty(t, codes(), "it has just been started")
	pass(liveLimit)
	require.Equal(t, []string{alarmNotLive}, codes())

	s := &sink{camera: c}
	st, err := s.Begin(nil)
	require.NoError(t, err)
	at := func(n uint64) record.Position { return record.Position{Epoch: st.Epoch, Offset: n} }
	cut := func() {
		_, err := s.Append(&record.Record{Flags: record.Cut | record.AccessUnit, Ext: []byte("{}"), CaptureNS: clk.Mono() + 1}, nil)
		require.NoError(t, err)
		s.Publish()
	}
	cut()
	pass(0)
	require.Zero(t, c.health.copies.Load())
	require.Empty(t, codes())

	stream := &recorderStream{waker: NewWaker()}
	for _, k := range c.copies {
		k.link(stream, record.Position{}, false)
		pass(time.Second)
		cut()
	}
	require.Zero(t, c.health.copies.Load(), "nothing is durable yet")
	for i, k := range c.copies {
		k.ack(stream, at(1), 1, 1)
		pass(0)
		require.Equal(t, int32(i+1), c.health.copies.Load())
	}
	for range 20 { // r2 acknowledges nothing more
		pass(time.Second)
		cut()
		c.copies[0].ack(stream, at(c.log.Tail().Offset-1), 1, 1)
	}
	pass(0)
	require.Equal(t, int32(1), c.health.copies.Load())
	pass(copyLimit)
	c.copies[0].ack(stream, at(c.log.Tail().Offset), 1, 1)
	pass(0)
	require.Equal(t, []string{alarmCopy}, codes())
	require.Contains(t, c.alarms()[0].GetMessage(), "1 of 2 copies")
	require.Contains(t, c.alarms()[0].GetMessage(), "redundant recorder r2 is behind by")
	c.copies[1].unlink(stream)
	require.Contains(t, c.alarms()[0].GetMessage(), "redundant recorder r2 is not connected")

	c.copies[1].link(stream, at(c.log.Tail().Offset), false)
	c.copies[1].ack(stream, at(c.log.Tail().Offset), 1, 1)
	pass(0)
	require.Equal(t, int32(2), c.health.copies.Load())
	require.Empty(t, codes(), "the alarm is over")
}

func TestASpareThatIsHeldIsNotMissing(t *testing.T) {
	o := testOptions()
	c := newCamera(Camera{Name: "gate", Copies: Spare, Primary: "r1", Redundant: "r2"}, o, nil, nil)
	require.Equal(t, 1, c.wantCopies())
	s := &sink{camera: c}
	_, err := s.Begin(nil)
	require.NoError(t, err)
	_, err = s.Append(&record.Record{Flags: record.Cut | record.AccessUnit, Ext: []byte("{}"), CaptureNS: 1}, nil)
	require.NoError(t, err)
	s.Publish()
	require.Equal(t, uint64(1), c.behind(copyInfo{Linked: true}))
	require.Zero(t, c.behind(copyInfo{Linked: true, Held: true}))
}

func TestMetricsAndReadiness(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := startSite(t, nil, func(o *Options) { o.Registry = reg }, gate1())
	require.Eventually(t, func() bool { return s.serving.Load() }, 10*time.Second, time.Millisecond)
	require.ErrorContains(t, s.Ready(), "none of 1 cameras is live")
	src := s.sources["gate"]
	src.begin(t)
	src.fragments(t, 2)
	require.NoError(t, s.Ready())
	r := s.recorder("r1")
	r.send(link.Subscribe{Channel: 1, Camera: "gate"}, link.Ack{})
	require.IsType(t, link.Open{}, r.next())
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP duet_camera_records_in_total Records (RTP packets) taken into the log.
# TYPE duet_camera_records_in_total counter
duet_camera_records_in_total{camera="gate"} 20
# HELP duet_copy_linked 1 while the recorder is subscribed to the camera, else 0.
# TYPE duet_copy_linked gauge
duet_copy_linked{camera="gate",recorder="r1",role="primary"} 1
duet_copy_linked{camera="gate",recorder="r2",role="redundant"} 0
# HELP duet_copy_behind_records Records that the recorder has not made durable.
# TYPE duet_copy_behind_records gauge
duet_copy_behind_records{camera="gate",recorder="r1",role="primary"} 20
duet_copy_behind_records{camera="gate",recorder="r2",role="redundant"} 20
`), "duet_camera_records_in_total", "duet_copy_linked", "duet_copy_behind_records"))
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestOptionsThatAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"name of the proxy":         func(o *Options) { o.Name = "-" },
		"no listener":               func(o *Options) { o.LinkListener = nil },
		"must be given":             func(o *Options) { o.Clock = nil },
		"is over fragment.max":      func(o *Options) { o.FragmentMin = time.Hour },
		"named twice":               func(o *Options) { o.Cameras = append(o.Cameras, o.Cameras[0]) },
		"no source":                 func(o *Options) { o.Cameras[0].Source = "" },
		"want dual or spare":        func(o *Options) { o.Cameras[0].Copies = "triple" },
		"want tcp, udp or auto":     func(o *Options) { o.Cameras[0].Transport = "ip" },
		"want arrival or rtcp":      func(o *Options) { o.Cameras[0].Clock = "ntp" },
		"is primary and redundant":  func(o *Options) { o.Cameras[0].Redundant = "r1" },
		"a primary and a redundant": func(o *Options) { o.Cameras[0].Copies = Spare },
	} {
		t.Run(want, func(t *testing.T) {
			s := startSite(t, nil, nil)
			o := *testOptions()
			o.LinkListener, o.Registry = s.opts.LinkListener, prometheus.NewRegistry()
			o.Cameras = []Camera{{Name: "gate", Source: "rtsp://x", Primary: "r1"}}
			change(&o)
			_, err := New(o)
			require.ErrorContains(t, err, want)
		})
	}
}

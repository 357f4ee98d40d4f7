package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/camsim"
	"github.com/duet-video/duet/bench/ledger"
)

// gop is the distance of random access points of the simulated cameras, but for those
// with other clips.
const gop = time.Second

// pathology is something that real cameras do wrong, and what the recording must contain
// nevertheless. Everything outside the gaps that it allows must be there, bit by bit.
type pathology struct {
	camera camsim.CameraOptions
	extra  string // of the camera in duet.yaml
	// act is done 5 s into the recording.
	act func(*testing.T, *camsim.Camera)
	// gaps is how many gaps there have to be, maxGap how long each may be, cause why.
	gaps   int
	maxGap time.Duration
	cause  string
	// damaged: packets were withheld, so that access units are incomplete.
	damaged bool
	// skew bounds how far capture times may be from the times of sending; 0: tolerance.
	skew time.Duration
}

func pathologies() []pathology {
	video := func(name string) camsim.CameraOptions { return camsim.CameraOptions{Name: name, Video: "h264"} }
	with := func(o camsim.CameraOptions, f func(*camsim.CameraOptions)) camsim.CameraOptions { f(&o); return o }
	return []pathology{
		{
			camera: video("connection-lost"),
			act:    func(_ *testing.T, c *camsim.Camera) { c.Drop(500 * time.Millisecond) },
			gaps:   1, maxGap: 500*time.Millisecond + gop + 800*time.Millisecond, cause: "connection_lost",
		},
		{
			camera: with(video("connection-lost-own-port"), func(o *camsim.CameraOptions) { o.OwnPort = true }),
			act:    func(_ *testing.T, c *camsim.Camera) { c.Drop(500 * time.Millisecond) },
			gaps:   1, maxGap: 500*time.Millisecond + gop + 800*time.Millisecond, cause: "connection_lost",
		},
		{
			camera: video("reset-in-mid-nal"),
			act:    func(_ *testing.T, c *camsim.Camera) { c.Reset(0) },
			gaps:   1, maxGap: gop + 800*time.Millisecond, cause: "connection_lost",
		},
		{
			camera: video("stall"),
			act:    func(_ *testing.T, c *camsim.Camera) { c.Stall(8 * time.Second) },
			gaps:   1, maxGap: 8*time.Second + gop + 2*time.Second, cause: "camera_stalled",
		},
		{camera: with(video("clock-fast"), func(o *camsim.CameraOptions) { o.Drift = 0.1 }), skew: 500 * time.Millisecond},
		{camera: with(video("clock-slow"), func(o *camsim.CameraOptions) { o.Drift = -0.1 }), skew: 500 * time.Millisecond},
		{
			camera: video("clock-drifts-later"), skew: 500 * time.Millisecond,
			act: func(_ *testing.T, c *camsim.Camera) { c.SetDrift(0.1) },
		},
		{
			camera: video("timestamp-jump-forward"), skew: 500 * time.Millisecond,
			act: func(_ *testing.T, c *camsim.Camera) { c.Jump(time.Hour) },
		},
		{
			camera: with(video("timestamp-jump-back"), func(o *camsim.CameraOptions) { o.Audio = "aac" }), skew: 500 * time.Millisecond,
			act: func(_ *testing.T, c *camsim.Camera) { c.Jump(-time.Hour) },
		},
		{camera: with(video("timestamp-wrap"), func(o *camsim.CameraOptions) { o.FirstRTP = 1<<32 - 90000*12 })},
		{
			camera: video("sequence-reset"),
			act:    func(_ *testing.T, c *camsim.Camera) { c.ResetSequence() },
		},
		{camera: with(video("no-reports"), func(o *camsim.CameraOptions) { o.Reports = camsim.ReportsNone }), extra: "clock: rtcp"},
		{camera: with(video("reports-hours-off"), func(o *camsim.CameraOptions) { o.Reports = camsim.ReportsHours }), extra: "clock: rtcp"},
		{camera: with(video("reports-frozen"), func(o *camsim.CameraOptions) { o.Reports = camsim.ReportsFrozen }), extra: "clock: rtcp"},
		{camera: with(video("reports-random"), func(o *camsim.CameraOptions) { o.Reports = camsim.ReportsRandom }), extra: "clock: rtcp"},
		{camera: with(video("reports-right"), func(o *camsim.CameraOptions) { o.Audio = "aac" }), extra: "clock: rtcp"},
		{
			camera: video("parameters-change"),
			act:    func(t *testing.T, c *camsim.Camera) { require.NoError(t, c.ChangeParameters()) },
		},
		{camera: with(video("no-sets-in-sdp"), func(o *camsim.CameraOptions) { o.NoSDPSets = true })},
		{camera: with(video("no-sets-in-band"), func(o *camsim.CameraOptions) { o.NoInBandSets = true })},
		{camera: camsim.CameraOptions{Name: "no-sets-in-sdp-h265", Video: "h265", NoSDPSets: true}},
		{camera: with(video("delivers-fewer-frames"), func(o *camsim.CameraOptions) { o.DeliveredFPS = 21 })},
		{
			camera: with(video("stamps-declared-rate"), func(o *camsim.CameraOptions) { o.DeliveredFPS, o.StampDeclaredFPS = 21, true }),
			skew:   500 * time.Millisecond,
		},
		{camera: camsim.CameraOptions{Name: "no-key-frame-for-30s", Video: "h264long"}},
		{camera: with(video("large-packets"), func(o *camsim.CameraOptions) { o.MaxPacket = 8000; o.BitrateBPS = 2_000_000 })},
		{camera: with(video("digest"), func(o *camsim.CameraOptions) { o.User, o.Pass = "viewer", "s3cret" })},
		{camera: with(video("digest-sha256"), func(o *camsim.CameraOptions) { o.User, o.Pass, o.SHA256 = "viewer", "s3cret", true })},
		{
			camera: with(video("one-session"), func(o *camsim.CameraOptions) { o.OneSession = true }),
			act:    func(_ *testing.T, c *camsim.Camera) { c.Drop(0) },
			gaps:   1, maxGap: gop + 800*time.Millisecond, cause: "connection_lost",
		},
		{camera: camsim.CameraOptions{Name: "udp", Video: "h265", Audio: "aac"}, extra: "transport: udp"},
		{
			camera: with(video("packet-loss"), func(o *camsim.CameraOptions) { o.Loss = 0.01; o.Seed = 7 }),
			extra:  "transport: udp", damaged: true,
		},
		{camera: with(video("tcp-only"), func(o *camsim.CameraOptions) { o.TCPOnly = true }), extra: "transport: auto"},
		{camera: camsim.CameraOptions{Name: "open-gop", Video: "h265open"}},
	}
}

// TestPathologies: what cameras do wrong costs what it must cost and nothing else. All of
// them misbehave at once, at one proxy.
func TestPathologies(t *testing.T) {
	t.Parallel()
	all := pathologies()
	options := make([]camsim.CameraOptions, 0, len(all))
	for _, p := range all {
		options = append(options, p.camera)
	}
	sim, list := cameras(t, options)
	for i := range list {
		list[i].extra = all[i].extra
	}
	s := startSite(t, siteOptions{cameras: list})
	from := time.Now().Add(time.Second).Truncate(time.Millisecond)
	time.Sleep(6 * time.Second) // a recording without a fault before it
	for i, p := range all {
		if p.act != nil {
			p.act(t, sim.Cameras()[i])
		}
	}
	time.Sleep(32 * time.Second) // long enough for a clip with one key frame in 30 s
	to := time.Now().Truncate(time.Millisecond)
	s.waitDurable(t, to, 45*time.Second)

	for i, p := range all {
		cam := sim.Cameras()[i]
		t.Run(cam.Name, func(t *testing.T) {
			tl, err := s.timeline(cam.Name, from, to)
			require.NoError(t, err)
			l, err := ledger.ReadFile(cam.Ledger)
			require.NoError(t, err)
			units := exported(t, s.export(t, cam.Name, from, to), l, from)
			o := ledger.Options{FromNS: from.UnixNano(), ToNS: to.UnixNano(), Tolerance: max(p.skew, tolerance)}
			for _, g := range tl.Gaps {
				t.Logf("gap of %v from %s: %s", g.End.Sub(g.Start), g.Start.Format(time.TimeOnly), g.Cause)
				o.Gaps = append(o.Gaps, ledger.Gap{StartNS: g.Start.UnixNano(), EndNS: g.End.UnixNano(), Cause: g.Cause})
			}
			report := ledger.Check(l, units, o)
			t.Log(report)
			require.NoError(t, report.Err())
			require.Len(t, tl.Gaps, p.gaps)
			for _, g := range tl.Gaps {
				require.LessOrEqual(t, g.End.Sub(g.Start), p.maxGap)
				require.Equal(t, p.cause, g.Cause)
			}
			damaged := 0
			for _, tr := range report.Tracks {
				require.Positive(t, tr.Matched, "%s: nothing was compared", tr.Codec)
				damaged += tr.Damaged
			}
			require.Equal(t, p.damaged, damaged > 0, "%d damaged access units", damaged)
		})
	}
	s.verifySite(t)
	s.noPanics(t)
}

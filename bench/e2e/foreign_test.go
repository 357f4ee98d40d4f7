package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/bench/foreign"
	"github.com/duet-video/duet/bench/ledger"
)

// TestForeignCameras: cameras that share no code with duet (GStreamer's encoders,
// payloaders and RTSP server), recorded through kills and stops of both recorders.
func TestForeignCameras(t *testing.T) {
	t.Parallel()
	require.NoError(t, foreign.Available(context.Background()))
	gst, err := foreign.Start(context.Background(), t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, gst.Close()) }()
	var list []siteCamera
	for _, c := range gst.Cameras {
		list = append(list, siteCamera{name: c.Name, source: c.URL})
	}
	s := startSite(t, siteOptions{cameras: list})
	from := time.Now().Add(time.Second).Truncate(time.Millisecond)
	s.disturb(t)
	to := time.Now().Truncate(time.Millisecond)
	s.waitDurable(t, to, 20*time.Second)
	for _, c := range gst.Cameras {
		t.Run(c.Name, func(t *testing.T) {
			l, err := ledger.ReadFile(c.Ledger)
			require.NoError(t, err)
			tl, err := s.timeline(c.Name, from, to)
			require.NoError(t, err)
			require.Empty(t, tl.Gaps)
			report := ledger.Check(l, exported(t, s.export(t, c.Name, from, to), l, from), ledger.Options{FromNS: from.UnixNano(), ToNS: to.UnixNano(), Tolerance: 500 * time.Millisecond})
			t.Log(report)
			require.NoError(t, report.Err())
			for _, tr := range report.Tracks {
				require.Greater(t, tr.Matched, 15*20, "%s: too little was compared", tr.Codec)
			}
		})
	}
	s.verifySite(t)
	s.noPanics(t)
}

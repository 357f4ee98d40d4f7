package source_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/duet-video/duet/bench/relay"
	"github.com/duet-video/duet/bench/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

func TestTheRelayWritesEveryAccessUnitTwice(t *testing.T) {
	for _, video := range []string{"h264", "h265"} {
		t.Run(video, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			l := listen(t)
			s, err := source.New(source.Options{Listener: l, Cameras: 3, Video: video, Bitrate: 1e6})
			require.NoError(t, err)
			require.InDelta(t, 1e6, s.Bits(), 1e5)
			var cameras, sinks []string
			for i := range 3 {
				cameras = append(cameras, "rtsp://"+l.Addr().String()+"/"+source.Name(i))
			}
			done := make(chan error, 4)
			var dirs []string
			for range 2 {
				sink := listen(t)
				dirs = append(dirs, t.TempDir())
				sinks = append(sinks, sink.Addr().String())
				go func(dir string) { done <- relay.Sink(ctx, sink, dir, video == "h265") }(dirs[len(dirs)-1])
			}
			go func() { done <- s.Run(ctx) }()
			go func() { done <- relay.Run(ctx, cameras, sinks, video == "h265") }()
			require.Eventually(t, func() bool {
				for _, st := range s.States() {
					if st.Units < 40 {
						return false
					}
				}
				return true
			}, 20*time.Second, 20*time.Millisecond)
			cancel()
			for range 4 {
				require.NoError(t, <-done)
			}
			for _, dir := range dirs {
				for i := range 3 {
					b, err := os.ReadFile(filepath.Join(dir, source.Name(i)+".bin"))
					require.NoError(t, err)
					var marks []source.Mark
					require.NoError(t, source.Scan(bytes.NewReader(b), func(m source.Mark) { marks = append(marks, m) }))
					require.Greater(t, len(marks), 30)
					for j, m := range marks {
						require.Equal(t, i, m.Camera)
						require.Equal(t, marks[0].Number+j, m.Number)
						require.WithinDuration(t, time.Now(), m.Sent, time.Minute)
					}
				}
			}
		})
	}
}

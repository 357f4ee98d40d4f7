package foreign

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/duet-video/duet/bench/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGStreamerCamerasSendWhatTheirLedgersSay(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := Available(ctx); err != nil {
		require.Empty(t, os.Getenv("CI"), "%v: `make setup` installs it", err)
		t.Skip(err)
	}
	g, err := Start(ctx, t.TempDir())
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(g.Cameras), 2)

	units := make([][]ledger.AccessUnit, len(g.Cameras))
	errs := make([]error, len(g.Cameras))
	var wg sync.WaitGroup
	for i, c := range g.Cameras {
		wg.Go(func() {
			l, err := ledger.ReadFile(c.Ledger)
			if err != nil {
				errs[i] = err
				return
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			var mu sync.Mutex // tracks may have goroutines of their own
			errs[i] = ledger.Capture(ctx, &l.Header, ledger.CaptureOptions{
				URL: c.URL, Transport: gortsplib.TransportTCP,
				OnUnit: func(a ledger.AccessUnit, _ *rtp.Packet) {
					mu.Lock()
					defer mu.Unlock()
					if units[i] = append(units[i], a); len(units[i]) >= 100 {
						cancel()
					}
				},
			})
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, g.Close())
	for i, c := range g.Cameras {
		l, err := ledger.ReadFile(c.Ledger)
		require.NoError(t, err)
		seen := map[ledger.Hash]bool{}
		keys := 0
		for _, e := range l.Entries[0] {
			require.False(t, seen[e.Hash], "%s: two equal access units", c.Name)
			seen[e.Hash] = true
			if e.Key {
				keys++
			}
		}
		require.Positive(t, keys)
		report := ledger.Check(l, units[i], ledger.Options{})
		require.NoError(t, report.Err())
		for _, tr := range report.Tracks {
			require.Greater(t, tr.Matched, 20, "%s", report)
		}
	}
}

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pulse asks playback again and again whether it lives, for which no recorder is needed.
// The longest answer is what the machine, which has other sites to run, adds to whatever
// playback does: bounds on pauses count from there.
type pulse struct {
	stop    chan struct{}
	wg      sync.WaitGroup
	longest time.Duration
	beats   int
	err     error
}

func (s *site) pulse() *pulse {
	p := &pulse{stop: make(chan struct{})}
	p.wg.Go(func() {
		client := &http.Client{Timeout: time.Minute}
		defer client.CloseIdleConnections()
		for p.err == nil {
			began := time.Now()
			resp, err := client.Get(s.http + "/healthz")
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("playback is not well: %s", resp.Status)
			}
			p.err = err
			p.longest = max(p.longest, time.Since(began))
			p.beats++
			select {
			case <-p.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return p
}

// end returns the longest answer.
func (p *pulse) end(t testing.TB) time.Duration {
	t.Helper()
	close(p.stop)
	p.wg.Wait()
	require.NoError(t, p.err)
	require.Greater(t, p.beats, 10)
	return p.longest
}

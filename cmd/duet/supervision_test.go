package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/supervise"
)

// The test binary is duet when it is told to be: `duet up` starts itself as its children.
func TestMain(m *testing.M) {
	if os.Getenv("DUET_TEST_AS_DUET") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestUpStartsWhatTheFileSaysAndARecorderThatIsKilledComesBack(t *testing.T) {
	t.Setenv("DUET_TEST_AS_DUET", "1")
	file := writeSite(t)
	s, err := loadSite(file)
	require.NoError(t, err)
	nodes := s.nodes(anyAddress)
	require.NoError(t, s.ensureCertificates(nodes))
	copied, err := takeSnapshot(file)
	require.NoError(t, err)
	defer copied.Close()
	children, err := childrenOf(nodes, file, copied, "warn", "console")
	require.NoError(t, err)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer log.Close()
	sup, err := supervise.New(supervise.Options{Children: children, Output: log, Log: zerolog.Nop()})
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- sup.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-ran)
		for _, st := range sup.States() {
			require.Zero(t, st.PID, "%s still runs", st.Name)
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Log(string(text))
		}
	}()

	creds, err := loadAnyCredentials(s)
	require.NoError(t, err)
	m, err := newMonitor(s, creds)
	require.NoError(t, err)
	defer m.close()
	up := func() (names []string) {
		v := m.view(m.ask(ctx), time.Now())
		for _, r := range v.Recorders {
			if r.State == "up" {
				names = append(names, r.Name)
			}
		}
		for _, p := range v.Proxies {
			if p.State == "up" {
				names = append(names, p.Name)
			}
		}
		return names
	}
	eventually := func(what string, f func() bool) {
		t.Helper()
		require.Eventually(t, f, 60*time.Second, 100*time.Millisecond, what)
	}
	eventually("all nodes answer, over TLS, with names that they prove", func() bool { return len(up()) == 3 })
	eventually("playback is healthy", func() bool {
		resp, err := http.Get("http://" + s.Playback[0].HTTP.Dial() + "/healthz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})

	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte("cameras: [a bad edit"), 0o600))
	first := sup.States()[0]
	require.Equal(t, "r1", first.Name)
	require.NoError(t, syscall.Kill(first.PID, syscall.SIGKILL))
	eventually("r1 is back", func() bool {
		st := sup.States()[0]
		return st.Restarts == 1 && st.PID != 0 && st.PID != first.PID && strings.Join(up(), " ") == "r1 r2 p1"
	})
	require.NoError(t, os.WriteFile(file, whole, 0o600))
	code, stdout, stderr := duet(t, "status", "-c", file)
	require.Equal(t, exitDone, code, stderr)
	require.Contains(t, stdout, "refused", "the camera that nobody listens for")
	require.NotContains(t, stdout, "geheim")
	text, err := os.ReadFile(log.Name())
	require.NoError(t, err)
	require.NotContains(t, string(text), "geheim", fmt.Sprint("credentials in the log of ", file))
}

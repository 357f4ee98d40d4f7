package supervise

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// ready ends when it is told to; trap is a shell line for SIGTERM.
func script(name, trap string) Child {
	return Child{Name: name, Path: "/bin/sh", Args: []string{"-c", `trap '` + trap + `' TERM; echo up; while :; do sleep 0.05; done`}}
}

func run(t *testing.T, o Options) (*Supervisor, *output, func() error) {
	t.Helper()
	out := &output{}
	o.Output, o.Log = out, zerolog.Nop()
	s, err := New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	var result error
	stop := func() error {
		once.Do(func() {
			cancel()
			result = <-done
		})
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return s, out, stop
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	require.Eventually(t, f, 20*time.Second, 10*time.Millisecond, what)
}

func TestChildrenEndInReverseOrderAndTheirLinesCarryNames(t *testing.T) {
	_, out, stop := run(t, Options{Children: []Child{
		script("proxy", "echo bye; exit 0"), script("r1", "echo bye; exit 0"), script("v1", "echo bye; exit 0"),
	}})
	eventually(t, "all up", func() bool { return strings.Count(out.String(), "up\n") == 3 })
	require.NoError(t, stop())
	var byes []string
	for line := range strings.Lines(out.String()) {
		name, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " │ ")
		require.True(t, ok, line)
		if text == "bye" {
			byes = append(byes, strings.TrimSpace(name))
		}
	}
	require.Equal(t, []string{"v1", "r1", "proxy"}, byes)
}

func TestKilledChildIsRestarted(t *testing.T) {
	s, out, _ := run(t, Options{FirstWait: time.Millisecond, Children: []Child{script("r1", "exit 0"), script("r2", "exit 0")}})
	eventually(t, "both up", func() bool { return strings.Count(out.String(), "up\n") == 2 })
	first, other := s.States()[0].PID, s.States()[1].PID
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	eventually(t, "restarted", func() bool {
		st := s.States()[0]
		return st.Restarts == 1 && st.PID != 0 && st.PID != first
	})
	require.Equal(t, "signal: killed", s.States()[0].LastExit)
	require.Equal(t, other, s.States()[1].PID, "the other is left alone")
}

func TestChildThatKeepsDyingIsRestartedLessAndLess(t *testing.T) {
	out := Options{FirstWait: 20 * time.Millisecond, MaxWait: time.Hour, Children: []Child{{Name: "x", Path: "/bin/sh", Args: []string{"-c", "exit 3"}}}}
	s, _, stop := run(t, out)
	eventually(t, "restarts", func() bool { return s.States()[0].Restarts >= 3 })
	require.Equal(t, "exit status 3", s.States()[0].LastExit)
	began := time.Now()
	require.NoError(t, stop(), "a child that dies is no failure of the supervisor")
	require.Less(t, time.Since(began), 5*time.Second, "stopping does not wait for the pause")
}

func TestChildThatDoesNotEndIsKilled(t *testing.T) {
	s, out, stop := run(t, Options{Grace: 50 * time.Millisecond, Children: []Child{script("stubborn", "")}})
	eventually(t, "up", func() bool { return strings.Contains(out.String(), "up") })
	pid := s.States()[0].PID
	require.NoError(t, stop())
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	require.Equal(t, "signal: killed", s.States()[0].LastExit)
}

func TestStoppedChildEndsToo(t *testing.T) {
	s, out, stop := run(t, Options{Children: []Child{script("hung", "exit 0")}})
	eventually(t, "up", func() bool { return strings.Contains(out.String(), "up") })
	require.NoError(t, syscall.Kill(s.States()[0].PID, syscall.SIGSTOP))
	began := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(began), defaultGrace)
}

func TestProgramThatDoesNotExistEndsWhatWasStarted(t *testing.T) {
	s, err := New(Options{Children: []Child{script("r1", "exit 0"), {Name: "r2", Path: "/does/not/exist"}}, Log: zerolog.Nop()})
	require.NoError(t, err)
	err = s.Run(t.Context())
	require.ErrorContains(t, err, "start r2")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Zero(t, s.States()[0].PID)
}

func TestLinesAreWholeAndBounded(t *testing.T) {
	out := &output{}
	w := newPrefixer(out, []Child{{Name: "a"}, {Name: "long"}}).writer("a")
	for _, s := range []string{"one", " two\r\nthr", "ee\n", strings.Repeat("x", maxLine+1), "\n"} {
		n, err := w.Write([]byte(s))
		require.NoError(t, err)
		require.Equal(t, len(s), n)
	}
	require.Equal(t, "a    │ one two\na    │ three\na    │ "+strings.Repeat("x", maxLine)+"\na    │ x\n", out.String())
}

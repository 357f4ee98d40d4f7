package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is one role of the site under test: a child of this test, in a log file of
// its own.
type process struct {
	name string
	args []string
	log  string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// start starts the process, which must not be running.
func (p *process) start(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	cmd := exec.Command(binary, p.args...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start(), "start %s", p.name)
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	p.cmd, p.done = cmd, done
}

// kill ends the process with SIGKILL and waits until it is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	p.cmd = nil
}

// terminate ends the process as an operator would, with SIGTERM, and reports how long it took.
func (p *process) terminate(t testing.TB, limit time.Duration) time.Duration {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	began := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.done
		t.Errorf("%s did not end within %v of SIGTERM; its log ends:\n%s", p.name, limit, tail(p.log, 20))
	}
	p.cmd = nil
	return time.Since(began)
}

// signal sends SIGSTOP or SIGCONT.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(sig)
	}
}

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// rss returns the resident memory of the process in bytes, without the pages of the
// program file, which all processes share.
func (p *process) rss(t testing.TB) int64 {
	t.Helper()
	n, err := anonymous(p.pid())
	require.NoError(t, err)
	return n
}

// anonymous returns the resident memory of a process that belongs to no file, in bytes.
func anonymous(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no RssAnon of process %d", pid)
}

// tail returns the last n lines of a file, for a failure's message.
func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// run runs the binary to its end and returns what it printed and its exit code.
func run(t testing.TB, args ...string) (out string, code int) {
	t.Helper()
	var b bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited { //nolint:errorlint // Run returns it unwrapped
		t.Fatalf("run duet %v: %v", args, err)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

// tool runs a foreign program with a time limit and returns its standard output and error.
func tool(t testing.TB, limit time.Duration, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	path, lookErr := exec.LookPath(name)
	require.NoError(t, lookErr, "this test needs %s: `make setup` installs it", name)
	var out, errOut bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	require.NoError(t, cmd.Start())
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	if !timer.Stop() {
		err = fmt.Errorf("ended after %v: %w", limit, err)
	}
	return out.String(), errOut.String(), err
}

// background starts a foreign program; its output is collected until wait is called.
type background struct {
	cmd  *exec.Cmd
	out  string
	done chan error
}

func startTool(t testing.TB, name string, args ...string) *background {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "this test needs %s: `make setup` installs it", name)
	b := &background{out: filepath.Join(t.TempDir(), name+".log"), done: make(chan error, 1)}
	f, err := os.Create(b.out)
	require.NoError(t, err)
	b.cmd = exec.Command(path, args...)
	b.cmd.Stdout, b.cmd.Stderr = f, f
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, b.cmd.Start())
	_ = f.Close()
	go func() { b.done <- b.cmd.Wait() }()
	t.Cleanup(func() { _ = b.cmd.Process.Kill() })
	return b
}

// wait waits for the program's end and returns what it printed.
func (b *background) wait(limit time.Duration) (string, error) {
	var err error
	select {
	case err = <-b.done:
	case <-time.After(limit):
		_ = b.cmd.Process.Kill()
		<-b.done
		err = fmt.Errorf("did not end within %v", limit)
	}
	out, readErr := os.ReadFile(b.out)
	if readErr != nil {
		return "", readErr
	}
	return string(out), err
}

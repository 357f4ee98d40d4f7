package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopLimit is how long a child has to end when it is told to.
const stopLimit = 10 * time.Second

// child is a process of a system under test.
type child struct {
	role string // what its usage is counted under
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid when done is closed
}

// start starts a process whose output goes to a file in dir.
func start(dir, role, path string, args ...string) (*child, error) {
	c := &child{role: role, log: filepath.Join(dir, role+".log"), done: make(chan struct{})}
	f, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c.cmd = exec.Command(path, args...)
	c.cmd.Stdout, c.cmd.Stderr = f, f
	c.cmd.Dir = dir
	// Ctrl-C is ours: the children are ended in order. If we are killed, so are they.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) } // it has ended otherwise

// kill ends it at once.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// stop ends it as an operator would.
func (c *child) stop() {
	c.signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(stopLimit):
		c.kill()
	}
}

// alive returns an error with the end of its log when it has ended.
func (c *child) alive() error {
	select {
	case <-c.done:
		return fmt.Errorf("%s has ended: %w; its log ends: %s", c.role, errors.Join(c.err, errEnded), tail(c.log, 5))
	default:
		return nil
	}
}

var errEnded = errors.New("too early")

// usage reads what it has used.
func (c *child) usage() (Usage, error) {
	if err := c.alive(); err != nil {
		return Usage{}, err
	}
	return usageOf(c.pid())
}

// tail returns the last n lines of a file as one.
func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}

// children are the processes of a system, in the order in which they were started.
type children []*child

func (cs *children) start(dir, role, path string, args ...string) error {
	c, err := start(dir, role, path, args...)
	if err == nil {
		*cs = append(*cs, c)
	}
	return err
}

// stop ends all, the last ones first; at once where they are many.
func (cs children) stop() {
	for i := len(cs) - 1; i >= 0; i-- {
		if len(cs) > 8 {
			cs[i].signal(syscall.SIGTERM)
			continue
		}
		cs[i].stop()
	}
	for _, c := range cs {
		c.stop()
	}
}

func (cs children) alive() error {
	for _, c := range cs {
		if err := c.alive(); err != nil {
			return err
		}
	}
	return nil
}

// usage returns the usage of each role, summed over its processes.
func (cs children) usage() (map[string]Usage, error) {
	out := map[string]Usage{}
	for _, c := range cs {
		u, err := c.usage()
		if err != nil {
			return nil, err
		}
		out[c.role] = out[c.role].plus(u)
	}
	return out, nil
}

// wait asks every 50 ms until ok returns nil, and returns what it said last when limit is
// over or a child has ended.
func (cs children) wait(ctx context.Context, limit time.Duration, what string, ok func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return nil
		}
		if dead := cs.alive(); dead != nil {
			return dead
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w", what, limit, err)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// sleep returns early, with ctx's error, when ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

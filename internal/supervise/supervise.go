package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"
)

// The times of a supervisor, unless Options say otherwise.
const (
	defaultFirstWait = 200 * time.Millisecond
	defaultMaxWait   = 10 * time.Second
	defaultHealthy   = 10 * time.Second
	defaultGrace     = 10 * time.Second
)

// Child is a process to keep running.
type Child struct {
	// Name goes in front of its lines of output and into the log.
	Name string
	// Path and Args, without the program's name, are what is run.
	Path string
	Args []string
	// Env is the environment, as of os/exec; nil: the supervisor's.
	Env []string
	// Files are inherited as file descriptors 3, 4 …; they stay open and the caller's.
	Files []*os.File
}

// Options say what a Supervisor keeps running.
type Options struct {
	// Children are started in this order and ended in reverse.
	Children []Child
	// Output takes the children's lines, one Write each.
	Output io.Writer
	Log    zerolog.Logger

	// FirstWait is the pause before a restart, longer each time up to MaxWait; a child
	// that ran for Healthy begins anew. Grace is how long a child may take to end
	// after SIGTERM, before SIGKILL. Zero: 200 ms, 10 s, 10 s, 10 s.
	FirstWait, MaxWait, Healthy, Grace time.Duration
}

// State is what a child is doing.
type State struct {
	Name string
	// PID is 0 while it does not run.
	PID int
	// Since is when it was started, or when it ended.
	Since    time.Time
	Restarts int
	// LastExit says how it ended last; empty: it never did.
	LastExit string
}

// Supervisor keeps children running. States and Ended may be called at any time.
type Supervisor struct {
	o     Options
	out   *prefixer
	procs []*process
}

// New checks the options; it starts nothing.
func New(o Options) (*Supervisor, error) {
	if len(o.Children) == 0 {
		return nil, errors.New("supervise: no children")
	}
	if o.Output == nil {
		o.Output = io.Discard
	}
	for _, d := range []struct {
		v    *time.Duration
		unit time.Duration
	}{{&o.FirstWait, defaultFirstWait}, {&o.MaxWait, defaultMaxWait}, {&o.Healthy, defaultHealthy}, {&o.Grace, defaultGrace}} {
		if *d.v <= 0 {
			*d.v = d.unit
		}
	}
	s := &Supervisor{o: o, out: newPrefixer(o.Output, o.Children)}
	for _, c := range o.Children {
		s.procs = append(s.procs, &process{child: c, s: s, stop: make(chan struct{}), state: State{Name: c.Name}})
	}
	return s, nil
}

// Run starts the children and keeps them running until ctx ends, then ends them, the
// last first. It returns an error, and ends what it started, when a child cannot be
// started at all (not when it dies).
func (s *Supervisor) Run(ctx context.Context) error {
	failed := make(chan error, len(s.procs))
	var running []*process
	stop := func() {
		for i := len(running) - 1; i >= 0; i-- {
			close(running[i].stop)
			running[i].wg.Wait()
		}
	}
	for _, p := range s.procs {
		cmd, err := p.start()
		if err != nil {
			stop()
			return fmt.Errorf("start %s: %w", p.child.Name, err)
		}
		running = append(running, p)
		p.wg.Go(func() {
			if err := p.keep(cmd); err != nil {
				failed <- fmt.Errorf("restart %s: %w", p.child.Name, err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	return err
}

// States returns the children in their order.
func (s *Supervisor) States() []State {
	all := make([]State, len(s.procs))
	for i, p := range s.procs {
		p.mu.Lock()
		all[i] = p.state
		p.mu.Unlock()
	}
	return all
}

// process is a child and the goroutine that keeps it running.
type process struct {
	child Child
	s     *Supervisor
	stop  chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex
	state State
}

func (p *process) start() (*exec.Cmd, error) {
	out := p.s.out.writer(p.child.Name)
	cmd := exec.Command(p.child.Path, p.child.Args...)
	cmd.Env, cmd.ExtraFiles = p.child.Env, p.child.Files
	cmd.Stdout, cmd.Stderr = out, out
	// A grandchild that inherits the pipe must not keep Wait from returning.
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// Pdeathsig is sent when the thread that forked ends; Go ends only threads that
	// are locked to a goroutine, which this one is not.
	err := cmd.Start()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.state.PID, p.state.Since = cmd.Process.Pid, time.Now()
	p.mu.Unlock()
	return cmd, nil
}

// keep waits for the child, and starts it again, until stop.
func (p *process) keep(cmd *exec.Cmd) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval, wait.RandomizationFactor = p.s.o.FirstWait, p.s.o.MaxWait, 0.2
	log := p.s.o.Log.With().Str("child", p.child.Name).Logger()
	for {
		began := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			p.ended(err)
		case <-p.stop:
			p.ended(p.end(cmd, ended))
			return nil
		}
		if time.Since(began) >= p.s.o.Healthy {
			wait.Reset()
		}
		pause := wait.NextBackOff()
		log.Warn().Str("exit", p.lastExit()).Dur("restart_in", pause).Msg("child died")
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-p.stop:
			t.Stop()
			return nil
		}
		var err error
		if cmd, err = p.start(); err != nil {
			return err
		}
		p.mu.Lock()
		p.state.Restarts++
		p.mu.Unlock()
	}
}

// end asks the child to end, and kills it when it does not.
func (p *process) end(cmd *exec.Cmd, ended <-chan error) error {
	pid := cmd.Process.Pid
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = syscall.Kill(-pid, syscall.SIGCONT) // one that was stopped cannot end
	t := time.NewTimer(p.s.o.Grace)
	defer t.Stop()
	select {
	case err := <-ended:
		return err
	case <-t.C:
		p.s.o.Log.Warn().Str("child", p.child.Name).Dur("after", p.s.o.Grace).Msg("child does not end: killed")
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		return <-ended
	}
}

func (p *process) ended(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.PID, p.state.Since, p.state.LastExit = 0, time.Now(), exitText(err)
}

func (p *process) lastExit() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.LastExit
}

func exitText(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exit status 0"
	case errors.As(err, &exit):
		return exit.String()
	}
	return err.Error()
}

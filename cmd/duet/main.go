package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/config"
)

// The exit codes, documented in `duet --help`.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

const description = `Records each RTSP camera on two independent recorders and plays both back as one.

Exit codes: 0 done; 1 it failed, a plan was refused, or copies differ; 2 the command line or the configuration is wrong.`

// commands are the subcommands, in the order of the help.
type commands struct {
	Demo     demoCmd     `cmd:"" help:"Simulated cameras, proxy, three recorders and playback on this machine; nothing to configure."`
	Up       upCmd       `cmd:"" help:"Run all nodes of the file that are on this machine, as supervised processes."`
	Proxy    proxyCmd    `cmd:"" help:"Run one proxy."`
	Recorder recorderCmd `cmd:"" help:"Run one recorder."`
	Playback playbackCmd `cmd:"" help:"Run one playback node."`

	Check  checkCmd  `cmd:"" help:"Validate the file; print the placement and its load; refuse an overload."`
	Status statusCmd `cmd:"" help:"Cameras and copies: recording, behind by, protected until, disk."`
	Export exportCmd `cmd:"" help:"Save a time range of a camera as MP4; goes on where it was interrupted."`
	Verify verifyCmd `cmd:"" help:"Hash what is stored: against the index, and copies against each other."`
	Lock   lockCmd   `cmd:"" help:"Protect a time range of a camera from retention, on all recorders: evidence."`
	Locks  locksCmd  `cmd:"" help:"List what is locked, and on which recorders."`
	Unlock unlockCmd `cmd:"" help:"Release a lock."`

	Config  configCmd  `cmd:"" help:"Print a complete example of duet.yaml."`
	Certs   certsCmd   `cmd:"" help:"Make the site's CA and the certificates of its nodes."`
	Camsim  camsimCmd  `cmd:"" help:"Simulate RTSP cameras that keep a ledger of every access unit."`
	Bench   benchCmd   `cmd:"" help:"Measure this machine: recording, live view, failover, playback; beside other programs."`
	Version versionCmd `cmd:"" help:"Print the version."`

	BenchRole benchRoleCmd `cmd:"" hidden:"" help:"Processes of duet bench."`
}

// app is what subcommands share.
type app struct {
	ctx            context.Context
	stdout, stderr io.Writer
}

func main() {
	if len(os.Args) > 1 && (os.Args[1] == "proxy" || os.Args[1] == "recorder") {
		relaxTimers()
	}
	zerolog.DurationFieldFormat = zerolog.DurationFormatString // "1.5s", rather than a number without its unit
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends the process at once
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	var cmds commands
	ended := false
	parser, err := kong.New(&cmds, kong.Name("duet"), kong.Description(description),
		kong.Writers(stdout, stderr), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Exit(func(int) { ended = true }))
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "duet:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(joinTimes(args))
	switch {
	case ended: // --help has been printed
		return exitDone
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "duet: %v (see duet --help)\n", err)
		return exitUsage
	}
	return report(stderr, parsed.Run(&app{ctx: ctx, stdout: stdout, stderr: stderr}))
}

// report prints an error, and turns it into an exit code.
func report(stderr io.Writer, err error) int {
	if err == nil || errors.Is(err, context.Canceled) {
		return exitDone
	}
	var bad *config.Error
	if errors.As(err, &bad) {
		_, _ = fmt.Fprintln(stderr, err)
		return exitUsage
	}
	var refused *refusedError
	if errors.As(err, &refused) {
		_, _ = fmt.Fprintln(stderr, err)
		return exitFailed
	}
	_, _ = fmt.Fprintln(stderr, "duet:", strings.ReplaceAll(err.Error(), "\n", "; "))
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// usageError is one that other arguments would avoid.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// joinTimes makes --from -5m one argument: kong would take -5m for a flag.
func joinTimes(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		if (args[i] == "--from" || args[i] == "--to") && i+1 < len(args) && strings.HasPrefix(args[i+1], "-") {
			out = append(out, args[i]+"="+args[i+1])
			i++
			continue
		}
		out = append(out, args[i])
	}
	return out
}

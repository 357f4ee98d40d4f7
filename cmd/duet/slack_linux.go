package main

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// timerSlack is how much later than asked for the kernel may end a sleep of a node that
// moves media, in ns. The default, 50 µs, has the Go runtime's monitor thread wake up many
// times in each of the short bursts that such a node works in, for nothing: about a tenth of
// its processor time.
const timerSlack = 1_000_000

// relaxTimers gives the process that slack. Threads inherit it from the one that made them,
// and the runtime has made some before main, so that the process has to begin again; it
// keeps its pid. Where that fails it goes on as it is.
func relaxTimers() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || slack >= timerSlack {
		return
	}
	exe, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0) != nil {
		return
	}
	_ = syscall.Exec(exe, os.Args, os.Environ())
}

package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used since its start, as /proc tells.
type Usage struct {
	// CPU is user and system time of all threads.
	CPU time.Duration
	// Syscalls counts calls that read and wrote (not those that waited), Switches the times
	// that a thread gave up its processor to wait.
	Syscalls, Switches int64
	// Written is what went to files and sockets; Disk what went to disks.
	Written, Disk int64
	// Memory is the anonymous memory that is resident now, in bytes.
	Memory int64
}

// userHZ is the unit of times in /proc/PID/stat, fixed in Linux's interface.
const userHZ = 100

// usageOf reads the usage of a process.
func usageOf(pid int) (Usage, error) {
	var u Usage
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return u, err
	}
	if u.CPU, err = parseStat(string(stat)); err != nil {
		return u, fmt.Errorf("process %d: %w", pid, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "io")); err == nil { // some systems have none
		f := fields(string(b))
		u.Syscalls = f["syscr"] + f["syscw"]
		u.Written, u.Disk = f["wchar"], f["write_bytes"]
	}
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u, err
	}
	u.Memory = fields(string(b))["RssAnon"] << 10
	tasks, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return u, err
	}
	for _, t := range tasks {
		b, err := os.ReadFile(filepath.Join(dir, "task", t.Name(), "status"))
		if errors.Is(err, fs.ErrNotExist) || err != nil {
			continue // a thread that has ended
		}
		u.Switches += fields(string(b))["voluntary_ctxt_switches"]
	}
	return u, nil
}

// parseStat returns utime and stime of /proc/PID/stat (proc_pid_stat(5), fields 14, 15).
func parseStat(s string) (time.Duration, error) {
	end := strings.LastIndexByte(s, ')') // of the name, which may have anything in it
	f := strings.Fields(s[end+1:])
	if end < 0 || len(f) < 13 {
		return 0, fmt.Errorf("stat %q", s)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * (time.Second / userHZ), nil
}

// fields reads lines of "name: number".
func fields(s string) map[string]int64 {
	out := map[string]int64{}
	for line := range strings.Lines(s) {
		name, value, ok := strings.Cut(line, ":")
		if f := strings.Fields(value); ok && len(f) > 0 {
			if n, err := strconv.ParseInt(f[0], 10, 64); err == nil {
				out[name] = n
			}
		}
	}
	return out
}

// since returns what was used between two readings; Memory is that of the later.
func (u Usage) since(before Usage) Usage {
	return Usage{
		CPU: u.CPU - before.CPU, Syscalls: u.Syscalls - before.Syscalls, Switches: u.Switches - before.Switches,
		Written: u.Written - before.Written, Disk: u.Disk - before.Disk, Memory: u.Memory,
	}
}

func (u Usage) plus(v Usage) Usage {
	return Usage{
		CPU: u.CPU + v.CPU, Syscalls: u.Syscalls + v.Syscalls, Switches: u.Switches + v.Switches,
		Written: u.Written + v.Written, Disk: u.Disk + v.Disk, Memory: u.Memory + v.Memory,
	}
}

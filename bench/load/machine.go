package load

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where a report comes from.
type Machine struct {
	CPU        string            `json:"cpu"`
	Processors int               `json:"processors"`
	MemoryGiB  float64           `json:"memory_gib"`
	Kernel     string            `json:"kernel"`
	FileSystem string            `json:"file_system"`
	Go         string            `json:"go"`
	Versions   map[string]string `json:"versions"`
	// Busy is the share of all processors that was used before anything was started: what
	// else runs on the machine.
	Busy float64 `json:"busy"`
}

func machine(ctx context.Context, o *Options) Machine {
	m := Machine{Processors: runtime.NumCPU(), Go: runtime.Version(), Versions: map[string]string{"duet": o.Version}}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.MemoryGiB = float64(fields(string(b))["MemTotal"]) / (1 << 20)
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	m.FileSystem = fileSystem(o.Dir)
	for name, path := range map[string]string{"mediamtx": o.MediaMTX, "go2rtc": o.Go2RTC, "ffmpeg": o.FFmpeg} {
		if path == "" {
			continue
		}
		flag := "--version"
		if name != "mediamtx" {
			flag = "-version"
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		out, _ := exec.CommandContext(ctx, path, flag).CombinedOutput()
		cancel()
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		line, _, _ = strings.Cut(line, " Copyright")
		m.Versions[name] = strings.TrimPrefix(line, "ffmpeg version ")
	}
	m.Busy = busy(ctx)
	return m
}

// fileSystem names the kind of file system that a directory is on.
func fileSystem(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return ""
	}
	switch st.Type {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	}
	return "other"
}

// busy watches the machine for half a second.
func busy(ctx context.Context) float64 {
	idle := func() (idle, total int64) {
		b, _ := os.ReadFile("/proc/stat")
		line, _, _ := strings.Cut(string(b), "\n")
		for i, f := range strings.Fields(strings.TrimPrefix(line, "cpu")) {
			v := fields("x: " + f)["x"]
			if total += v; i == 3 || i == 4 { // idle, iowait
				idle += v
			}
		}
		return idle, total
	}
	i0, t0 := idle()
	if sleep(ctx, 500*time.Millisecond) != nil {
		return 0
	}
	i1, t1 := idle()
	if t1 == t0 {
		return 0
	}
	return 1 - float64(i1-i0)/float64(t1-t0)
}

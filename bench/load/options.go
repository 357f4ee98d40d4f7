package load

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Options are what all works share.
type Options struct {
	// Exe is this program: `Exe bench-role …` runs a Role, `Exe proxy …` a node.
	Exe     string
	Version string
	// MediaMTX, Go2RTC and FFmpeg are the paths of peers; empty: not measured.
	MediaMTX, Go2RTC, FFmpeg string
	// Dir is an existing directory in which each run makes its own, and removes it.
	Dir string
	// Keep leaves the directories of runs where they are.
	Keep bool
	// Rounds is how often everything is measured. Warm is how long a system runs before
	// it is measured, For how long it is measured then.
	Rounds    int
	Warm, For time.Duration
	// Ports are shared by works that run at once; nil: those of this work alone.
	Ports *Ports
	// Log says what is being done, in one line.
	Log func(format string, args ...any)
}

func (o *Options) validate() error {
	switch {
	case o.Exe == "" || o.Dir == "":
		return errors.New("bench: want the path of the program and a directory")
	case o.Rounds < 1:
		return fmt.Errorf("bench: %d rounds: want at least 1", o.Rounds)
	case o.For < time.Second:
		return fmt.Errorf("bench: %v is too short to measure anything", o.For)
	}
	for name, path := range map[string]string{"mediamtx": o.MediaMTX, "go2rtc": o.Go2RTC, "ffmpeg": o.FFmpeg} {
		if path == "" {
			continue
		}
		if st, err := os.Stat(path); err != nil || st.IsDir() || st.Mode()&0o111 == 0 {
			return fmt.Errorf("bench: %s at %s: there is no such program", name, path)
		}
	}
	if o.Ports == nil {
		o.Ports = NewPorts()
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return nil
}

// Point is a load.
type Point struct {
	Cameras int     `json:"cameras"`
	Mbit    float64 `json:"mbit"`  // of each camera, a second
	Codec   string  `json:"codec"` // a clip of package camsim: h264, h265 …
	// Recorders of the site; each camera is on two of them.
	Recorders int `json:"recorders"`
	// Readers are live readers of each camera, over RTSP.
	Readers int `json:"readers"`
}

func (p Point) String() string {
	s := fmt.Sprintf("%d × %g Mbit/s %s", p.Cameras, p.Mbit, p.Codec)
	if p.Recorders > 2 {
		s += fmt.Sprintf(", %d recorders", p.Recorders)
	}
	if p.Readers > 0 {
		s += fmt.Sprintf(", %d readers each", p.Readers)
	}
	return s
}

func (p *Point) validate() error {
	switch {
	case p.Cameras < 1 || p.Cameras > 10000:
		return fmt.Errorf("bench: %d cameras: want 1 … 10000", p.Cameras)
	case p.Mbit < 0.1 || p.Mbit > 200:
		return fmt.Errorf("bench: cameras of %g Mbit/s: want 0.1 … 200", p.Mbit)
	case p.Recorders < 2 || p.Recorders > 50:
		return fmt.Errorf("bench: %d recorders: want 2 … 50", p.Recorders)
	case p.Readers < 0 || p.Readers > 100:
		return fmt.Errorf("bench: %d readers: want 0 … 100", p.Readers)
	}
	return nil
}

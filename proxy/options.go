package proxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/clock"
)

// Copies says how many recorders write a camera at the same time.
type Copies string

// The values of Copies.
const (
	// Dual: both recorders, always.
	Dual Copies = "dual"
	// Spare: the redundant one only while the primary does not acknowledge.
	Spare Copies = "spare"
)

// Camera is a camera to pull.
type Camera struct {
	Name string
	// Source is the RTSP URL, with credentials where the camera wants them. It must
	// never be logged.
	Source string
	// Transport is tcp (default), udp or auto.
	Transport string
	// Clock is arrival (default) or rtcp: what capture times follow.
	Clock string
	// Copies is dual where empty.
	Copies Copies
	// Primary and Redundant are names of recorders. Empty: nobody.
	Primary, Redundant string
}

// User may read from the RTSP endpoint.
type User struct{ Name, Password string }

// Options say what a Proxy does. Zero durations and sizes mean the default.
type Options struct {
	Name    string
	Version string
	Cameras []Camera

	LogSeconds    time.Duration //nolint:staticcheck // named like its key log.seconds; 20 s
	LogBytes      int64         // of one camera, 64 MiB
	LogTotalBytes int64         // of all, 2 GiB

	Linger          time.Duration // 10 ms
	FragmentMin     time.Duration // 1 s
	FragmentMax     time.Duration // 10 s
	SegmentDuration time.Duration // 10 min
	StallTimeout    time.Duration // 5 s; a camera that sends nothing for so long is lost
	SpareAfter      time.Duration // 5 s; a primary that acknowledges nothing for so long is replaced
	DrainTimeout    time.Duration // 5 s; how long Run waits at its end for recorders

	// LinkListener is where recorders connect. The proxy closes it.
	LinkListener net.Listener
	// TLS is for the link, with client certificates required; nil: plain text, for
	// tests only.
	TLS *tls.Config

	// RTSPAddress is where live readers connect, host:port; empty: no endpoint.
	RTSPAddress string
	// RTSPListener takes live readers in the place of RTSPAddress; nil: there is none. The
	// proxy closes it.
	RTSPListener net.Listener
	// RTPAddress and RTCPAddress are two UDP addresses with consecutive ports, the first
	// even; empty: readers get TCP only.
	RTPAddress, RTCPAddress string
	// Users may read; none: everybody may.
	Users []User

	// Source is where sessions of cameras come from instead of RTSP; nil: RTSP.
	Source Source

	Clock    clock.Clock
	Random   io.Reader // crypto/rand.Reader
	Log      zerolog.Logger
	Registry prometheus.Registerer
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (o *Options) setDefaults() {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&o.LogSeconds, 20 * time.Second},
		{&o.Linger, 10 * time.Millisecond},
		{&o.FragmentMin, time.Second},
		{&o.FragmentMax, 10 * time.Second},
		{&o.SegmentDuration, 10 * time.Minute},
		{&o.StallTimeout, 5 * time.Second},
		{&o.SpareAfter, 5 * time.Second},
		{&o.DrainTimeout, 5 * time.Second},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.LogBytes == 0 {
		o.LogBytes = 64 << 20
	}
	if o.LogTotalBytes == 0 {
		o.LogTotalBytes = 2 << 30
	}
}

func (o *Options) validate() error {
	if !nameForm.MatchString(o.Name) {
		return fmt.Errorf("name of the proxy %q: want 1 to 63 letters, digits, dots, dashes, underscores", o.Name)
	}
	switch {
	case o.LinkListener == nil:
		return fmt.Errorf("proxy %s: no listener for the link", o.Name)
	case o.Clock == nil || o.Random == nil || o.Registry == nil:
		return fmt.Errorf("proxy %s: clock, random and registry must be given", o.Name)
	case o.LogSeconds < 0 || o.LogBytes < 0 || o.LogTotalBytes < 0 || o.Linger < 0:
		return fmt.Errorf("proxy %s: sizes of the log and linger must not be negative", o.Name)
	case o.FragmentMin > o.FragmentMax:
		return fmt.Errorf("proxy %s: fragment.min %v is over fragment.max %v", o.Name, o.FragmentMin, o.FragmentMax)
	}
	seen := map[string]bool{}
	for i := range o.Cameras {
		if err := o.Cameras[i].validate(); err != nil {
			return err
		}
		if seen[o.Cameras[i].Name] {
			return fmt.Errorf("camera %s: named twice", o.Cameras[i].Name)
		}
		seen[o.Cameras[i].Name] = true
	}
	return nil
}

func (c *Camera) validate() error {
	if !nameForm.MatchString(c.Name) {
		return fmt.Errorf("name of a camera %q: want 1 to 63 letters, digits, dots, dashes, underscores", c.Name)
	}
	switch {
	case c.Source == "":
		return fmt.Errorf("camera %s: no source", c.Name)
	case c.Copies != "" && c.Copies != Dual && c.Copies != Spare:
		return fmt.Errorf("camera %s: copies %q: want dual or spare", c.Name, c.Copies)
	case c.Transport != "" && c.Transport != "tcp" && c.Transport != "udp" && c.Transport != "auto":
		return fmt.Errorf("camera %s: transport %q: want tcp, udp or auto", c.Name, c.Transport)
	case c.Clock != "" && c.Clock != "arrival" && c.Clock != "rtcp":
		return fmt.Errorf("camera %s: clock %q: want arrival or rtcp", c.Name, c.Clock)
	case c.Copies == Spare && (c.Primary == "" || c.Redundant == ""):
		return fmt.Errorf("camera %s: copies: spare needs a primary and a redundant recorder", c.Name)
	case c.Primary != "" && c.Primary == c.Redundant:
		return fmt.Errorf("camera %s: recorder %s is primary and redundant", c.Name, c.Primary)
	}
	return nil
}

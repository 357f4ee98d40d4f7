package playback

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/evidence"
)

// Node is a recorder or a proxy of the site.
type Node struct {
	// Name is the node's name in the configuration and in its certificate.
	Name string
	// Address is the host and port of its gRPC service.
	Address string
	// Role is primary or redundant; empty for a proxy.
	Role string
	// Zone is where the node stands; may be empty.
	Zone string
}

// Camera says where the copies of a camera are recorded by configuration. Footage is
// looked for on every recorder that says that it has some.
type Camera struct {
	Name string
	// Primary and Redundant are names of recorders; Redundant may be empty.
	Primary, Redundant string
	// Copies is dual, spare or single, for display.
	Copies string
}

// Deadlines bound how long playback waits for others. Zero fields take the default.
type Deadlines struct {
	// Answer is how long a recorder may take to begin its answer, and then to go on
	// with it. 700 ms.
	Answer time.Duration
	// Probe is how long a node may take to answer a health probe. 500 ms.
	Probe time.Duration
	// ProbeEvery is the time from one health probe to the next. 1 s.
	ProbeEvery time.Duration
	// Stall is how long a recorder may send nothing of a fragment before another copy is
	// read beside it. 300 ms.
	Stall time.Duration
	// Patience is how long a response waits for a fragment that every recorder fails to
	// deliver, before it is broken off. 8 s.
	Patience time.Duration
	// Client is how long a client may take none of an answer, before it is broken off. 10 min:
	// a player that pauses takes none, and asks for the rest when it goes on.
	Client time.Duration
	// Drain is how long responses may go on after Run was told to end. 10 s.
	Drain time.Duration
}

// Limits bound what one request may cost. Zero fields take the default.
type Limits struct {
	// Export is the longest range of a recording.mp4. 24 h.
	Export time.Duration
	// Progressive is the longest range of a recording.mp4 that is not fragmented, and
	// Samples how many access units it may have, about 40 bytes each. 2 h, 1 000 000.
	Progressive time.Duration
	Samples     int
	// Timeline is the longest range of a timeline. 366 days.
	Timeline time.Duration
	// Fragments bounds the plan of one export, 100 bytes each. 500 000.
	Fragments int
	// FragmentBytes bounds one fragment. 256 MiB.
	FragmentBytes int64
	// PrefetchBytes is how much one response reads ahead, beside the fragment that it
	// is sending. 16 MiB.
	PrefetchBytes int64
}

// Options are what a Service is made of. Name, Listener and Recorders are required.
type Options struct {
	// Name of this playback node.
	Name string
	// Version of the program, shown in the OpenAPI document.
	Version string
	// Listener takes the HTTP requests. The Service closes it.
	Listener net.Listener
	// RTSP serves recordings over RTSP; nil: it does not.
	RTSP *RTSP

	Recorders []Node
	Proxies   []Node
	Cameras   []Camera

	// TLS returns the client configuration for the node of that name, with its
	// ServerName set. Nil means plaintext, for tests.
	TLS func(node string) *tls.Config
	// Dial connects to nodes; nil: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	Deadlines Deadlines
	Limits    Limits
	// Signer signs the manifests of exports; nil: they have none.
	Signer *evidence.Signer

	// FFmpeg is the program that makes pictures. Empty: it is looked for in PATH when the
	// Service is made; NoFFmpeg: do without.
	FFmpeg string

	// Clock is the machine's when nil.
	Clock clock.Clock
	Log   zerolog.Logger
	// Registry takes the metrics and serves /metrics; a new one when nil.
	Registry *prometheus.Registry
}

func (d *Deadlines) fill() {
	set := func(v *time.Duration, to time.Duration) {
		if *v <= 0 {
			*v = to
		}
	}
	set(&d.Answer, 700*time.Millisecond)
	set(&d.Probe, 500*time.Millisecond)
	set(&d.ProbeEvery, time.Second)
	set(&d.Stall, 300*time.Millisecond)
	set(&d.Patience, 8*time.Second)
	set(&d.Client, 10*time.Minute)
	set(&d.Drain, 10*time.Second)
}

func (l *Limits) fill() {
	if l.Export <= 0 {
		l.Export = 24 * time.Hour
	}
	if l.Progressive <= 0 {
		l.Progressive = 2 * time.Hour
	}
	if l.Samples <= 0 {
		l.Samples = 1_000_000
	}
	if l.Timeline <= 0 {
		l.Timeline = 366 * 24 * time.Hour
	}
	if l.Fragments <= 0 {
		l.Fragments = 500_000
	}
	if l.FragmentBytes <= 0 {
		l.FragmentBytes = 256 << 20
	}
	if l.PrefetchBytes <= 0 {
		l.PrefetchBytes = 16 << 20
	}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (o *Options) validate() error {
	switch {
	case !nameForm.MatchString(o.Name):
		return fmt.Errorf("playback: name %q does not match %s", o.Name, nameForm)
	case o.Listener == nil:
		return errors.New("playback: a listener is needed")
	}
	return o.validateSite()
}

func (o *Options) validateSite() error {
	switch {
	case len(o.Recorders) == 0:
		return errors.New("playback: at least one recorder is needed")
	case len(o.Recorders) > maxRecorders:
		return fmt.Errorf("playback: %d recorders, the most are %d", len(o.Recorders), maxRecorders)
	}
	if err := checkNodes("recorder", o.Recorders); err != nil {
		return err
	}
	if err := checkNodes("proxy", o.Proxies); err != nil {
		return err
	}
	return checkCameras(o.Cameras, o.Recorders)
}

func checkNodes(what string, nodes []Node) error {
	seen := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		switch {
		case !nameForm.MatchString(n.Name):
			return fmt.Errorf("playback: %s name %q does not match %s", what, n.Name, nameForm)
		case seen[n.Name]:
			return fmt.Errorf("playback: %s %s is named twice", what, n.Name)
		case n.Address == "":
			return fmt.Errorf("playback: %s %s has no address", what, n.Name)
		}
		seen[n.Name] = true
	}
	return nil
}

func checkCameras(cameras []Camera, recorders []Node) error {
	known := make(map[string]bool, len(recorders))
	for _, r := range recorders {
		known[r.Name] = true
	}
	seen := make(map[string]bool, len(cameras))
	for _, c := range cameras {
		switch {
		case !nameForm.MatchString(c.Name):
			return fmt.Errorf("playback: camera name %q does not match %s", c.Name, nameForm)
		case seen[c.Name]:
			return fmt.Errorf("playback: camera %s is named twice", c.Name)
		}
		seen[c.Name] = true
		for _, r := range []string{c.Primary, c.Redundant} {
			if r != "" && !known[r] {
				return fmt.Errorf("playback: camera %s is recorded by %s, which is not a recorder of the site", c.Name, r)
			}
		}
	}
	return nil
}

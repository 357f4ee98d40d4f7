package recorder

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/clock"
)

// Options say what a recorder records, from where, and to where.
type Options struct {
	// Name of the recorder; the data directory belongs to it for good.
	Name string
	// Role is primary or redundant, Zone what fails together. Both are only reported.
	Role, Zone string
	// Version of the program, reported.
	Version string

	// Volumes are where segments and indexes go: a directory on each disk.
	Volumes []Volume
	// DataDir, Quota and MinFree describe the only volume, where Volumes is empty.
	DataDir        string
	Quota, MinFree int64
	// SyncInterval is how often what was written is made durable. 0: 1 s.
	SyncInterval time.Duration

	// Scrub says how what is stored is checked.
	Scrub Scrub

	Proxies []Proxy
	Cameras []Camera
	// Peers are the other recorders of the site.
	Peers []Peer
	// Repair says how what this recorder lacks is copied from them.
	Repair Repair
	// Retention of cameras that are no longer among Cameras.
	Retention Retention

	// Listener takes the gRPC and the HTTP port in one. Run closes it.
	Listener net.Listener
	// ServerTLS and ClientTLS are the mutual TLS of both directions; nil: plaintext,
	// for tests only. Without a ServerName in ClientTLS, each proxy and peer has to prove its Name.
	ServerTLS, ClientTLS *tls.Config

	// FS is the file system; nil: the machine's. Dial connects to proxies and peers; nil: TCP.
	FS   vfs.FS
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Clock; nil: the machine's.
	Clock clock.Clock
	Log   zerolog.Logger
	// Registry takes the metrics and is what /metrics shows; nil: one of its own.
	Registry *prometheus.Registry
}

// Volume is a data directory. Those of a recorder are on different disks.
type Volume struct {
	// Dir may not exist yet.
	Dir string
	// Quota bounds the bytes of media; 0: no bound.
	Quota int64
	// MinFree is how many bytes of the disk stay free: the oldest footage is deleted
	// to keep it so. 0: 1 % of the disk, at most 10 GiB. It is 64 MiB at least, so that
	// the index has room, or a quarter of a tiny disk.
	MinFree int64
	// Mounted: the directory is where a disk is mounted. Without one nothing is recorded
	// there, not even the first time.
	Mounted bool
}

// Proxy is a proxy to subscribe at. Address is host:port of its link.
type Proxy struct {
	Name, Address string
}

// Peer is another recorder. Address is host:port of its gRPC service.
type Peer struct {
	Name, Address string
}

// Camera is a camera to record.
type Camera struct {
	Name string
	// Proxies names the proxies that may have the camera; empty: all.
	Proxies []string
	// Role of this copy, primary or redundant; empty: the recorder's.
	Role string
	// Spare: it is recorded here only while the primary does not. What the primary has is
	// then not copied, either.
	Spare bool
	// Retention of the camera.
	Retention Retention
}

// Retention says how much is kept of a camera. The zero value keeps all that the
// recorder's quota and disk allow.
type Retention struct {
	// Age is how long footage is kept after its end; 0: without a limit.
	Age time.Duration
	// Bytes bounds the bytes kept; 0: without a limit.
	Bytes int64
}

const (
	defaultSyncInterval = time.Second
	maxSyncInterval     = time.Minute
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// complete checks o and fills in what was left out.
func (o *Options) complete() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !nameForm.MatchString(o.Name) {
		bad("recorder name %q does not match %s", o.Name, nameForm)
	}
	if len(o.Volumes) == 0 {
		o.Volumes = []Volume{{Dir: o.DataDir, Quota: o.Quota, MinFree: o.MinFree}}
	}
	for i, v := range o.Volumes {
		if v.Dir == "" || slices.ContainsFunc(o.Volumes[:i], func(w Volume) bool { return w.Dir == v.Dir }) {
			bad("volume %d: wants a directory of its own, has %q", i+1, v.Dir)
		}
		if v.Quota < 0 || v.MinFree < 0 {
			bad("volume %s: quota %d and minimum free space %d must not be negative", v.Dir, v.Quota, v.MinFree)
		}
	}
	if o.Listener == nil {
		bad("no listener")
	}
	if o.SyncInterval < 0 || o.SyncInterval > maxSyncInterval {
		bad("sync interval %s is not in 0 … %s", o.SyncInterval, maxSyncInterval)
	}
	proxies := map[string]bool{}
	for _, p := range o.Proxies {
		if p.Name == "" || p.Address == "" || proxies[p.Name] {
			bad("proxy %q at %q: wants a name of its own and an address", p.Name, p.Address)
		}
		proxies[p.Name] = true
	}
	peers := map[string]bool{o.Name: true}
	for _, p := range o.Peers {
		if p.Name == "" || p.Address == "" || peers[p.Name] {
			bad("peer %q at %q: wants a name of its own and an address", p.Name, p.Address)
		}
		peers[p.Name] = true
	}
	cameras := map[string]bool{}
	for _, c := range o.Cameras {
		if !nameForm.MatchString(c.Name) || cameras[c.Name] {
			bad("camera %q: wants a name of its own that matches %s", c.Name, nameForm)
		}
		cameras[c.Name] = true
		if i := slices.IndexFunc(c.Proxies, func(p string) bool { return !proxies[p] }); i >= 0 {
			bad("camera %s: there is no proxy %q", c.Name, c.Proxies[i])
		}
		if c.Retention.Age < 0 || c.Retention.Bytes < 0 {
			bad("camera %s: retention must not be negative", c.Name)
		}
	}
	if o.Repair.Rate < 0 {
		bad("repair at %d bytes per second: the rate must not be negative", o.Repair.Rate)
	}
	if err := o.Scrub.complete(); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("recorder %s: %w", o.Name, err)
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = defaultSyncInterval
	}
	if o.FS == nil {
		o.FS = DiskFS()
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	return nil
}

// feeds bounds how many feeds the cameras make.
func (o *Options) feeds() int {
	n := 0
	for _, c := range o.Cameras {
		n += max(len(c.Proxies), len(o.Proxies))
	}
	return n
}

// retention returns the rule of a camera. What is left of one that is not configured
// any more keeps to the recorder's.
func (o *Options) retention(camera string) Retention {
	for i := range o.Cameras {
		if o.Cameras[i].Name == camera {
			return o.Cameras[i].Retention
		}
	}
	return o.Retention
}

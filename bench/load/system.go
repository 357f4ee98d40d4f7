package load

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/duet-video/duet/bench/source"
)

// system is something that records cameras, or serves them live.
type system interface {
	name() string
	// start starts its processes; the bed ends no process but its own.
	start(ctx context.Context, b *bed) error
	processes() children
	// recordings are the directories in which there are two copies of each camera.
	recordings() []string
	// live returns where readers find a camera; empty: it has no readers.
	live(camera int) string
}

// base is what systems have in common.
type base struct {
	procs children
	dirs  []string
	rtsp  string // host:port for readers
}

func (s *base) processes() children  { return s.procs }
func (s *base) recordings() []string { return s.dirs }
func (s *base) live(i int) string {
	if s.rtsp == "" {
		return ""
	}
	return "rtsp://" + s.rtsp + "/" + source.Name(i)
}

// duet is a proxy and its recorders.
type duet struct {
	base
	http    string // of the proxy
	nodes   []string
	seconds int // of the log
	profile bool
	pprof   map[string]string // addresses of profiles, by role
	// proxyOnly starts no recorder.
	proxyOnly bool
}

func (*duet) name() string { return "duet" }

func (d *duet) start(ctx context.Context, b *bed) error {
	addr, err := b.ports.take(3 + b.p.Recorders)
	if err != nil {
		return err
	}
	d.http, d.rtsp, d.nodes = addr[2], addr[1], addr[3:]
	var y strings.Builder
	y.WriteString("cameras:\n")
	for i := range b.p.Cameras {
		fmt.Fprintf(&y, "  - {name: %s, source: %q, bitrate: %gMbit/s}\n", source.Name(i), b.url(i), b.p.Mbit)
	}
	fmt.Fprintf(&y, "proxies:\n  - {name: p1, link: %q, rtsp: %q, http: %q}\nrecorders:\n", addr[0], addr[1], addr[2])
	for i := range b.p.Recorders {
		role := "primary"
		if i >= (b.p.Recorders+1)/2 {
			role = "redundant"
		}
		dir, err := b.mkdir(fmt.Sprintf("r%d", i+1))
		if err != nil {
			return err
		}
		d.dirs = append(d.dirs, dir)
		fmt.Fprintf(&y, "  - {name: r%d, role: %s, http: %q, data: %q}\n", i+1, role, addr[3+i], dir)
	}
	// The log must hold a whole fragment.
	fmt.Fprintf(&y, "log: {seconds: %d, total: 16GiB}\nfragment: {max: %ds}\n", d.seconds, min(10, max(2, d.seconds/2)))
	fmt.Fprintf(&y, "tls: {dir: %q}\n", filepath.Join(b.dir, "tls"))
	config, err := b.write("duet.yaml", y.String())
	if err != nil {
		return err
	}
	if err := certificates(b, config); err != nil {
		return err
	}
	d.pprof = map[string]string{}
	node := func(role, name, as string) error {
		args := []string{role, "-c", config, "--name", name, "--log-level", "warn"}
		if d.profile {
			addr, err := b.ports.take(1)
			if err != nil {
				return err
			}
			d.pprof[as] = addr[0]
			args = append(args, "--pprof", addr[0])
		}
		return d.procs.start(b.dir, as, b.o.Exe, args...)
	}
	for i := range b.p.Recorders {
		if d.proxyOnly {
			break
		}
		if err := node("recorder", fmt.Sprintf("r%d", i+1), fmt.Sprintf("recorder %d", i+1)); err != nil {
			return err
		}
	}
	if err := node("proxy", "p1", "proxy"); err != nil {
		return err
	}
	if d.proxyOnly {
		return d.procs.wait(ctx, readyLimit, "duet pulls every camera", func() error { return pulled(ctx, b, 1) })
	}
	return d.procs.wait(ctx, readyLimit, "duet records every camera twice", func() error {
		m, err := scrape(ctx, d.http)
		if err != nil {
			return err
		}
		if have := sum(m, "duet_camera_copies"); have < float64(2*b.p.Cameras) {
			return fmt.Errorf("%g copies of %d", have, 2*b.p.Cameras)
		}
		return nil
	})
}

// certificates makes those of a site.
func certificates(b *bed, config string) error {
	certs, err := start(b.dir, "certs", b.o.Exe, "certs", "-c", config)
	if err != nil {
		return err
	}
	<-certs.done
	if certs.err != nil {
		return fmt.Errorf("duet certs: %w: %s", certs.err, tail(certs.log, 3))
	}
	return nil
}

// readyLimit is how long a system may take to record every camera.
const readyLimit = 60 * time.Second

// floor is the byte relay: package relay.
type floor struct {
	base
	secure bool
}

func (f *floor) name() string {
	if f.secure {
		return "secure relay"
	}
	return "relay"
}

func (f *floor) start(ctx context.Context, b *bed) error {
	addr, err := b.ports.take(2)
	if err != nil {
		return err
	}
	for i, a := range addr {
		dir, err := b.mkdir(fmt.Sprintf("sink%d", i+1))
		if err != nil {
			return err
		}
		f.dirs = append(f.dirs, dir)
		if err := f.procs.start(b.dir, fmt.Sprintf("recorder %d", i+1), b.o.Exe, "bench-role", "sink", "--listen", a, "--data", dir, fmt.Sprintf("--secure=%t", f.secure)); err != nil {
			return err
		}
		if err := f.procs.wait(ctx, readyLimit, "the relay's sink listens", func() error { return reachable(ctx, a) }); err != nil {
			return err
		}
	}
	if err := f.procs.start(b.dir, "proxy", b.o.Exe, "bench-role", "relay", "-n", fmt.Sprint(b.p.Cameras),
		"--cameras", b.cameras, "--sink", addr[0], "--sink", addr[1], fmt.Sprintf("--secure=%t", f.secure)); err != nil {
		return err
	}
	return f.procs.wait(ctx, readyLimit, "the relay records every camera twice", func() error { return b.recorded(f.dirs, 2) })
}

// mediamtx is three processes of MediaMTX: one pulls the cameras, two record from it.
type mediamtx struct {
	base
	path   string
	noDisk bool // for live alone: no recorders
}

func (*mediamtx) name() string { return "mediamtx" }

const mediamtxCommon = `logLevel: warn
rtspTransports: [tcp]
rtspAddress: %s
rtmp: no
hls: no
webrtc: no
srt: no
moq: no
`

func (m *mediamtx) start(ctx context.Context, b *bed) error {
	addr, err := b.ports.take(3)
	if err != nil {
		return err
	}
	m.rtsp = addr[0]
	var y strings.Builder
	fmt.Fprintf(&y, mediamtxCommon+"paths:\n", addr[0])
	for i := range b.p.Cameras {
		fmt.Fprintf(&y, "  %s: {source: %q, rtspTransport: tcp}\n", source.Name(i), b.url(i))
	}
	config, err := b.write("mediamtx-proxy.yml", y.String())
	if err != nil {
		return err
	}
	if err := m.procs.start(b.dir, "proxy", m.path, config); err != nil {
		return err
	}
	if err := m.procs.wait(ctx, readyLimit, "MediaMTX pulls every camera", func() error { return pulled(ctx, b, 1) }); err != nil || m.noDisk {
		return err
	}
	for r := range 2 {
		dir, err := b.mkdir(fmt.Sprintf("mtx%d", r+1))
		if err != nil {
			return err
		}
		m.dirs = append(m.dirs, dir)
		y.Reset()
		fmt.Fprintf(&y, mediamtxCommon, addr[1+r])
		fmt.Fprintf(&y, "pathDefaults:\n  record: yes\n  recordFormat: fmp4\n  recordSegmentDuration: 10m\n  recordPath: %q\npaths:\n",
			filepath.Join(dir, "%path", "%Y-%m-%d_%H-%M-%S-%f"))
		for i := range b.p.Cameras {
			fmt.Fprintf(&y, "  %s: {source: %q, rtspTransport: tcp}\n", source.Name(i), m.live(i))
		}
		config, err := b.write(fmt.Sprintf("mediamtx-%d.yml", r+1), y.String())
		if err != nil {
			return err
		}
		if err := m.procs.start(b.dir, fmt.Sprintf("recorder %d", r+1), m.path, config); err != nil {
			return err
		}
	}
	return m.procs.wait(ctx, readyLimit, "MediaMTX records every camera twice", func() error { return b.recorded(m.dirs, 2) })
}

// ffmpeg is two processes for each camera; each pulls it, and writes segments.
type ffmpeg struct {
	base
	path string
}

func (*ffmpeg) name() string { return "ffmpeg" }

func (f *ffmpeg) start(ctx context.Context, b *bed) error {
	for r := range 2 {
		dir, err := b.mkdir(fmt.Sprintf("ff%d", r+1))
		if err != nil {
			return err
		}
		f.dirs = append(f.dirs, dir)
		for i := range b.p.Cameras {
			if err := os.MkdirAll(filepath.Join(dir, source.Name(i)), 0o755); err != nil {
				return err
			}
			if err := f.procs.start(b.dir, fmt.Sprintf("recorder %d", r+1), f.path, "-nostdin", "-hide_banner", "-loglevel", "error",
				"-rtsp_transport", "tcp", "-i", b.url(i), "-map", "0:v", "-c", "copy", "-f", "segment", "-segment_time", "600",
				"-segment_format_options", "movflags=frag_keyframe+empty_moov",
				filepath.Join(dir, source.Name(i), "%03d.mp4")); err != nil {
				return err
			}
		}
	}
	return f.procs.wait(ctx, readyLimit, "ffmpeg records every camera twice", func() error { return b.recorded(f.dirs, 2) })
}

// pulled returns an error unless each camera has so many clients.
func pulled(ctx context.Context, b *bed, clients int) error {
	states, err := b.states(ctx)
	if err != nil {
		return err
	}
	for _, s := range states {
		if s.Clients < clients {
			return fmt.Errorf("%s has %d clients of %d", s.Name, s.Clients, clients)
		}
	}
	return nil
}

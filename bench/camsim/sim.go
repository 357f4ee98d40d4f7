package camsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"golang.org/x/sync/errgroup"
)

// Sim is a set of running cameras.
type Sim struct {
	cameras []*Camera
	servers []*server
	cancel  context.CancelFunc
	group   *errgroup.Group
	control *http.Server
	addr    string // of the control API
}

func ledgerPath(dir, camera string) string { return filepath.Join(dir, camera+".jsonl") }

// New starts the cameras; they run until Close.
func New(o Options) (*Sim, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	ctx, cancel := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	s := &Sim{cancel: cancel, group: group}
	if err := s.start(ctx, &o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sim) start(ctx context.Context, o *Options) error {
	lib := make(library)
	shared := newServer(o.Log)
	var own []*server
	names := make(map[string]bool)
	for _, co := range o.Cameras {
		if names[co.Name] {
			return fmt.Errorf("two cameras are named %q", co.Name)
		}
		names[co.Name] = true
		c, err := newCamera(co, lib, o.LedgerDir)
		if err != nil {
			return fmt.Errorf("camera %q: %w", co.Name, err)
		}
		s.cameras = append(s.cameras, c)
		if !co.OwnPort {
			shared.cameras[co.Name] = c
			continue
		}
		srv := newServer(o.Log)
		srv.cameras[co.Name] = c
		own = append(own, srv)
	}
	if len(shared.cameras) > 0 {
		if err := s.serve(shared, o.Listen); err != nil {
			return err
		}
	}
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("address %q: %w", o.Listen, err)
	}
	for _, srv := range own {
		if err := s.serve(srv, net.JoinHostPort(host, "0")); err != nil {
			return err
		}
	}
	for _, c := range s.cameras {
		s.group.Go(func() error { return c.run(ctx) })
	}
	return s.serveControl(o)
}

// serve starts a server and gives its cameras their streams. Requests wait until then.
func (s *Sim) serve(srv *server, addr string) error {
	maxPacket := 0
	var methods []auth.VerifyMethod
	for _, c := range srv.cameras {
		if n := c.opts.MaxPacket; n > maxUDPPayload {
			maxPacket = max(maxPacket, n+rtpHeader)
		}
		if c.opts.User != "" && c.opts.SHA256 {
			methods = []auth.VerifyMethod{auth.VerifyMethodDigestMD5, auth.VerifyMethodDigestSHA256}
		}
	}
	if methods == nil {
		methods = []auth.VerifyMethod{auth.VerifyMethodDigestMD5}
	}
	if err := srv.start(addr, maxPacket, methods); err != nil {
		return err
	}
	s.servers = append(s.servers, srv)
	defer close(srv.ready)
	for _, c := range srv.cameras {
		if err := c.attach(srv); err != nil {
			return fmt.Errorf("camera %s: %w", c.Name, err)
		}
	}
	return nil
}

// Cameras returns the cameras in the order of the options.
func (s *Sim) Cameras() []*Camera { return s.cameras }

// Camera returns the camera with the name, or nil.
func (s *Sim) Camera(name string) *Camera {
	for _, c := range s.cameras {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Close ends all cameras, completes their ledgers, and returns the first thing that went
// wrong while they ran.
func (s *Sim) Close() error {
	var errs []error
	if s.control != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if s.control.Shutdown(ctx) != nil {
			_ = s.control.Close()
		}
		cancel()
	}
	s.cancel()
	errs = append(errs, s.group.Wait())
	for _, srv := range s.servers {
		srv.rtsp.Close()
	}
	for _, c := range s.cameras {
		errs = append(errs, c.close())
	}
	s.servers, s.cameras = nil, nil
	return errors.Join(errs...)
}

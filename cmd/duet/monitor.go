package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/pki"
)

// askTimeout is how long a node may take to tell its state: one that hangs shows within
// two seconds even when asked once a second.
const askTimeout = 800 * time.Millisecond

// monitor asks all proxies and recorders of a site what they do.
type monitor struct {
	site  *site
	conns map[string]*grpc.ClientConn
}

func newMonitor(s *site, creds *pki.Credentials) (*monitor, error) {
	m := &monitor{site: s, conns: make(map[string]*grpc.ClientConn)}
	dial := func(name, addr string) error {
		// A node that comes back is seen within a second.
		c, err := grpc.NewClient("passthrough:///"+addr,
			grpc.WithTransportCredentials(credentials.NewTLS(creds.ClientConfig(name))),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second},
				MinConnectTimeout: 2 * time.Second,
			}))
		if err != nil {
			return fmt.Errorf("reach %s: %w", name, err)
		}
		m.conns[name] = c
		return nil
	}
	var errs []error
	for _, p := range s.Proxies {
		errs = append(errs, dial(p.Name, p.Link.Dial()))
	}
	for _, r := range s.Recorders {
		errs = append(errs, dial(r.Name, r.HTTP.Dial()))
	}
	if err := errors.Join(errs...); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *monitor) close() {
	for _, c := range m.conns {
		_ = c.Close()
	}
}

// answers are what the nodes said, by name; err has those that said nothing.
type answers struct {
	proxies   map[string]*nodepb.ProxyStatus
	recorders map[string]*nodepb.RecorderStatus
	err       map[string]error
}

// ask asks all nodes at once; it takes askTimeout at most.
func (m *monitor) ask(ctx context.Context) *answers {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	a := &answers{
		proxies: make(map[string]*nodepb.ProxyStatus), recorders: make(map[string]*nodepb.RecorderStatus),
		err: make(map[string]error),
	}
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	each := func(name string, call func(*grpc.ClientConn) (func(), error)) {
		wg.Go(func() {
			keep, err := call(m.conns[name])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				a.err[name] = plainError(err)
				return
			}
			keep()
		})
	}
	for _, p := range m.site.Proxies {
		each(p.Name, func(c *grpc.ClientConn) (func(), error) {
			st, err := nodepb.NewProxyClient(c).Status(ctx, &nodepb.StatusRequest{})
			return func() { a.proxies[p.Name] = st }, err
		})
	}
	for _, r := range m.site.Recorders {
		each(r.Name, func(c *grpc.ClientConn) (func(), error) {
			st, err := nodepb.NewRecorderClient(c).Status(ctx, &nodepb.StatusRequest{})
			return func() { a.recorders[r.Name] = st }, err
		})
	}
	wg.Wait()
	return a
}

// plainError takes gRPC's wrapping off, for people.
func plainError(err error) error {
	msg := status.Convert(err).Message()
	if i := strings.LastIndex(msg, `desc = "`); i >= 0 {
		msg = msg[i+len(`desc = "`):]
	}
	switch {
	case strings.Contains(msg, "connection refused"):
		msg = "does not run (connection refused)"
	case strings.Contains(msg, "deadline exceeded"):
		msg = fmt.Sprintf("does not answer within %v", askTimeout)
	}
	return errors.New(strings.Trim(msg, `"`))
}

// loadAnyCredentials returns those of the first node of the file that this machine has.
func loadAnyCredentials(s *site) (*pki.Credentials, error) {
	var first error
	for _, n := range s.nodes(anyAddress) {
		c, err := pki.Load(s.TLS.Dir, n.name)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("a node's certificate is needed to ask the others: %w", first)
}

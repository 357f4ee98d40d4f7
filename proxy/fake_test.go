package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// feed is a camera that does what a test says: each step runs in the session.
type feed struct{ steps chan func(sessionSink) error }

func newFeed() *feed { return &feed{steps: make(chan func(sessionSink) error)} }

func (f *feed) session(ctx context.Context, _ sessionConfig, s sessionSink) error {
	for {
		select {
		case step := <-f.steps:
			if err := step(s); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// do runs a step and waits until it is done.
func (f *feed) do(t testing.TB, step func(sessionSink) error) {
	done := make(chan struct{})
	select {
	case f.steps <- func(s sessionSink) error { defer close(done); return step(s) }:
	case <-time.After(10 * time.Second):
		t.Fatal("the camera has no session")
	}
	<-done
}

// scene makes a fragment a second.
type scene struct {
	*feed
	start epochStart
	n     int
	next  int64
}

func (f *scene) begin(t testing.TB) {
	f.do(t, func(s sessionSink) (err error) {
		f.start, err = s.Begin([]media.Track{{Kind: media.KindVideo, Codec: media.H264, ClockRate: 90000}})
		f.next = f.start.FloorNS + 1
		return err
	})
}

const fragmentPackets = 10

// fragments appends n whole fragments; a fragment is complete when the next one begins.
func (f *scene) fragments(t testing.TB, n int) {
	f.do(t, func(s sessionSink) error {
		for range n {
			for i := range fragmentPackets {
				r := record.Record{CaptureNS: f.next, Packet: make([]byte, 500)}
				r.Packet[0] = byte(f.n)
				if i == 0 {
					r.Flags, r.Ext = record.AccessUnit|record.RandomAccess|record.Cut, []byte("{}")
				}
				if _, err := s.Append(&r, nil); err != nil {
					return err
				}
				f.next += int64(time.Second) / fragmentPackets
				f.n++
			}
			s.Publish()
		}
		return nil
	})
}

func (f *scene) fail(t testing.TB, cause media.Cause) {
	f.do(t, func(sessionSink) error { return &sessionError{Cause: cause, Err: context.DeadlineExceeded} })
}

// site is a running proxy with a camera for each source.
type site struct {
	*Proxy
	t       *testing.T
	addr    string
	sources map[string]*scene
	stop    context.CancelFunc
	done    chan error
	ca      *testCA // nil: no TLS
}

func startSite(t *testing.T, ca *testCA, change func(*Options), cameras ...Camera) *site {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &site{t: t, addr: lis.Addr().String(), sources: map[string]*scene{}, done: make(chan error, 1), ca: ca}
	opts := Options{
		Name: "p1", LinkListener: lis, Linger: time.Millisecond, Clock: clock.System(), Random: rand.Reader,
		Log: zerolog.Nop(), Registry: prometheus.NewRegistry(), DrainTimeout: 200 * time.Millisecond,
	}
	for _, c := range cameras {
		c.Source = "rtsp://camera/" + c.Name
		opts.Cameras = append(opts.Cameras, c)
		s.sources[c.Name] = &scene{feed: newFeed()}
	}
	if ca != nil {
		opts.TLS = &tls.Config{
			Certificates: []tls.Certificate{ca.issue(t, "p1")}, ClientCAs: ca.pool(),
			ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
		}
	}
	if change != nil {
		change(&opts)
	}
	s.Proxy, err = newProxy(opts, func(ctx context.Context, cfg sessionConfig, sink sessionSink) error {
		return s.sources[cfg.Camera.Name].session(ctx, cfg, sink)
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var once sync.Once
	s.stop = func() { once.Do(cancel) }
	go func() { s.done <- s.Run(ctx) }()
	t.Cleanup(func() {
		s.stop()
		require.NoError(t, <-s.done)
	})
	return s
}

// fakeRecorder is a recorder's end of a stream.
type fakeRecorder struct {
	*link.ClientStream
	t      testing.TB
	frames chan link.Frame
	err    error // after frames is closed
	done   chan struct{}
}

func (s *site) conn(certName string) *grpc.ClientConn {
	creds := insecure.NewCredentials()
	if s.ca != nil {
		creds = credentials.NewTLS(&tls.Config{
			RootCAs: s.ca.pool(), Certificates: []tls.Certificate{s.ca.issue(s.t, certName)},
			ServerName: "p1", MinVersion: tls.VersionTLS13,
		})
	}
	conn, err := grpc.NewClient(s.addr, append(link.DialOptions(), grpc.WithTransportCredentials(creds))...)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, conn.Close()) })
	return conn
}

func (s *site) recorder(name string) *fakeRecorder { return s.recorderAs(name, name) }

func (s *site) recorderAs(name, certName string) *fakeRecorder {
	st, err := link.NewClient(s.conn(certName)).Subscribe(context.Background(), name)
	require.NoError(s.t, err)
	r := &fakeRecorder{ClientStream: st, t: s.t, frames: make(chan link.Frame, 1<<16), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer close(r.frames)
		for {
			f, err := st.Recv()
			if err != nil {
				r.err = err
				return
			}
			if b, ok := f.(link.Batch); ok {
				b.Records = bytes.Clone(b.Records) // they are valid until the next Recv
				f = b
			}
			r.frames <- f
		}
	}()
	s.t.Cleanup(r.close)
	return r
}

func (r *fakeRecorder) close() {
	r.Close()
	<-r.done
}

func (r *fakeRecorder) send(frames ...link.Frame) {
	var m link.Message
	for _, f := range frames {
		m.Add(f)
	}
	require.NoError(r.t, r.Send(&m))
}

// next returns the next frame; nil when the stream has ended.
func (r *fakeRecorder) next() link.Frame {
	r.t.Helper()
	select {
	case f := <-r.frames:
		return f
	case <-time.After(10 * time.Second):
		require.FailNow(r.t, "no frame came")
		return nil
	}
}

// take collects n records that begin at offset first.
func (r *fakeRecorder) take(channel uint32, first uint64, n int) {
	r.t.Helper()
	for at := first; at < first+uint64(n); {
		b, ok := r.next().(link.Batch)
		require.True(r.t, ok, "want a batch at %d, have %#v", at, b)
		require.Equal(r.t, channel, b.Channel)
		require.Equal(r.t, at, b.First)
		var rec record.Record
		for rest := b.Records; len(rest) > 0; at++ {
			var err error
			rest, err = record.Next(rest, &rec)
			require.NoError(r.t, err)
			require.Equal(r.t, byte(at), rec.Packet[0])
		}
		require.Equal(r.t, b.First+uint64(b.Count), at)
	}
}

func (r *fakeRecorder) nothingFor(d time.Duration) {
	r.t.Helper()
	select {
	case f := <-r.frames:
		require.FailNow(r.t, "an unexpected frame", "%#v %v", f, r.err)
	case <-time.After(d):
	}
}

// testCA signs certificates.
type testCA struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newTestCA(t testing.TB) *testCA {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &testCA{key: key, cert: cert}
}

func (ca *testCA) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

func (ca *testCA) issue(t testing.TB, name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter:    time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &key.PublicKey, ca.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

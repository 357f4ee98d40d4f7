package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/link"
	"github.com/duet-video/duet/internal/record"
)

// BenchmarkFanOut is one access unit of 16 KiB of each of 100 cameras, appended once and
// delivered to two recorders over TLS, both ends in this process.
func BenchmarkFanOut(b *testing.B) {
	const cameras, packets, size = 100, 12, 1400
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	ca := newTestCA(b)
	opts := Options{
		Name: "p1", LinkListener: lis, Clock: clock.System(), Random: rand.Reader, LogSeconds: time.Hour, LogBytes: 1 << 20,
		Log: zerolog.Nop(), Registry: prometheus.NewRegistry(), DrainTimeout: time.Millisecond,
		TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue(b, "p1")}, ClientCAs: ca.pool(), ClientAuth: tls.RequireAndVerifyClientCert},
	}
	for i := range cameras {
		opts.Cameras = append(opts.Cameras, Camera{Name: fmt.Sprintf("c%d", i), Source: "x", Primary: "r1", Redundant: "r2"})
	}
	idle := func(ctx context.Context, _ sessionConfig, _ sessionSink) error { <-ctx.Done(); return ctx.Err() }
	p, err := newProxy(opts, idle)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()

	sinks := make([]*sink, cameras)
	for i, c := range p.order {
		sinks[i] = &sink{camera: c}
		_, err := sinks[i].Begin(nil)
		require.NoError(b, err)
	}
	counts := make(chan uint64)
	var streams []*link.ClientStream
	for _, name := range []string{"r1", "r2"} {
		conn, err := grpc.NewClient(lis.Addr().String(), append(link.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue(b, name)}, ServerName: "p1",
		})))...)
		require.NoError(b, err)
		defer conn.Close()
		s, err := link.NewClient(conn).Subscribe(context.Background(), name)
		require.NoError(b, err)
		streams = append(streams, s)
		var m link.Message
		for i := range cameras {
			m.Add(link.Subscribe{Channel: uint32(i), Camera: fmt.Sprintf("c%d", i)})
		}
		require.NoError(b, s.Send(&m))
		go func() {
			var n uint64
			for {
				f, err := s.Recv()
				if err != nil {
					return
				}
				switch f := f.(type) {
				case link.Batch:
					n += uint64(f.Count)
				case link.Lost:
					n += f.To - f.From
				}
				for n >= packets*cameras {
					counts <- 1
					n -= packets * cameras
				}
			}
		}()
	}
	pkt := &rtp.Packet{Header: rtp.Header{Version: 2}, Payload: make([]byte, size)}
	b.SetBytes(cameras * packets * size)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for _, s := range sinks {
			for i := range packets {
				r := record.Record{CaptureNS: int64(n+1) * int64(40*time.Millisecond)}
				if n%25 == 0 && i == 0 {
					r.Flags, r.Ext = record.AccessUnit|record.Cut, []byte("{}")
				}
				if _, err := s.Append(&r, pkt); err != nil {
					b.Fatal(err)
				}
			}
			s.Publish()
		}
		n++
		<-counts
		<-counts
	}
	b.StopTimer()
	for _, s := range streams {
		s.Close()
	}
	cancel()
	require.NoError(b, <-done)
}

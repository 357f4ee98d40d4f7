package link

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"

	"github.com/duet-video/duet/internal/wire"
)

const (
	// Heartbeat is how often an idle proxy sends a message without frames.
	Heartbeat = time.Second
	// SilenceLimit is how long a peer may be silent before it counts as dead.
	SilenceLimit = 5 * time.Second

	pingAfter   = 2 * time.Second
	pingTimeout = 3 * time.Second

	// The windows hold more than a round trip of a few ms at 10 Gbit/s, and bound what a
	// recorder that does not read makes a proxy hold on to.
	streamWindow = 4 << 20
	connWindow   = 8 << 20

	handshakeTimeout = 10 * time.Second
	maxStreams       = 256
)

// ServerOptions returns what a server needs that the link is registered on. Services of
// protobuf messages may be registered on it as well.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.ReadBufferSize(0), // the connection reads ahead, see wire.NewTLS
		grpc.WriteBufferSize(wire.IOBuffer),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	}
}

// DialOptions returns what a connection to a proxy needs, beside its credentials.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithReadBufferSize(0), // the connection reads ahead, see wire.NewTLS
		grpc.WithWriteBufferSize(wire.IOBuffer),
		experimental.WithBufferPool(wire.NewFramePool()),
		// gRPC pings from a client every 10 s at most; a dead proxy is found sooner, by
		// the heartbeats that Recv misses.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: pingTimeout}),
	}
}

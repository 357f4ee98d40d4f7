package recorder

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/duet-video/duet/internal/nodepb"
)

// How connections to other recorders behave. One that comes back is found within
// peerReconnect.
const (
	peerReconnect      = 2 * time.Second
	peerConnectTimeout = 2 * time.Second
	peerMaxMessage     = 64 << 20
)

// peer is the client of another recorder. Safe for concurrent use.
type peer struct {
	Peer
	conn   *grpc.ClientConn
	client nodepb.RecorderClient
}

// newPeers makes the clients; nothing is connected yet. The caller closes them.
func newPeers(o *Options) ([]*peer, error) {
	var out []*peer
	for _, p := range o.Peers {
		creds := insecure.NewCredentials()
		if o.ClientTLS != nil {
			c := o.ClientTLS.Clone()
			if c.ServerName == "" {
				c.ServerName = p.Name
			}
			creds = credentials.NewTLS(c)
		}
		conn, err := grpc.NewClient("passthrough:///"+p.Address,
			grpc.WithTransportCredentials(creds),
			grpc.WithContextDialer(o.Dial),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: peerReconnect},
				MinConnectTimeout: peerConnectTimeout,
			}),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
			grpc.WithDisableServiceConfig(),
			grpc.WithIdleTimeout(0),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(peerMaxMessage)),
		)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make the client of recorder %s at %s: %w", p.Name, p.Address, err), closePeers(out))
		}
		out = append(out, &peer{Peer: p, conn: conn, client: nodepb.NewRecorderClient(conn)})
	}
	return out, nil
}

func closePeers(peers []*peer) error {
	var errs []error
	for _, p := range peers {
		errs = append(errs, p.conn.Close())
	}
	return errors.Join(errs...)
}

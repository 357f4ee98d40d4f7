package load

import (
	"context"
	"net"
	"time"
)

// reachable returns an error unless somebody listens.
func reachable(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

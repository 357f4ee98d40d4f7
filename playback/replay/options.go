package replay

import (
	"errors"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/clock"
)

// User may read. When there are any, nobody else may.
type User struct{ Name, Password string }

// Options are what a Server is made of. Listener, Footage, Clock and Registry are required.
type Options struct {
	// Listener takes RTSP connections. The Server closes it.
	Listener net.Listener
	// RTP and RTCP are the sockets that media over UDP is sent from; the first port is even
	// and the second the next one (RFC 3550 11). The Server closes them. Nil: TCP only.
	RTP, RTCP *net.UDPConn
	Users     []User
	Footage   Footage

	// Timeout is after how long without a word from the client a session may be given up;
	// it is, after twice as long. 60 s.
	Timeout time.Duration
	// Stall is how long a client may take nothing of what it is sent at the pace of real
	// time, before it is closed. 10 s. Where the pace is the client's, that is twice Timeout.
	Stall time.Duration
	// Sessions bounds how many there may be. 1000.
	Sessions int

	Clock    clock.Clock
	Log      zerolog.Logger
	Registry prometheus.Registerer
}

func (o *Options) fill() error {
	switch {
	case o.Listener == nil:
		return errors.New("replay: a listener is needed")
	case o.Footage == nil || o.Clock == nil || o.Registry == nil:
		return errors.New("replay: footage, a clock and a registry are needed")
	case (o.RTP == nil) != (o.RTCP == nil):
		return errors.New("replay: RTP and RTCP go together")
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Stall <= 0 {
		o.Stall = 10 * time.Second
	}
	if o.Sessions <= 0 {
		o.Sessions = 1000
	}
	return nil
}

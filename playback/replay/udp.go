package replay

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// receive notes what clients send, which are receiver reports, or packets that open a
// firewall: they live.
func (s *Server) receive(c *net.UDPConn) {
	var b [1500]byte
	for {
		_, from, err := c.ReadFromUDPAddrPort(b[:])
		if err != nil {
			return // closed
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		s.mu.Lock()
		if x := s.peers[from]; x != nil {
			x.heard()
		}
		s.mu.Unlock()
	}
}

// The most that is sent over UDP at once, so that the client's socket can hold it, and
// how long is waited then. It bounds Rate-Control: no to about 45 MB/s.
const (
	udpBurst = 32
	udpPause = time.Millisecond
)

// sendUDP sends what is collected. What cannot be sent is lost, as on any network.
func (s *session) sendUDP(ctx context.Context) {
	at := 0
	for i, p := range s.out.packets {
		if i > 0 && i%udpBurst == 0 {
			pause(ctx, udpPause)
			if ctx.Err() != nil {
				return // not to be sent again
			}
		}
		l := &s.tracks[p.lane]
		b := s.out.buf[at:p.end]
		at = p.end
		if p.rtcp {
			_, _ = s.srv.o.RTCP.WriteToUDPAddrPort(b, l.rtcp)
		} else {
			_, _ = s.srv.o.RTP.WriteToUDPAddrPort(b, l.rtp)
		}
	}
}

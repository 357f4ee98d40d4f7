package source

import (
	"encoding/binary"
	"net"
	"sync"
	"syscall"
	"time"
)

// maxPending is how much a client may be behind before access units are left out.
const maxPending = 2 << 20

const (
	reportPeriod = 5 * time.Second
	// NTP counts from 1900 (RFC 5905 6).
	ntpEpoch = 2208988800
)

// client is a session that plays. Nothing waits for it: what its socket does not take is
// kept, up to a bound.
type client struct {
	conn    *net.TCPConn
	raw     syscall.RawConn
	channel byte
	seq     uint16
	ssrc    uint32

	packets, octets uint32 // for reports
	reported        time.Time

	// mu is held while a message is put into the stream: media by the camera, answers
	// to requests by the connection's goroutine.
	mu      sync.Mutex
	pending []byte
}

func newClient(conn *net.TCPConn) (*client, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, raw: raw}, nil
}

// write puts b, which is whole messages, into the stream. It reports false where there
// was no room.
func (k *client) write(b []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.pending) > 0 {
		n := k.try(k.pending)
		k.pending = append(k.pending[:0], k.pending[n:]...)
	}
	if len(k.pending) > 0 {
		if len(k.pending)+len(b) > maxPending {
			return false
		}
		k.pending = append(k.pending, b...)
		return true
	}
	if n := k.try(b); n < len(b) {
		k.pending = append(k.pending, b[n:]...)
	}
	return true
}

// try writes what the socket takes at once. A broken connection takes everything: its
// end is the business of who reads it.
func (k *client) try(b []byte) int {
	done := 0
	err := k.raw.Write(func(fd uintptr) bool {
		for done < len(b) {
			n, err := syscall.Write(int(fd), b[done:])
			if err == syscall.EINTR {
				continue
			}
			if err == syscall.EAGAIN {
				return true
			}
			if err != nil {
				done = len(b)
				return true
			}
			done += n
		}
		return true
	})
	if err != nil {
		return len(b)
	}
	return done
}

// report sends an RTCP sender report when one is due (RFC 3550 6.4.1).
func (k *client) report(now time.Time, stamp uint32) {
	if now.Sub(k.reported) < reportPeriod {
		return
	}
	k.reported = now
	b := make([]byte, 0, interleaved+28)
	b = append(b, '$', k.channel+1, 0, 28, 0x80, 200, 0, 6)
	b = binary.BigEndian.AppendUint32(b, k.ssrc)
	b = binary.BigEndian.AppendUint32(b, uint32(now.Unix()+ntpEpoch))
	b = binary.BigEndian.AppendUint32(b, uint32(uint64(now.Nanosecond())<<32/1e9))
	b = binary.BigEndian.AppendUint32(b, stamp)
	b = binary.BigEndian.AppendUint32(b, k.packets)
	b = binary.BigEndian.AppendUint32(b, k.octets)
	k.write(b)
}

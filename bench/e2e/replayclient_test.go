package e2e

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	rtspconn "github.com/bluenviron/gortsplib/v4/pkg/conn"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/sdp"
	"github.com/pion/rtp"

	"github.com/duet-video/duet/bench/ledger"
)

// replayed is what a replay over TCP delivered.
type replayed struct {
	units   []ledger.AccessUnit
	first   time.Duration // from PLAY to the first packet
	longest time.Duration // between two packets
	// pausedAt is when that ended, from PLAY.
	pausedAt time.Duration
	setup    time.Duration // until PLAY
}

// clockRange is the Range of a PLAY; no end: open.
func clockRange(from, to time.Time) string {
	const form = "20060102T150405.000000000Z"
	if to.IsZero() {
		return "clock=" + from.UTC().Format(form) + "-"
	}
	return "clock=" + from.UTC().Format(form) + "-" + to.UTC().Format(form)
}

// quiet is how long nothing comes behind the end of a range.
const quiet = 300 * time.Millisecond

// replayRange plays with the headers until nothing comes any more behind a terminal access
// unit (the mark T), or for limit. It fails on a hole in sequence numbers, another SSRC, or
// capture times that go back.
func replayRange(address string, h *ledger.Header, limit time.Duration, headers ...string) (*replayed, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	nc, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer func() { _ = nc.Close() }()
	c := rtspconn.NewConn(nc)
	cseq := 0
	session := ""
	began := time.Now()
	ask := func(method, to string, headers ...string) (*base.Response, error) {
		cseq++
		text := fmt.Sprintf("%s %s RTSP/1.0\r\nCSeq: %d\r\n%s", method, to, cseq, session)
		for i := 0; i < len(headers); i += 2 {
			text += headers[i] + ": " + headers[i+1] + "\r\n"
		}
		if _, err := io.WriteString(nc, text+"\r\n"); err != nil {
			return nil, err
		}
		_ = nc.SetReadDeadline(time.Now().Add(15 * time.Second))
		r, err := c.ReadResponse()
		if err == nil && r.StatusCode != base.StatusOK {
			err = fmt.Errorf("%s: %d %s", method, r.StatusCode, r.StatusMessage)
		}
		return r, err
	}
	r, err := ask("DESCRIBE", address)
	if err != nil {
		return nil, err
	}
	var text sdp.SessionDescription
	var desc description.Session
	if err := text.Unmarshal(r.Body); err != nil {
		return nil, err
	}
	if err := desc.Unmarshal(&text); err != nil {
		return nil, err
	}
	decode := map[int]func(*rtp.Packet) []ledger.AccessUnit{}
	for i, m := range desc.Medias {
		if decode[i], err = ledger.Units(h, m.Formats[0]); err != nil {
			return nil, err
		}
		if decode[i] == nil {
			return nil, fmt.Errorf("the camera has no track of %s", m.Formats[0].RTPMap())
		}
		r, err := ask("SETUP", fmt.Sprintf("%s/trackID=%d", address, i), "Transport", fmt.Sprintf("RTP/AVP/TCP;unicast;interleaved=%d-%d", 2*i, 2*i+1))
		if err != nil {
			return nil, err
		}
		id, _, _ := strings.Cut(r.Header["Session"][0], ";")
		session = "Session: " + id + "\r\n"
	}
	out := &replayed{setup: time.Since(began)}
	began = time.Now()
	if _, err := ask("PLAY", address, headers...); err != nil {
		return nil, err
	}
	last := map[int]*rtp.Packet{}
	capture := map[int]int64{}
	ended := false
	at := began
	for time.Since(began) < limit {
		if !ended {
			_ = nc.SetReadDeadline(began.Add(limit))
		}
		f, err := c.ReadInterleavedFrame()
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() { //nolint:errorlint // it comes unwrapped
				break
			}
			return nil, err
		}
		n := f.Channel / 2
		if f.Channel%2 == 1 || decode[n] == nil {
			continue
		}
		p := &rtp.Packet{}
		if err := p.Unmarshal(append([]byte(nil), f.Payload...)); err != nil {
			return nil, err
		}
		if len(last) == 0 {
			out.first = time.Since(began)
		} else {
			if d := time.Since(at); d > out.longest {
				out.longest, out.pausedAt = d, time.Since(began)
			}
		}
		at = time.Now()
		if q := last[n]; q != nil && (q.SequenceNumber+1 != p.SequenceNumber || q.SSRC != p.SSRC) {
			return nil, fmt.Errorf("packet %d of %08x follows %d of %08x", p.SequenceNumber, p.SSRC, q.SequenceNumber, q.SSRC)
		}
		last[n] = p
		if p.Extension {
			ext := p.GetExtension(0)
			if p.ExtensionProfile != 0xabac || len(ext) != 12 {
				return nil, fmt.Errorf("extension %04x of %d bytes", p.ExtensionProfile, len(ext))
			}
			capture[n] = unixOf(ext)
			ended = ended || ext[8]&0x10 != 0
		}
		for _, a := range decode[n](p) {
			a.CaptureNS = capture[n]
			out.units = append(out.units, a)
		}
		if ended { // a track may have had its last one in the fragment before
			_ = nc.SetReadDeadline(time.Now().Add(quiet))
		}
	}
	return out, nil
}

// unixOf reads an NTP timestamp (RFC 3550 4) as Unix ns.
func unixOf(b []byte) int64 {
	seconds, fraction := uint64(0), uint64(0)
	for i := range 4 {
		seconds, fraction = seconds<<8|uint64(b[i]), fraction<<8|uint64(b[4+i])
	}
	return int64(seconds-2208988800)*1e9 + int64((fraction*1e9+1<<31)>>32)
}

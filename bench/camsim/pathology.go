package camsim

import (
	"fmt"
	"math"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/pion/rtcp"
)

// Drop closes all connections of the camera and refuses new ones for so long. On a shared
// port a refused client is answered 503 and disconnected.
func (c *Camera) Drop(refuse time.Duration) { c.drop(refuse, false) }

// Reset is Drop, but each TCP connection that plays ends with half a packet and a RST.
func (c *Camera) Reset(refuse time.Duration) { c.drop(refuse, true) }

func (c *Camera) drop(refuse time.Duration, torn bool) {
	name := "drop"
	if torn {
		name = "reset"
	}
	c.event(name, refuse.String())
	c.mu.Lock()
	c.refuseUntil = time.Now().Add(refuse)
	until := c.refuseUntil
	var tear []*conn
	var end []*session
	for _, s := range c.sessions {
		if torn && s.playing && s.conn != nil && *s.ss.SetuppedTransport() == gortsplib.TransportTCP {
			tear = append(tear, s.conn)
		} else {
			end = append(end, s)
		}
	}
	c.mu.Unlock()
	if c.opts.OwnPort {
		c.server.listener.refuse(until)
	}
	for _, w := range tear {
		w.tear() // at its next big packet
	}
	for _, s := range end {
		s.ss.Close()
		if s.conn != nil {
			_ = s.conn.Close() // it may be closed already
		}
	}
	if c.opts.OwnPort && !torn {
		c.server.listener.closeAll()
	}
}

// Stall keeps connections open and sends nothing for so long. What the camera produces
// meanwhile is lost; its sequence numbers are spent.
func (c *Camera) Stall(d time.Duration) {
	c.event("stall", d.String())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stallUntil = time.Now().Add(d)
}

// Jump moves the RTP timestamps of all tracks by so much, which may be negative, at the
// next random access point (see atKey).
func (c *Camera) Jump(by time.Duration) {
	c.atKey("jump", by.String(), func(c *Camera) {
		for _, t := range c.tracks {
			t.clock.jump(by)
		}
	})
}

// SetDrift makes RTP timestamps run by so much faster than real time (0.1: 10 %) from the
// next random access point on.
func (c *Camera) SetDrift(drift float64) {
	c.atKey("drift", fmt.Sprint(drift), func(c *Camera) {
		factor := (1 + drift) / (1 + c.opts.Drift)
		c.opts.Drift = drift
		for _, t := range c.tracks {
			t.clock.turn(t.present(), factor)
		}
	})
}

// ResetSequence begins anew with random sequence numbers at the next random access point.
func (c *Camera) ResetSequence() {
	c.atKey("sequence", "", func(c *Camera) {
		for _, t := range c.tracks {
			t.seq += uint16(1000 + c.rnd.IntN(60000))
		}
	})
}

// ChangeParameters goes over to a clip of the same codec with other parameter sets, at
// the next random access point. It reports an error for a camera that has no such clip.
func (c *Camera) ChangeParameters() error {
	if c.alt == nil {
		return fmt.Errorf("camera %s: video %q has no clip with other parameter sets", c.Name, c.opts.Video)
	}
	c.atKey("params", "", func(c *Camera) {
		for _, t := range c.tracks {
			if t.clip.codec == c.alt.codec {
				old := t.clip
				t.change(c.alt)
				c.alt = old
				return
			}
		}
	})
	return nil
}

// SetReports changes how the camera sends sender reports, now.
func (c *Camera) SetReports(r Reports) error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("camera %s: %w", c.Name, err)
	}
	c.event("reports", string(r))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reports = r
	c.nextReport = time.Time{}
	return nil
}

// SetLoss changes the probability with which a packet is withheld, now.
func (c *Camera) SetLoss(p float64) {
	c.event("loss", fmt.Sprint(p))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loss = min(max(p, 0), 1)
}

// atKey books a change that happens before the next random access point of the video, so
// that no picture is shown out of order by it; or before any access unit when there is no
// such point within 2 s.
func (c *Camera) atKey(name, detail string, change func(*Camera)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 {
		c.pendingSince = time.Now()
	}
	c.pending = append(c.pending, func(c *Camera) {
		change(c)
		c.event(name, detail)
	})
}

// applyPending makes the booked changes when their time has come; t comes next, and
// c.gate is held.
func (c *Camera) applyPending(t *track) {
	c.mu.Lock()
	list := c.pending
	due := len(list) > 0 && (t == c.tracks[0] && t.nextIsKey() || time.Since(c.pendingSince) > 2*time.Second && !t.clip.reordered())
	if due {
		c.pending = nil
	}
	c.mu.Unlock()
	if due {
		for _, change := range list {
			change(c)
		}
	}
}

// report sends sender reports (RFC 3550 6.4.1) when they are due.
func (c *Camera) report() {
	now := time.Now()
	c.mu.Lock()
	due := !now.Before(c.nextReport) && !now.Before(c.stallUntil)
	how := c.reports
	if due {
		c.nextReport = now.Add(reportPeriod)
	}
	c.mu.Unlock()
	if !due || how == ReportsNone {
		return
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	stats := c.stream.Stats()
	for i, t := range c.tracks {
		sr := &rtcp.SenderReport{
			SSRC:        stats.Medias[t.media].Formats[t.media.Formats[0]].LocalSSRC,
			NTPTime:     ntp(now),
			RTPTime:     t.sampling(now.Sub(c.start)),
			PacketCount: t.packets,
			OctetCount:  t.octets,
		}
		switch how {
		case ReportsHours:
			sr.NTPTime = ntp(now.Add(3 * time.Hour))
		case ReportsRandom:
			sr.RTPTime = c.rnd.Uint32()
		case ReportsFrozen:
			if c.frozenRTP == nil {
				c.frozenRTP = make(map[int]uint32)
				c.frozenNTP = sr.NTPTime
			}
			if _, ok := c.frozenRTP[i]; !ok {
				c.frozenRTP[i] = sr.RTPTime
			}
			sr.NTPTime, sr.RTPTime = c.frozenNTP, c.frozenRTP[i]
		}
		if err := c.stream.WritePacketRTCP(t.media, sr); err != nil {
			return // the server is being closed
		}
	}
}

// ntp returns the 64-bit NTP timestamp (RFC 3550 4).
func ntp(t time.Time) uint64 {
	const since1900 = 2208988800
	frac := uint64(math.Round(float64(t.Nanosecond()) * (1 << 32) / 1e9))
	return uint64(t.Unix()+since1900)<<32 + frac
}

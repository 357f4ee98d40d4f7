package source

import (
	"encoding/binary"
	"time"

	"github.com/duet-video/duet/bench/ledger"
)

// Clip is what a camera sends, for who makes recordings without one.
type Clip struct {
	Codec ledger.Codec
	Sets  [][]byte // H.264 SPS, PPS; H.265 VPS, SPS, PPS
	Units []ClipUnit
	// Interval is the time from one access unit to the next; the clip has one random
	// access point a second.
	Interval time.Duration
}

// ClipUnit is an access unit.
type ClipUnit struct {
	Key bool
	// Present is when it is shown, from the start of the clip.
	Present time.Duration
	packets [][]byte
	mark    []byte // in a packet
}

// NewClip makes the clip of a codec, padded to the bit rate, see Options.
func NewClip(video string, bitrate int) (*Clip, error) {
	l, err := newLoop(video, bitrate)
	if err != nil {
		return nil, err
	}
	c := &Clip{Codec: l.codec, Sets: l.sets, Interval: l.interval}
	for i := range l.units {
		u := &l.units[i]
		cu := ClipUnit{Key: u.key, Present: time.Duration(u.present) * time.Second / clockRate}
		for _, at := range u.packets {
			size := int(binary.BigEndian.Uint16(u.wire[at-2:]))
			cu.packets = append(cu.packets, u.wire[at:at+size])
			cu.mark = u.wire[u.mark : u.mark+markSize]
		}
		c.Units = append(c.Units, cu)
	}
	return c, nil
}

// Packets returns the RTP packets of an access unit, the first of them with the sequence
// number. They are valid until the next call for the same access unit.
func (u *ClipUnit) Packets(seq uint16, stamp uint32) [][]byte {
	for i, p := range u.packets {
		binary.BigEndian.PutUint16(p[2:], seq+uint16(i))
		binary.BigEndian.PutUint32(p[4:], stamp)
	}
	return u.packets
}

// Mark gives the access unit another mark.
func (u *ClipUnit) Mark(m Mark) { m.put(u.mark) }

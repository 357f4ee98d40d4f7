package proxy

import (
	"bytes"

	"github.com/duet-video/duet/internal/media"
)

// maxParamSet bounds a parameter set, in bytes.
const maxParamSet = 4096

// paramSets are the newest parameter sets of a track, in the order of
// media.Track.Params. Slices in sets are never written to again.
type paramSets struct {
	sets [][]byte
	// version counts changes.
	version int
}

func newParamSets(t *media.Track) paramSets {
	n := len(t.Params)
	switch t.Codec {
	case media.H264:
		n = 2
	case media.H265:
		n = 3
	}
	p := paramSets{sets: make([][]byte, n)}
	for i := range min(n, len(t.Params)) {
		p.sets[i] = bytes.Clone(t.Params[i])
	}
	return p
}

// set keeps a parameter set. Of several that are numbered the lowest number counts.
func (p *paramSets) set(i int, b []byte, id func([]byte) uint) {
	if len(b) < 3 || len(b) > maxParamSet || bytes.Equal(p.sets[i], b) {
		return
	}
	if len(p.sets[i]) >= 3 && id(b) > id(p.sets[i]) {
		return
	}
	p.sets[i] = bytes.Clone(b)
	p.version++
}

// h264 looks into a payload (RFC 6184 5.2).
func (p *paramSets) h264(b []byte) (out payloadInfo) {
	if len(b) < 2 {
		return out
	}
	switch t := b[0] & 0x1f; {
	case t < 24:
		p.nal264(b, &out)
	case t == 24:
		eachNAL(b[1:], func(nal []byte) { p.nal264(nal, &out) })
	case t == 25:
		if len(b) > 3 {
			eachNAL(b[3:], func(nal []byte) { p.nal264(nal, &out) })
		}
	case t == 28 || t == 29:
		if b[1]&0x80 == 0 {
			// The middle of a slice, or of a large SEI.
			inner := b[1] & 0x1f
			out.picture = inner >= 1 && inner <= 5
			return out
		}
		n := 2
		if t == 29 {
			n = 4
		}
		if len(b) > n {
			slice264(b[1]&0x1f, b[n], &out)
		}
	default:
		out.picture = true // MTAP and the unknown: never a random access point
	}
	return out
}

func (p *paramSets) nal264(nal []byte, out *payloadInfo) {
	if len(nal) < 2 {
		return
	}
	switch nal[0] & 0x1f {
	case 7:
		p.set(0, nal, func(b []byte) uint { return golomb(b, 32) })
	case 8:
		p.set(1, nal, func(b []byte) uint { return golomb(b, 8) })
	}
	slice264(nal[0]&0x1f, nal[1], out)
}

// slice264 takes the type of a NAL unit and its first byte after the header (ITU-T
// H.264 7.3.1, 7.3.3: a slice header begins with first_mb_in_slice).
func slice264(t, first byte, out *payloadInfo) {
	switch {
	case t >= 1 && t <= 5:
		begins := first&0x80 != 0 && (t <= 2 || t == 5)
		if !out.picture {
			out.begins = out.begins || begins
			out.randomAccess = t == 5 && begins
		}
		out.picture = true
	case !out.picture && (t == 6 || t == 7 || t == 8 || t == 9):
		out.begins = true
	}
}

// h265 looks into a payload (RFC 7798 4.4). Streams with decoding order numbers
// (sprop-max-don-diff > 0) are not looked into rightly; no camera sends them.
func (p *paramSets) h265(b []byte) (out payloadInfo) {
	if len(b) < 3 {
		return out
	}
	switch t := b[0] >> 1 & 0x3f; t {
	case 48:
		eachNAL(b[2:], func(nal []byte) { p.nal265(nal, &out) })
	case 49:
		if b[2]&0x80 == 0 {
			out.picture = b[2]&0x3f < 32
		} else if len(b) > 3 {
			slice265(b[2]&0x3f, b[3], &out)
		}
	case 50:
		out.picture = true
	default:
		p.nal265(b, &out)
	}
	return out
}

func (p *paramSets) nal265(nal []byte, out *payloadInfo) {
	if len(nal) < 3 {
		return
	}
	none := func([]byte) uint { return 0 }
	t := nal[0] >> 1 & 0x3f
	switch t {
	case 32:
		p.set(0, nal, none)
	case 33:
		p.set(1, nal, none)
	case 34:
		p.set(2, nal, func(b []byte) uint { return golomb(b, 16) })
	}
	slice265(t, nal[2], out)
}

// slice265 takes the type of a NAL unit and its first byte after the header (ITU-T
// H.265 7.3.6.1: a slice header begins with first_slice_segment_in_pic_flag).
func slice265(t, first byte, out *payloadInfo) {
	switch {
	case t < 32:
		begins := first&0x80 != 0
		if !out.picture {
			out.begins = out.begins || begins
			out.randomAccess = begins && t >= 16 && t <= 23
			// CRA, BLA with leading pictures.
			out.openGOP = out.randomAccess && (t == 21 || t == 16 || t == 17)
		}
		out.picture = true
	case !out.picture && t <= 39: // parameter sets, delimiter, prefix SEI
		out.begins = true
	}
}

// eachNAL calls f for each NAL unit of an aggregation packet: 16 bits of size, then the
// unit. It stops at the first one that is cut off.
func eachNAL(b []byte, f func([]byte)) {
	for len(b) > 2 {
		n := int(b[0])<<8 | int(b[1])
		b = b[2:]
		if n == 0 || n > len(b) {
			return
		}
		f(b[:n])
		b = b[n:]
	}
}

// golomb reads the ue(v) (ITU-T H.264 9.1) that begins at bit at; 0 where it is cut off.
func golomb(b []byte, at int) uint {
	bit := func(i int) uint {
		if i/8 >= len(b) {
			return 0
		}
		return uint(b[i/8]>>(7-i%8)) & 1
	}
	zeros := 0
	for zeros < 16 && bit(at+zeros) == 0 {
		zeros++
	}
	v := uint(0)
	for i := range zeros + 1 {
		v = v<<1 | bit(at+zeros+i)
	}
	return max(v, 1) - 1
}

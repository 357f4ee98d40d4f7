package proxy

import "github.com/duet-video/duet/internal/media"

// unitInfo is what a packet tells of the access unit that it belongs to.
type unitInfo struct {
	// start: it is the first packet of an access unit.
	start bool
	// decided: from here on it is known whether the access unit is a random access
	// point, and randomAccess and openGOP say so. Until then only parameter sets, SEI
	// and the like came by.
	decided               bool
	randomAccess, openGOP bool
}

// inspector looks into the packets of one track: where access units begin, which are
// random access points, and what parameter sets pass by. It keeps no packet, and
// allocates only for parameter sets that changed.
type inspector struct {
	codec  media.Codec
	audio  bool
	params paramSets

	seen   bool
	ts     uint32
	marker bool // the packet before had the marker bit
	now    unitInfo
}

// newInspector returns the inspector of a track, which begins with the track's parameter
// sets.
func newInspector(t *media.Track) *inspector {
	return &inspector{codec: t.Codec, audio: t.Kind == media.KindAudio, params: newParamSets(t)}
}

// payloadInfo is what a payload alone tells.
type payloadInfo struct {
	// begins: a picture may begin with this packet.
	begins bool
	// picture: it carries picture data, so that the next two are decided.
	picture               bool
	randomAccess, openGOP bool
}

// inspect looks at the next packet of the track.
func (in *inspector) inspect(ts uint32, marker bool, payload []byte) unitInfo {
	p := in.payload(payload)
	start := !in.seen || ts != in.ts
	if !start && in.marker && in.now.decided && p.begins && !in.audio {
		// Two pictures with one timestamp. That the one before is complete needs more
		// than its marker: some cameras set it on every NAL unit.
		start = true
	}
	if start {
		in.now = unitInfo{}
	}
	out := in.now
	out.start = start
	if p.picture && !out.decided {
		out.decided, out.randomAccess, out.openGOP = true, p.randomAccess, p.openGOP
	}
	in.seen, in.ts, in.marker, in.now = true, ts, marker, out
	return out
}

func (in *inspector) payload(b []byte) payloadInfo {
	switch in.codec {
	case media.H264:
		return in.params.h264(b)
	case media.H265:
		return in.params.h265(b)
	case media.AV1:
		return inspectAV1(b)
	case media.VP8:
		return inspectVP8(b)
	case media.VP9:
		return inspectVP9(b)
	case media.MJPEG:
		// RFC 2435 3.1: a fragment offset of zero begins a picture.
		first := len(b) >= 4 && b[1]|b[2]|b[3] == 0
		return payloadInfo{begins: first, picture: true, randomAccess: first}
	case media.Metadata, media.Unknown:
		return payloadInfo{begins: true, picture: true, randomAccess: in.audio}
	default: // audio
		return payloadInfo{begins: true, picture: true, randomAccess: true}
	}
}

// inspectAV1 reads the aggregation header (RTP Payload Format For AV1, 4.4).
func inspectAV1(b []byte) payloadInfo {
	out := payloadInfo{picture: true}
	if len(b) < 2 {
		return out
	}
	continues := b[0]&0x80 != 0
	out.begins = !continues
	// N: the first packet of a coded video sequence.
	out.randomAccess = !continues && b[0]&0x08 != 0
	if continues || out.randomAccess {
		return out
	}
	// Not every camera sets N: a sequence header comes only before a key frame.
	obu := b[1:]
	if w := b[0] >> 4 & 3; w != 1 {
		for len(obu) > 0 && obu[0]&0x80 != 0 { // leb128 length
			obu = obu[1:]
		}
		if len(obu) > 0 {
			obu = obu[1:]
		}
	}
	out.randomAccess = len(obu) > 0 && obu[0]>>3&0xf == 1
	return out
}

// inspectVP8 reads the payload descriptor (RFC 7741 4.2) and the P bit after it.
func inspectVP8(b []byte) payloadInfo {
	out := payloadInfo{picture: true}
	if len(b) < 2 {
		return out
	}
	n := 1
	if b[0]&0x80 != 0 {
		x := b[1]
		n = 2
		if x&0x80 != 0 {
			n++
			if len(b) > 2 && b[2]&0x80 != 0 {
				n++
			}
		}
		if x&0x40 != 0 {
			n++
		}
		if x&0x30 != 0 {
			n++
		}
	}
	out.begins = b[0]&0x10 != 0 && b[0]&0x07 == 0
	out.randomAccess = out.begins && len(b) > n && b[n]&1 == 0
	return out
}

// inspectVP9 reads the payload descriptor (RFC 9628 4.2): a picture begins, and is not
// predicted from others, in its lowest spatial layer.
func inspectVP9(b []byte) payloadInfo {
	out := payloadInfo{picture: true}
	if len(b) < 1 {
		return out
	}
	n := 1
	if b[0]&0x80 != 0 {
		n++
		if len(b) > 1 && b[1]&0x80 != 0 {
			n++
		}
	}
	lowest := true
	if b[0]&0x20 != 0 {
		lowest = len(b) > n && b[n]>>1&7 == 0
	}
	out.begins = b[0]&0x08 != 0 && lowest
	out.randomAccess = out.begins && b[0]&0x40 == 0
	return out
}

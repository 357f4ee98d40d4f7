package proxy

import "github.com/duet-video/duet/internal/media"

// splitPayload cuts an RTP payload that is larger than limit into payloads that are
// not, for readers that get datagrams. It calls emit for each; the slice is valid during
// the call. ok is false, and nothing is emitted, where the codec's payload format cannot
// be split without decoding.
func splitPayload(codec media.Codec, payload []byte, limit int, scratch *[]byte, emit func(payload []byte, last bool)) (ok bool) {
	if limit < 64 || len(payload) < 4 {
		return false
	}
	switch codec {
	case media.H264:
		return splitH264(payload, limit, scratch, emit)
	case media.H265:
		return splitH265(payload, limit, scratch, emit)
	case media.MJPEG:
		return splitMJPEG(payload, limit, scratch, emit)
	}
	return false
}

// fragments emits data in pieces, each behind the header that head writes.
func fragments(data []byte, limit, headLen int, scratch *[]byte, last bool,
	head func(dst []byte, offset int, first, end bool) []byte, emit func([]byte, bool),
) {
	for at := 0; at < len(data); {
		n := min(limit-headLen, len(data)-at)
		end := at+n == len(data)
		b := head((*scratch)[:0], at, at == 0, end)
		b = append(b, data[at:at+n]...)
		*scratch = b
		emit(b, end && last)
		at += n
	}
}

// splitH264 makes FU-A units (RFC 6184 5.8) of single NAL units and of larger FU-A
// units, and takes aggregation packets apart.
func splitH264(p []byte, limit int, scratch *[]byte, emit func([]byte, bool)) bool {
	fu := func(nri, typ byte, data []byte, start, end, last bool) {
		fragments(data, limit, 2, scratch, last, func(dst []byte, _ int, first, final bool) []byte {
			h := typ
			if first && start {
				h |= 0x80
			}
			if final && end {
				h |= 0x40
			}
			return append(dst, nri|28, h)
		}, emit)
	}
	single := func(nal []byte, last bool) {
		if len(nal) <= limit {
			emit(nal, last)
		} else {
			fu(nal[0]&0xe0, nal[0]&0x1f, nal[1:], true, true, last)
		}
	}
	switch t := p[0] & 0x1f; {
	case t < 24:
		single(p, true)
	case t == 24:
		each(p[1:], single)
	case t == 28:
		fu(p[0]&0xe0, p[1]&0x1f, p[2:], p[1]&0x80 != 0, p[1]&0x40 != 0, true)
	default:
		return false
	}
	return true
}

// splitH265 does the same with fragmentation units of RFC 7798 4.4.3.
func splitH265(p []byte, limit int, scratch *[]byte, emit func([]byte, bool)) bool {
	fu := func(h0, h1, typ byte, data []byte, start, end, last bool) {
		fragments(data, limit, 3, scratch, last, func(dst []byte, _ int, first, final bool) []byte {
			h := typ
			if first && start {
				h |= 0x80
			}
			if final && end {
				h |= 0x40
			}
			return append(dst, h0&0x81|49<<1, h1, h)
		}, emit)
	}
	single := func(nal []byte, last bool) {
		if len(nal) <= limit || len(nal) < 3 {
			emit(nal, last)
		} else {
			fu(nal[0], nal[1], nal[0]>>1&0x3f, nal[2:], true, true, last)
		}
	}
	switch t := p[0] >> 1 & 0x3f; {
	case t < 48:
		single(p, true)
	case t == 48:
		each(p[2:], single)
	case t == 49:
		fu(p[0], p[1], p[2]&0x3f, p[3:], p[2]&0x80 != 0, p[2]&0x40 != 0, true)
	default:
		return false
	}
	return true
}

// each is eachNAL that knows which one is the last.
func each(b []byte, f func(nal []byte, last bool)) {
	var held []byte
	eachNAL(b, func(nal []byte) {
		if held != nil {
			f(held, false)
		}
		held = nal
	})
	if held != nil {
		f(held, true)
	}
}

// splitMJPEG repeats the JPEG header with the offset of each piece (RFC 2435 3.1). The
// quantization tables go with the first, the restart marker header with all.
func splitMJPEG(p []byte, limit int, scratch *[]byte, emit func([]byte, bool)) bool {
	n := 8
	if p4 := len(p) > 4 && p[4] >= 64 && p[4] < 128; p4 {
		n += 4
	}
	if len(p) <= n {
		return false
	}
	offset := int(p[1])<<16 | int(p[2])<<8 | int(p[3])
	tables := 0
	if offset == 0 && p[5] >= 128 && len(p) >= n+4 {
		tables = 4 + int(p[n+2])<<8 + int(p[n+3])
	}
	if n+tables >= limit || n+tables > len(p) {
		return false
	}
	head := p[:n]
	data := p[n+tables:]
	first := min(limit-n-tables, len(data))
	*scratch = append(append((*scratch)[:0], p[:n+tables]...), data[:first]...)
	emit(*scratch, first == len(data))
	fragments(data[first:], limit, n, scratch, true, func(dst []byte, at int, _, _ bool) []byte {
		dst = append(dst, head...)
		o := offset + first + at
		dst[1], dst[2], dst[3] = byte(o>>16), byte(o>>8), byte(o)
		return dst
	}, emit)
	return true
}

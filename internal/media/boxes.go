package media

import "encoding/binary"

// mp4box is a box (ISO/IEC 14496-12 4.2): full with its header, body without. Both are
// views.
type mp4box struct {
	typ        string
	full, body []byte
}

// nextBox reads the box at the start of b. False: there is no whole box.
func nextBox(b []byte) (box mp4box, rest []byte, ok bool) {
	if len(b) < boxHeader {
		return mp4box{}, nil, false
	}
	size, head := uint64(binary.BigEndian.Uint32(b)), boxHeader
	if size == 1 { // largesize
		if len(b) < 16 {
			return mp4box{}, nil, false
		}
		size, head = binary.BigEndian.Uint64(b[8:]), 16
	}
	if size < uint64(head) || size > uint64(len(b)) {
		return mp4box{}, nil, false
	}
	return mp4box{typ: string(b[4:8]), full: b[:size], body: b[head:size]}, b[size:], true
}

// findBox returns the body of the first box at the path.
func findBox(b []byte, path ...string) ([]byte, bool) {
	for _, typ := range path {
		for {
			box, rest, ok := nextBox(b)
			if !ok {
				return nil, false
			}
			if box.typ == typ {
				b = box.body
				break
			}
			b = rest
		}
	}
	return b, true
}

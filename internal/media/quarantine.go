package media

import (
	"encoding/binary"
	"fmt"
	"math"
)

// QuarantineHeader returns the eight bytes that turn a damaged fragment, its box
// included, into one free box (ISO/IEC 14496-12 8.1.2): written over the start of its
// box, players and scanners skip all of it, and every other byte stays as it was found.
// size is the length of box, moof and mdat.
//
// A write that is torn between size and type does no harm: with the new size and the old
// type it is a uuid box without a checksum that fits, with the old size and the new type
// only the box is free and the damaged media follows it, unlisted.
func QuarantineHeader(size int64) ([boxHeader]byte, error) {
	var h [boxHeader]byte
	if size < boxHeader || size > math.MaxUint32 {
		return h, fmt.Errorf("a box of %d bytes has no header of eight", size)
	}
	binary.BigEndian.PutUint32(h[:], uint32(size))
	copy(h[4:], "free")
	return h, nil
}

// VoidHeader returns the 24 bytes that turn size bytes which are no fragment into a box
// like that of a fragment in quarantine of which nothing is known: what QuarantineHeader
// returns, and the UUID that the box of a fragment has in the same place.
func VoidHeader(size int64) ([voidHeader]byte, error) {
	var h [voidHeader]byte
	if size < int64(voidHeader) {
		return h, fmt.Errorf("a box of %d bytes has no header of %d", size, voidHeader)
	}
	q, err := QuarantineHeader(size)
	copy(h[:], q[:])
	copy(h[len(q):], boxUUID)
	return h, err
}

const voidHeader = boxHeader + len(boxUUID)

// isQuarantined reports whether b starts with a fragment in quarantine.
func isQuarantined(b []byte) bool {
	return len(b) >= 24 && string(b[4:8]) == "free" && string(b[8:24]) == boxUUID
}

// ParseQuarantined reads what the box of a quarantined fragment says, from the start of
// its free box. False: b does not start with one, or the box itself is damaged.
func ParseQuarantined(b []byte) (Info, bool) {
	if !isQuarantined(b) || len(b) < boxMin {
		return Info{}, false
	}
	n := boxMin + int(b[boxFixed])
	if n > len(b) {
		return Info{}, false
	}
	n += int(b[boxFixed+1+int(b[boxFixed])])
	if n > len(b) || n > boxMax {
		return Info{}, false
	}
	box := append(appendBoxHeader(make([]byte, 0, n), uint32(n), "uuid"), b[boxHeader:n]...)
	info, _, err := ParseBox(box)
	return info, err == nil
}

// quarantined reads the quarantined fragment at an offset. Not ok: there is none.
func (s *Scanner) quarantined(at int64) (Item, bool, error) {
	b, err := s.read(s.box[:], at)
	if err != nil || !isQuarantined(b) {
		return Item{}, false, err
	}
	size := int64(binary.BigEndian.Uint32(b))
	if size < boxHeader || size > s.size-at {
		return Item{}, false, nil
	}
	it := Item{Kind: ItemQuarantined, At: at, Len: size}
	it.Info, it.Known = ParseQuarantined(b)
	return it, true, nil
}

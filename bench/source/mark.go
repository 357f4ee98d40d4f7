package source

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Mark is what each access unit carries in an SEI message of its own, before the slices.
type Mark struct {
	// Camera is its index, Number counts its access units from the start of the
	// process, whether anybody is connected or not.
	Camera, Number int
	// Sent is when the access unit was written to the first client (the same wall
	// clock), to the microsecond.
	Sent time.Time
}

// markUUID begins a mark. Neither it nor the digits that follow ever need emulation
// prevention, so that a mark has the same bytes in RTP, MP4 and byte streams.
var markUUID = [16]byte{0xb6, 0x1f, 0x9e, 0x53, 0xc2, 0x77, 0x4d, 0x8a, 0xa1, 0x4c, 0x35, 0xd9, 0x6b, 0xe4, 0x72, 0xf8}

// A mark is 16 bytes of UUID and 4 + 10 + 14 hexadecimal digits.
const (
	cameraDigits, numberDigits, sentDigits = 4, 10, 14

	markSize = 16 + cameraDigits + numberDigits + sentDigits
	// MaxCameras is how many cameras marks can tell apart.
	MaxCameras = 1 << (4 * cameraDigits)
)

const hexDigits = "0123456789abcdef"

func putHex(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = hexDigits[v&15]
		v >>= 4
	}
}

// put writes the mark, of markSize bytes.
func (m Mark) put(dst []byte) {
	copy(dst, markUUID[:])
	dst = dst[16:]
	putHex(dst[:cameraDigits], uint64(m.Camera))
	putHex(dst[cameraDigits:cameraDigits+numberDigits], uint64(m.Number))
	putHex(dst[cameraDigits+numberDigits:markSize-16], uint64(m.Sent.UnixMicro()))
}

func parseMark(b []byte) (Mark, error) {
	b = b[16:markSize]
	var v [3]uint64
	for i, n := range []int{cameraDigits, numberDigits, sentDigits} {
		var err error
		if v[i], err = strconv.ParseUint(string(b[:n]), 16, 63); err != nil {
			return Mark{}, fmt.Errorf("a mark with %q", b[:n])
		}
		b = b[n:]
	}
	return Mark{Camera: int(v[0]), Number: int(v[1]), Sent: time.UnixMicro(int64(v[2]))}, nil
}

// FindMark returns the first mark in b and how far b needs not be looked at again. Where
// there is none, ok is false.
func FindMark(b []byte) (m Mark, end int, ok bool) {
	from := 0
	for {
		i := bytes.Index(b[from:], markUUID[:])
		if i < 0 {
			return Mark{}, max(from, len(b)-len(markUUID)+1), false
		}
		i += from
		if i+markSize > len(b) {
			return Mark{}, i, false
		}
		if m, err := parseMark(b[i:]); err == nil {
			return m, i + markSize, true
		}
		from = i + len(markUUID)
	}
}

// Scan calls found for each mark in what r reads, in the order of the bytes.
func Scan(r io.Reader, found func(Mark)) error {
	buf := make([]byte, 1<<20)
	have := 0
	for {
		n, err := r.Read(buf[have:])
		have += n
		rest := buf[:have]
		for {
			m, end, ok := FindMark(rest)
			rest = rest[min(end, len(rest)):]
			if !ok {
				break
			}
			found(m)
		}
		have = copy(buf, rest)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Bytes returns the mark as it stands in a recording.
func (m Mark) Bytes() []byte {
	b := make([]byte, markSize)
	m.put(b)
	return b
}

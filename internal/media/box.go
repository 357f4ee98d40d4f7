package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/duet-video/duet/internal/record"
)

// ErrBox is wrapped by every error of ParseBox.
var ErrBox = errors.New("not a whole fragment box")

// boxUUID is the type of the box that precedes a fragment.
const boxUUID = "\x6b\x1d\xb0\x5a\x32\xf7\x4c\x8e\x9d\x04\x5e\xc1\x47\x80\xa6\xd3"

// The box, big endian. Strings are a length of one byte and the bytes.
//
//	0    u32  size of the box
//	4    4    "uuid"
//	8    16   boxUUID
//	24   u8   version, 1
//	25   3    0
//	28   u32  flags
//	32   16   epoch
//	48   u64  first offset
//	56   u64  end offset
//	64   i64  start, end, min, max, window, since: six capture times, Unix ns
//	112  u64  size of moof and mdat
//	120  32   SHA-256 of moof and mdat
//	152  32   SHA-256 of the init header
//	184       camera, then cause of the gap before the epoch: two strings
//	     u32  CRC-32C of everything before it
const (
	boxVersion = 1
	boxFixed   = 184
	boxMin     = boxFixed + 2 + 4
	boxMax     = boxMin + 2*255
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendBox appends the uuid box that precedes a fragment in a segment: all of info,
// with a checksum of its own. Camera and Since are cut off at 255 bytes.
func AppendBox(dst []byte, info *Info) []byte {
	be := binary.BigEndian
	camera, since := info.Camera[:min(len(info.Camera), 255)], info.Since[:min(len(info.Since), 255)]
	at := len(dst)
	dst = appendBoxHeader(dst, uint32(boxMin+len(camera)+len(since)), "uuid")
	dst = append(dst, boxUUID...)
	dst = append(dst, boxVersion, 0, 0, 0)
	dst = be.AppendUint32(dst, uint32(info.Flags))
	dst = append(dst, info.Epoch[:]...)
	for _, v := range [...]uint64{
		info.First, info.End,
		uint64(info.StartNS), uint64(info.EndNS), uint64(info.MinNS), uint64(info.MaxNS),
		uint64(info.WindowNS), uint64(info.SinceNS), uint64(info.Size),
	} {
		dst = be.AppendUint64(dst, v)
	}
	dst = append(dst, info.Hash[:]...)
	dst = append(dst, info.InitHash[:]...)
	dst = append(append(dst, byte(len(camera))), camera...)
	dst = append(append(dst, byte(len(since))), since...)
	return be.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// ParseBox reads what AppendBox writes from the start of b, and returns its length. It
// keeps no reference to b.
func ParseBox(b []byte) (info Info, n int, err error) {
	be := binary.BigEndian
	if len(b) < boxMin {
		return Info{}, 0, fmt.Errorf("%w: %d bytes, want at least %d", ErrBox, len(b), boxMin)
	}
	if string(b[4:8]) != "uuid" || string(b[8:24]) != boxUUID {
		return Info{}, 0, fmt.Errorf("%w: another type", ErrBox)
	}
	size := be.Uint32(b)
	if size < boxMin || size > boxMax || int(size) > len(b) {
		return Info{}, 0, fmt.Errorf("%w: size %d", ErrBox, size)
	}
	b = b[:size]
	sum := b[size-4:]
	if crc32.Checksum(b[:size-4], castagnoli) != be.Uint32(sum) {
		return Info{}, 0, fmt.Errorf("%w: wrong checksum", ErrBox)
	}
	if b[24] != boxVersion || b[25]|b[26]|b[27] != 0 {
		return Info{}, 0, fmt.Errorf("%w: version %d is not known", ErrBox, b[24])
	}
	u64 := func(at int) uint64 { return be.Uint64(b[at:]) }
	info = Info{
		Epoch: record.Epoch(b[32:48]),
		First: u64(48), End: u64(56),
		StartNS: int64(u64(64)), EndNS: int64(u64(72)), MinNS: int64(u64(80)), MaxNS: int64(u64(88)),
		WindowNS: int64(u64(96)), SinceNS: int64(u64(104)),
		Flags: InfoFlags(be.Uint32(b[28:])),
		Size:  int64(u64(112)),
		Hash:  Hash(b[120:152]), InitHash: Hash(b[152:184]),
	}
	strings := b[boxFixed : size-4]
	camera, rest, ok1 := cutString(strings)
	since, rest, ok2 := cutString(rest)
	if !ok1 || !ok2 || len(rest) != 0 {
		return Info{}, 0, fmt.Errorf("%w: strings do not fit", ErrBox)
	}
	info.Camera, info.Since = string(camera), Cause(since)
	if info.First >= info.End || info.StartNS >= info.EndNS || info.Size < boxHeader || info.Size > math.MaxInt64/2 {
		return Info{}, 0, fmt.Errorf("%w: offsets %d … %d, times %d … %d, size %d",
			ErrBox, info.First, info.End, info.StartNS, info.EndNS, info.Size)
	}
	return info, int(size), nil
}

// cutString takes a string with its length from the start of b.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || int(b[0]) > len(b)-1 {
		return nil, nil, false
	}
	return b[1 : 1+b[0]], b[1+b[0]:], true
}

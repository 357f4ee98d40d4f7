package index

import (
	"encoding/binary"
	"fmt"
	"io/fs"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// The first byte of a key says what it is for. docs/FORMAT.md, "Index keys", has all
// of them byte by byte.
const (
	kindCamera   = 'c' // camera                          → cameraRow
	kindDamaged  = 'd' // camera 0 start epoch first      → Damage
	kindFragment = 'f' // camera 0 start epoch first      → Ref
	kindSegment  = 'g' // camera 0 path                   → Segment
	kindHorizon  = 'h' // camera 0                        → where deleting has come to
	kindInit     = 'i' // camera 0 hash                   → init header
	kindDigest   = 'm' // camera 0 hour                   → Digest
	kindUses     = 'n' // camera 0 hash                   → how many fragments need it
	kindSpan     = 's' // camera 0 start epoch first      → Span
	kindDeleting = 't' // camera 0 path                   → Segment, marked for deletion
	kindFormat   = 'v' //                                 → format of the whole database
)

// placeLen is the length of what follows the camera in the key of a fragment or span.
const placeLen = 8 + 16 + 8

// maxNameLen bounds a camera's name.
const maxNameLen = 63

// validName reports whether s is a name: ^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$.
func validName(s string) bool {
	if len(s) == 0 || len(s) > maxNameLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// maxPathLen bounds the path of a segment.
const maxPathLen = 1024

func validPath(s string) bool { return len(s) <= maxPathLen && s != "." && fs.ValidPath(s) }

// appendPrefix appends what all keys of a kind and camera begin with.
func appendPrefix(dst []byte, kind byte, camera string) []byte {
	dst = append(dst, kind)
	dst = append(dst, camera...)
	return append(dst, 0)
}

// appendPlace appends the key of a fragment or span. Signed times sort as unsigned
// ones when their sign bit is flipped.
func appendPlace(dst []byte, kind byte, camera string, startNS int64, epoch record.Epoch, first uint64) []byte {
	dst = appendPrefix(dst, kind, camera)
	dst = binary.BigEndian.AppendUint64(dst, uint64(startNS)^(1<<63))
	dst = append(dst, epoch[:]...)
	return binary.BigEndian.AppendUint64(dst, first)
}

// timeKey returns the lowest key of a fragment or span that starts at startNS.
func timeKey(kind byte, camera string, startNS int64) []byte {
	return appendPlace(nil, kind, camera, startNS, record.Epoch{}, 0)
}

func appendPath(dst []byte, kind byte, camera, path string) []byte {
	return append(appendPrefix(dst, kind, camera), path...)
}

func appendHash(dst []byte, kind byte, camera string, hash media.Hash) []byte {
	return append(appendPrefix(dst, kind, camera), hash[:]...)
}

// after returns the first key behind all that begin with prefix, which it changes: the
// prefix ends with a byte that is not 0xff.
func after(prefix []byte) []byte {
	prefix[len(prefix)-1]++
	return prefix
}

// place is what the key of a fragment or span says.
type place struct {
	startNS int64
	epoch   record.Epoch
	first   uint64
}

// parsePlace reads what follows the prefix of a key.
func parsePlace(key []byte, prefixLen int) (place, error) {
	var p place
	if len(key) != prefixLen+placeLen {
		return p, fmt.Errorf("%w: key %q has %d bytes, want %d", ErrCorrupt, key, len(key), prefixLen+placeLen)
	}
	b := key[prefixLen:]
	p.startNS = int64(binary.BigEndian.Uint64(b) ^ (1 << 63))
	copy(p.epoch[:], b[8:24])
	p.first = binary.BigEndian.Uint64(b[24:])
	return p, nil
}

// splitKey returns the camera of a key and what follows it.
func splitKey(key []byte) (camera string, rest []byte, err error) {
	for i := 1; i < len(key) && i <= maxNameLen+1; i++ {
		if key[i] == 0 {
			camera = string(key[1:i])
			if validName(camera) {
				return camera, key[i+1:], nil
			}
			break
		}
	}
	return "", nil, fmt.Errorf("%w: key %q has no camera", ErrCorrupt, key)
}

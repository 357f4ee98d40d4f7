package media

import "errors"

// ErrBox is wrapped by every error of ParseBox.
var ErrBox = errors.New("not a whole fragment box")

// AppendBox appends the uuid box that precedes a fragment in a segment: all of info,
// with a checksum of its own. Camera and Since are at most 255 bytes long.
func AppendBox(dst []byte, info *Info) []byte { return dst }

// ParseBox reads what AppendBox writes from the start of b, and returns its length. The
// strings of info are copies.
func ParseBox(b []byte) (info Info, n int, err error) { return Info{}, 0, ErrBox }

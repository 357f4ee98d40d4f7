package media

import (
	"bytes"
	"encoding/binary"
)

var startCode = []byte{0, 0, 0, 1}

// splitAnnexB puts lengths in the place of the start codes that some cameras leave in
// what they send as one NAL unit: a NAL unit itself never contains a start code
// (ISO/IEC 14496-10 7.4.1). nals is the end of data from at on: whole NAL units with a
// length of four bytes each. It returns data with empty NAL units removed.
func splitAnnexB(data []byte, at int) []byte {
	nal := data[at+4:]
	i := bytes.Index(nal, startCode)
	if i < 0 {
		return data
	}
	out := at
	for {
		n := len(nal)
		if i >= 0 {
			n = i
		}
		if n > 0 {
			binary.BigEndian.PutUint32(data[out:], uint32(n))
			copy(data[out+4:], nal[:n]) // to the left, by the size of the empty ones
			out += 4 + n
		}
		if i < 0 {
			return data[:out]
		}
		nal = nal[i+4:]
		i = bytes.Index(nal, startCode)
	}
}

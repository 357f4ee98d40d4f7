package placement

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// score says how much a camera wants to be on a recorder: weighted rendezvous hashing,
// weight / -ln(u) with u in (0, 1) from a hash of both names. The largest of all wins,
// and it wins in proportion to its weight. It depends on nothing else, so a camera
// moves only to a recorder that is new, or from one that is gone.
func score(camera, recorder string, weight float64) float64 {
	// Names cannot contain the zero byte, so two pairs never give the same text.
	h := xxhash.Sum64String(camera + "\x00" + recorder)
	return weight / float64(negLog2(h))
}

// logBits is the precision of negLog2.
const logBits = 48

// negLog2 returns -log2(h / 2^64) with logBits bits after the point, at least 1. It is
// made of integers because math.Log may differ in its last bit between processors,
// and a plan must not.
func negLog2(h uint64) uint64 {
	if h == 0 {
		return 65 << logBits
	}
	whole := uint64(bits.Len64(h) - 1)
	log := whole
	m := h << bits.LeadingZeros64(h) // the mantissa, in [1, 2) with 63 bits after the point
	for range logBits {
		hi, lo := bits.Mul64(m, m) // in [1, 4), 126 bits after the point
		log <<= 1
		if hi>>63 == 1 {
			log |= 1
			m = hi
		} else {
			m = hi<<1 | lo>>63
		}
	}
	return max(64<<logBits-log, 1)
}

package ledger

import (
	"errors"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"
)

// g711Codes maps 16-bit samples back to the codes that they are the expansion of (ITU-T
// G.711). Of the two zeros of µ-law it knows the positive one.
func g711Codes(codec Codec) map[uint16]byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	var pcm []byte
	if codec == PCMU {
		var p g711.Mulaw
		p.Unmarshal(all)
		pcm = p
	} else {
		var p g711.Alaw
		p.Unmarshal(all)
		pcm = p
	}
	codes := make(map[uint16]byte, 256)
	for i := range all {
		codes[uint16(pcm[2*i])<<8|uint16(pcm[2*i+1])] = byte(i) // 0xff, the positive zero, is last
	}
	return codes
}

var errExpansion = errors.New("a sample is not the expansion of a G.711 code")

// contract turns 16-bit LPCM back into G.711.
func (t *mp4Track) contract(pcm []byte) ([]byte, error) {
	if len(pcm)%2 != 0 {
		return nil, errExpansion
	}
	out := make([]byte, len(pcm)/2)
	for i := range out {
		hi, lo := pcm[2*i], pcm[2*i+1]
		if t.little {
			hi, lo = lo, hi
		}
		code, ok := t.expand[uint16(hi)<<8|uint16(lo)]
		if !ok {
			return nil, errExpansion
		}
		out[i] = code
	}
	return out, nil
}

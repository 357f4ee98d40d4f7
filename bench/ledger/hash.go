package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// errLengths is a sample that is not a row of NAL units with their lengths.
var errLengths = errors.New("NAL unit lengths do not add up to the sample")

// HashNALUs hashes NAL units, given without start codes or lengths, as MP4 stores them.
func HashNALUs(nalus [][]byte) (Hash, int) {
	h := sha256.New()
	var length [4]byte
	size := 0
	for _, n := range nalus {
		binary.BigEndian.PutUint32(length[:], uint32(len(n)))
		h.Write(length[:])
		h.Write(n)
		size += 4 + len(n)
	}
	var sum Hash
	h.Sum(sum[:0])
	return sum, size
}

// HashVCL is HashNALUs over the coded slices alone.
func HashVCL(codec Codec, nalus [][]byte) (Hash, int) {
	vcl := make([][]byte, 0, len(nalus))
	for _, n := range nalus {
		if isVCL(codec, n) {
			vcl = append(vcl, n)
		}
	}
	return HashNALUs(vcl)
}

// HashBytes hashes the access unit of a codec that has no NAL units.
func HashBytes(au []byte) Hash { return sha256.Sum256(au) }

// SplitNALUs splits an MP4 sample with 4-byte lengths. The slices are views of it.
func SplitNALUs(sample []byte) ([][]byte, error) {
	var nalus [][]byte
	for len(sample) > 0 {
		if len(sample) < 4 {
			return nalus, errLengths
		}
		n := binary.BigEndian.Uint32(sample)
		if int64(n) > int64(len(sample)-4) {
			return nalus, errLengths
		}
		nalus = append(nalus, sample[4:4+n])
		sample = sample[4+n:]
	}
	return nalus, nil
}

// isVCL reports whether n is a coded slice (H.264 7.4.1: types 1 … 5; H.265 7.4.2.2:
// types 0 … 31).
func isVCL(codec Codec, n []byte) bool {
	if len(n) == 0 {
		return false
	}
	if codec == H265 {
		return n[0]>>1&0x3f < 32
	}
	t := n[0] & 0x1f
	return t >= 1 && t <= 5
}

// IsKey reports whether NAL units are a random access point: an IDR picture of H.264, an
// IRAP picture of H.265 (types 16 … 21).
func IsKey(codec Codec, nalus [][]byte) bool {
	for _, n := range nalus {
		if len(n) == 0 {
			continue
		}
		switch codec {
		case H264:
			if n[0]&0x1f == 5 {
				return true
			}
		case H265:
			if t := n[0] >> 1 & 0x3f; t >= 16 && t <= 21 {
				return true
			}
		}
	}
	return false
}

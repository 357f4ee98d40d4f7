package media

import "encoding/binary"

// trackRun is what the moof says of one track.
type trackRun struct {
	id          uint32
	description uint32
	base        uint64 // decode time of the first sample
	samples     []runSample
	bytes       int64 // of all samples
}

// runSample is a sample of a trun.
type runSample struct {
	duration, size, flags uint32
	offset                int32 // of the composition time
}

// Flags of a sample (ISO/IEC 14496-12 8.8.3.1).
const (
	syncSample    = 0x02000000 // depends on no other
	nonSyncSample = 0x01010000 // depends on others, no sync sample
)

const (
	boxHeader   = 8
	moofHead    = boxHeader + 16 // moof, mfhd
	trafHead    = boxHeader + 20 + 20 + 20
	trunSample  = 16
	tfhdFlags   = 0x020002 // default-base-is-moof, sample-description-index-present
	trunFlags   = 0x000f01 // data offset; duration, size, flags, composition offset
	trunVersion = 1        // signed composition offsets
)

// moofSize returns the length of the moof that appendMoof writes.
func moofSize(tracks []trackRun) int64 {
	n := int64(moofHead)
	for i := range tracks {
		n += trafHead + trunSample*int64(len(tracks[i].samples))
	}
	return n
}

// appendMoof appends a moof box (ISO/IEC 14496-12 8.8.4) for an mdat with a header of
// eight bytes that follows it, with the samples of one track after another.
func appendMoof(dst []byte, sequence uint32, tracks []trackRun) []byte {
	be := binary.BigEndian
	size := moofSize(tracks)
	dst = appendBoxHeader(dst, uint32(size), "moof")
	dst = appendBoxHeader(dst, 16, "mfhd")
	dst = be.AppendUint32(dst, 0)
	dst = be.AppendUint32(dst, sequence)
	at := size + boxHeader
	for i := range tracks {
		t := &tracks[i]
		run := uint32(20 + trunSample*len(t.samples))
		dst = appendBoxHeader(dst, trafHead-20+run, "traf")
		dst = appendBoxHeader(dst, 20, "tfhd")
		dst = be.AppendUint32(dst, tfhdFlags)
		dst = be.AppendUint32(dst, t.id)
		dst = be.AppendUint32(dst, t.description)
		dst = appendBoxHeader(dst, 20, "tfdt")
		dst = be.AppendUint32(dst, 1<<24)
		dst = be.AppendUint64(dst, t.base)
		dst = appendBoxHeader(dst, run, "trun")
		dst = be.AppendUint32(dst, trunVersion<<24|trunFlags)
		dst = be.AppendUint32(dst, uint32(len(t.samples)))
		dst = be.AppendUint32(dst, uint32(at))
		for _, s := range t.samples {
			dst = be.AppendUint32(dst, s.duration)
			dst = be.AppendUint32(dst, s.size)
			dst = be.AppendUint32(dst, s.flags)
			dst = be.AppendUint32(dst, uint32(s.offset))
		}
		at += t.bytes
	}
	return dst
}

func appendBoxHeader(dst []byte, size uint32, typ string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, size)
	return append(dst, typ...)
}

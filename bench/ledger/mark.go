package ledger

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
)

// Mark is what an access unit carries so that it can be known again: the camera and its
// number in the camera's ledger. Its forms survive RTP and MP4 without a decoder noticing:
//
//	H.264, H.265  a user_data_unregistered SEI message before the first slice
//	AAC           a data_stream_element in front of the others (ISO/IEC 14496-3 4.4.2.1)
//	MJPEG         the last entries of the quantization tables, which weigh least
//	G.711         the codes of the first 16 samples, near silence
type Mark struct {
	// Camera is CameraID of its name.
	Camera uint32
	Number uint64
}

// CameraID folds the name of a camera into 32 bits.
func CameraID(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // cannot fail
	return h.Sum32()
}

// markUUID says that a SEI message or a data_stream_element is a Mark.
var markUUID = [16]byte{0xd0, 0xe7, 0x5f, 0x1a, 0x9c, 0x44, 0x4b, 0x02, 0xb7, 0x35, 0x6e, 0x21, 0xf8, 0x80, 0xca, 0x3d}

const markSize = 16 + 4 + 8

func (m Mark) append(dst []byte) []byte {
	dst = append(dst, markUUID[:]...)
	dst = binary.BigEndian.AppendUint32(dst, m.Camera)
	return binary.BigEndian.AppendUint64(dst, m.Number)
}

func parseMark(b []byte) (Mark, bool) {
	if len(b) < markSize || !bytes.Equal(b[:16], markUUID[:]) {
		return Mark{}, false
	}
	return Mark{Camera: binary.BigEndian.Uint32(b[16:]), Number: binary.BigEndian.Uint64(b[20:])}, true
}

// AppendSEI appends a SEI NAL unit with the mark: payload type 5, H.264 7.3.2.3 and D.1.7,
// H.265 7.3.2.4 and D.2.7.
func (m Mark) AppendSEI(dst []byte, codec Codec) []byte {
	if codec == H265 {
		dst = append(dst, 39<<1, 1) // PREFIX_SEI_NUT, layer 0, temporal id 0
	} else {
		dst = append(dst, 6)
	}
	var rbsp [2 + markSize + 1]byte
	rbsp[0], rbsp[1] = 5, markSize
	m.append(rbsp[2:2])
	rbsp[2+markSize] = 0x80
	return escape(dst, rbsp[:])
}

// escape appends rbsp with emulation prevention (H.264 7.3.1).
func escape(dst, rbsp []byte) []byte {
	zeros := 0
	for _, b := range rbsp {
		if zeros >= 2 && b <= 3 {
			dst = append(dst, 3)
			zeros = 0
		}
		if b == 0 {
			zeros++
		} else {
			zeros = 0
		}
		dst = append(dst, b)
	}
	return dst
}

func unescape(nalu []byte) []byte {
	out := make([]byte, 0, len(nalu))
	zeros := 0
	for _, b := range nalu {
		if zeros >= 2 && b == 3 {
			zeros = 0
			continue
		}
		if b == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, b)
	}
	return out
}

// MarkOfNALUs finds the mark in the NAL units of an access unit.
func MarkOfNALUs(codec Codec, nalus [][]byte) (Mark, bool) {
	for _, n := range nalus {
		if isVCL(codec, n) {
			break // the mark stands before the slices
		}
		var header int
		switch {
		case codec == H264 && len(n) > 1 && n[0]&0x1f == 6:
			header = 1
		case codec == H265 && len(n) > 2 && n[0]>>1&0x3f == 39:
			header = 2
		default:
			continue
		}
		// The mark is the only message of its NAL unit.
		b := unescape(n[header:])
		if len(b) >= 2+markSize && b[0] == 5 && b[1] == markSize {
			if m, ok := parseMark(b[2:]); ok {
				return m, true
			}
		}
	}
	return Mark{}, false
}

// AppendAAC appends raw_data_block au with the mark as a data_stream_element in front:
// 3 bits id 4, 4 bits tag 0, 1 bit align 0, 8 bits count, so what follows keeps its bits.
func (m Mark) AppendAAC(dst, au []byte) []byte {
	dst = append(dst, 4<<5, markSize)
	dst = m.append(dst)
	return append(dst, au...)
}

// MarkOfAAC finds the mark in front of a raw_data_block.
func MarkOfAAC(au []byte) (Mark, bool) {
	if len(au) < 2+markSize || au[0] != 4<<5 || au[1] != markSize {
		return Mark{}, false
	}
	return parseMark(au[2:])
}

// The digits of a mark in the quantization tables are to the base 255, because an entry
// may not be 0: table 0 ends with the 8 digits of the number, table 1 with two entries
// that say so and the 4 digits of the camera.
const jpegBase = 255

var jpegSign = [2]byte{0xd7, 0x1b}

func putDigits(dst []byte, v uint64) {
	for i := range dst {
		dst[i] = byte(v%jpegBase) + 1
		v /= jpegBase
	}
}

func digits(b []byte) uint64 {
	var v uint64
	for i := len(b) - 1; i >= 0; i-- {
		v = v*jpegBase + uint64(b[i]-1)
	}
	return v
}

// jpegCamera is what the four digits hold of a camera's id.
func jpegCamera(id uint32) uint32 { return id % (jpegBase * jpegBase * jpegBase * jpegBase) }

// PutJPEG marks the JPEG by overwriting entries of its first two quantization tables. It
// reports false when there are no two 8-bit tables.
func (m Mark) PutJPEG(image []byte) bool {
	t0, t1, ok := jpegTables(image)
	if !ok {
		return false
	}
	putDigits(t0[56:], m.Number)
	copy(t1[58:], jpegSign[:])
	putDigits(t1[60:], uint64(jpegCamera(m.Camera)))
	return true
}

// MarkOfJPEG finds the mark in a JPEG. Its Camera is folded a little further: compare
// with Matches.
func MarkOfJPEG(image []byte) (Mark, bool) {
	t0, t1, ok := jpegTables(image)
	if !ok || !bytes.Equal(t1[58:60], jpegSign[:]) {
		return Mark{}, false
	}
	return Mark{Camera: uint32(digits(t1[60:])), Number: digits(t0[56:])}, true
}

// jpegTables returns the quantization tables 0 and 1, as views of the image.
func jpegTables(image []byte) (t0, t1 []byte, ok bool) {
	if len(image) < 2 || image[0] != 0xff || image[1] != 0xd8 {
		return nil, nil, false
	}
	for b := image[2:]; len(b) >= 4 && b[0] == 0xff && b[1] != 0xda; {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 2 || len(b) < 2+n {
			return nil, nil, false
		}
		if b[1] == 0xdb { // DQT
			for t := b[4 : 2+n]; len(t) >= 65 && t[0]>>4 == 0; t = t[65:] {
				switch t[0] & 15 {
				case 0:
					t0 = t[1:65]
				case 1:
					t1 = t[1:65]
				}
			}
		}
		b = b[2+n:]
	}
	return t0, t1, t0 != nil && t1 != nil
}

// G711MarkSamples is how many samples of a G.711 frame the mark replaces: 4 nibbles of
// the camera's id, 12 of the number, most significant first, one in a sample.
const G711MarkSamples = 16

// g711Base is the code that stands for the nibble 0: the 16 codes from there are
// quiet, distinct after expansion, and none is a zero of µ-law.
func g711Base(codec Codec) byte {
	if codec == PCMU {
		return 0xe0
	}
	return 0xd0
}

func (m Mark) g711() uint64 { return uint64(m.Camera&0xffff)<<48 | m.Number&(1<<48-1) }

// PutG711 marks the frame, which has at least G711MarkSamples codes.
func (m Mark) PutG711(codec Codec, frame []byte) {
	v := m.g711()
	for i := range G711MarkSamples {
		frame[i] = g711Base(codec) + byte(v>>(60-4*i)&15)
	}
}

// MarkOfG711 finds the mark in a frame. Its Camera is folded to 16 bits: compare with
// Matches.
func MarkOfG711(codec Codec, frame []byte) (Mark, bool) {
	if len(frame) < G711MarkSamples {
		return Mark{}, false
	}
	var v uint64
	for _, b := range frame[:G711MarkSamples] {
		d := b - g711Base(codec)
		if d > 15 {
			return Mark{}, false
		}
		v = v<<4 | uint64(d)
	}
	return Mark{Camera: uint32(v >> 48), Number: v & (1<<48 - 1)}, true
}

// Matches reports whether m, found in an access unit of codec, names the camera.
func (m Mark) Matches(codec Codec, camera string) bool {
	id := CameraID(camera)
	switch codec {
	case MJPEG:
		id = jpegCamera(id)
	case PCMA, PCMU:
		id &= 0xffff
	}
	return m.Camera == id
}

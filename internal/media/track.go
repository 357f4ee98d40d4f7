package media

import (
	"encoding/binary"

	"github.com/duet-video/duet/internal/record"
)

// sample is an access unit of a track.
type sample struct {
	captureNS int64
	size      int
	sync      bool
}

// closed means that no unit is open, see trackBuilder.open.
const closed = -1

// trackBuilder collects the samples of one track of one fragment. Payload is copied
// once, from the packet to data, where an incomplete unit (NAL unit, frame) is always
// at the end, so that dropping it is cutting off the end. Positions are those in data.
type trackBuilder struct {
	desc Track

	// data is the chunk that is being filled, full are those before it, with before
	// bytes in all. usual is how many bytes the last fragment had.
	data    []byte
	full    [][]byte
	before  int
	usual   int
	samples []sample

	// The access unit that is being collected.
	unit      bool
	unitStart int
	unitNS    int64
	unitSync  bool
	unitTorn  bool // a part of it was dropped
	unitSlice bool // it has a whole coded slice (H.264, H.265)

	// The unit that is fragmented over several packets: where it starts in data,
	// the sequence number that has to follow, and the bytes that it still wants (for
	// codecs whose headers tell; negative: until the marker).
	open    int
	nextSeq uint16
	missing int
	marked  bool // a packet with the marker was seen

	flags InfoFlags

	// What the bitstream itself says of the codec.
	sets   [3][]byte // parameter sets, the first of each seen
	early  [3]bool   // seen before the first coded picture
	vcl    bool      // a coded picture was seen
	params streamParams

	// Scratch of the codecs off the hot path.
	jpeg jpegState
	latm latmState
	av1  av1State
}

// streamParams are the parameters that only the bitstream tells.
type streamParams struct {
	known                bool
	width, height        int
	sampleRate, channels int
	vp9                  vp9Params
	ac3                  ac3Params
	samples              int // nominal samples of a frame
}

// reset makes t ready for a fragment.
func (t *trackBuilder) reset(desc Track) {
	t.release()
	full, usual, samples, sets, scratch := t.full, t.usual, t.samples[:0], t.sets, t.av1.obu[:0]
	for i := range sets {
		sets[i] = sets[i][:0]
	}
	*t = trackBuilder{desc: desc, full: full, usual: usual, samples: samples, sets: sets, open: closed}
	t.av1.obu = scratch
}

// push takes the next record of the track.
func (t *trackBuilder) push(r *record.Record) {
	if r.Flags.Has(record.LossBefore) {
		t.flags |= PacketLoss
		t.drop(0)
	}
	if r.Flags.Has(record.Discontinuity) {
		t.flags |= Discontinuity
	}
	if r.Flags.Has(record.AccessUnit) {
		t.endUnit()
		t.unit = true
		t.unitStart = len(t.data)
		t.unitNS = r.CaptureNS
		t.unitSync = r.Flags.Has(record.RandomAccess) || t.desc.Kind == KindAudio
		t.unitTorn, t.unitSlice = false, false
	}
	if !t.unit {
		// The rest of an access unit that began before the cut.
		t.flags |= PacketLoss
		return
	}
	var p rtpPacket
	if !parseRTP(r.Packet, &p) {
		t.flags |= Malformed
		return
	}
	if len(p.payload) == 0 {
		return // padding only, or a keep-alive
	}
	if t.open != closed && p.seq != t.nextSeq {
		t.drop(PacketLoss)
	}
	t.nextSeq = p.seq + 1
	t.room(2*len(p.payload) + len(t.av1.obu) + roomAside)
	if !t.depacketize(&p) {
		t.drop(0)
		t.flags |= Malformed
	}
}

// depacketize appends what the packet carries to data. False: it makes no sense, and
// nothing of it was kept.
func (t *trackBuilder) depacketize(p *rtpPacket) bool {
	switch t.desc.Codec {
	case H264:
		return t.h264(p)
	case H265:
		return t.h265(p)
	case AAC:
		if t.desc.LATM {
			return t.latmPacket(p)
		}
		return t.aac(p)
	case Opus:
		return t.opus(p)
	case LPCM:
		return t.lpcm(p)
	case PCMA:
		return t.g711(p, &alaw)
	case PCMU:
		return t.g711(p, &mulaw)
	case MP3:
		return t.mpegAudio(p)
	case AC3:
		return t.ac3(p)
	case MJPEG:
		return t.mjpeg(p)
	case AV1:
		return t.av1Packet(p)
	case VP9:
		return t.vp9(p)
	}
	return true // not storable: the builder does not come here
}

// endUnit makes a sample of the access unit, if it has any data.
func (t *trackBuilder) endUnit() {
	if !t.unit {
		return
	}
	if t.open != closed {
		t.endOpen()
	}
	t.unit = false
	if t.unitTorn && !t.unitSlice && (t.desc.Codec == H264 || t.desc.Codec == H265) {
		// Delimiter, parameter sets and SEI of a picture of which nothing arrived whole.
		t.data = t.data[:t.unitStart]
	}
	t.addSample(t.unitStart, t.unitNS, t.unitSync)
}

// endOpen ends a unit that is still open when its access unit is over.
func (t *trackBuilder) endOpen() {
	if t.desc.Codec == AAC && !t.desc.LATM && t.missing < 0 && !t.marked {
		t.closeAAC() // a camera that never sets the marker
		return
	}
	t.drop(Malformed)
}

// addSample makes a sample of data[start:] and starts the next one there.
func (t *trackBuilder) addSample(start int, captureNS int64, sync bool) {
	t.unitStart = len(t.data)
	if start == len(t.data) {
		return
	}
	t.samples = append(t.samples, sample{captureNS, len(t.data) - start, sync})
}

// drop forgets the open unit, with the reason.
func (t *trackBuilder) drop(why InfoFlags) {
	if t.open == closed {
		return
	}
	t.data = t.data[:t.open]
	t.open = closed
	t.unitTorn = true
	t.flags |= why
}

// beginNAL appends the place of a length, and head.
func (t *trackBuilder) beginNAL(head ...byte) {
	t.open = len(t.data)
	t.data = append(t.data, 0, 0, 0, 0)
	t.data = append(t.data, head...)
}

// endNAL writes the length of the open NAL unit, or drops it when it is empty.
func (t *trackBuilder) endNAL() {
	n := len(t.data) - t.open - 4
	if n == 0 {
		t.data = t.data[:t.open]
	} else {
		binary.BigEndian.PutUint32(t.data[t.open:], uint32(n))
	}
	t.open = closed
}

// keepSet remembers the first parameter set of a kind.
func (t *trackBuilder) keepSet(i int, nal []byte) {
	if len(t.sets[i]) > 0 {
		return
	}
	t.sets[i] = append(t.sets[i], nal...)
	t.early[i] = !t.vcl
}

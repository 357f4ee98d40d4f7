package proxy

import (
	"time"

	"github.com/pion/rtp"
)

const (
	// A reader that joins gets at most this much at once: half of its queue. Longer
	// groups of pictures are not kept; their readers begin at the next key frame.
	maxHistoryPackets = readerQueue / 2
	maxHistoryBytes   = 8 << 20
)

// liveHistory is what readers were sent since the last random access point: who joins is
// sent it at once, with the same numbers, and so has a picture without waiting.
type liveHistory struct {
	packets []sentPacket
	bytes   int
	kept    bool // all since the random access point is there
	shared  bool // packets is being read by somebody

	// chunks are those of the log that packets are views of, but for the one that is being
	// taken: of that one they are with fresh.
	chunks []Chunk
	fresh  bool
}

// sentPacket is a packet as readers were sent it. Payload type and SSRC are the stream's.
type sentPacket struct {
	raw   []byte // RTP, with the camera's numbers; not to be changed
	track uint8
	seq   uint16
	ts    uint32
	ns    int64 // capture time
}

// clear forgets everything, until begin.
func (h *liveHistory) clear() {
	if h.shared { // for how long is not known: the memory is left to the garbage collector
		h.packets, h.chunks, h.shared = nil, nil, false
	}
	clear(h.packets) // the log's memory
	for i := range h.chunks {
		h.chunks[i].Release()
	}
	clear(h.chunks)
	h.chunks, h.fresh = h.chunks[:0], false
	h.packets, h.bytes, h.kept = h.packets[:0], 0, false
}

// begin forgets everything: the next packet is that of a random access point.
func (h *liveHistory) begin() {
	h.clear()
	h.kept = true
}

func (h *liveHistory) add(p sentPacket) {
	if !h.kept {
		return
	}
	if h.bytes += len(p.raw); h.bytes > maxHistoryBytes || len(h.packets) == maxHistoryPackets {
		h.clear()
		return
	}
	h.packets = append(h.packets, p)
	h.fresh = true
}

// lend ends the taking of a chunk, which is released when nothing here is a view of it.
func (h *liveHistory) lend(k Chunk) {
	if !h.fresh {
		k.Release()
		return
	}
	h.chunks, h.fresh = append(h.chunks, k), false
}

// read returns the packets; they stay as they are.
func (h *liveHistory) read() []sentPacket {
	h.shared = len(h.packets) > 0
	return h.packets[:len(h.packets):len(h.packets)]
}

// keep puts a packet that readers are sent into the history. raw: its bytes, where they
// differ in nothing but the numbers; nil: they do.
func (f *liveFeed) keep(track int, p *rtp.Packet, raw []byte, capture time.Time) {
	if !f.history.kept {
		return
	}
	if raw == nil {
		var err error
		if raw, err = p.Marshal(); err != nil {
			f.history.clear()
			return
		}
	}
	f.history.add(sentPacket{raw, uint8(track), p.SequenceNumber, p.Timestamp, capture.UnixNano()})
}

// joining is where a reader begins.
type joining struct {
	stream liveStream
	// packets are those that it missed; last are the sequence numbers of the newest ones
	// that exist, by track.
	packets []sentPacket
	// atNS is the capture time of what comes first; 0: nothing was sent yet.
	atNS   int64
	tracks []joiningTrack
}

// joiningTrack is a track at joining.atNS.
type joiningTrack struct {
	first, last uint16 // sequence numbers: of the first packet for the reader, of the newest one sent
	ts          uint32
	known       bool
}

// begin tells a reader that plays by now where it begins. history: it takes what it
// missed. What is sent from now on reaches it: enter is told the stream.
func (f *liveFeed) begin(history bool, enter func(liveStream)) joining {
	f.mu.Lock()
	defer f.mu.Unlock()
	enter(f.stream)
	j := joining{stream: f.stream, tracks: make([]joiningTrack, len(f.out))}
	if len(f.out) == 0 {
		return j
	}
	if history && !f.gated {
		j.packets = f.history.read()
	}
	if len(j.packets) > 0 {
		j.atNS = j.packets[0].ns
	} else if n := f.out[referenceTrack(f.tracks)].numbers; n.started {
		j.atNS = n.frontNS
	}
	for i := range f.out {
		n := f.out[i].numbers
		j.tracks[i] = joiningTrack{first: n.seq + 1, last: n.seq, ts: n.at(j.atNS), known: n.started && j.atNS != 0}
	}
	for i := len(j.packets) - 1; i >= 0; i-- {
		j.tracks[j.packets[i].track].first = j.packets[i].seq
	}
	return j
}

// prime fills the history for the first reader with what the log has since the newest
// cut, and leaves the cursor where it goes on. Under f.mu.
func (f *liveFeed) prime() {
	f.quiet = true
	c := f.log.NewLiveCursor(LiveCut)
	for k, ok := c.TryNext(liveBatch); ok; k, ok = c.TryNext(liveBatch) {
		f.take(k)
	}
	f.quiet = false
	if !f.history.kept {
		f.close() // there is no key frame since the cut
	}
	f.cursor = c
}

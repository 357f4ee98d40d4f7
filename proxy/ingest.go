package proxy

import (
	"fmt"
	"sync"
	"time"

	"github.com/pion/rtp"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// maxHeld bounds how many packets of an access unit are held back until its first
// picture data tells what it is. Only parameter sets, SEI and delimiters are held.
const maxHeld = 32

// ingest turns the packets of one camera session into the records of an epoch:
// inspector → stamper → cutter → sink. It holds back nothing but the packets of an
// access unit that come before its picture data. Its methods may be called
// concurrently; gortsplib reads each UDP track on a goroutine of its own.
type ingest struct {
	mu     sync.Mutex
	cfg    sessionConfig
	sink   sessionSink
	tracks []media.Track
	state  []ingestTrack
	cut    *cutter
	err    error // the first error of the sink; nothing is taken after it

	begun   bool
	floorNS int64
	desc    media.Description
	ext     []byte // desc encoded, of parameter sets extVersion
	extOf   int
	dirty   bool // something is appended and not published
	dropped uint64
	record  record.Record
}

// ingestTrack is what ingest knows of a track.
type ingestTrack struct {
	inspect *inspector
	stamp   *stamper
	video   bool
	instant bool // a closed random access point is an IDR: nothing reorders over it

	seen bool
	seq  uint16

	held    [maxHeld]heldPacket
	n       int
	bytes   []byte // of the packets in held that came as bytes
	arrival int64  // of the first packet of the access unit

	captureNS int64 // of the access unit
	keep      bool
}

type heldPacket struct {
	rtp  *rtp.Packet
	raw  []byte // where rtp is nil
	ts   uint32
	loss record.Flags
}

// newIngest returns the machine for a session with these tracks.
func newIngest(cfg sessionConfig, sink sessionSink, tracks []media.Track) *ingest {
	return &ingest{
		cfg: cfg, sink: sink, tracks: tracks, extOf: -1,
		state: make([]ingestTrack, len(tracks)),
		cut:   newCutter(tracks, cfg.FragmentMin, cfg.FragmentMax),
	}
}

// begin starts the epoch, when the first packet is there.
func (in *ingest) begin() error {
	start, err := in.sink.Begin(in.tracks)
	if err != nil {
		return fmt.Errorf("begin an epoch of camera %s: %w", in.cfg.Camera.Name, err)
	}
	// One sample of the wall clock serves the whole epoch: a step of it cannot reach
	// capture times. What was captured before the floor belongs to the epoch before.
	mono := in.cfg.Clock.Mono()
	now := in.cfg.Clock.Now().UnixNano()
	if start.ResumeNS > now+int64(time.Second) {
		// The wall clock was set back since then. Going on from the epoch before keeps
		// the gap as long as it was.
		now = start.ResumeNS
	}
	wall := max(now, start.FloorNS+int64(time.Millisecond)) - mono
	in.floorNS = start.FloorNS
	in.desc = media.Description{
		SegmentMS: in.cfg.SegmentDuration.Milliseconds(),
		Since:     start.Since,
		SinceNS:   start.SinceNS,
		Tracks:    append([]media.Track(nil), in.tracks...),
	}
	for i, t := range in.tracks {
		in.state[i] = ingestTrack{
			inspect: newInspector(&in.tracks[i]),
			video:   t.Kind == media.KindVideo,
			instant: t.Codec == media.H264 || t.Codec == media.H265,
			stamp: newStamper(stamperOptions{
				ClockRate:     t.ClockRate,
				Reorders:      t.Codec == media.H264 || t.Codec == media.H265 || t.Codec == media.Unknown,
				SenderReports: in.cfg.Camera.Clock == "rtcp",
				WallNS:        wall,
			}),
		}
	}
	in.begun = true
	return nil
}

// packet takes a packet of a track, in the order of its sequence numbers. The packet
// must not be changed afterwards.
func (in *ingest) packet(track int, p *rtp.Packet) error {
	v := packetOf(p)
	return in.push(track, &v)
}

// push is packet for one that may be there as bytes, which it does not keep.
func (in *ingest) push(track int, p *packet) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == nil && !in.begun {
		in.err = in.begin()
	}
	if in.err == nil {
		in.err = in.take(track, p)
	}
	return in.err
}

func (in *ingest) take(track int, p *packet) error {
	t := &in.state[track]
	h := heldPacket{rtp: p.rtp, raw: p.raw, ts: p.ts}
	if t.seen && p.seq != t.seq+1 {
		h.loss = record.LossBefore
	}
	t.seen, t.seq = true, p.seq

	info := t.inspect.inspect(p.ts, p.marker, p.payload)
	if info.start {
		if err := in.release(track, unitInfo{}); err != nil { // one without a picture
			return err
		}
		if in.dirty {
			in.publish() // of a camera that sets no markers
		}
		t.arrival = in.cfg.Clock.Mono()
	}
	if info.start || t.n > 0 {
		t.held[t.n] = h
		t.n++
		if !info.decided && t.n < maxHeld {
			t.hold()
			return nil
		}
		if err := in.release(track, info); err != nil {
			return err
		}
	} else if err := in.append(track, 0, h); err != nil {
		return err
	}
	if in.dirty && (p.marker || !t.video) {
		in.publish()
	}
	return nil
}

// hold makes the newest of the held packets the track's own.
func (t *ingestTrack) hold() {
	h := &t.held[t.n-1]
	if h.rtp != nil {
		return
	}
	if t.n == 1 {
		t.bytes = t.bytes[:0]
	}
	at := len(t.bytes)
	t.bytes = append(t.bytes, h.raw...) // where that moves it, packets held before keep the old one
	h.raw = t.bytes[at:len(t.bytes):len(t.bytes)]
}

// release stamps the access unit whose packets are held, decides on it, and appends
// them.
func (in *ingest) release(track int, info unitInfo) error {
	t := &in.state[track]
	if t.n == 0 {
		return nil
	}
	n := t.n
	t.n = 0
	instant := t.instant && info.randomAccess && !info.openGOP
	captureNS, jumped := t.stamp.stamp(t.held[0].ts, t.arrival, instant)
	t.captureNS, t.keep = captureNS, false
	var flags record.Flags
	if captureNS > in.floorNS {
		flags, t.keep = in.cut.decide(accessUnit{
			track: track, captureNS: captureNS,
			randomAccess: info.randomAccess, openGOP: info.openGOP, jumped: jumped,
		})
	}
	for i := range n {
		h := t.held[i]
		t.held[i] = heldPacket{}
		if err := in.append(track, flags, h); err != nil {
			return err
		}
		flags = 0
	}
	return nil
}

func (in *ingest) append(track int, flags record.Flags, h heldPacket) error {
	t := &in.state[track]
	if !t.keep {
		in.dropped++
		return nil
	}
	in.record = record.Record{Track: uint8(track), Flags: flags | h.loss, CaptureNS: t.captureNS}
	if flags.Has(record.Cut) {
		ext, err := in.description()
		if err != nil {
			return err
		}
		in.record.Ext = ext
	}
	in.record.Packet = h.raw
	if _, err := in.sink.Append(&in.record, h.rtp); err != nil {
		return fmt.Errorf("append a record of camera %s: %w", in.cfg.Camera.Name, err)
	}
	in.record.Packet = nil
	in.dirty = true
	return nil
}

// description returns what a cut carries: the newest parameter sets included.
func (in *ingest) description() ([]byte, error) {
	version := 0
	for i := range in.state {
		version += in.state[i].inspect.params.version
	}
	if version == in.extOf {
		return in.ext, nil
	}
	for i := range in.state {
		in.desc.Tracks[i].Params = append([][]byte(nil), in.state[i].inspect.params.sets...)
	}
	ext, err := in.desc.Encode()
	if err != nil {
		return nil, fmt.Errorf("describe a cut of camera %s: %w", in.cfg.Camera.Name, err)
	}
	in.ext, in.extOf = ext, version
	return ext, nil
}

func (in *ingest) publish() {
	in.dirty = false
	in.sink.Publish()
}

// report takes a sender report of a track: ts stands for the instant ntpNS (Unix ns).
func (in *ingest) report(track int, ntpNS int64, ts uint32) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.begun {
		in.state[track].stamp.report(ntpNS, ts, in.cfg.Clock.Mono())
	}
}

// lost counts packets that did not arrive.
func (in *ingest) lost(n uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.begun {
		in.sink.Lost(n)
	}
}

// end appends what is held back, and returns how many packets were dropped because
// they came before the first random access point.
func (in *ingest) end() (dropped uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == nil && in.begun {
		for i := range in.state {
			if in.err = in.release(i, unitInfo{}); in.err != nil {
				break
			}
		}
		in.publish()
	}
	return in.dropped
}

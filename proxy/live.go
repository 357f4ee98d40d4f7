package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/node"
	"github.com/duet-video/duet/internal/record"
)

const (
	// liveWait is how long a reader that asks for a camera waits for it to be live.
	liveWait = 3 * time.Second
	// liveBatch is how much is taken from the log at once.
	liveBatch = 64 << 10
	// reportEvery is how often readers get a sender report.
	reportEvery = int64(5 * time.Second)
	// maxDatagram is the largest RTP packet for readers: 1500 bytes of Ethernet less the
	// headers of IPv4 and UDP.
	maxDatagram = 1472
)

// errNotLive says that a camera has nothing to show.
var errNotLive = errors.New("the camera is not live")

// liveStream is where the packets of a camera go to its readers. It never blocks.
type liveStream interface {
	// Write sends a packet of a track to all readers, changing its header's SSRC and
	// payload type. last: nothing more of this track is at hand.
	Write(track int, p *rtp.Packet, capture time.Time, last bool)
	// Report sends a sender report, whose SSRC it fills in.
	Report(track int, sr *rtcp.SenderReport)
	// SetParams replaces the parameter sets that the SDP names.
	SetParams(track int, params [][]byte)
	// Flush sends what was written.
	Flush()
	// Close ends the sessions of all readers.
	Close()
}

// liveFeed carries a camera's records from its log to its readers, while there are any.
// Everything may be called concurrently.
type liveFeed struct {
	name   string
	log    *Log
	clock  clock.Clock
	logger zerolog.Logger
	every  *node.Every
	// open makes the stream for tracks.
	open func(tracks []media.Track) (liveStream, error)

	wanted chan struct{}

	mu      sync.Mutex
	stream  liveStream
	ext     []byte // the description that stream was last told of
	tracks  []media.Track
	out     []liveTrack
	epoch   record.Epoch
	gated   bool // until the next random access point
	readers int
	stop    context.CancelFunc
	cursor  *Cursor // what run is to go on with; nil: run has it
	turn    int     // counts cursors: chunks of an earlier one are not for readers
	quiet   bool    // into the history only
	history liveHistory
	ended   bool
	random  func() uint32
}

type liveTrack struct {
	numbers  *rewriter
	waits    bool // for the next access unit
	packets  uint32
	octets   uint32
	reportNS int64 // Clock.Mono of the next report
	packet   rtp.Packet
	scratch  []byte
	last     int // index in the batch of its last record
}

// run feeds until ctx is done.
func (f *liveFeed) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			f.mu.Lock()
			f.ended = true
			if f.stream != nil {
				f.stream.Close()
				f.stream = nil
			}
			f.dropCursor()
			f.mu.Unlock()
			return
		case <-f.wanted:
		}
		f.mu.Lock()
		if f.readers == 0 || f.cursor == nil {
			f.dropCursor()
			f.mu.Unlock()
			continue
		}
		c, turn := f.cursor, f.turn
		f.cursor = nil
		reading, stop := context.WithCancel(ctx)
		f.stop = stop
		f.mu.Unlock()
		f.read(reading, c, turn)
		stop()
	}
}

func (f *liveFeed) dropCursor() {
	if f.cursor != nil {
		f.cursor.Close()
		f.cursor = nil
	}
}

// join tells that one more reader plays, leave that one does no more. history: the reader
// is going to take what it missed, see begin.
func (f *liveFeed) join(history bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers++
	for i := range f.out {
		f.out[i].reportNS = 0 // the new one needs a report soon
	}
	if f.readers == 1 && !f.ended {
		f.dropCursor()
		f.turn++
		f.close()
		f.restart()
		if history {
			f.prime()
		} else {
			f.cursor = f.log.NewLiveCursor(LiveTail)
		}
		select {
		case f.wanted <- struct{}{}:
		default:
		}
	}
}

func (f *liveFeed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers--
	if f.readers > 0 {
		return
	}
	f.turn++
	f.history.clear() // the next reader makes it anew
	if f.stop != nil {
		f.stop()
	}
}

// ready returns the camera's stream, with the newest parameter sets; it waits up to
// liveWait for the camera to be live, and returns errNotLive where it is not.
func (f *liveFeed) ready(ctx context.Context) (liveStream, error) {
	ctx, cancel := context.WithTimeout(ctx, liveWait)
	defer cancel()
	c := f.log.NewLiveCursor(LiveCut)
	defer c.Close()
	for {
		k, err := c.Next(ctx, 1)
		if err != nil {
			return nil, errNotLive
		}
		if k.Kind != ChunkBatch {
			continue
		}
		defer k.Release()
		var r record.Record
		if _, err := record.Next(k.Records, &r); err != nil {
			return nil, fmt.Errorf("read the log of camera %s: %w", f.name, err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if r.Flags.Has(record.Cut) {
			if err := f.describe(r.Ext); err != nil {
				return nil, err
			}
		}
		if f.stream == nil {
			return nil, errNotLive
		}
		return f.stream, nil
	}
}

func (f *liveFeed) read(ctx context.Context, c *Cursor, turn int) {
	defer c.Close()
	for {
		k, err := c.Next(ctx, liveBatch)
		if err != nil {
			return
		}
		f.mu.Lock()
		if f.turn == turn {
			f.take(k)
		} else {
			k.Release()
		}
		f.mu.Unlock()
	}
}

// take sends a chunk of the log on. Under f.mu.
func (f *liveFeed) take(k Chunk) {
	switch k.Kind {
	case ChunkOpen:
		if k.Epoch != f.epoch {
			f.epoch = k.Epoch
			f.restart()
		}
		f.close()
	case ChunkLost, ChunkEnd:
		f.close()
	case ChunkBatch:
		if err := f.batch(k.Records); err != nil {
			if n, ok := f.every.Allow("batch"); ok {
				f.logger.Error().Err(err).Int("suppressed", n).Msg("live readers are without a picture")
			}
			f.close()
		}
		f.history.lend(k)
	}
}

// close lets nothing through until the next random access point.
func (f *liveFeed) close() {
	f.gated = true
	f.history.clear()
	for i := range f.out {
		f.out[i].waits = true
		f.out[i].numbers.gap()
	}
}

func (f *liveFeed) restart() {
	for i := range f.out {
		f.out[i].numbers.restart()
	}
}

// batch sends records on.
func (f *liveFeed) batch(b []byte) error {
	var r record.Record
	for i := range f.out {
		f.out[i].last = -1
	}
	for i, rest := 0, b; len(rest) > 0; i++ {
		var err error
		if rest, err = record.Next(rest, &r); err != nil {
			return fmt.Errorf("read the log of camera %s: %w", f.name, err)
		}
		if int(r.Track) < len(f.out) {
			f.out[r.Track].last = i
		}
	}
	for i, rest := 0, b; len(rest) > 0; i++ {
		rest, _ = record.Next(rest, &r)
		if r.Flags.Has(record.Cut) {
			if err := f.describe(r.Ext); err != nil {
				return err
			}
		}
		if f.stream == nil || int(r.Track) >= len(f.out) {
			continue
		}
		t := &f.out[r.Track]
		if f.gated && int(r.Track) == referenceTrack(f.tracks) &&
			(r.Flags.Has(record.RandomAccess) || r.Flags.Has(record.Cut)) {
			f.gated = false
		}
		if f.gated || t.waits && !r.Flags.Has(record.AccessUnit) {
			continue
		}
		t.waits = false
		if r.Flags.Has(record.RandomAccess) && int(r.Track) == referenceTrack(f.tracks) {
			f.history.begin()
		}
		if err := f.send(int(r.Track), &r, t.last <= i); err != nil {
			return err
		}
	}
	if f.stream != nil && !f.quiet {
		f.stream.Flush()
	}
	return nil
}

// send sends one record on.
func (f *liveFeed) send(track int, r *record.Record, last bool) error {
	t := &f.out[track]
	p := &t.packet
	*p = rtp.Packet{}
	if err := p.Unmarshal(r.Packet); err != nil {
		return fmt.Errorf("read a packet of camera %s: %w", f.name, err)
	}
	if r.Flags.Has(record.Discontinuity) {
		t.numbers.restart()
	}
	p.SequenceNumber, p.Timestamp = t.numbers.next(p.SequenceNumber, p.Timestamp, r.CaptureNS)
	if r.Flags.Has(record.AccessUnit) {
		f.report(track)
	}
	capture := time.Unix(0, r.CaptureNS)
	head := p.MarshalSize() - len(p.Payload)
	if head+len(p.Payload) <= maxDatagram {
		f.write(track, p, r.Packet, capture, last)
		return nil
	}
	p.PaddingSize, p.Padding = 0, false
	head = p.MarshalSize() - len(p.Payload)
	marker, first := p.Marker, true
	ok := splitPayload(f.tracks[track].Codec, p.Payload, maxDatagram-head, &t.scratch, func(b []byte, end bool) {
		if !first {
			p.SequenceNumber = t.numbers.extra()
		}
		first = false
		p.Payload, p.Marker = b, marker && end
		f.write(track, p, nil, capture, last && end)
	})
	if n, allowed := f.every.Allow("large"); !ok && allowed {
		f.logger.Warn().Str("codec", string(f.tracks[track].Codec)).Int("bytes", len(r.Packet)).Int("suppressed", n).
			Msg("a packet is too large for live readers and was left out")
	}
	return nil
}

func (f *liveFeed) write(track int, p *rtp.Packet, raw []byte, capture time.Time, last bool) {
	f.keep(track, p, raw, capture)
	if f.quiet {
		return
	}
	t := &f.out[track]
	t.packets++
	t.octets += uint32(len(p.Payload))
	f.stream.Write(track, p, capture, last)
}

// report sends a sender report when one is due: it says which capture time a timestamp
// stands for (RFC 3550 6.4.1), extended to now.
func (f *liveFeed) report(track int) {
	t := &f.out[track]
	mono := f.clock.Mono()
	if mono < t.reportNS || f.quiet {
		return
	}
	t.reportNS = mono + reportEvery
	now := f.clock.Now().UnixNano()
	if d := now - t.numbers.frontNS; d > reportEvery || d < -reportEvery {
		now = t.numbers.frontNS // the wall clock was stepped since the epoch began
	}
	f.stream.Report(track, &rtcp.SenderReport{
		NTPTime: unixToNTP(now), RTPTime: t.numbers.at(now), PacketCount: t.packets, OctetCount: t.octets,
	})
}

// unixToNTP converts Unix ns to the 32.32 fixed point of RFC 3550 4.
func unixToNTP(ns int64) uint64 {
	s, frac := ns/int64(time.Second), ns%int64(time.Second)
	return uint64(s+2208988800)<<32 | uint64(frac)<<32/uint64(time.Second)
}

package proxy

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// memorySink keeps what a session appends.
type memorySink struct {
	start     epochStart
	began     int
	records   []record.Record
	published int // records that are published
	lost      uint64
}

func (s *memorySink) Begin([]media.Track) (epochStart, error) {
	s.began++
	return s.start, nil
}

func (s *memorySink) Append(r *record.Record, p *rtp.Packet) (uint64, error) {
	c := *r
	if p == nil {
		c.Packet = slices.Clone(r.Packet)
	} else {
		b, err := p.Marshal()
		if err != nil {
			return 0, err
		}
		c.Packet = b
	}
	s.records = append(s.records, c)
	return uint64(len(s.records) - 1), nil
}

func (s *memorySink) Publish()      { s.published = len(s.records) }
func (s *memorySink) Lost(n uint64) { s.lost += n }

// handClock is moved by hand.
type handClock struct{ mono int64 }

func (c *handClock) Now() time.Time { return time.Unix(1_700_000_000, 0).Add(time.Duration(c.mono)) }
func (c *handClock) Mono() int64    { return c.mono }

func testConfig(c *handClock) sessionConfig {
	return sessionConfig{
		Camera:      Camera{Name: "gate"},
		FragmentMin: time.Second, FragmentMax: 10 * time.Second,
		SegmentDuration: 10 * time.Minute, StallTimeout: 5 * time.Second,
		Clock: c, Log: zerolog.Nop(),
	}
}

var (
	sps1 = []byte{0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58}
	sps2 = []byte{0x67, 0x64, 0x00, 0x29, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58}
	pps1 = []byte{0x68, 0xeb, 0xe3, 0xcb}
	sei  = []byte{0x06, 0x05, 0x01, 0x00}
	idr  = []byte{0x65, 0x88, 0x84, 0x00}
	idr2 = []byte{0x65, 0x48, 0x84, 0x00} // not the first slice
	non  = []byte{0x41, 0x9a, 0x02, 0x04}
	aud  = []byte{0x09, 0xf0}
)

// sender makes the packets of one track.
type sender struct {
	in    *ingest
	track int
	seq   uint16
	ts    uint32
}

func (s *sender) send(t require.TestingT, marker bool, payload []byte) *rtp.Packet {
	p := &rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: s.seq, Timestamp: s.ts, Marker: marker, SSRC: 7},
		Payload: payload,
	}
	s.seq++
	require.NoError(t, s.in.packet(s.track, p))
	return p
}

// unit sends an access unit, one NAL unit a packet, the marker on the last.
func (s *sender) unit(t require.TestingT, nals ...[]byte) {
	for i, n := range nals {
		s.send(t, i == len(nals)-1, n)
	}
}

func h264Track() media.Track {
	return media.Track{Kind: media.KindVideo, Codec: media.H264, ClockRate: 90000}
}

func pcmaTrack() media.Track {
	return media.Track{Kind: media.KindAudio, Codec: media.PCMA, ClockRate: 8000, SampleRate: 8000, Channels: 1}
}

func flagsOf(rs []record.Record) (out []record.Flags) {
	for _, r := range rs {
		out = append(out, r.Flags)
	}
	return out
}

const (
	fAU  = record.AccessUnit
	fRA  = record.AccessUnit | record.RandomAccess
	fCut = record.AccessUnit | record.RandomAccess | record.Cut
)

func TestAccessUnitBeginsWithItsFirstPacketAndKnowsWhatItIs(t *testing.T) {
	c := &handClock{}
	sink := &memorySink{}
	in := newIngest(testConfig(c), sink, []media.Track{h264Track()})
	s := &sender{in: in}
	step := func() { s.ts += 3600; c.mono += 40 * ms }

	s.unit(t, non) // before the first random access point: left out
	step()
	s.unit(t, aud, sps1, pps1, sei, idr, idr2)
	require.Equal(t, []record.Flags{fCut, 0, 0, 0, 0, 0}, flagsOf(sink.records))
	step()
	s.unit(t, aud, non)
	require.Equal(t, []record.Flags{fAU, 0}, flagsOf(sink.records[6:]))
	require.Equal(t, 8, sink.published)
	step()
	s.unit(t, aud, sps2, pps1, idr) // within fragment.min
	require.Equal(t, []record.Flags{fRA, 0, 0, 0}, flagsOf(sink.records[8:]))
	c.mono += 2 * int64(time.Second)
	s.ts += 2 * 90000
	s.unit(t, aud, idr)
	require.Equal(t, []record.Flags{fCut, 0}, flagsOf(sink.records[12:]))

	first, err := media.ParseDescription(sink.records[0].Ext)
	require.NoError(t, err)
	require.Equal(t, [][]byte{sps1, pps1}, first.Tracks[0].Params)
	second, err := media.ParseDescription(sink.records[12].Ext)
	require.NoError(t, err)
	require.Equal(t, [][]byte{sps2, pps1}, second.Tracks[0].Params)
	require.EqualValues(t, 600_000, second.SegmentMS)
	require.EqualValues(t, 1, in.end())
}

func TestParameterSetsOfAnAggregationPacketBelongToItsCut(t *testing.T) {
	c := &handClock{}
	sink := &memorySink{}
	track := h264Track()
	track.Params = [][]byte{sps1, nil}
	s := &sender{in: newIngest(testConfig(c), sink, []media.Track{track})}
	stap := []byte{24}
	for _, n := range [][]byte{sps2, pps1, idr} {
		stap = append(append(stap, 0, byte(len(n))), n...)
	}
	s.unit(t, stap)
	require.Equal(t, []record.Flags{fCut}, flagsOf(sink.records))
	d, err := media.ParseDescription(sink.records[0].Ext)
	require.NoError(t, err)
	require.Equal(t, [][]byte{sps2, pps1}, d.Tracks[0].Params)
}

func TestMarkerOnEveryNALUnitDoesNotSplitAnAccessUnit(t *testing.T) {
	c := &handClock{}
	sink := &memorySink{}
	s := &sender{in: newIngest(testConfig(c), sink, []media.Track{h264Track()})}
	for _, n := range [][]byte{sps1, pps1, idr, idr2} {
		s.send(t, true, n)
	}
	require.Equal(t, []record.Flags{fCut, 0, 0, 0}, flagsOf(sink.records))
	s.send(t, true, idr) // a second picture with the same timestamp
	require.Equal(t, fRA, sink.records[4].Flags)
}

func TestLossIsFlaggedOnTheRecordAfterIt(t *testing.T) {
	c := &handClock{}
	sink := &memorySink{}
	s := &sender{in: newIngest(testConfig(c), sink, []media.Track{h264Track()})}
	s.unit(t, sps1, pps1, idr)
	s.seq += 3
	s.ts += 3600
	s.unit(t, aud, non)
	s.seq++
	s.send(t, true, non)
	require.Equal(t, []record.Flags{fCut, 0, 0, fAU | record.LossBefore, 0, record.AccessUnit | record.LossBefore},
		flagsOf(sink.records))
}

func TestDamagedKeyFrameIsNoRandomAccessPoint(t *testing.T) {
	in := newInspector(&media.Track{Kind: media.KindVideo, Codec: media.H264})
	fuStart, fuMiddle := []byte{0x7c, 0x85, 0x88, 0x84}, []byte{0x7c, 0x05, 0x01, 0x02}
	require.Equal(t, unitInfo{start: true, decided: true, randomAccess: true}, in.inspect(1, false, fuStart))
	require.Equal(t, unitInfo{decided: true, randomAccess: true}, in.inspect(1, true, fuMiddle))
	require.Equal(t, unitInfo{start: true, decided: true}, in.inspect(2, false, fuMiddle))
}

func TestForcedCutWhereNoKeyFrameComes(t *testing.T) {
	c := &handClock{}
	sink := &memorySink{}
	s := &sender{in: newIngest(testConfig(c), sink, []media.Track{h264Track()})}
	s.unit(t, sps1, pps1, idr)
	for range 25 * 30 {
		s.ts += 3600
		c.mono += 40 * ms
		s.unit(t, non)
	}
	var cuts []int64
	for _, r := range sink.records[1:] {
		if r.Flags.Has(record.Cut) {
			require.Equal(t, fAU|record.Cut|record.Forced, r.Flags)
			require.NotEmpty(t, r.Ext)
			cuts = append(cuts, (r.CaptureNS-sink.records[0].CaptureNS)/1e9)
		}
	}
	require.Equal(t, []int64{10, 20, 30}, cuts)
}

// A forced cut among B-frames would let decode times step back from a fragment to the next.
func TestForcedCutDoesNotDivideAGroupOfBFrames(t *testing.T) {
	const frames, gop = 25 * 95, 25 * 30
	for name, group := range map[string][]uint32{ // when frames are shown, in decoding order
		"two":       {3, 1, 2},
		"a pyramid": {8, 4, 2, 1, 3, 6, 5, 7},
	} {
		t.Run(name, func(t *testing.T) {
			c := &handClock{}
			sink := &memorySink{}
			in := newIngest(testConfig(c), sink, []media.Track{h264Track()})
			s := &sender{in: in}
			shownAt := uint32(0)
			for n := range frames {
				c.mono = int64(n) * 40 * ms
				if n%gop == 0 {
					shownAt = uint32(n)
					s.ts = shownAt * 3600
					s.unit(t, sps1, pps1, idr)
					continue
				}
				k := uint32(n%gop - 1)
				size := uint32(len(group))
				at := shownAt + k/size*size + group[k%size]
				s.ts = min(at, shownAt+gop-1) * 3600 // a group ends with the GOP
				if rest := uint32(gop-1) - k/size*size; rest < size {
					s.ts = (shownAt + k + 1) * 3600
				}
				s.unit(t, non)
			}
			in.end()

			cuts, newest := 0, int64(0)
			for _, r := range sink.records {
				if r.Flags.Has(record.Cut) {
					require.Greater(t, r.CaptureNS, newest, "cut %d", cuts)
					cuts++
				}
				newest = max(newest, r.CaptureNS)
			}
			require.GreaterOrEqual(t, cuts, 9, "30 s without a key frame are three fragments")
			requireDecodeTimesAscend(t, sink.records)
		})
	}
}

// requireDecodeTimesAscend checks that in the fragments of the records no sample is
// decoded before the one before it has ended.
func requireDecodeTimesAscend(t *testing.T, records []record.Record) {
	t.Helper()
	b := media.NewBuilder("gate")
	endTicks := int64(0)
	for i := 0; i < len(records); {
		b.Begin(record.Epoch{1}, uint64(i))
		require.NoError(t, b.Push(uint64(i), &records[i]))
		for i++; i < len(records) && !records[i].Flags.Has(record.Cut); i++ {
			require.NoError(t, b.Push(uint64(i), &records[i]))
		}
		var cut *record.Record
		if i < len(records) {
			cut = &records[i]
		}
		f, err := b.Finish(cut, true)
		require.NoError(t, err)
		init, err := media.ParseInit(f.Init)
		require.NoError(t, err)
		data := append(slices.Clone(f.Moof), slices.Concat(f.Mdat...)...)
		p, err := media.ParseFragment(data, int64(len(data)), init, f.Info.WindowNS)
		require.NoError(t, err)
		for _, s := range p.Tracks[0].Samples {
			at := f.Info.WindowNS/1e9*90000 + s.DTS // windows are whole minutes
			require.GreaterOrEqual(t, at, endTicks, "record %d", i)
			endTicks = at + int64(s.Duration)
		}
	}
}

func TestEpochBeginsForcedWhereNoKeyFrameComes(t *testing.T) {
	c := &handClock{}
	sink := &memorySink{}
	s := &sender{in: newIngest(testConfig(c), sink, []media.Track{h264Track()})}
	for range 25 * 11 {
		s.unit(t, non)
		s.ts += 3600
		c.mono += 40 * ms
	}
	require.NotEmpty(t, sink.records)
	require.Equal(t, fAU|record.Cut|record.Forced, sink.records[0].Flags)
	require.EqualValues(t, 250, s.in.end())
}

func TestFragmentsStayBoundedWhenVideoIsSilent(t *testing.T) {
	c := &handClock{}
	sink := &memorySink{}
	in := newIngest(testConfig(c), sink, []media.Track{h264Track(), pcmaTrack()})
	v, a := &sender{in: in}, &sender{in: in, track: 1}
	v.unit(t, sps1, pps1, idr)
	cuts := 0
	for range 50 * 65 {
		a.send(t, false, []byte{1, 2, 3})
		a.ts += 160
		c.mono += 20 * ms
	}
	for _, r := range sink.records {
		if r.Flags.Has(record.Cut) {
			cuts++
		}
	}
	require.Equal(t, 4, cuts)
	require.Equal(t, len(sink.records), sink.published)
}

func TestNothingIsCapturedAtOrBeforeTheFloor(t *testing.T) {
	c := &handClock{}
	floor := c.Now().Add(time.Hour).UnixNano() // the wall clock was set back
	sink := &memorySink{start: epochStart{FloorNS: floor, Since: media.CauseStalled, SinceNS: 5}}
	s := &sender{in: newIngest(testConfig(c), sink, []media.Track{h264Track()})}
	s.unit(t, idr)
	s.ts -= 3600
	s.unit(t, non)
	require.Len(t, sink.records, 1)
	require.Greater(t, sink.records[0].CaptureNS, floor)
	d, err := media.ParseDescription(sink.records[0].Ext)
	require.NoError(t, err)
	require.Equal(t, media.CauseStalled, d.Since)
	require.EqualValues(t, 5, d.SinceNS)
}

// The camera was away for 3 s, and the wall clock was set back by an hour meanwhile.
func TestAClockThatWasSetBackDoesNotShortenTheGap(t *testing.T) {
	c := &handClock{}
	last := c.Now().Add(time.Hour).UnixNano()
	resume := last + 3*int64(time.Second)
	sink := &memorySink{start: epochStart{FloorNS: last, SinceNS: last, ResumeNS: resume}}
	s := &sender{in: newIngest(testConfig(c), sink, []media.Track{h264Track()})}
	s.unit(t, idr)
	require.Len(t, sink.records, 1)
	require.Equal(t, resume, sink.records[0].CaptureNS)

	// Jitter and B-frames of a clock that was not set back do not add up over epochs.
	resume = c.Now().UnixNano() + int64(900*time.Millisecond)
	sink = &memorySink{start: epochStart{FloorNS: 1, SinceNS: 1, ResumeNS: resume}}
	s = &sender{in: newIngest(testConfig(c), sink, []media.Track{h264Track()})}
	s.unit(t, idr)
	require.Equal(t, c.Now().UnixNano(), sink.records[0].CaptureNS)
}

func TestPacketGoesIntoTheRecordUnchanged(t *testing.T) {
	c := &handClock{}
	sink := &memorySink{}
	in := newIngest(testConfig(c), sink, []media.Track{h264Track()})
	raw := append([]byte{0xb1, 0xe0, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 0xab, 0xac, 0, 1, 1, 2, 3, 4}, idr...)
	raw = append(raw, 0, 0, 3) // padding
	var p rtp.Packet
	require.NoError(t, p.Unmarshal(raw))
	require.NoError(t, in.packet(0, &p))
	require.Equal(t, raw, sink.records[0].Packet)
}

// Random streams: the same packets give the same records, and cuts are where they may be.
func TestCutsAreWhereTheyMayBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type event struct {
			track  int
			nals   [][]byte
			lose   bool
			stepMS int64
		}
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event {
			e := event{
				track: rapid.IntRange(0, 1).Draw(t, "track"), lose: rapid.IntRange(0, 20).Draw(t, "lose") == 0,
				stepMS: rapid.Int64Range(1, 400).Draw(t, "step"),
			}
			e.nals = rapid.SampledFrom([][][]byte{
				{non}, {non, non}, {aud, non}, {non}, {sei, non}, {idr}, {aud, sps1, pps1, sei, idr, idr2}, {sps2, pps1}, {aud},
			}).Draw(t, "nals")
			return e
		}), 1, 400).Draw(t, "events")

		run := func() []record.Record {
			c := &handClock{}
			sink := &memorySink{}
			in := newIngest(testConfig(c), sink, []media.Track{h264Track(), pcmaTrack()})
			s := []*sender{{in: in}, {in: in, track: 1}}
			for _, e := range events {
				c.mono += e.stepMS * ms
				s[0].ts = uint32(c.mono / 1000 * 9 / 100)
				s[1].ts = uint32(c.mono / 1000 * 8 / 1000)
				if e.lose {
					s[e.track].seq++
				}
				if e.track == 0 {
					s[0].unit(t, e.nals...)
				} else {
					s[1].send(t, false, []byte{9, 9})
				}
			}
			in.end()
			require.Equal(t, len(sink.records), sink.published)
			return sink.records
		}
		records := run()
		require.Equal(t, records, run())

		lastCut, lastUnit := int64(0), int64(0)
		seqs := map[uint8][]uint16{}
		for i, r := range records {
			if i == 0 {
				require.True(t, r.Flags.Has(record.Cut))
			}
			var p rtp.Packet
			require.NoError(t, p.Unmarshal(r.Packet))
			seqs[r.Track] = append(seqs[r.Track], p.SequenceNumber)
			require.Equal(t, r.Flags.Has(record.Cut), len(r.Ext) > 0)
			if r.Flags.Has(record.Cut) {
				require.True(t, r.Flags.Has(record.AccessUnit))
				if i > 0 {
					require.GreaterOrEqual(t, r.CaptureNS-lastCut, int64(950*time.Millisecond))
				}
				if r.Flags.Has(record.Forced) && i > 0 {
					require.GreaterOrEqual(t, r.CaptureNS-lastCut, 10*int64(time.Second))
				}
				lastCut = r.CaptureNS
			} else if r.Track == 0 && r.Flags.Has(record.AccessUnit) {
				require.Less(t, r.CaptureNS-lastCut, 10*int64(time.Second))
			}
			if r.Track == 0 && r.Flags.Has(record.AccessUnit) {
				require.Greater(t, r.CaptureNS, lastUnit)
				lastUnit = r.CaptureNS
			}
		}
		for _, s := range seqs {
			require.True(t, slices.IsSorted(s))
		}
	})
}

func TestIngestDoesNotAllocatePerPacket(t *testing.T) {
	c := &handClock{}
	in := newIngest(testConfig(c), countingSink{}, []media.Track{h264Track(), pcmaTrack()})
	packets := []*rtp.Packet{
		{Header: rtp.Header{Version: 2}, Payload: aud},
		{Header: rtp.Header{Version: 2}, Payload: append([]byte{24, 0, byte(len(sps1))}, sps1...)},
		{Header: rtp.Header{Version: 2}, Payload: idr},
		{Header: rtp.Header{Version: 2, Marker: true}, Payload: []byte{0x7c, 0x05, 0x01, 0x02}},
	}
	audio := &rtp.Packet{Header: rtp.Header{Version: 2}, Payload: []byte{1}}
	seq, ts := uint16(0), uint32(0)
	require.Zero(t, testing.AllocsPerRun(2000, func() {
		c.mono += 40 * ms
		ts += 3600
		for _, p := range packets {
			seq++
			p.SequenceNumber, p.Timestamp = seq, ts
			if in.packet(0, p) != nil {
				t.Fail()
			}
		}
		audio.SequenceNumber, audio.Timestamp = seq/4, ts/3600*320
		if in.packet(1, audio) != nil {
			t.Fail()
		}
	}))
}

type countingSink struct{}

func (countingSink) Begin([]media.Track) (epochStart, error)            { return epochStart{}, nil }
func (countingSink) Append(*record.Record, *rtp.Packet) (uint64, error) { return 0, nil }
func (countingSink) Publish()                                           {}
func (countingSink) Lost(uint64)                                        {}

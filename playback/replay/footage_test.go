package replay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

var (
	testSPS = []byte{
		0x67, 0x64, 0x00, 0x0c, 0xac, 0x3b, 0x50, 0xb0, 0x4b, 0x42, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x3d, 0x08,
	}
	testPPS = []byte{0x68, 0xee, 0x3c, 0x80}
)

// zeroTime is when the footage of tests begins.
var zeroTime = time.Date(2026, 3, 1, 12, 0, 0, 120_000_000, time.UTC)

const frameNS = int64(40 * time.Millisecond)

// au is an access unit of test footage.
type au struct {
	track     int
	captureNS int64
	key       bool
	nalus     [][]byte // of video
	data      []byte   // of audio
}

// stored is a fragment of test footage.
type stored struct {
	Fragment
	data []byte
	aus  []au // in the order of decoding, video first
}

// memory is Footage in memory. Its hooks are called without its lock.
type memory struct {
	mu      sync.Mutex
	frags   []stored
	headers map[media.Hash][]byte
	unknown []Stretch

	onRead func(n int, f *Fragment) error
	onList func(n int) error
	reads  int
	lists  int
}

func (m *memory) Knows(camera string) bool { return camera == "gate" }

func (m *memory) List(ctx context.Context, _ string, fromNS, toNS int64, after *After) (Listing, error) {
	m.mu.Lock()
	m.lists++
	n, hook := m.lists, m.onList
	m.mu.Unlock()
	if hook != nil {
		if err := hook(n); err != nil {
			return Listing{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := Listing{Unknown: slices.Clone(m.unknown)}
	for i := range m.frags {
		f := &m.frags[i].Fragment
		if f.EndNS <= fromNS || f.StartNS >= toNS || after != nil && f.EndNS <= after.CoverNS {
			continue
		}
		if len(l.Fragments) == 0 && after == nil {
			for k := i; k > 0 && !m.frags[k].RandomAccess; k-- {
				l.Fragments = slices.Insert(l.Fragments, 0, m.frags[k-1].Fragment)
			}
		}
		l.Fragments = append(l.Fragments, *f)
	}
	return l, ctx.Err()
}

func (m *memory) Next(_ context.Context, _ string, ns int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.frags {
		if m.frags[i].EndNS > ns {
			return m.frags[i].StartNS, nil
		}
	}
	return 0, ErrNone
}

func (m *memory) Previous(_ context.Context, _ string, ns int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range slices.Backward(m.frags) {
		if m.frags[i].StartNS < ns {
			return min(m.frags[i].EndNS, ns), nil
		}
	}
	return 0, ErrNone
}

func (m *memory) Read(ctx context.Context, _ string, f *Fragment) ([]byte, error) {
	m.mu.Lock()
	m.reads++
	n, hook := m.reads, m.onRead
	m.mu.Unlock()
	if hook != nil {
		if err := hook(n, f); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.frags {
		if m.frags[i].Hash == f.Hash {
			return bytes.Clone(m.frags[i].data), ctx.Err()
		}
	}
	return nil, ErrNone
}

func (m *memory) Header(_ context.Context, _ string, f *Fragment) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.headers[f.Init]; ok {
		return b, nil
	}
	return nil, ErrNone
}

func (m *memory) add(f ...stored) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frags = append(m.frags, f...)
}

// all returns the access units of tracks, in the order in which they are sent forward.
func all(frags []stored, track int) []au {
	var out []au
	for i := range frags {
		for _, a := range frags[i].aus {
			if a.track == track {
				out = append(out, a)
			}
		}
	}
	return out
}

// shape says what test footage is like.
type shape struct {
	seconds  int
	gop      int // frames
	cutEvery int // frames; cuts that are not at a key frame are forced
	audio    bool
	bframes  bool
	size     int           // of a frame, in bytes; 0: small
	gaps     map[int]int   // before which second an epoch starts, and how many seconds later
	params   func(int) int // variant of the PPS of a second
}

// makeFootage makes H.264, 25 frames a second, and AAC-like audio as L16.
func makeFootage(t testing.TB, s shape) *memory {
	t.Helper()
	m := &memory{headers: map[media.Hash][]byte{}}
	if s.gop == 0 {
		s.gop = 25
	}
	if s.cutEvery == 0 {
		s.cutEvery = s.gop
	}
	dice := rand.New(rand.NewPCG(1, 2))
	b := media.NewBuilder("gate")
	var epoch record.Epoch
	var offset uint64
	var aus []au
	shift := int64(0)
	building := false
	finish := func(cut *record.Record) {
		if !building {
			return
		}
		building = false
		f, err := b.Finish(cut, cut != nil)
		require.NoError(t, err)
		m.keep(f, aus)
		aus = nil
	}
	for i := range s.seconds * 25 {
		if i == 0 || i%25 == 0 && s.gaps[i/25] > 0 {
			finish(nil)
			shift += int64(s.gaps[i/25]) * int64(time.Second)
			offset = 0
			var err error
			epoch, err = record.NewEpoch(zeroTime.Add(time.Duration(int64(i)*frameNS+shift)), bytes.NewReader(bytes.Repeat([]byte{byte(i/25 + 1)}, 10)))
			require.NoError(t, err)
		}
		key := i%s.gop == 0
		pps := testPPS
		if s.params != nil {
			pps = append(slices.Clone(testPPS), byte(s.params(i/25)))
		}
		d := media.Description{SegmentMS: 600_000, Since: media.CauseStart, Tracks: []media.Track{
			{Kind: media.KindVideo, Codec: media.H264, ClockRate: 90000, Params: [][]byte{testSPS, pps}},
			{Kind: media.KindAudio, Codec: media.LPCM, ClockRate: 16000, SampleRate: 16000, Channels: 1, BitDepth: 16},
		}}
		capture := zeroTime.UnixNano() + shift + int64(display(i, s))*frameNS
		video := au{captureNS: capture, key: key, nalus: frame(dice, i, key, s)}
		ext, err := d.Encode()
		require.NoError(t, err)
		for j, n := range video.nalus {
			r := record.Record{CaptureNS: capture, Packet: packetOf(t, n, j == len(video.nalus)-1)}
			if j == 0 {
				r.Flags = record.AccessUnit
				if key {
					r.Flags |= record.RandomAccess
				}
				if i%s.cutEvery == 0 || !building {
					r.Flags |= record.Cut
					r.Ext = ext
					if !key {
						r.Flags |= record.Forced
					}
					finish(&r)
					b.Begin(epoch, offset)
					building = true
				}
			}
			require.NoError(t, b.Push(offset, &r))
			offset++
		}
		aus = append(aus, video)
		if !s.audio {
			continue
		}
		for k := range 2 { // 20 ms each
			a := au{track: 1, captureNS: capture + int64(k)*frameNS/2, key: true, data: make([]byte, 640)}
			if s.bframes {
				a.captureNS = zeroTime.UnixNano() + shift + int64(i)*frameNS + int64(k)*frameNS/2
			}
			for n := range a.data {
				a.data[n] = byte(i*7 + k*3 + n)
			}
			raw, err := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 97}, Payload: a.data}).Marshal()
			require.NoError(t, err)
			require.NoError(t, b.Push(offset, &record.Record{Track: 1, Flags: record.AccessUnit | record.RandomAccess, CaptureNS: a.captureNS, Packet: raw}))
			offset++
			aus = append(aus, a)
		}
	}
	finish(nil)
	return m
}

// display is when the i-th frame in decoding order is shown, in frames: I B P B P … are
// decoded I P B P B.
func display(i int, s shape) int {
	k := i % s.gop
	if !s.bframes || k == 0 || k == s.gop-1 && s.gop%2 == 0 {
		return i
	}
	if k%2 == 1 {
		return i + 1
	}
	return i - 1
}

// frame makes an access unit: an I frame of two slices, P, or B that nothing refers to.
func frame(dice *rand.Rand, i int, key bool, s shape) [][]byte {
	nalu := func(typ byte, size int) []byte {
		n := make([]byte, size)
		for k := range n {
			n[k] = byte(dice.Uint32()) | 1
		}
		n[0] = typ
		binary.BigEndian.PutUint32(n[1:], uint32(i)|0x01000000)
		return n
	}
	size := max(s.size, 300)
	switch {
	case key:
		return [][]byte{nalu(0x65, size*3), nalu(0x65, size*2)}
	case s.bframes && display(i, s) < i:
		return [][]byte{nalu(0x01, size/2)}
	}
	return [][]byte{nalu(0x41, size)}
}

// packetOf makes an RTP packet of any size.
func packetOf(t testing.TB, nalu []byte, marker bool) []byte {
	raw, err := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, Marker: marker}, Payload: nalu}).Marshal()
	require.NoError(t, err)
	return raw
}

func (m *memory) keep(f *media.Fragment, aus []au) {
	i := &f.Info
	data := append(bytes.Clone(f.Moof), bytes.Join(f.Mdat, nil)...)
	m.headers[sha256.Sum256(f.Init)] = bytes.Clone(f.Init)
	m.frags = append(m.frags, stored{Fragment: Fragment{
		Epoch: i.Epoch, First: i.First, End: i.End, StartNS: i.StartNS, EndNS: i.EndNS, MinNS: i.MinNS, MaxNS: i.MaxNS,
		WindowNS: i.WindowNS, Size: i.Size, Hash: i.Hash, Init: i.InitHash, RandomAccess: i.Flags&media.NoRandomAccess == 0,
	}, data: data, aus: aus})
}

func (f *Fragment) String() string { return fmt.Sprintf("%x+%d", f.Epoch[:2], f.First) }

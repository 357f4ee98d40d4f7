package media

import (
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

// hotPath is a second of a camera: H.264 at 4 Mbit/s in packets of 1400 bytes, AAC and
// G.711.
func hotPath(t testing.TB, video Codec) []record.Record {
	tracks := []Track{randomTracks[0], randomTracks[7], randomTracks[13], randomTracks[9]}
	if video == H265 {
		tracks[0] = randomTracks[2]
	}
	ext := encodeDescription(t, tracks...)
	var out []record.Record
	add := func(track uint8, at int64, flags record.Flags, payloads ...[]byte) {
		for j, p := range payloads {
			r := record.Record{Track: track, CaptureNS: at, Packet: rtpBytes(uint16(len(out)), j == len(payloads)-1, p)}
			if track == 0 { // parts of one access unit follow each other
				r.Packet = rtpBytes(uint16(j), j == len(payloads)-1, p)
			}
			if j == 0 {
				r.Flags = record.AccessUnit | flags
				if flags.Has(record.Cut) {
					r.Ext = ext
				}
			}
			out = append(out, r)
		}
	}
	nal := make([]byte, 20000)
	for i := range nal {
		nal[i] = byte(i*7) | 1
	}
	for i := range 25 {
		at := captureBase + int64(i)*40e6
		flags := record.Flags(0)
		if i == 0 {
			flags = record.Cut | record.RandomAccess
		}
		if video == H265 {
			nal[0], nal[1] = 0x26, 1
			add(0, at, flags, fu265(nal, 1400)...)
		} else {
			nal[0] = 0x65
			add(0, at, flags, append([][]byte{stapA(testSPS, testPPS)}, fuA(nal, 1400)...)...)
		}
		add(1, at, 0, append([]byte{0, 16, 300 >> 5, 300 << 3 & 0xff}, nal[:300]...))
		add(2, at, 0, nal[:160])
		add(3, at, 0, nal[:100])
	}
	return out
}

func pushAll(t testing.TB, b *Builder, records []record.Record) {
	b.Begin(testEpoch, 0)
	for i := range records {
		if err := b.Push(uint64(i), &records[i]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPushAllocatesNothingInTheSteadyState(t *testing.T) {
	for _, video := range []Codec{H264, H265} {
		records := hotPath(t, video)
		b := NewBuilder("gate")
		pushAll(t, b, records)
		f, err := b.Finish(nil, true)
		require.NoError(t, err)
		require.Zero(t, f.Info.Flags)
		require.Len(t, b.runs, 4)
		require.Zero(t, testing.AllocsPerRun(10, func() { pushAll(t, b, records) }))
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, video := range []Codec{H264, H265} {
		b.Run(string(video), func(b *testing.B) {
			records := hotPath(b, video)
			size := 0
			for i := range records {
				size += len(records[i].Packet)
			}
			builder := NewBuilder("gate")
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				pushAll(b, builder, records)
				if _, err := builder.Finish(nil, true); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(records)), "packets/op")
		})
	}
}

// What of BenchmarkBuild is the hash.
func BenchmarkHash(b *testing.B) {
	mdat := make([]byte, 1<<20)
	b.SetBytes(int64(len(mdat)))
	for b.Loop() {
		_ = sha256.Sum256(mdat)
	}
}

package ledger

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"
	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/testdata"
)

func TestG711CodesComeBackFromTheirExpansion(t *testing.T) {
	all := make([]byte, 0, 256)
	for i := range 256 {
		if i != 0x7f { // the negative zero of µ-law, which cameras do not send
			all = append(all, byte(i))
		}
	}
	var a g711.Alaw
	a.Unmarshal(all)
	var u g711.Mulaw
	u.Unmarshal(all)
	for codec, pcm := range map[Codec][]byte{PCMA: a, PCMU: u} {
		tr := mp4Track{expand: g711Codes(codec)}
		got, err := tr.contract(pcm)
		require.NoError(t, err)
		require.Equal(t, all, got)
		little := mp4Track{expand: tr.expand, little: true}
		for i := 0; i < len(pcm); i += 2 {
			pcm[i], pcm[i+1] = pcm[i+1], pcm[i]
		}
		got, err = little.contract(pcm)
		require.NoError(t, err)
		require.Equal(t, all, got)
		_, err = tr.contract([]byte{0x12, 0x35})
		require.ErrorIs(t, err, errExpansion)
	}
}

// fileOf makes a fragmented MP4 of marked access units: the sets and slices are real, so
// that the header can be made.
func fileOf(t *testing.T, from, count int, box []byte, elst *mp4.ElstBox) ([]byte, *Ledger) {
	t.Helper()
	clip, err := testdata.Clips.ReadFile("h264.mp4")
	require.NoError(t, err)
	src, err := mp4.DecodeFile(bytes.NewReader(clip))
	require.NoError(t, err)
	conf := src.Moov.Traks[0].Mdia.Minf.Stbl.Stsd.AvcX.AvcC

	init := mp4.CreateEmptyInit()
	init.AddEmptyTrack(90000, "video", "und")
	trak := init.Moov.Trak
	require.NoError(t, trak.SetAVCDescriptor("avc1", conf.SPSnalus, conf.PPSnalus, true))
	if elst != nil {
		edts := &mp4.EdtsBox{}
		edts.AddChild(elst)
		edts.Elst = append(edts.Elst[:0], elst)
		trak.AddChild(edts)
	}
	var b bytes.Buffer
	require.NoError(t, init.Encode(&b))

	l := &Ledger{Header: Header{Format: 1, Camera: "gate", Tracks: []Track{{H264, 90000}}}, Entries: make([][]Entry, 1)}
	for n := 0; n < count; n += 10 {
		if box != nil {
			b.Write(box)
		}
		frag, err := mp4.CreateFragment(uint32(n+1), 1)
		require.NoError(t, err)
		for i := n; i < n+10; i++ {
			slice, flags := []byte{0x41, byte(i)}, mp4.NonSyncSampleFlags
			if i%10 == 0 {
				slice[0], flags = 0x65, mp4.SyncSampleFlags
			}
			sei := Mark{CameraID("gate"), uint64(from + i)}.AppendSEI(nil, H264)
			nalus := [][]byte{sei, slice}
			hash, size := HashNALUs(nalus)
			l.Entries[0] = append(l.Entries[0], Entry{Number: uint64(from + i), Hash: hash, Size: size, AtNS: at(from + i)})
			var data []byte
			for _, u := range nalus {
				data = binary.BigEndian.AppendUint32(data, uint32(len(u)))
				data = append(data, u...)
			}
			frag.AddFullSample(mp4.FullSample{
				Sample:     mp4.Sample{Flags: flags, Dur: 3600, Size: uint32(len(data))},
				DecodeTime: uint64(i * 3600), Data: data,
			})
		}
		require.NoError(t, frag.Encode(&b))
	}
	return b.Bytes(), l
}

func TestAccessUnitsOfAnMP4AreThoseOfTheLedger(t *testing.T) {
	file, l := fileOf(t, 100, 30, nil, nil)
	got, err := FromMP4(bytes.NewReader(file), &l.Header, at(100))
	require.NoError(t, err)
	require.Len(t, got, 30)
	r := Check(l, got, Options{FromNS: at(100), ToNS: at(130)})
	require.NoError(t, r.Err())
	require.Equal(t, 30, r.Tracks[0].Matched)
	require.Zero(t, r.Tracks[0].MinSkewNS)
	require.Zero(t, r.Tracks[0].MaxSkewNS)
}

func TestEditListOfAnMP4HidesItsPreRollAndWhatFollowsItsEnd(t *testing.T) {
	elst := &mp4.ElstBox{Version: 1, Entries: []mp4.ElstEntry{{SegmentDuration: 15 * 3600, MediaTime: 5 * 3600, MediaRateInteger: 1}}}
	file, l := fileOf(t, 0, 30, nil, elst)
	f, err := mp4.DecodeFile(bytes.NewReader(file))
	require.NoError(t, err)
	require.Equal(t, uint32(90000), f.Moov.Mvhd.Timescale, "the durations above are in it")
	got, err := FromMP4(bytes.NewReader(file), &l.Header, at(5))
	require.NoError(t, err)
	require.Len(t, got, 30)
	for i, a := range got {
		require.Equal(t, i < 5 || i > 20, a.Preroll, i) // one unit of movie time is allowed
		require.Equal(t, at(i), a.CaptureNS, i)
	}
}

func TestAccessUnitsOfSegmentsHaveTheCaptureTimesOfTheirWindow(t *testing.T) {
	box := make([]byte, 8+16+160)
	binary.BigEndian.PutUint32(box, uint32(len(box)))
	copy(box[4:], "uuid")
	binary.BigEndian.PutUint64(box[8+16+windowAt:], uint64(at(7)))
	dir := t.TempDir()
	day := filepath.Join(dir, "gate", "2027-01-15")
	require.NoError(t, os.MkdirAll(day, 0o755))
	first, l := fileOf(t, 7, 20, box, nil)
	require.NoError(t, os.WriteFile(filepath.Join(day, "08-00-00.000Z_a.mp4"), first, 0o600))
	got, err := FromSegments(dir, "gate", &l.Header)
	require.NoError(t, err)
	require.Len(t, got, 20)
	require.NoError(t, Check(l, got, Options{}).Err())
	for i, a := range got {
		require.Equal(t, at(7+i), a.CaptureNS)
	}
}

func TestMP4WithOverlappingSamplesIsRefused(t *testing.T) {
	file, l := fileOf(t, 0, 10, nil, nil)
	_, err := FromMP4(bytes.NewReader(append(file, file[bytes.Index(file, []byte("moof"))-4:]...)), &l.Header, 0)
	require.ErrorContains(t, err, "ends at 36000")
}

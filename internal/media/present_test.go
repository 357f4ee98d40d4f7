package media

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

// present puts fragments together to one presentation of [from, to), as playback does:
// with the video of the first fragment in the header, or all in fragments.
func present(t testing.TB, frags []*built, from, to int64, leadIn bool) []byte {
	t.Helper()
	var inits []*Init
	source := map[Hash]int{}
	for _, f := range frags {
		if _, ok := source[f.Info.InitHash]; ok {
			continue
		}
		i, err := ParseInit(f.Init)
		require.NoError(t, err)
		require.Equal(t, f.Info.InitHash, i.Hash)
		source[f.Info.InitHash] = len(inits)
		inits = append(inits, i)
	}
	base, lead := int64(0), int64(0)
	var bodies [][]byte
	var kept []*built
	var first *Trimmed
	var firstData []byte
	for _, f := range frags {
		p, err := ParseFragment(f.Moof, f.Info.Size, inits[source[f.Info.InitHash]], f.Info.WindowNS)
		require.NoError(t, err)
		trimmed := p.Trim(Trim{FromNS: from, ToNS: to, PreRoll: true, PostRoll: true})
		if trimmed.Size == 0 {
			continue
		}
		if base == 0 {
			lead = p.ReorderNS()
			base = trimmed.FirstNS - lead
			if leadIn {
				first = p.Trim(Trim{FromNS: from, ToNS: to, Only: KindVideo, PreRoll: true, PostRoll: true})
				firstData = first.Append(nil, f.bytes())[len(first.Head):]
				trimmed = p.Trim(Trim{FromNS: first.MinNS, ToNS: to, Only: KindAudio})
				kept = append(kept, f)
				bodies = append(bodies, trimmed.Append(nil, f.bytes()))
				continue
			}
		}
		bodies = append(bodies, trimmed.Append(nil, f.bytes()))
		kept = append(kept, f)
		require.EqualValues(t, trimmed.Size, len(bodies[len(bodies)-1]))
	}
	start := from
	if first != nil {
		start = first.MinNS
	}
	m, err := MergeInits(inits, Edit{
		BaseNS: base, StartNS: start, EndNS: to, LeadNS: lead,
		First: first, FirstSource: source[kept[0].Info.InitHash], FirstWindowNS: kept[0].Info.WindowNS,
	})
	require.NoError(t, err)
	out := append(bytes.Clone(m.Header), firstData...)
	for i, f := range kept {
		if len(bodies[i]) == 0 {
			continue
		}
		require.NoError(t, m.Retime(bodies[i], Retiming{
			Sequence: uint32(i) + 1, WindowNS: f.Info.WindowNS, BaseNS: base, Source: source[f.Info.InitHash],
		}))
		out = append(out, bodies[i]...)
	}
	return out
}

func writeFile(t testing.TB, name string, b []byte) string {
	t.Helper()
	dir := t.TempDir()
	if keep := os.Getenv("DUET_KEEP"); keep != "" {
		dir = keep
	}
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, b, 0o600))
	return file
}

func frameTimes(t testing.TB, file string) (out []float64) {
	lines := run(t, "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0", file)
	for line := range strings.Lines(string(lines)) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		v, err := strconv.ParseFloat(strings.Trim(line, ",\n"), 64)
		require.NoError(t, err)
		out = append(out, v)
	}
	return out
}

func TestPresentationStartsAndEndsExactly(t *testing.T) {
	for _, c := range []*clip{h264BFrames(t), h265BFrames(t)} {
		t.Run(string(c.codec), func(t *testing.T) {
			frags := buildAll(t, NewBuilder("gate"), c.records(t, encodeDescription(t, c.track())))
			// From the middle of the first GOP to the middle of the fourth.
			shown := slices.Sorted(slices.Values(c.pts))
			from, to := captureBase+int64(shown[12]), captureBase+int64(shown[85])
			name := "present-" + string(c.codec)
			file := writeFile(t, name+".mp4", present(t, frags, from, to, false))
			run(t, "ffmpeg", "-v", "warning", "-xerror", "-i", file, "-f", "null", "-")
			before, kept := split(frameTimes(t, file), float64(to-from)/1e9)
			require.Len(t, kept, 73)
			require.InDelta(t, 0, kept[0], 0.0001)
			// ffmpeg moves the pre-roll of a fragmented file before zero, and does not
			// leave it out.
			require.Len(t, before, 12)
			require.InDelta(t, -float64(shown[12]-shown[0])/1e9, before[0], 0.0001)

			// It does where the header describes the samples.
			file = writeFile(t, name+"-leadin.mp4", present(t, frags, from, to, true))
			run(t, "ffmpeg", "-v", "warning", "-xerror", "-i", file, "-f", "null", "-")
			before, kept = split(frameTimes(t, file), float64(to-from)/1e9)
			require.Empty(t, before)
			require.Len(t, kept, 73)
			for i, v := range kept {
				require.InDelta(t, float64(shown[12+i]-shown[12])/1e9, v, 0.0001)
			}
			// At most what B-frames need behind the end is there beyond it.
			length := run(t, "ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", file)
			seconds, err := strconv.ParseFloat(strings.TrimSpace(string(length)), 64)
			require.NoError(t, err)
			require.InDelta(t, float64(to-from)/1e9, seconds, 0.25)
		})
	}
}

// split returns the times before zero, and those from there to the end.
func split(times []float64, end float64) (before, kept []float64) {
	for _, v := range times {
		switch {
		case v < -0.001:
			before = append(before, v)
		case v < end-0.001:
			kept = append(kept, v)
		}
	}
	return before, kept
}

func TestPresentationWithSoundStartsTogether(t *testing.T) {
	c := h264BFrames(t)
	sound := streamCases()[0]
	ext := encodeDescription(t, c.track(), sound.track)
	video := c.records(t, ext)
	audio, _ := sound.records(t, 1, nil)
	records := append(slices.Clone(video), audio...)
	for i := range records[len(video):] {
		records[len(video)+i].CaptureNS += int64(slices.Min(c.pts))
	}
	slices.SortStableFunc(records, func(a, b record.Record) int { return cmp.Compare(a.CaptureNS, b.CaptureNS) })
	// By capture time the video is not in decoding order: sort it back in.
	next := 0
	for i := range records {
		if records[i].Track == 0 {
			records[i] = video[next]
			next++
		}
	}
	frags := buildAll(t, NewBuilder("gate"), records)
	shown := slices.Sorted(slices.Values(c.pts))
	from := captureBase + int64(shown[12]) + 5e6 // between two frames
	for _, leadIn := range []bool{false, true} {
		file := writeFile(t, fmt.Sprintf("sound-%t.mp4", leadIn), present(t, frags, from, captureBase+int64(shown[40]), leadIn))
		run(t, "ffmpeg", "-v", "warning", "-xerror", "-i", file, "-f", "null", "-")
		out := run(t, "ffprobe", "-v", "error", "-show_entries", "packet=stream_index,pts_time,flags", "-of", "csv=p=0", file)
		first := map[string]float64{}
		for line := range strings.Lines(string(out)) {
			f := strings.Split(strings.TrimSpace(line), ",")
			v, err := strconv.ParseFloat(f[1], 64)
			require.NoError(t, err)
			if old, ok := first[f[0]]; v > -0.001 && !strings.Contains(f[2], "D") && (!ok || v < old) {
				first[f[0]] = v
			}
		}
		t.Log(leadIn, first)
		require.Less(t, first["1"], 0.0214) // a frame of AAC
		if leadIn {
			require.InDelta(t, 0, first["0"], 0.0001)
			length := run(t, "ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", file)
			seconds, err := strconv.ParseFloat(strings.TrimSpace(string(length)), 64)
			require.NoError(t, err)
			require.InDelta(t, float64(shown[40]-shown[13])/1e9, seconds, 0.1)
		} else {
			require.InDelta(t, 0.035, first["0"], 0.0001)
		}
	}
}

func TestTrimKeepsExactlyTheRange(t *testing.T) {
	c := h264BFrames(t)
	frags := buildAll(t, NewBuilder("gate"), c.records(t, encodeDescription(t, c.track())))
	f := frags[1]
	init, err := ParseInit(f.Init)
	require.NoError(t, err)
	p, err := ParseFragment(f.Moof, f.Info.Size, init, f.Info.WindowNS)
	require.NoError(t, err)
	all := p.Tracks[0].Samples
	shown := slices.Clone(all)
	slices.SortFunc(shown, func(a, b Sample) int { return int(a.PTS - b.PTS) })
	for i := range shown {
		for j := i; j <= len(shown); j++ {
			from, to := shown[i].CaptureNS, f.Info.EndNS
			if j < len(shown) {
				to = shown[j].CaptureNS
			}
			for _, roll := range []bool{false, true} {
				trimmed := p.Trim(Trim{FromNS: from, ToNS: to, PreRoll: roll, PostRoll: roll})
				if i == j {
					require.Zero(t, trimmed.Size)
					continue
				}
				b := trimmed.Append(nil, f.bytes())
				require.EqualValues(t, trimmed.Size, len(b))
				q, err := ParseFragment(b[:trimmed.MoofSize], trimmed.Size, init, f.Info.WindowNS)
				require.NoError(t, err)
				require.Equal(t, from, trimmed.MinNS)
				inside, next := 0, 0
				for _, s := range q.Tracks[0].Samples {
					for all[next].PTS != s.PTS { // the order stays
						next++
					}
					o := all[next]
					require.Equal(t, o.DTS, s.DTS)
					require.Equal(t, o.Sync, s.Sync)
					require.Equal(t, f.bytes()[o.At:o.At+int64(o.Size)], b[s.At:s.At+int64(s.Size)])
					if s.CaptureNS >= from && s.CaptureNS < to {
						inside++
					} else {
						require.True(t, roll)
					}
				}
				require.Equal(t, j-i, inside)
				if roll {
					require.True(t, q.Tracks[0].Samples[0].Sync)
				}
			}
		}
	}
}

func TestTrimCutsAudioExactly(t *testing.T) {
	c := streamCases()[0]
	records, want := c.records(t, 0, encodeDescription(t, c.track))
	f := buildAll(t, NewBuilder("gate"), records)[0]
	init, err := ParseInit(f.Init)
	require.NoError(t, err)
	p, err := ParseFragment(f.Moof, f.Info.Size, init, f.Info.WindowNS)
	require.NoError(t, err)
	s := p.Tracks[0].Samples
	b := p.Trim(Trim{FromNS: s[3].CaptureNS, ToNS: s[7].CaptureNS, PreRoll: true, PostRoll: true}).Append(nil, f.bytes())
	require.Equal(t, bytes.Join(want[3:7], nil), b[len(b)-len(bytes.Join(want[3:7], nil)):])
}

func TestPresentationAcrossChangedParameterSets(t *testing.T) {
	args := []string{"-t", "2", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-x264-params", "aud=1:repeat-headers=1:b-adapt=0:scenecut=0"}
	small := makeClip(t, H264, append(args, "-vf", "scale=160:96")...)
	large := makeClip(t, H264, args...)
	records := small.records(t, encodeDescription(t, small.track()))
	for _, r := range large.records(t, encodeDescription(t, large.track())) {
		r.CaptureNS += 2e9
		records = append(records, r)
	}
	frags := buildAll(t, NewBuilder("gate"), records)
	require.Len(t, frags, 4)
	require.NotEqual(t, frags[0].Info.InitHash, frags[2].Info.InitHash)
	b := present(t, frags, frags[0].Info.StartNS, frags[3].Info.EndNS, false)
	m, err := ParseInit(b)
	require.NoError(t, err)
	require.Len(t, m.Tracks, 1)
	require.Len(t, m.Tracks[0].entries, 2)
	file := writeFile(t, "changed.mp4", b)
	run(t, "ffmpeg", "-v", "warning", "-xerror", "-i", file, "-f", "null", "-")
	times := frameTimes(t, file)
	require.Len(t, times, 100)
	require.InDelta(t, 0, times[0], 0.0001)
}

func TestRetimeRefusesWhatItCannotPlace(t *testing.T) {
	_, frags := smallSegment(t, 1)
	init, err := ParseInit(frags[0].Init)
	require.NoError(t, err)
	m, err := MergeInits([]*Init{init}, Edit{})
	require.NoError(t, err)
	before := frags[0].bytes()
	window := frags[0].Info.WindowNS
	for _, r := range []Retiming{
		{Source: 1, WindowNS: window, BaseNS: window},
		{Source: -1, WindowNS: window, BaseNS: window},
		{WindowNS: window, BaseNS: frags[0].Info.MaxNS + 1e9},
	} {
		b := frags[0].bytes()
		require.Error(t, m.Retime(b, r))
		require.Equal(t, before, b)
	}
	b := frags[0].bytes()
	require.NoError(t, m.Retime(b, Retiming{Sequence: 7, WindowNS: window, BaseNS: window - 10e9}))
	p, err := ParseFragment(b, int64(len(b)), init, window-10e9)
	require.NoError(t, err)
	q, err := ParseFragment(before, int64(len(before)), init, window)
	require.NoError(t, err)
	require.EqualValues(t, 7, p.Sequence)
	for i := range q.Tracks {
		for j, s := range q.Tracks[i].Samples {
			require.Equal(t, s.CaptureNS, p.Tracks[i].Samples[j].CaptureNS)
		}
	}
}

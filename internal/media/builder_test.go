package media

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

func TestVideoWithBFramesIsStoredUnchangedAndDecodes(t *testing.T) {
	for _, c := range []*clip{h264BFrames(t), h265BFrames(t)} {
		t.Run(string(c.codec), func(t *testing.T) {
			frags := buildAll(t, NewBuilder("gate"), c.records(t, encodeDescription(t, c.track())))
			require.Len(t, frags, 4)
			n := 0
			for i, f := range frags {
				require.Zero(t, f.Info.Flags)
				require.Equal(t, frags[0].Init, f.Init)
				if i > 0 {
					require.Equal(t, frags[i-1].Info.EndNS, f.Info.StartNS)
				}
				init, err := ParseInit(f.Init)
				require.NoError(t, err)
				p, err := ParseFragment(f.Moof, f.Info.Size, init, f.Info.WindowNS)
				require.NoError(t, err)
				end := int64(-1)
				for _, s := range p.Tracks[0].Samples {
					require.Equal(t, c.sampleBytes(n), f.bytes()[s.At:s.At+int64(s.Size)])
					require.Equal(t, c.sync[n], s.Sync)
					require.InDelta(t, captureBase+int64(c.pts[n]), s.CaptureNS, 1e9/90000+1)
					if end >= 0 {
						require.Equal(t, end, s.DTS)
					}
					end = s.DTS + int64(s.Duration)
					n++
				}
				require.InDelta(t, f.Info.EndNS-f.Info.WindowNS, toNS(end, 90000), 1e9/90000+1)
			}
			require.Equal(t, len(c.units), n)

			file := filepath.Join(t.TempDir(), "segment.mp4")
			require.NoError(t, os.WriteFile(file, segment(frags), 0o600))
			out := run(t, "ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", file)
			var probe struct {
				Streams []struct {
					Frames string `json:"nb_read_frames"`
				}
			}
			require.NoError(t, json.Unmarshal(out, &probe))
			require.Equal(t, "100", probe.Streams[0].Frames)
			run(t, "ffmpeg", "-v", "warning", "-xerror", "-i", file, "-f", "null", "-")
		})
	}
}

// A connection that breaks in the middle of a picture leaves its delimiter and SEI: they
// are no access unit.
func TestPictureWithoutAWholeSliceIsNoSample(t *testing.T) {
	for _, c := range []*clip{h264BFrames(t), h265BFrames(t)} {
		for what, keep := range map[string]func(int) int{
			"without its last packet": func(n int) int { return n },
			"only its first packet":   func(int) int { return 1 },
		} {
			t.Run(string(c.codec)+" "+what, func(t *testing.T) {
				records := c.records(t, encodeDescription(t, c.track()))
				// The cut picture is large: AUD, sets, SEI, then slices in many packets.
				first := 0
				for first+1 < len(records) && !records[first+1].Flags.Has(record.AccessUnit) {
					first++
				}
				require.Greater(t, first, 3, "the key frame is in several packets")
				b := NewBuilder("gate")
				b.Begin(record.Epoch{1}, 0)
				// The second picture: the first of these packets again, later.
				for i, r := range records[:first+1] {
					require.NoError(t, b.Push(uint64(i), &r))
				}
				for i, r := range records[:keep(first)] {
					r.Flags &^= record.Cut
					r.Ext = nil
					r.CaptureNS += 40e6
					require.NoError(t, b.Push(uint64(first+1+i), &r))
				}
				f, err := b.Finish(nil, true)
				require.NoError(t, err)
				init, err := ParseInit(f.Init)
				require.NoError(t, err)
				p, err := ParseFragment(f.Moof, f.Info.Size, init, f.Info.WindowNS)
				require.NoError(t, err)
				require.Len(t, p.Tracks[0].Samples, 1)
				require.NotZero(t, f.Info.Flags&(Malformed|PacketLoss))
			})
		}
	}
}

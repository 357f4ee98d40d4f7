package media

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/internal/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestBytesOfFragmentsStayTheSame holds the bytes of a version of duet against those of
// the next one: two recorders may run different ones.
func TestBytesOfFragmentsStayTheSame(t *testing.T) {
	for _, tr := range randomTracks {
		if !tr.Codec.Storable() || len(tr.Params) == 0 && tr.Codec == H264 {
			continue
		}
		name := string(tr.Codec)
		if tr.LATM {
			name = "latm"
		}
		t.Run(name, func(t *testing.T) {
			ext := encodeDescription(t, tr)
			var records []record.Record
			times := []int64{0, 120e6, 40e6, 80e6} // shown in another order than decoded
			for i, payload := range goldenPayloads(tr) {
				r := record.Record{
					Flags: record.AccessUnit, CaptureNS: captureBase + times[i],
					Packet: rtpBytes(uint16(i), true, payload),
				}
				if i == 0 {
					r.Flags |= record.Cut | record.RandomAccess
					r.Ext = ext
				}
				records = append(records, r)
			}
			f := buildAll(t, NewBuilder("gate"), records)[0]
			require.Zero(t, f.Info.Flags)
			var b strings.Builder
			for _, part := range []struct {
				name string
				b    []byte
			}{{"init", f.Init}, {"box", f.Box}, {"moof", f.Moof}, {"mdat", f.Mdat}} {
				fmt.Fprintf(&b, "%s\n%s", part.name, hex.Dump(part.b))
			}
			file := filepath.Join("testdata", "golden", name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o600))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), b.String())
		})
	}
}

// goldenPayloads are four access units of one packet each.
func goldenPayloads(tr Track) (out [][]byte) {
	for i := range byte(4) {
		body := []byte{i, 0xaa, 0xbb, 0xcc}
		switch {
		case tr.Codec == H264:
			out = append(out, append([]byte{0x65}, body...))
		case tr.Codec == H265:
			out = append(out, append([]byte{0x26, 0x01}, body...))
		case tr.LATM:
			out = append(out, append([]byte{4}, body...))
		case tr.Codec == AAC:
			out = append(out, append([]byte{0, 16, 0, 4 << 3}, body...))
		case tr.Codec == MJPEG:
			out = append(out, append([]byte{0, 0, 0, 0, 1, 50, 20, 10}, body...))
		case tr.Codec == AV1:
			seq := []byte{8, 0, 0, 0, 66, 167, 191, 228, 96, 13, 0, 64}
			out = append(out, append(append([]byte{0x20, byte(len(seq))}, seq...), append([]byte{0x30}, body...)...))
		case tr.Codec == VP9:
			out = append(out, append([]byte{0x0c, 0x82, 0x49, 0x83, 0x42, 0x00, 0x0f, 0xf0, 0x0b, 0x70}, body...))
		case tr.Codec == MP3:
			frame := make([]byte, 421)
			copy(frame[4:], []byte{0xff, 0xfb, 0x90, i})
			out = append(out, frame)
		case tr.Codec == AC3:
			frame := make([]byte, 2+128)
			copy(frame, []byte{0, 1, 0x0b, 0x77, i, 0, 0x00, 0x40, 0x40})
			out = append(out, frame)
		default:
			out = append(out, body)
		}
	}
	return out
}

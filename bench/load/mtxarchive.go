package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/duet-video/duet/bench/source"
)

// mtxArchive is footage of many days in the form of MediaMTX, made as duet's is: one
// segment of 10 min under many names.
type mtxArchive struct {
	dir   string
	start time.Time
	end   time.Time
	http  string // of its playback server
}

// mtxForm is how MediaMTX names segments.
const mtxForm = "2006-01-02_15-04-05-000000"

// newMTXArchive lets MediaMTX record a camera for some seconds and makes days of it.
func newMTXArchive(ctx context.Context, o *Options, dir string, days int, mbit float64, end time.Time) (*mtxArchive, error) {
	m := &mediamtx{path: o.MediaMTX}
	b, err := newBed(ctx, o, Point{Cameras: 1, Mbit: mbit, Codec: "h264", Recorders: 2})
	if err != nil {
		return nil, err
	}
	defer b.close()
	defer func() { m.procs.stop() }()
	if err := m.start(ctx, b); err != nil {
		return nil, err
	}
	if err := sleep(ctx, 8*time.Second); err != nil {
		return nil, err
	}
	m.procs.stop()
	files, err := filesOf(m.dirs[0], source.Name(0))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("what MediaMTX has recorded: %d files: %w", len(files), err)
	}
	slices.Sort(files)
	short, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	long, err := lengthen(short, segmentLength)
	if err != nil {
		return nil, fmt.Errorf("lengthen %s: %w", files[0], err)
	}
	a := &mtxArchive{dir: dir, end: end.Truncate(segmentLength)}
	a.start = a.end.Add(-time.Duration(days) * 24 * time.Hour)
	folder := filepath.Join(dir, "c0")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	first := ""
	for at := a.start; at.Before(a.end); at = at.Add(segmentLength) {
		name := filepath.Join(folder, at.Local().Format(mtxForm)+".mp4")
		if first == "" {
			first = name
			err = os.WriteFile(name, long, 0o600)
		} else {
			err = os.Link(first, name)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

// serve starts a MediaMTX that plays the archive.
func (a *mtxArchive) serve(ctx context.Context, b *bed) (*child, error) {
	addr, err := b.ports.take(2)
	if err != nil {
		return nil, err
	}
	a.http = "http://" + addr[1]
	config, err := b.write("mediamtx-playback.yml", fmt.Sprintf(mediamtxCommon, addr[0])+fmt.Sprintf(
		"playback: yes\nplaybackAddress: %s\npathDefaults:\n  recordPath: %q\n  recordFormat: fmp4\n  recordDeleteAfter: 0s\npaths:\n  c0: {}\n",
		addr[1], filepath.Join(a.dir, "%path", "%Y-%m-%d_%H-%M-%S-%f")))
	if err != nil {
		return nil, err
	}
	c, err := start(b.dir, "mediamtx", b.o.MediaMTX, config)
	if err != nil {
		return nil, err
	}
	return c, children{c}.wait(ctx, readyLimit, "MediaMTX plays", func() error { return reachable(ctx, addr[1]) })
}

func (a *mtxArchive) list() string { return a.http + "/list?path=c0" }

func (a *mtxArchive) get(from time.Time, length time.Duration) string {
	q := url.Values{"path": {"c0"}, "start": {from.UTC().Format(time.RFC3339Nano)}, "duration": {fmt.Sprint(length.Seconds())}, "format": {"fmp4"}}
	return a.http + "/get?" + q.Encode()
}

var errBoxes = errors.New("boxes that do not add up")

// lengthen repeats the fragments of an fMP4 file with one track, but for the last one,
// with decode times that go on (ISO/IEC 14496-12 8.8.12).
func lengthen(file []byte, want time.Duration) ([]byte, error) {
	const timescale = 90000
	var out bytes.Buffer
	var fragments [][]byte // moof and mdat
	var at []int           // of the decode time in each
	for rest := file; len(rest) >= 8; {
		size := int(binary.BigEndian.Uint32(rest))
		if size < 8 || size > len(rest) {
			return nil, errBoxes
		}
		switch string(rest[4:8]) {
		case "moof":
			i := bytes.Index(rest[:size], []byte("tfdt\x01"))
			if i < 0 || size+8 > len(rest) {
				return nil, errBoxes
			}
			whole := size + int(binary.BigEndian.Uint32(rest[size:]))
			if whole > len(rest) || string(rest[size+4:size+8]) != "mdat" {
				return nil, errBoxes
			}
			fragments, at = append(fragments, bytes.Clone(rest[:whole])), append(at, i+8)
			size = whole
		default:
			if len(fragments) == 0 {
				out.Write(rest[:size])
			}
		}
		rest = rest[size:]
	}
	n := len(fragments) - 1
	if n < 1 {
		return nil, fmt.Errorf("%d fragments: %w", len(fragments), errBoxes)
	}
	decode := func(i int) []byte { return fragments[i][at[i] : at[i]+8] }
	first := binary.BigEndian.Uint64(decode(0))
	total := binary.BigEndian.Uint64(decode(n)) - first
	if total == 0 || total > uint64(want.Seconds())*timescale {
		return nil, errBoxes
	}
	for done := uint64(0); done+total <= uint64(want.Seconds())*timescale; done += total {
		for i := range n {
			out.Write(fragments[i])
			t := decode(i)
			binary.BigEndian.PutUint64(t, binary.BigEndian.Uint64(t)+total)
		}
	}
	return out.Bytes(), nil
}

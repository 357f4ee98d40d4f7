package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/bench/source"
	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// archive is footage of many days of a camera that takes little disk. All segments but
// the last ones are one file under many names: a fragment's bytes say nothing of the day
// (decode times count from the start of the segment), so they are what a recorder would
// have written. The box before each fragment is that of the first day; only who rebuilds
// an index reads it.
type archive struct {
	camera   string
	days     int
	fragment time.Duration
	epoch    record.Epoch
	start    int64 // of the first fragment, Unix ns
	windows  int
	clip     *source.Clip

	template window10 // what a segment has
	tail     window10
	tailAt   int64 // Unix ns
}

// window10 is a segment: its file and its fragments, of which times and offsets count
// from its start.
type window10 struct {
	file    []byte
	refs    []index.Ref
	init    index.Init
	records uint64
}

const (
	segmentLength = 10 * time.Minute
	// genuine is how much at the end is written as it would have been: who starts a
	// recorder has it compare its newest files with its index.
	genuine = 7 * time.Minute
)

// newArchive makes footage that ends in the newest whole segment before now.
func newArchive(camera string, days int, mbit float64, fragment time.Duration, now time.Time) (*archive, error) {
	clip, err := source.NewClip("h264", int(mbit*1e6))
	if err != nil {
		return nil, err
	}
	a := &archive{camera: camera, days: days, fragment: fragment, clip: clip, windows: days * int(24*time.Hour/segmentLength)}
	a.tailAt = now.Add(-genuine).UnixNano()
	a.tailAt -= a.tailAt % int64(segmentLength)
	a.start = a.tailAt - int64(a.windows-1)*int64(segmentLength)
	if a.epoch, err = record.NewEpoch(time.Unix(0, a.start), bytes.NewReader([]byte("duet bench"))); err != nil {
		return nil, err
	}
	if a.template, err = a.window(a.start, 0, segmentLength); err != nil {
		return nil, err
	}
	first := uint64(a.windows-1) * a.template.records
	a.tail, err = a.window(a.tailAt, first, genuine)
	return a, err
}

// end is where the footage ends, Unix ns.
func (a *archive) end() int64 { return a.tailAt + int64(genuine) }

// window makes the segment that starts at startNS with the record first.
func (a *archive) window(startNS int64, first uint64, length time.Duration) (window10, error) {
	d := media.Description{
		SegmentMS: segmentLength.Milliseconds(), Since: media.CauseStart,
		Tracks: []media.Track{{Kind: media.KindVideo, Codec: media.H264, ClockRate: 90000, Params: a.clip.Sets}},
	}
	ext, err := d.Encode()
	if err != nil {
		return window10{}, err
	}
	w := window10{}
	b := media.NewBuilder(a.camera)
	offset := first
	per := int(a.fragment / a.clip.Interval)
	var file bytes.Buffer
	path := a.segment(startNS)
	// One access unit more than there is: the cut that ends the last fragment.
	for n := 0; n <= int(length/a.clip.Interval); n++ {
		u := &a.clip.Units[n%len(a.clip.Units)]
		at := startNS + int64(n)*int64(a.clip.Interval)
		r := record.Record{Flags: record.AccessUnit, CaptureNS: at}
		if u.Key {
			r.Flags |= record.RandomAccess
		}
		if n%per == 0 {
			r.Flags |= record.Cut
			r.Ext = ext
			if n > 0 {
				f, err := b.Finish(&r, true)
				if err != nil {
					return w, err
				}
				if file.Len() == 0 {
					w.init = index.Init{Camera: a.camera, Hash: f.Info.InitHash, Data: bytes.Clone(f.Init)}
					file.Write(f.Init)
				}
				w.refs = append(w.refs, index.Ref{Info: f.Info, Segment: path, At: int64(file.Len())})
				file.Write(f.Box)
				file.Write(f.Moof)
				for _, m := range f.Mdat {
					file.Write(m)
				}
			}
			if n == int(length/a.clip.Interval) {
				break
			}
			b.Begin(a.epoch, offset)
		}
		u.Mark(source.Mark{Number: n, Sent: time.Unix(0, at)})
		for i, p := range u.Packets(uint16(offset), uint32(n*3600)) {
			r.Packet = p
			if i > 0 {
				r.Flags, r.Ext = 0, nil
			}
			if err := b.Push(offset, &r); err != nil {
				return w, err
			}
			offset++
		}
	}
	w.records = offset - first
	w.file = file.Bytes()
	return w, nil
}

// segment names the file of a window.
func (a *archive) segment(startNS int64) string {
	t := time.Unix(0, startNS).UTC()
	return fmt.Sprintf("%s/%s/%s_%s.mp4", a.camera, t.Format("2006-01-02"), t.Format("15-04-05.000Z"), a.epoch)
}

// refs returns the fragments of the window with the number.
func (a *archive) refs(n int) []index.Ref {
	if n == a.windows-1 {
		return a.tail.refs
	}
	shift := int64(n) * int64(segmentLength)
	offsets := uint64(n) * a.template.records
	path := a.segment(a.start + shift)
	out := make([]index.Ref, len(a.template.refs))
	for i, r := range a.template.refs {
		r.First, r.End = r.First+offsets, r.End+offsets
		r.StartNS, r.EndNS, r.MinNS, r.MaxNS, r.WindowNS = r.StartNS+shift, r.EndNS+shift, r.MinNS+shift, r.MaxNS+shift, r.WindowNS+shift
		r.Segment = path
		out[i] = r
	}
	return out
}

// store writes the archive into the data directory of a recorder, which has been begun by
// that recorder and is not used by it now.
func (a *archive) store(ctx context.Context, dir string) (err error) {
	s, err := index.Open(index.Options{Dir: filepath.Join(dir, ".duet", "index"), Log: zerolog.Nop()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	template := filepath.Join(dir, filepath.FromSlash(a.segment(a.start)))
	var refs []index.Ref
	inits := []index.Init{a.template.init}
	for n := range a.windows {
		path := filepath.Join(dir, filepath.FromSlash(a.segment(a.start+int64(n)*int64(segmentLength))))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		switch n {
		case 0:
			err = os.WriteFile(path, a.template.file, 0o600)
		case a.windows - 1:
			err = os.WriteFile(path, a.tail.file, 0o600)
		default:
			err = os.Link(template, path)
		}
		if err != nil {
			return err
		}
		refs = append(refs, a.refs(n)...)
		if len(refs) < 6000 && n < a.windows-1 {
			continue
		}
		if err := s.Commit(refs, inits); err != nil {
			return err
		}
		refs, inits = refs[:0], nil
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// begun reports whether a recorder has taken a data directory.
func begun(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, ".duet", "identity.json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, &struct{}{})
}

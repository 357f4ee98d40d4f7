package media

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/duet-video/duet/internal/record"
)

// Limits that keep every field of a fragment in range, whatever the records say.
const (
	// maxSpanNS bounds how far the access units of a fragment are from its cut.
	maxSpanNS = int64(30 * 60 * 1e9)
	// maxCaptureNS bounds capture times: the year 2200.
	maxCaptureNS = int64(7_258_118_400) * 1e9
	// maxTrackBytes bounds the media of a track in a fragment: all tracks together stay
	// under the 4 GiB of an mdat.
	maxTrackBytes = 192 << 20
)

// Builder turns the records of one camera into fragments, one after the other:
//
//	Begin, Push (the cut), Push …, Finish, then Begin again.
//
// It keeps nothing between fragments that shows in their bytes. Not for concurrent use.
type Builder struct {
	camera string

	epoch       record.Epoch
	first, next uint64
	empty       bool
	startNS     int64
	cutTrack    int
	flags       InfoFlags
	tracks      []*trackBuilder // those of the fragment; spare ones are kept beyond len

	// The description, parsed anew only when its bytes change.
	ext  []byte
	desc *Description

	header header // the init header, made anew only when its inputs change

	out      Fragment
	box      []byte
	moof     []byte
	mdatHead [boxHeader]byte
	runs     []trackRun
	order    []int32
}

// NewBuilder returns a Builder for the fragments of a camera, by name.
func NewBuilder(camera string) *Builder { return &Builder{camera: camera, empty: true} }

// Begin starts a new fragment of epoch. The next Push must be a record with the Cut
// flag, at offset. What was pushed and not finished before is dropped.
func (b *Builder) Begin(epoch record.Epoch, offset uint64) {
	b.epoch, b.first, b.next = epoch, offset, offset
	b.empty, b.flags = true, 0
	b.tracks = b.tracks[:0]
}

// Push adds the record at offset, which must be Next. The slices of r are only read
// during the call. An error means that the records do not form a fragment (an offset
// that does not follow, a cut in the middle, a description that cannot be read): the
// caller has to go on at another cut. Packets that are lost, or make no sense, are no
// error: they are left out and Info.Flags tells.
func (b *Builder) Push(offset uint64, r *record.Record) error {
	if offset != b.next {
		return fmt.Errorf("fragment %s+%d: offset %d, want %d", b.epoch, b.first, offset, b.next)
	}
	if b.empty {
		if err := b.cut(r); err != nil {
			return fmt.Errorf("fragment %s+%d: %w", b.epoch, b.first, err)
		}
	} else if r.Flags.Has(record.Cut) {
		return fmt.Errorf("fragment %s+%d: another cut at offset %d", b.epoch, b.first, offset)
	}
	b.next++
	if int(r.Track) >= len(b.tracks) {
		b.flags |= Malformed
		return nil
	}
	t := b.tracks[r.Track]
	if !t.desc.Codec.Storable() {
		return nil
	}
	if r.Flags.Has(record.AccessUnit) && (r.CaptureNS < b.startNS-maxSpanNS || r.CaptureNS > b.startNS+maxSpanNS) ||
		t.size() > maxTrackBytes {
		t.endUnit()
		t.flags |= Malformed
		return nil
	}
	t.push(r)
	return nil
}

// cut takes what the first record says of the fragment.
func (b *Builder) cut(r *record.Record) error {
	if !r.Flags.Has(record.Cut | record.AccessUnit) {
		return errors.New("the first record is no cut")
	}
	if r.CaptureNS < 2*maxSpanNS || r.CaptureNS > maxCaptureNS {
		return fmt.Errorf("capture time %d of the cut is out of range", r.CaptureNS)
	}
	if b.desc == nil || !bytes.Equal(b.ext, r.Ext) {
		d, err := ParseDescription(r.Ext)
		if err != nil {
			return err
		}
		b.desc, b.ext = d, append(b.ext[:0], r.Ext...)
	}
	if int(r.Track) >= len(b.desc.Tracks) {
		return fmt.Errorf("the cut is of track %d, there are %d", r.Track, len(b.desc.Tracks))
	}
	for i, d := range b.desc.Tracks {
		if i < cap(b.tracks) && b.tracks[:i+1][i] != nil {
			b.tracks = b.tracks[:i+1]
		} else {
			b.tracks = append(b.tracks, &trackBuilder{})
		}
		b.tracks[i].reset(d)
	}
	b.empty = false
	b.startNS, b.cutTrack = r.CaptureNS, int(r.Track)
	if b.desc.Tracks[r.Track].Kind == KindVideo && !r.Flags.Has(record.RandomAccess) {
		b.flags |= NoRandomAccess
	}
	return nil
}

// Finish ends the fragment. cut is the record at which the next fragment starts, at
// offset Next; only its CaptureNS and Flags are read. It is nil when there is none: the epoch ended
// (closed), or its end was never seen (not closed: the fragment is flagged Truncated).
// It fails only where no record was pushed.
func (b *Builder) Finish(cut *record.Record, closed bool) (*Fragment, error) {
	if b.empty {
		return nil, fmt.Errorf("fragment %s+%d: no records", b.epoch, b.first)
	}
	for _, t := range b.tracks {
		t.finish(cut == nil)
	}
	flags := b.flags
	if cut == nil && !closed {
		flags |= Truncated
	}
	b.header.build(b.tracks)
	minNS := b.startNS
	for i, t := range b.tracks {
		if b.header.timescale[i] == 0 && len(t.samples) > 0 {
			t.samples = t.samples[:0] // its codec cannot be told
			flags |= Malformed
		}
		for j := range t.samples {
			minNS = min(minNS, t.samples[j].captureNS)
		}
		flags |= t.flags
	}
	window := minNS - minNS%(b.desc.SegmentMS*1e6)

	endNS, maxNS := int64(0), int64(0)
	b.runs = b.runs[:0]
	for i, t := range b.tracks {
		if len(t.samples) == 0 {
			continue
		}
		end := trackEnd{nominal: t.nominal(b.header.timescale[i]), follows: cut != nil}
		if cut != nil && i == b.cutTrack {
			end.cutNS = cut.CaptureNS
			end.leads = cut.Flags&(record.Forced|record.OpenGOP) != 0
		}
		trackEndNS := b.addRun(i, t, window, end)
		maxNS = max(maxNS, trackEndNS)
		if i == b.cutTrack {
			endNS = trackEndNS
		}
	}
	if cut != nil {
		endNS = cut.CaptureNS
	}
	endNS = max(endNS, b.startNS+1)

	b.out.Info = Info{
		Camera: b.camera, Epoch: b.epoch, First: b.first, End: b.next,
		StartNS: b.startNS, EndNS: endNS, MinNS: minNS, MaxNS: max(maxNS, endNS), WindowNS: window,
		Flags: flags, InitHash: b.header.hash, Since: b.desc.Since, SinceNS: b.desc.SinceNS,
	}
	b.assemble()
	return &b.out, nil
}

// assemble writes moof, mdat and box.
func (b *Builder) assemble() {
	out := &b.out
	out.Init = b.header.bytes
	b.moof = appendMoof(b.moof[:0], uint32(b.first)+1, b.runs)
	out.Moof = b.moof
	size := int64(boxHeader)
	for i := range b.runs {
		size += b.runs[i].bytes
	}
	head := appendBoxHeader(b.mdatHead[:0], uint32(size), "mdat")
	out.Mdat = append(out.Mdat[:0], head)
	for i := range b.runs {
		t := b.tracks[b.runs[i].id-1]
		out.Mdat = append(append(out.Mdat, t.full...), t.data)
	}
	h := sha256.New()
	h.Write(out.Moof)
	for _, p := range out.Mdat {
		h.Write(p)
	}
	h.Sum(out.Info.Hash[:0])
	out.Info.Size = int64(len(out.Moof)) + size
	b.box = AppendBox(b.box[:0], &out.Info)
	out.Box = b.box
}

// Release gives the memory of the last fragment back, to be used for others, also by other
// builders: the Fragment that Finish returned must not be used any more. Begin does the same.
func (b *Builder) Release() {
	for _, t := range b.tracks[:cap(b.tracks)] {
		if t != nil {
			t.release()
		}
	}
	clear(b.out.Mdat) // the chunks are others' now
	b.out.Mdat = b.out.Mdat[:0]
}

// Size returns the bytes of media that the unfinished fragment holds.
func (b *Builder) Size() int {
	n := 0
	for _, t := range b.tracks {
		n += t.size()
	}
	return n
}

// Next returns the offset that the next Push has to have.
func (b *Builder) Next() uint64 { return b.next }

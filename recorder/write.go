package recorder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
)

// runWriter writes what is queued until last is closed. When ctx ends it stops trying
// again what fails. While it is stuck, builders do not come back, so the links are not
// read.
func (d *disk) runWriter(ctx context.Context, last <-chan struct{}) {
	defer close(d.ended)
	for {
		repairs := d.repairs
		if len(d.queue) > 0 {
			repairs = nil // what is recorded goes first
		}
		select {
		case fin := <-d.queue:
			d.cutCondemned()
			d.put(ctx, fin)
		case fin := <-repairs:
			d.cutCondemned()
			d.put(ctx, fin)
		case <-d.wake:
			d.cutCondemned()
		case <-last:
			d.rest(ctx)
			return
		}
	}
}

// rest writes what is still queued.
func (d *disk) rest(ctx context.Context) {
	for {
		select {
		case fin := <-d.queue:
			d.put(ctx, fin)
		default:
			d.cutCondemned()
			return
		}
	}
}

// put writes a fragment, however long it takes, and gives its buffers back.
func (d *disk) put(ctx context.Context, fin *finished) {
	defer fin.done()
	d.putting.begin()
	defer d.putting.end()
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		d.writing.begin()
		err := d.write(fin)
		d.writing.end()
		if err == nil {
			d.note(byWriter, nil)
			return
		}
		d.meters.writeErrors.Inc()
		d.note(byWriter, err)
		if fin.once {
			fin.err = err
			return
		}
		if isFull(err) {
			d.onFull()
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// write appends a fragment to its segment, with one write. It is not durable yet.
func (d *disk) write(fin *finished) error {
	l, fragment := fin.lane, fin.fragment
	f := l.feed
	info := &fragment.Info
	d.mu.Lock()
	rewinds := l.rewinds
	d.mu.Unlock()
	if fin.generation != f.current() {
		return nil // it will be fetched again
	}
	end := progress{at: record.Position{Epoch: info.Epoch, Offset: info.End}, endNS: info.EndNS}
	if !d.index.opening.Load() { // one that is being made anew will be told all the same
		had, err := d.has(l, info)
		if err != nil {
			return err
		}
		if had {
			d.mu.Lock()
			defer d.mu.Unlock()
			l.written = end
			d.lanes[l] = struct{}{}
			return nil
		}
		if err := d.index.err(); err != nil {
			return err
		}
	}
	if err := d.hasRoom(); err != nil {
		return err
	}

	d.mu.Lock()
	s := l.seg
	if s != nil && !s.takes(info) {
		s.sealed, l.seg = true, nil
		s = nil
	}
	d.mu.Unlock()

	bufs := make([][]byte, 0, 3+len(fragment.Mdat))
	created := s == nil
	var at int64
	if created {
		defer func() {
			d.mu.Lock()
			d.born = ""
			d.mu.Unlock()
		}()
		var err error
		if s, err = d.createSegment(l, fragment); err != nil {
			return err
		}
		bufs = append(bufs, fragment.Init)
		at = int64(len(fragment.Init))
	} else {
		at = s.size // only the writer changes it
	}
	bufs = append(append(bufs, fragment.Box, fragment.Moof), fragment.Mdat...)
	n, err := writeAt(s.file, bufs, s.size, &d.scratch)
	if err != nil {
		err = fmt.Errorf("write fragment %d of %s to segment %s: %w", info.First, info.Epoch, s.path, err)
		return errors.Join(err, d.giveUp(s, created, err))
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case s.condemned: // while it was written; the tail is cut off
		return nil
	case rewinds != l.rewinds: // and this one follows the hole; of a camera that moved, it does not
		s.condemned, s.sealed = true, true
		d.condemned = append(d.condemned, s)
		return nil
	}
	s.size += n
	ref := index.Ref{Info: *info, Segment: s.path, At: at}
	s.refs = append(s.refs, ref)
	d.fresh[freshKey{f.camera, ref.Key()}] = ref
	l.seg, l.written = s, end
	d.live[s] = struct{}{}
	d.lanes[l] = struct{}{}
	f.counts.fragments.Add(1)
	return nil
}

// giveUp does what a failed write calls for. A full disk does not speak against the
// file: the next attempt overwrites what this one left. Any other error does.
func (d *disk) giveUp(s *segment, created bool, cause error) error {
	switch {
	case created:
		return errors.Join(s.file.Close(), d.fs.Remove(d.name(s.path)))
	case !isFull(cause):
		d.mu.Lock()
		s.sealed, s.lane.seg = true, nil
		d.mu.Unlock()
		if t, ok := s.file.(truncateFile); ok { // or recovery does it
			return t.Truncate(s.size)
		}
	}
	return nil
}

// freshKey names a fragment that is not in the index yet.
type freshKey struct {
	camera string
	index.Key
}

// noLongerFresh forgets fragments that are in the index by now, or never will be. With mu held.
func (d *disk) noLongerFresh(refs []index.Ref) {
	for i := range refs {
		key := freshKey{refs[i].Camera, refs[i].Key()}
		if r, ok := d.fresh[key]; ok && r.Segment == refs[i].Segment && r.At == refs[i].At {
			delete(d.fresh, key)
		}
	}
}

// has reports whether the fragment is in the index already, or will be with the next
// commit: after a recovery a feed begins where the first hole is, and repair may have
// filled that.
func (d *disk) has(l *lane, info *media.Info) (bool, error) {
	key := index.Key{Epoch: info.Epoch, First: info.First}
	d.mu.Lock()
	fresh, ok := d.fresh[freshKey{l.feed.camera, key}]
	d.mu.Unlock()
	if ok && !worse(&fresh, &index.Ref{Info: *info}) {
		return true, nil
	}
	newest := d.index.store().Position(l.feed.camera)
	if info.Epoch.Compare(newest.Epoch) > 0 || info.Epoch == newest.Epoch && info.End > newest.Offset {
		return false, nil
	}
	ref, err := d.index.store().Lookup(l.feed.camera, info.StartNS, key)
	if errors.Is(err, index.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up fragment %d of camera %s: %w", key.First, l.feed.camera, err)
	}
	return !worse(&ref, &index.Ref{Info: *info}), nil
}

// cutCondemned takes away from condemned segments what is not durable. It must never be
// adopted: after a failed fsync the page cache shows bytes that the disk does not have.
func (d *disk) cutCondemned() {
	d.mu.Lock()
	list := d.condemned
	d.condemned = nil
	for _, l := range d.left {
		if l.seg != nil {
			l.seg.sealed, l.seg = true, nil
		}
	}
	d.left = nil
	d.mu.Unlock()
	for _, s := range list {
		d.writing.begin()
		name := d.name(s.path)
		err := s.file.Close()
		if s.durable == 0 {
			err = errors.Join(err, d.fs.Remove(name))
		} else {
			err = errors.Join(err, truncate(d.fs, name, s.durable))
		}
		d.writing.end()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.log.Error().Err(err).Str("segment", s.path).Int64("durable", s.durable).
				Msg("cannot cut off what is not durable; recovery will, at the next start")
		}
	}
}

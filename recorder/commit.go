package recorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/index"
)

// group is what a commit makes durable of one segment.
type group struct {
	seg  *segment
	refs []index.Ref
	size int64 // of the file up to the last of refs
	err  error
}

// runCommitter commits every interval until ctx ends, and once more then.
func (d *disk) runCommitter(ctx context.Context, interval time.Duration, committed func()) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			d.commit()
			committed()
			return
		}
		d.commit()
		committed()
	}
}

// commit makes durable what was written: first the bytes, then the names of new files,
// then one index batch. Only then feeds are told, which acknowledge.
func (d *disk) commit() {
	d.committing.begin()
	defer d.committing.end()
	defer func() {
		d.commits.Add(1)
		select {
		case d.committed <- struct{}{}:
		default:
		}
	}()
	reopened, err := d.index.reopen()
	if err != nil {
		d.note(byCommitter, err)
		return
	}
	groups, done := d.take()
	d.sync(groups)

	var lost []*lane
	var problem error
	good := groups[:0:0]
	for _, g := range groups {
		if g.err != nil {
			if problem == nil { // the first says it; there may be as many as cameras
				problem = g.err
			}
			d.meters.syncErrors.Inc()
			if !slices.Contains(lost, g.seg.lane) {
				lost = append(lost, g.seg.lane)
			}
		}
	}
	for _, g := range groups {
		if !slices.Contains(lost, g.seg.lane) {
			good = append(good, g)
		}
	}
	if len(lost) > 0 {
		lost = d.kin(lost, groups, done)
		good = slices.DeleteFunc(good, func(g *group) bool { return slices.Contains(lost, g.seg.lane) })
		d.condemn(lost)
		d.forget(groups, good)
		for _, l := range lost {
			delete(done, l)
		}
		d.restart(lost)
	}
	err = d.present() // or what is synced is on a disk that nobody finds again
	if err == nil {
		err = d.enter(good)
	}
	if err != nil {
		d.putBack(good, done)
		d.note(byCommitter, errors.Join(problem, err))
		return
	}
	d.forget(good, nil)
	for _, g := range good {
		d.entered.Add(uint64(len(g.refs)))
	}
	d.closeSealed(good)
	if len(good) > 0 {
		d.wrote.Store(d.clock.Mono())
	}
	for l, p := range done {
		l.feed.committed(p)
	}
	if problem != nil || reopened || len(groups) > 0 {
		d.note(byCommitter, problem)
	}
}

// kin returns the lanes that were lost and all others of their cameras: a fragment that one
// lane has written is not written again by another, which counts on it.
func (d *disk) kin(lost []*lane, groups []*group, done map[*lane]progress) []*lane {
	var cameras []string
	for _, l := range lost {
		cameras = append(cameras, l.feed.camera)
	}
	add := func(l *lane) {
		if slices.Contains(cameras, l.feed.camera) && !slices.Contains(lost, l) {
			lost = append(lost, l)
		}
	}
	for _, g := range groups {
		add(g.seg.lane)
	}
	for l := range done {
		add(l)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range d.lanes {
		add(l)
	}
	for s := range d.live {
		add(s.lane)
	}
	return lost
}

// forget takes the fragments of groups out of fresh, but for those of the groups in keep.
func (d *disk) forget(groups, keep []*group) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range groups {
		if !slices.Contains(keep, g) {
			d.noLongerFresh(g.refs)
		}
	}
}

// take takes what is written and not durable, by path.
func (d *disk) take() ([]*group, map[*lane]progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var groups []*group
	for s := range d.live {
		if len(s.refs) > 0 || s.sealed {
			groups = append(groups, &group{seg: s, refs: s.refs, size: s.size})
			s.refs = nil
		}
	}
	slices.SortFunc(groups, func(a, b *group) int { return cmp.Compare(a.seg.path, b.seg.path) })
	done := make(map[*lane]progress, len(d.lanes))
	for l := range d.lanes {
		done[l] = l.written
	}
	clear(d.lanes)
	return groups, done
}

// sync syncs the files of the groups and the directories that name them.
func (d *disk) sync(groups []*group) {
	var g errgroup.Group
	g.SetLimit(d.syncers)
	for _, gr := range groups {
		if len(gr.refs) == 0 {
			continue
		}
		g.Go(func() error {
			err := d.timedSync(gr.seg.file.SyncData)
			if err == nil && !gr.seg.named {
				err = d.syncNames(gr.seg)
			}
			if err != nil {
				gr.err = fmt.Errorf("sync segment %s: %w", gr.seg.path, err)
				return nil
			}
			gr.seg.named = true // only commits read it
			return nil
		})
	}
	_ = g.Wait() // each group has its error
}

// timedSync is timed for what is part of a commit, which is many of them: a disk that is at
// one after the other is slow, and does not hang.
func (d *disk) timedSync(sync func() error) error {
	d.committing.begin()
	defer d.committing.begin()
	return d.timed(sync)
}

// timed notes how long it took to make something durable.
func (d *disk) timed(sync func() error) error {
	from := d.clock.Mono()
	err := sync()
	took := time.Duration(d.clock.Mono() - from)
	d.syncs.add(from, took)
	d.meters.syncSeconds.Observe(took.Seconds())
	return err
}

// condemn gives up everything of the lanes that is not durable: it is fetched again,
// from the proxy's log. A second fsync that succeeds would be a lie, and to keep what
// was written after the hole would hide it.
func (d *disk) condemn(lanes []*lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range lanes {
		l.feed.rewind(l)
		l.seg = nil
		l.rewinds++
		delete(d.lanes, l)
	}
	for s := range d.live {
		if slices.Contains(lanes, s.lane) {
			d.noLongerFresh(s.refs)
			s.condemned, s.sealed, s.refs = true, true, nil
			d.condemned = append(d.condemned, s)
			delete(d.live, s)
		}
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// enter names the fragments of the groups in the index, durably.
func (d *disk) enter(groups []*group) error {
	var refs []index.Ref
	for _, g := range groups {
		refs = append(refs, g.refs...)
	}
	if len(refs) == 0 {
		return nil
	}
	err := d.timedSync(func() error { return d.index.commit(refs, initsOf(groups)) })
	if !errors.Is(err, index.ErrInvalid) {
		return err
	}
	// One of them is wrong, which is a bug, or memory that went bad: it must not keep
	// the others out.
	for _, g := range groups {
		for i := range g.refs {
			err := d.index.commit(g.refs[i:i+1], initsOf([]*group{g}))
			switch {
			case errors.Is(err, index.ErrInvalid):
				d.meters.invalid.Inc()
				d.log.Error().Err(err).Str("camera", g.seg.lane.feed.camera).Str("segment", g.seg.path).
					Uint64("offset", g.refs[i].First).Msg("the index refuses a fragment; it is left out")
			case err != nil:
				return err
			}
		}
	}
	return nil
}

func initsOf(groups []*group) []index.Init {
	var out []index.Init
	for _, g := range groups {
		if len(g.refs) > 0 {
			out = append(out, index.Init{Camera: g.seg.lane.feed.camera, Hash: g.seg.initHash, Data: g.seg.init})
		}
	}
	return out
}

// putBack undoes take: the bytes are durable, the index was not there.
func (d *disk) putBack(groups []*group, done map[*lane]progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range groups {
		g.seg.refs = append(g.refs, g.seg.refs...)
	}
	for l := range done {
		d.lanes[l] = struct{}{}
	}
}

// closeSealed books what has become durable and closes the files that are complete.
func (d *disk) closeSealed(groups []*group) {
	var complete []*segment
	d.mu.Lock()
	for _, g := range groups {
		g.seg.durable = g.size
		if g.seg.sealed && len(g.seg.refs) == 0 {
			delete(d.live, g.seg)
			complete = append(complete, g.seg)
		}
	}
	d.mu.Unlock()
	for _, s := range complete {
		if err := s.file.Close(); err != nil {
			d.log.Warn().Err(err).Str("segment", s.path).Msg("close a segment that is durable")
		}
	}
}

// closeAll closes what is open, at the end.
func (d *disk) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.live {
		if err := s.file.Close(); err != nil {
			d.log.Warn().Err(err).Str("segment", s.path).Msg("close a segment")
		}
	}
	clear(d.live)
}

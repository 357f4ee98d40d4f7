package recorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
)

// errBlocked is wrapped where this recorder cannot take anything now.
var errBlocked = errors.New("nothing is copied now")

// do copies what a task says, for a while; done: nothing of it is lacking any more.
func (r *repairer) do(ctx context.Context, t *task) (done bool, err error) {
	if why := r.host.blocked(t.camera); why != "" {
		return false, fmt.Errorf("%w: %s", errBlocked, why)
	}
	list, sources, err := r.lacks(ctx, t)
	if err != nil {
		return false, err
	}
	if len(list) == 0 {
		return true, nil
	}
	arrange(list, r.newest)
	t.measure(list)
	until := r.clock.Mono() + int64(repairSlice)
	w := r.wants[t.camera]
	_, _, evidence := r.host.room(t.camera)
	copied := 0
	var failed error
	for i := range list {
		if ctx.Err() != nil || r.clock.Mono() > until {
			break
		}
		if why := r.host.blocked(t.camera); why != "" {
			failed = fmt.Errorf("%w: %s", errBlocked, why)
			break
		}
		if _, only := w.has(&list[i].info); only {
			if evidence -= list[i].info.Size; evidence < 0 {
				failed = fmt.Errorf("%w: evidence locks would keep more than %d %% of the disk", errBlocked, lockShare)
				break
			}
		}
		if err := r.copy(ctx, &list[i], sources); err != nil {
			failed = errors.Join(failed, err)
			if i-copied >= 3 { // it is not this one
				break
			}
			continue
		}
		copied++
		t.fragments, t.bytes = max(t.fragments-1, 0), max(t.bytes-list[i].info.Size, 0)
		r.book(list[i].info.Camera, list[i].info.Size)
	}
	if copied > 0 {
		r.host.settle(ctx, t.camera)
	}
	if failed != nil {
		return false, failed
	}
	if copied < len(list) {
		return false, nil
	}
	// What did not become durable is still lacking.
	list, _, err = r.lacks(ctx, t)
	if err == nil && len(list) > 0 {
		t.measure(list)
		err = fmt.Errorf("%d fragments of camera %s were copied and did not become durable", len(list), t.camera)
	}
	return err == nil, err
}

// lacks lists what of a task is lacking now, and the recorders that the list means.
func (r *repairer) lacks(ctx context.Context, t *task) ([]lacking, []*source, error) {
	var sources []*source
	var lists [][]index.Ref
	var failed error
	names := make([]*source, 0, len(t.sources))
	for s := range t.sources {
		names = append(names, s)
	}
	slices.SortFunc(names, func(a, b *source) int { return cmp.Compare(a.name, b.name) })
	for _, s := range names {
		list, err := listOf(ctx, s.client, t.camera, t.fromNS, t.toNS)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("list camera %s on recorder %s: %w", t.camera, s.name, err))
			continue
		}
		sources, lists = append(sources, s), append(lists, list)
	}
	own, err := r.host.list(t.camera, t.fromNS, t.toNS)
	if err != nil {
		return nil, nil, fmt.Errorf("list camera %s: %w", t.camera, err)
	}
	out, conflicts := difference(own, lists)
	w := r.wants[t.camera]
	out = slices.DeleteFunc(out, func(l lacking) bool {
		wanted, _ := w.has(&l.info)
		return !wanted || l.info.StartNS < t.fromNS || l.info.StartNS >= t.toNS
	})
	if conflicts > 0 {
		if n, ok := r.every.Allow("conflict " + t.camera); ok {
			r.log.Error().Str("camera", t.camera).Int("fragments", conflicts).Int("suppressed", n).
				Msg("recorders hold different bytes of the same records; that cannot be repaired by copying")
		}
	}
	if len(out) == 0 {
		return nil, nil, failed // who did not answer may have something
	}
	return out, sources, nil
}

// copy copies one fragment from the first recorder that gives it.
func (r *repairer) copy(ctx context.Context, l *lacking, sources []*source) error {
	var failed error
	for _, i := range l.sources {
		s := sources[i]
		err := r.copyFrom(ctx, &l.info, s)
		if err == nil || ctx.Err() != nil {
			return err
		}
		failed = errors.Join(failed, fmt.Errorf("copy fragment %d of %s of camera %s from recorder %s: %w",
			l.info.First, l.info.Epoch, l.info.Camera, s.name, err))
	}
	r.fail(l.info.Camera)
	return failed
}

func (r *repairer) copyFrom(ctx context.Context, info *media.Info, s *source) error {
	init, err := r.host.header(info.Camera, info.InitHash)
	if errors.Is(err, index.ErrNotFound) {
		init, err = fetchInit(ctx, s.client, info)
	}
	if err != nil {
		return err
	}
	data, err := fetch(ctx, s.client, info, r.pace)
	if err != nil {
		return err
	}
	return r.host.put(ctx, fragmentFrom(*info, init, data))
}

package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/duet-video/duet/index"
)

// serveSuspects checks what was asked for meanwhile, without regard to the pace.
func (s *scrubber) serveSuspects(ctx context.Context) error {
	for {
		select {
		case ref := <-s.suspects:
			if err := s.one(ctx, &ref); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func (s *scrubber) one(ctx context.Context, ref *index.Ref) error {
	if err := s.index.err(); err != nil {
		return err
	}
	_, err := s.check(ctx, ref, func(n int64) error { s.read.Add(n); return ctx.Err() })
	return err
}

// idle waits, checks what is suspect meanwhile, and reports whether to go on.
func (s *scrubber) idle(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case ref := <-s.suspects:
			if err := s.one(ctx, &ref); err != nil && ctx.Err() == nil {
				if n, ok := s.every.Allow("suspect"); ok {
					s.log.Warn().Err(err).Int("suppressed", n).Str("segment", ref.Segment).Msg("cannot check a fragment")
				}
			}
		case <-t.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// pace returns what keeps the reading to the rate, and back while recording needs the disk.
func (s *scrubber) pace(ctx context.Context) func(n int64) error {
	return func(n int64) error {
		for range scrubPatience {
			if !s.busy() {
				break
			}
			if !pause(ctx, scrubYield) {
				return ctx.Err()
			}
		}
		s.read.Add(n)
		s.mu.Lock()
		now := s.clock.Now()
		if s.allow.Before(now) || s.allow.After(now.Add(time.Minute)) {
			s.allow = now
		}
		wait := s.allow.Sub(now)
		s.allow = s.allow.Add(time.Duration(float64(n) / float64(s.opts.Rate) * float64(time.Second)))
		s.mu.Unlock()
		if wait > 0 && !pause(ctx, wait) {
			return ctx.Err()
		}
		return ctx.Err()
	}
}

// load takes up what an earlier process kept. Without it a round begins.
func (s *scrubber) load() {
	var st scrubState
	b, err := readFile(s.fs, s.fs.PathJoin(s.dir, metaDir, scrubFile), 64<<10)
	if err == nil && json.Unmarshal(b, &st) == nil {
		s.set(st)
	}
}

// save keeps the place. It need not survive a power cut: then a little is read twice.
func (s *scrubber) save() {
	b, err := json.Marshal(s.progress())
	if err != nil {
		return
	}
	name := s.fs.PathJoin(s.dir, metaDir, scrubFile)
	f, err := s.fs.Create(name+tempExt, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(append(b, '\n'))
		if err = errors.Join(err, f.Close()); err == nil {
			err = s.fs.Rename(name+tempExt, name)
		}
	}
	if err != nil {
		if n, ok := s.every.Allow("save"); ok {
			s.log.Debug().Err(err).Int("suppressed", n).Msg("cannot keep how far the check came")
		}
	}
}

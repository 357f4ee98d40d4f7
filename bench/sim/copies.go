package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

// call asks a recorder something.
func (s *Site) call(recorder string, ask func(context.Context, nodepb.RecorderClient) error) error {
	conn, err := grpc.NewClient("passthrough:///"+recorder, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(s.net.dialer(checkerHost)), grpc.WithDisableServiceConfig(),
		grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return ask(ctx, nodepb.NewRecorderClient(conn))
}

// holds returns what a recorder says that it holds of a camera.
func (s *Site) holds(recorder, camera string) (out []*nodepb.Fragment, err error) {
	err = s.call(recorder, func(ctx context.Context, c nodepb.RecorderClient) error {
		stream, err := c.Fragments(ctx, &nodepb.FragmentsRequest{Camera: camera, StartNs: 0, EndNs: math.MaxInt64}, grpc.WaitForReady(true))
		if err != nil {
			return err
		}
		for {
			reply, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			out = append(out, reply.GetFragments()...)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list %s on %s: %w", camera, recorder, err)
	}
	return out, nil
}

// convergeTime is how long two copies may take to become one.
const convergeTime = 60 * time.Second

// converge waits until both copies of every camera have the same fragments, and all that
// was damaged has been looked at.
func (s *Site) converge() error {
	var last error
	for began := time.Now(); time.Since(began) < convergeTime; time.Sleep(2 * time.Second) {
		if last = s.scrubbed(); last == nil {
			last = s.equalSets()
		}
		if last == nil {
			return nil
		}
	}
	return copiesConverge.broken("not within %v: %w", convergeTime, last)
}

// scrubbed reports, with an error, that a recorder has not yet checked all of its media
// since something was last damaged.
func (s *Site) scrubbed() error {
	s.seen.mu.Lock()
	since, spoiled := s.seen.damagedAt, len(s.seen.spoiledFiles) > 0
	s.seen.mu.Unlock()
	if !spoiled || s.opts.Scrub == 0 {
		return nil
	}
	for _, r := range s.order {
		err := s.call(r, func(ctx context.Context, c nodepb.RecorderClient) error {
			st, err := c.Status(ctx, &nodepb.StatusRequest{}, grpc.WaitForReady(true))
			for _, d := range st.GetDisks() {
				if d.GetScrub().GetFinishedNs() == 0 || d.GetScrub().GetStartedNs() < since.UnixNano() {
					return fmt.Errorf("%s has not checked %s since %s", r, d.GetPath(), s.seconds(since))
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fragmentKey names a fragment, its bytes included.
type fragmentKey struct {
	epoch      record.Epoch
	first, end uint64
	hash       media.Hash
}

// bytesPerSecond is about what a second of a camera counts for on a disk.
const bytesPerSecond = 1100

// equalSets reports, with an error, that one copy of a camera has a fragment that the other
// lacks, and should not.
func (s *Site) equalSets() error {
	for i, c := range s.cameras {
		copies := s.copies(i)
		var sets [2]map[fragmentKey]*nodepb.Fragment
		for j, r := range copies {
			list, err := s.holds(r, c.name)
			if err != nil {
				return err
			}
			sets[j] = make(map[fragmentKey]*nodepb.Fragment, len(list))
			for _, f := range list {
				sets[j][keyOf(f)] = f
			}
		}
		for j, set := range sets {
			if s.spare(i, copies[1-j]) {
				continue // it copies nothing
			}
			wanted := s.wanted(copyKey{c.name, copies[1-j]}, sets[1-j])
			for k, f := range set {
				if sets[1-j][k] == nil && wanted(f) && (!s.opts.Spare || !longer(sets[1-j], k)) {
					return fmt.Errorf("%s: only %s has fragment %s+%d…%d %x, of %s", c.name, copies[j], k.epoch, k.first, k.end, k.hash[:4],
						s.seconds(time.Unix(0, f.GetStartNs())))
				}
			}
		}
	}
	return nil
}

// longer reports whether a set has a fragment that begins with the same record and has more:
// what a spare has of one that it was not sent whole stays so.
func longer(set map[fragmentKey]*nodepb.Fragment, k fragmentKey) bool {
	for o := range set {
		if o.epoch == k.epoch && o.first == k.first && o.end > k.end {
			return true
		}
	}
	return false
}

func keyOf(f *nodepb.Fragment) fragmentKey {
	return fragmentKey{record.Epoch(f.GetEpoch()), f.GetFirst(), f.GetEnd(), media.Hash(f.GetHash())}
}

// wanted returns what tells whether a copy should have a fragment that the other one has:
// what is locked, and otherwise what is newer than what retention has deleted, or would.
func (s *Site) wanted(copy copyKey, has map[fragmentKey]*nodepb.Fragment) func(*nodepb.Fragment) bool {
	s.seen.mu.Lock()
	horizon, locks := s.seen.horizon[copy], slices.Clone(s.seen.evidence)
	s.seen.mu.Unlock()
	if s.opts.Age > 0 {
		horizon = max(horizon, time.Now().Add(-s.opts.Age).UnixNano())
	}
	if s.opts.Quota > 0 { // without room, what is older than all that is there is not wanted
		oldest := int64(math.MaxInt64)
		for _, f := range has {
			// Locks keep segments whole.
			around := int64(cmp.Or(s.opts.Segment, segmentTime)) + int64(behindMost)
			if !slices.ContainsFunc(locks, func(e *evidence) bool { return e.overlaps(copy.camera, f.GetStartNs()-around, f.GetEndNs()+around) }) {
				oldest = min(oldest, f.GetStartNs())
			}
		}
		horizon = max(horizon, oldest)
	}
	// Nothing is copied that would let locks keep too much of a disk.
	around := 2 * (cmp.Or(s.opts.Segment, segmentTime) + behindMost)
	var locked int64
	for _, e := range locks {
		locked += int64((time.Duration(e.to-e.from) + around).Seconds() * bytesPerSecond)
	}
	crammed := s.opts.Quota > 0 && locked > s.opts.Quota/2
	return func(f *nodepb.Fragment) bool {
		return f.GetStartNs() >= horizon || !crammed && slices.ContainsFunc(locks, func(e *evidence) bool {
			return !e.released && !e.unsure && e.overlaps(copy.camera, f.GetStartNs(), f.GetEndNs())
		})
	}
}

// equalBytes checks that two copies of the same records are the same bytes.
func equalBytes(camera string, held map[string][]*nodepb.Fragment) error {
	type key struct {
		epoch      record.Epoch
		first, end uint64
	}
	hashes := map[key]string{}
	for r, list := range held {
		for _, f := range list {
			k := key{record.Epoch(f.GetEpoch()), f.GetFirst(), f.GetEnd()}
			if h, ok := hashes[k]; ok && h != string(f.GetHash()) {
				return sameBytes.broken("%s: fragment %s+%d of %s has another hash than the other copy", camera, k.epoch, k.first, r)
			}
			hashes[k] = string(f.GetHash())
		}
	}
	return nil
}

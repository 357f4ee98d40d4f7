package playback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/clock"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/nodepb"
)

// VerifyOptions say what VerifySite compares.
type VerifyOptions struct {
	// Options give the site: Recorders, Cameras, TLS and Deadlines are used.
	Options
	// Start and End bound what is compared. End should lie some seconds in the past:
	// what one recorder has not committed yet counts as OnlyOne.
	Start, End time.Time
	// Level is present, size or hash; empty: hash. Below it, recorders look at their files
	// and compare the hashes in their indexes.
	Level string
	// Progress is called from one goroutine, about every 200 fragments and at the end of
	// each camera. May be nil.
	Progress func(VerifyCamera)
}

// VerifyCamera is what was found of a camera, in fragments.
type VerifyCamera struct {
	Camera string `json:"camera"`
	// Fragments is how many different ones there are: Equal + OnlyOne + Mismatch + Unreadable.
	Fragments int64 `json:"fragments"`
	// Equal: at least two copies, and all files hash to what their indexes say, which is the same.
	Equal int64 `json:"equal"`
	// OnlyOne: one whole copy, not damaged. Another recorder may have a shorter one, cut
	// off where its proxy ended.
	OnlyOne int64 `json:"only_one"`
	// Mismatch: a file hashes to something else than its index says, or two indexes disagree.
	Mismatch int64 `json:"mismatch"`
	// Unreadable: a copy could not be read, and none mismatches.
	Unreadable int64 `json:"unreadable"`
	// Bytes is how much was hashed, over all copies.
	Bytes int64 `json:"bytes"`
	// Problems names the first fragments that are not Equal or OnlyOne, at most 1000.
	Problems []VerifyProblem `json:"problems"`
	// Missing names the recorders that did not answer, or not to the end, and why.
	Missing map[string]string `json:"not_answered"`
	// At is the start of the newest fragment that was compared.
	At time.Time `json:"-"`
	// Done is set in the last call for the camera, and in the result.
	Done bool `json:"-"`
}

// VerifyProblem is a fragment that is not as it should be.
type VerifyProblem struct {
	Camera string    `json:"camera"`
	Time   time.Time `json:"time"`
	Epoch  string    `json:"epoch"`
	First  uint64    `json:"first_offset"`
	What   string    `json:"what"`
	// Copies are where the copies are, those that are not as they should be first.
	Copies []VerifyPlace `json:"copies"`
}

// VerifyPlace is where a recorder has a fragment.
type VerifyPlace struct {
	Recorder string `json:"recorder"`
	// File is the segment: its data directory, and its name below it. Empty: the recorder,
	// one of an earlier version, did not say.
	File string `json:"file,omitempty"`
	// Offset is where the fragment begins in the file, in bytes.
	Offset int64 `json:"offset"`
	// Bad: this copy is not what the index there says.
	Bad bool `json:"bad,omitempty"`
}

func (p *VerifyPlace) String() string {
	if p.File == "" {
		return p.Recorder
	}
	return fmt.Sprintf("%s %s at byte %d", p.Recorder, p.File, p.Offset)
}

func (p *VerifyProblem) String() string {
	s := fmt.Sprintf("camera %s, %s, fragment %s+%d: %s", p.Camera, at(p.Time.UnixNano()), p.Epoch, p.First, p.What)
	for i := range p.Copies {
		sep := ", "
		if i == 0 {
			sep = " ("
		}
		s += sep + p.Copies[i].String()
	}
	if len(p.Copies) > 0 {
		s += ")"
	}
	return s
}

const (
	verifyEvery    = 200 // fragments between two calls of Progress
	verifyProblems = 1000
	// verifyStall is how long a recorder may read one part from its disk.
	verifyStall = time.Minute
)

// VerifySite asks every recorder for the hashes of its files, recomputed, and compares
// them with its index and with the other copies, one camera after another. It returns
// one result per camera, in the order of o.Cameras. Recorders that fail are named in the
// results; the error is for options that cannot work and for a context that ended.
func VerifySite(ctx context.Context, o VerifyOptions) ([]VerifyCamera, error) {
	if err := o.validateSite(); err != nil {
		return nil, err
	}
	if !o.Start.Before(o.End) {
		return nil, fmt.Errorf("playback: verify from %s to %s: end must be after start", stamp{o.Start}, stamp{o.End})
	}
	o.Deadlines.fill()
	clk := o.Clock
	if clk == nil {
		clk = clock.System()
	}
	p, err := newPool(&o.Options, clk, nil)
	if err != nil {
		return nil, err
	}
	defer p.close()
	p.meet(ctx)
	results := make([]VerifyCamera, 0, len(o.Cameras))
	for _, c := range o.Cameras {
		v := verifier{VerifyCamera: VerifyCamera{Camera: c.Name, Missing: make(map[string]string)}, progress: o.Progress}
		v.run(ctx, p, o.Start.UnixNano(), o.End.UnixNano(), o.Level)
		if err := ctx.Err(); err != nil {
			return results, fmt.Errorf("verify %s: %w", c.Name, err)
		}
		v.Done = true
		v.report()
		results = append(results, v.VerifyCamera)
	}
	return results, nil
}

// meet probes every recorder once, so that it is known who has what.
func (p *pool) meet(ctx context.Context) {
	var wg sync.WaitGroup
	for _, r := range p.recorders {
		wg.Go(func() {
			limited, cancel := context.WithTimeout(ctx, p.d.Answer)
			defer cancel()
			_ = r.probe(limited) // kept in the peer
		})
	}
	wg.Wait()
}

type verifier struct {
	VerifyCamera
	progress func(VerifyCamera)
}

func (v *verifier) report() {
	if v.progress != nil {
		v.progress(v.VerifyCamera)
	}
}

// verifySource is the answer of one recorder, and where it stands.
type verifySource struct {
	peer   *peer
	stream grpc.ServerStreamingClient[nodepb.VerifyReply]
	cancel context.CancelFunc
	reply  *nodepb.VerifyReply // nil: it is over
	ref    index.Ref
}

func (v *verifier) run(ctx context.Context, p *pool, startNS, endNS int64, level string) {
	var sources []*verifySource
	for _, r := range p.holders(v.Camera) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s := &verifySource{peer: r, cancel: cancel}
		// A recorder that is known not to answer is not waited for again.
		stream, err := r.recorder.Verify(ctx, &nodepb.FragmentsRequest{Camera: v.Camera, StartNs: startNS, EndNs: endNS, Level: level})
		if err != nil {
			v.Missing[r.Name] = status.Convert(err).Message()
			continue
		}
		s.stream = stream
		sources = append(sources, s)
	}
	for _, s := range sources {
		v.next(s)
	}
	for {
		group := lowest(sources)
		if len(group) == 0 {
			return
		}
		v.compare(group)
		for _, s := range group {
			v.next(s)
		}
		if v.Fragments%verifyEvery == 0 {
			v.report()
		}
	}
}

// next takes what the recorder says of its next fragment.
func (v *verifier) next(s *verifySource) {
	stall := time.AfterFunc(verifyStall, s.cancel)
	defer stall.Stop()
	last := s.ref
	began := s.reply != nil
	reply, err := s.stream.Recv()
	s.reply = nil
	if errors.Is(err, io.EOF) {
		return
	}
	if err == nil {
		s.ref, err = refFromProto(v.Camera, reply.GetFragment())
	}
	if err == nil && began && index.Compare(&s.ref, &last) <= 0 {
		err = errors.New("its list is not sorted")
	}
	if err != nil {
		v.Missing[s.peer.Name] = status.Convert(err).Message()
		s.cancel()
		return
	}
	s.reply = reply
}

// lowest returns the sources that stand at the first fragment.
func lowest(sources []*verifySource) []*verifySource {
	var group []*verifySource
	for _, s := range sources {
		if s.reply == nil {
			continue
		}
		if len(group) > 0 && s.ref.Key() != group[0].ref.Key() {
			if index.Compare(&s.ref, &group[0].ref) > 0 {
				continue
			}
			group = group[:0]
		}
		group = append(group, s)
	}
	return group
}

// compare counts one fragment, of which every source of the group has a copy.
func (v *verifier) compare(group []*verifySource) {
	v.Fragments++
	v.At = time.Unix(0, group[0].ref.StartNS)
	end := uint64(0)
	for _, s := range group {
		end = max(end, s.ref.End)
	}
	whole, unreadable, mismatch := 0, 0, 0
	var hash media.Hash
	var why string
	var bad []*verifySource
	for _, s := range group {
		found := s.reply.GetFoundHash()
		switch {
		case len(found) == 0:
			unreadable++
			bad = append(bad, s)
			why = fmt.Sprintf("%s cannot read it: %s", s.peer.Name, s.reply.GetError())
			continue
		case string(found) != string(s.ref.Hash[:]):
			mismatch++
			bad = append(bad, s)
			why = fmt.Sprintf("on %s the file hashes to %.12x…, the index says %.12x…", s.peer.Name, found, s.ref.Hash[:])
		case s.ref.End < end:
			// Shorter: cut off where its proxy ended. The merge takes the longer one.
		case whole > 0 && s.ref.Hash != hash:
			mismatch++
			why = fmt.Sprintf("%s has %.12x…, another recorder has %.12x…", s.peer.Name, s.ref.Hash[:], hash[:])
		default:
			whole++
			hash = s.ref.Hash
		}
		v.Bytes += s.ref.Size
	}
	switch {
	case mismatch > 0:
		v.Mismatch++
	case unreadable > 0:
		v.Unreadable++
	case whole > 1:
		v.Equal++
	default:
		v.OnlyOne++
	}
	if why != "" && len(v.Problems) < verifyProblems {
		r := &group[0].ref
		v.Problems = append(v.Problems, VerifyProblem{
			Camera: v.Camera, Time: time.Unix(0, r.StartNS).UTC(), Epoch: r.Epoch.String(), First: r.First, What: why, Copies: placesOf(group, bad),
		})
	}
}

// placesOf says where the copies of a fragment are, the bad ones first.
func placesOf(group, bad []*verifySource) []VerifyPlace {
	var first, rest []VerifyPlace
	for _, s := range group {
		p := VerifyPlace{Recorder: s.peer.Name, Offset: s.reply.GetAt(), Bad: slices.Contains(bad, s)}
		if seg := s.reply.GetSegment(); seg != "" {
			p.File = path.Join(s.reply.GetPath(), seg)
		}
		if p.Bad {
			first = append(first, p)
			continue
		}
		rest = append(rest, p)
	}
	return append(first, rest...)
}

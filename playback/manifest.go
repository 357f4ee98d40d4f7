package playback

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/evidence"
	"github.com/duet-video/duet/internal/media"
)

const (
	manifestCacheBytes = 64 << 20
	// manifestFor is how long the same footage is given with the same manifest.
	manifestFor = time.Hour
)

// made is a manifest, and when it was made.
type made struct {
	box  *evidence.Box
	when time.Time
	tag  string
}

// addManifest puts a signed manifest at the end of the file.
//
// It says when it was made and who held the footage then, so another one for the same
// footage has other bytes. A download that is gone on with must get what it began with:
// the manifest is remembered for a while, and after a restart of this node it is made
// anew for the time in the tag that the client has. If that does not give the same tag,
// the client learns that the file is another one.
func (s *Service) addManifest(ctx context.Context, v *virtual, ifRange string) error {
	if s.o.Signer == nil {
		return nil
	}
	content := v.content
	m, ok := s.manifests.get(content)
	now := s.clock.Now().UTC().Truncate(time.Second)
	switch age := time.Duration(0); {
	case ok && m.tag == ifRange:
	case ifRange != "" && strings.HasPrefix(ifRange, `"`+content+"."):
		if again, err := s.makeManifest(ctx, v, content, whenOf(ifRange)); err == nil && again.tag == ifRange {
			m = again
			break
		}
		fallthrough
	default:
		if ok {
			age = now.Sub(m.when)
		}
		if ok && age >= 0 && age < manifestFor {
			break
		}
		var err error
		if m, err = s.makeManifest(ctx, v, content, now); err != nil {
			return err
		}
		s.manifests.replace(content, m, int64(len(v.sections))*192+1<<16)
	}
	v.manifest, v.etag = m.box, m.tag
	v.size = v.media + m.box.Size()
	return nil
}

// whenOf returns the time in a tag, or the zero time.
func whenOf(tag string) time.Time {
	parts := strings.Split(strings.Trim(tag, `"`), ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	n, err := strconv.ParseInt(parts[1], 36, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func (s *Service) makeManifest(ctx context.Context, v *virtual, content string, when time.Time) (*made, error) {
	head, rows := s.manifestOf(ctx, v, when)
	p := v.plan // and nothing else of v, which has footage in memory
	box, err := evidence.NewBox(head, len(rows), func(i int, f *evidence.Fragment) { rows[i].tell(p, f) }, s.o.Signer)
	if err != nil {
		return nil, err
	}
	digest := box.Digest()
	tag := `"` + content + "." + strconv.FormatInt(when.Unix(), 36) + "." + base64.RawURLEncoding.EncodeToString(digest[:9]) + `"`
	return &made{box: box, when: when, tag: tag}, nil
}

// manifestOf returns what the manifest says, and what its fragments are.
func (s *Service) manifestOf(ctx context.Context, v *virtual, when time.Time) (*evidence.Head, []row) {
	p := v.plan
	h := &evidence.Head{
		Software: "duet " + s.o.Version, Node: s.o.Name, Made: when,
		Camera: p.camera, From: utc(p.fromNS), To: utc(p.toNS), Start: utc(v.startNS), End: utc(v.endNS),
		Gaps: s.gapsWithCauses(ctx, p), Unknown: unknowns(p), Silent: p.silentNames(),
		Dropped: p.dropped, Conflicts: p.conflicts, BaseNS: v.baseNS,
		Header: evidence.Header{Size: int64(len(v.header)), Sum: evidence.Sum(v.headerSum), Fragment: -1},
		Units:  []evidence.Unit{},
	}
	for _, r := range s.pool.recorders {
		h.Recorders = append(h.Recorders, r.Name)
	}
	for _, e := range p.epochs {
		h.Epochs = append(h.Epochs, e.String())
	}
	for i, hash := range p.inits {
		h.Sources = append(h.Sources, evidence.Source{Init: evidence.Sum(hash), Tracks: v.merged.Undo(i)})
	}
	rows := make([]row, len(v.sections), len(v.sections)+1)
	for i := range v.sections {
		rows[i] = rowOf(&v.sections[i])
	}
	if e := v.edges[p.video]; e != nil && e.video != nil {
		n := slices.IndexFunc(rows, func(r row) bool { return int(r.ref) == p.video })
		if n < 0 { // all that is left of it is in the header
			n = len(rows)
			rows = append(rows, rowOf(&section{at: v.media, ref: int32(p.video), edge: []byte{}}))
		}
		h.Header.Fragment = n
		h.Units = appendUnits(h.Units, n, e.videoUnits, int64(len(v.header)-len(e.videoData)))
	}
	for n := range v.sections {
		if sec := &v.sections[n]; sec.edge != nil {
			h.Units = appendUnits(h.Units, n, v.edges[int(sec.ref)].units, sec.at)
		}
	}
	return h, rows
}

func appendUnits(dst []evidence.Unit, fragment int, units []unit, at int64) []evidence.Unit {
	for i := range units {
		u := &units[i]
		dst = append(dst, evidence.Unit{
			At: at + u.At, Size: u.Size, Fragment: fragment, Track: u.Track, Time: utc(u.CaptureNS), Sum: evidence.Sum(u.sum),
		})
	}
	return dst
}

// row is a section, as far as the manifest has to know it.
type row struct {
	at, size int64
	ref      int32
	sum      *media.Hash // of the bytes, where it was trimmed
}

func rowOf(sec *section) row {
	r := row{at: sec.at, size: sec.size, ref: sec.ref}
	if sec.edge != nil {
		sum := media.Hash(sha256.Sum256(sec.edge))
		r.sum = &sum
	}
	return r
}

func (r *row) tell(p *plan, f *evidence.Fragment) {
	ref := &p.refs[r.ref]
	*f = evidence.Fragment{
		At: r.at, Size: r.size, Recorded: ref.size, Hash: ref.hash, First: ref.first, End: ref.end, Epoch: ref.epoch,
		StartNS: ref.startNS, EndNS: ref.endNS, WindowNS: ref.windowNS, Source: ref.init, Recorders: ref.holders,
	}
	if r.sum != nil {
		f.Trimmed, f.Sum = true, *r.sum
	}
}

func utc(ns int64) time.Time { return time.Unix(0, ns).UTC() }

func between(startNS, endNS int64) evidence.Stretch {
	return evidence.Stretch{Start: utc(startNS), End: utc(endNS)}
}

func unknowns(p *plan) []evidence.Unknown {
	out := make([]evidence.Unknown, len(p.unknown))
	for i, u := range p.unknown {
		out[i] = evidence.Unknown{Stretch: between(u.startNS, u.endNS), Recorders: p.doubts[i]}
	}
	return out
}

// gapsWithCauses returns the gaps of a plan, cut where their cause changes, with what the
// timeline says of each.
func (s *Service) gapsWithCauses(ctx context.Context, p *plan) []evidence.Gap {
	if len(p.gaps) == 0 {
		return []evidence.Gap{}
	}
	now := s.clock.Now()
	live, open := s.liveness(p.camera, now)
	sources, locks, _ := s.spans(ctx, p.camera, stretch{p.fromNS, p.toNS})
	res := index.Timeline(sources, index.Query{
		StartNS: p.fromNS, EndNS: p.toNS, NowNS: now.UnixNano(), LiveNS: live, OpenCause: open,
		Locked: lockedOf(locks, p.camera),
	})
	return explain(p.gaps, res.Gaps)
}

// explain cuts gaps where the cause changes. A little more or less at their ends does not
// matter: where footage ends, listing and timeline differ by an access unit.
func explain(gaps []stretch, causes []index.Gap) []evidence.Gap {
	const little = int64(time.Second)
	out := make([]evidence.Gap, 0, len(gaps))
	for _, g := range gaps {
		at := g.startNS
		put := func(to int64, cause media.Cause) {
			if at < to {
				out = append(out, evidence.Gap{Stretch: between(at, to), Cause: cause})
				at = to
			}
		}
		for _, c := range causes {
			if c.EndNS <= at || c.StartNS >= g.endNS {
				continue
			}
			if c.StartNS > at+little {
				put(c.StartNS, "")
			}
			to := min(c.EndNS, g.endNS)
			if to > g.endNS-little {
				to = g.endNS
			}
			put(to, c.Cause)
		}
		put(g.endNS, "")
	}
	return out
}

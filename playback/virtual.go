package playback

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/duet-video/duet/internal/evidence"
	"github.com/duet-video/duet/internal/media"
)

// virtual is a plan as an MP4 file of known length: a header, then the fragments, moved
// to the times of the presentation. Only the fragments that reach over an end of the
// range have been read and trimmed; of the others the length is known from the index.
// It does not change once it is made, and may be read by many.
type virtual struct {
	plan     *plan
	merged   *media.Merged
	header   []byte // and the video of the first fragment, where it has pre-roll
	baseNS   int64
	sections []section
	size     int64 // manifest included
	media    int64 // without it
	manifest *evidence.Box
	edges    map[int]*edge
	etag     string
	// What stands for the header and for the whole content; of a fragmented file.
	headerSum media.Hash
	content   string
	modified  time.Time
	// What is shown, Unix ns: presentation time 0 is startNS.
	startNS, endNS int64
	// progressive: it is not fragmented, and has no manifest.
	progressive bool
}

// section is a piece of the file after the header.
type section struct {
	at   int64 // offset in the file
	size int64
	ref  int32  // index in plan.refs
	edge []byte // the bytes, where they are known already

	// Of a progressive file: how many bytes of the fragment come before its samples, and
	// the SHA-256 of its moof.
	skip int64
	head media.Hash
}

// find returns the section that has the byte at offset at, which is at least len(header).
func (v *virtual) find(at int64) int {
	return sort.Search(len(v.sections), func(i int) bool { return v.sections[i].at > at }) - 1
}

const (
	edgeCacheBytes = 64 << 20
	initCacheBytes = 16 << 20
	edgesAtOnce    = 4
	// edgeSpareBytes is how large a fragment may be whose buffer is used again.
	edgeSpareBytes = 4 << 20
)

// tickNS is a tick of video, rounded up: the precision of the ends of a range, and of the
// end of an epoch.
const tickNS = int64(time.Second)/90000 + 1

// tick rounds down to the timescale of video, to the ns that package media gives for the
// tick: a range that starts at the time of a record shall include its sample, and one
// that ends there shall not.
func tick(ns int64) int64 {
	const hz, second = 90000, int64(time.Second)
	s, rest := ns/second, ns%second
	if rest < 0 {
		s, rest = s-1, rest+second
	}
	return s*second + (rest*hz/second*second+hz-1)/hz
}

// ticks returns the range of ticks that is asked for, at least one.
func ticks(span stretch) (fromNS, toNS int64) {
	fromNS = tick(span.startNS)
	return fromNS, max(tick(span.endNS), fromNS+tickNS)
}

// inits reads the init headers of a plan, in its order.
func (s *Service) inits(ctx context.Context, p *plan) ([]*media.Init, error) {
	inits := make([]*media.Init, len(p.inits))
	for i, h := range p.inits {
		b, err := s.reader.init(ctx, p.camera, h, p.initHolders[i])
		if err != nil {
			return nil, err
		}
		if inits[i], err = media.ParseInit(b); err != nil {
			return nil, fmt.Errorf("init header %x… of %s: %w", h[:6], p.camera, err)
		}
	}
	return inits, nil
}

// makeVirtual lays the plan out. The plan must not be empty.
func (s *Service) makeVirtual(ctx context.Context, p *plan) (*virtual, error) {
	inits, err := s.inits(ctx, p)
	if err != nil {
		return nil, err
	}
	edges, err := s.edges(ctx, p, inits, edgeFirst)
	if err != nil {
		return nil, err
	}
	v := &virtual{plan: p, edges: edges, startNS: math.MaxInt64, modified: time.Unix(0, p.lastEndNS).UTC()}
	ed := media.Edit{}
	v.lay(edges, &ed)
	if v.endNS <= v.startNS {
		return nil, errEmpty
	}
	if v.merged, err = media.MergeInits(inits, ed); err != nil {
		return nil, fmt.Errorf("make the header of %s: %w", p.camera, err)
	}
	v.header = v.merged.Header
	if ed.First != nil {
		v.header = append(slices.Clip(v.header), edges[p.video].videoData...)
	}
	v.size = int64(len(v.header))
	for i := range v.sections {
		sec := &v.sections[i]
		sec.at += int64(len(v.header))
		v.size = sec.at + sec.size
		if sec.edge != nil {
			sec.edge = slices.Clone(sec.edge) // the cache keeps the other one
			if err := v.retime(i, sec.edge); err != nil {
				return nil, err
			}
		}
	}
	v.endNS = min(v.endNS, p.toNS)
	v.media = v.size
	v.headerSum = sha256.Sum256(v.header)
	v.content = v.tag()
	v.etag = `"` + v.content + `"`
	return v, nil
}

// lay puts the fragments one after another, and finds out what is shown.
func (v *virtual) lay(edges map[int]*edge, ed *media.Edit) {
	p := v.plan
	firstNS, nextNS := int64(math.MaxInt64), int64(math.MaxInt64)
	show := func(decodeNS, minNS, maxNS int64) {
		firstNS = min(firstNS, decodeNS)
		if maxNS > minNS {
			v.startNS = min(v.startNS, minNS)
			v.endNS = max(v.endNS, maxNS)
		}
	}
	at := int64(0)
	for i := range p.refs {
		r := &p.refs[i]
		e := edges[i]
		sec := section{at: at, ref: int32(i), size: r.size}
		if e == nil {
			// Times in fragments are ticks, and a tick of audio may be long.
			show(r.minNS-int64(time.Millisecond), max(r.minNS, p.fromNS), min(r.maxNS, p.toNS))
		} else {
			if e.firstNS != 0 {
				show(e.firstNS, e.minNS, e.maxNS)
			}
			if e.nextNS != 0 {
				nextNS = min(nextNS, e.nextNS)
			}
			if e.video != nil {
				ed.First, ed.FirstSource, ed.FirstWindowNS = e.video, int(r.init), r.windowNS
			}
			if i == p.video {
				ed.LeadNS = e.reorderNS
			}
			if len(e.data) == 0 {
				continue
			}
			sec.edge, sec.size = e.data, int64(len(e.data))
		}
		v.sections = append(v.sections, sec)
		at += sec.size
	}
	v.endNS = min(v.endNS, nextNS)
	if ed.First != nil && ed.First.Size > 0 {
		// Video that the header describes starts whole milliseconds after the presentation.
		const ms = int64(time.Millisecond)
		late := max(ed.First.MinNS-v.startNS, 0)
		v.startNS = ed.First.MinNS - (late+ms-1)/ms*ms
	}
	v.baseNS = min(firstNS-ed.LeadNS, v.startNS)
	ed.BaseNS, ed.StartNS, ed.EndNS = v.baseNS, v.startNS, v.endNS
}

var errEmpty = errors.New("no access unit in the range")

// retime moves the fragment of section i to its place in the presentation.
func (v *virtual) retime(i int, b []byte) error {
	r := &v.plan.refs[v.sections[i].ref]
	err := v.merged.Retime(b, media.Retiming{
		Sequence: uint32(i + 1), WindowNS: r.windowNS, BaseNS: v.baseNS, Source: int(r.init),
	})
	if err != nil {
		return fmt.Errorf("move fragment %s+%d of %s: %w", v.plan.epochs[r.epoch], r.first, v.plan.camera, err)
	}
	return nil
}

// tag stands for the bytes of the media and what is said to be missing: equal tags mean
// equal bytes, whoever delivers them.
func (v *virtual) tag() string {
	h := sha256.New()
	var b []byte
	num := func(n ...int64) {
		b = b[:0]
		for _, x := range n {
			b = binary.LittleEndian.AppendUint64(b, uint64(x))
		}
		_, _ = h.Write(b) // never fails
	}
	_, _ = h.Write(v.headerSum[:])
	num(v.plan.fromNS, v.plan.toNS, v.baseNS, v.size)
	for i := range v.sections {
		r := &v.plan.refs[v.sections[i].ref]
		_, _ = h.Write(r.hash[:])
		num(r.windowNS, int64(r.init), v.sections[i].at, v.sections[i].size)
	}
	for _, list := range [][]stretch{v.plan.gaps, v.plan.unknown} {
		num(int64(len(list)))
		for _, g := range list {
			num(g.startNS, g.endNS)
		}
	}
	_, _ = h.Write([]byte(v.plan.silentText()))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// want says how fragment i of the plan is read.
func (p *plan) want(i int) *want {
	r := &p.refs[i]
	return &want{
		camera: p.camera, epoch: p.epochs[r.epoch], first: r.first, startNS: r.startNS,
		size: r.size, hash: r.hash, holders: r.holders,
	}
}

package playback

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/internal/media"
)

const (
	// headsAtOnce is how many moofs are read at once for the tables of a progressive file.
	headsAtOnce        = 16
	progressiveBytes   = 96 << 20
	layoutFragmented   = "fragmented"
	layoutProgressive  = "progressive"
	progressiveVersion = "p1"
)

func parseLayout(text string) (progressive bool, err error) {
	switch text {
	case "", layoutFragmented:
		return false, nil
	case layoutProgressive:
		return true, nil
	}
	return false, noOption("layout", "layout is %q; it is %s or %s.", text, layoutFragmented, layoutProgressive)
}

// checkProgressive returns a Problem for a range that is too long for one table.
func (s *Service) checkProgressive(span stretch) error {
	if d := time.Duration(span.endNS - span.startNS); d > s.o.Limits.Progressive {
		return tooLong("from start to end are %v, the most is %v for layout=progressive, because the size of every picture has to be known before the first one is sent; layout=fragmented has no such limit.",
			d, s.o.Limits.Progressive)
	}
	return nil
}

// makeProgressive lays the plan out as a file that is not fragmented. For its tables the
// moof of every fragment is read; the samples are read when they are sent, as in makeVirtual.
func (s *Service) makeProgressive(ctx context.Context, p *plan) (*virtual, error) {
	key := p.tag()
	if v, ok := s.progressives.get(key); ok {
		return v, nil
	}
	inits, err := s.inits(ctx, p)
	if err != nil {
		return nil, err
	}
	edges, err := s.edges(ctx, p, inits, edgePlain)
	if err != nil {
		return nil, err
	}
	base := p.refs[0].windowNS
	for i := range p.refs {
		base = min(base, p.refs[i].windowNS)
	}
	tables, err := media.NewProgressive(inits, base, p.fromNS, p.toNS)
	if err != nil {
		return nil, err
	}
	v := &virtual{plan: p, modified: time.Unix(0, p.lastEndNS).UTC(), progressive: true}
	for from := 0; from < len(p.refs); from += headBatch {
		if err := s.addHeads(ctx, v, tables, inits, edges, from, min(from+headBatch, len(p.refs))); err != nil {
			return nil, err
		}
	}
	var ok bool
	if v.header, v.startNS, v.endNS, ok = tables.Header(); !ok {
		return nil, errEmpty
	}
	v.size = int64(len(v.header))
	memory := int64(cap(v.header)) + int64(cap(v.sections))*128 + int64(cap(p.refs))*192
	for i := range v.sections {
		sec := &v.sections[i]
		sec.at = v.size
		v.size += sec.size
		memory += int64(len(sec.edge))
	}
	v.media = v.size
	v.etag = `"` + progressiveVersion + key + `"`
	s.progressives.put(key, v, memory)
	return v, nil
}

// headBatch is how many moofs are in memory at once.
const headBatch = 256

// addHeads adds the fragments [from, to) of the plan.
func (s *Service) addHeads(ctx context.Context, v *virtual, tables *media.Progressive, inits []*media.Init, edges map[int]*edge, from, to int) error {
	p := v.plan
	heads := make([][]byte, to-from)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(headsAtOnce)
	for i := from; i < to; i++ {
		if edges[i] == nil {
			g.Go(func() (err error) {
				heads[i-from], err = s.reader.head(gctx, p.want(i))
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := from; i < to; i++ {
		r := &p.refs[i]
		sec := section{ref: int32(i), size: r.size}
		head := heads[i-from]
		if e := edges[i]; e != nil {
			if len(e.data) == 0 {
				continue
			}
			head, sec.size = e.data, int64(len(e.data))
		}
		f, err := media.ParseFragment(head, sec.size, inits[r.init], r.windowNS)
		if err != nil {
			return fmt.Errorf("fragment %s+%d of %s: %w", p.epochs[r.epoch], r.first, p.camera, err)
		}
		if sec.skip, err = tables.Add(f, int(r.init)); err != nil {
			return fmt.Errorf("fragment %s+%d of %s: %w", p.epochs[r.epoch], r.first, p.camera, err)
		}
		if tables.Samples() > s.o.Limits.Samples {
			return tooLong("it has more than %d access units, the most for layout=progressive; ask for it in parts, or with layout=fragmented.", s.o.Limits.Samples)
		}
		if e := edges[i]; e != nil {
			sec.edge = e.data[sec.skip:]
		} else {
			sec.head = sha256.Sum256(head)
		}
		sec.size -= sec.skip
		v.sections = append(v.sections, sec)
	}
	return nil
}

// samplesOf takes the samples out of a whole fragment, whose moof must be the one that
// the tables were made of.
func (v *virtual) samplesOf(i int, b []byte) ([]byte, error) {
	sec := &v.sections[i]
	if int64(len(b)) != sec.skip+sec.size || sha256.Sum256(b[:sec.skip-8]) != sec.head {
		return nil, fmt.Errorf("%w: its moof was another one before", errBytes)
	}
	return b[sec.skip:], nil
}

// tag stands for what a plan says.
func (p *plan) tag() string {
	var b bytes.Buffer
	h := sha256.New()
	fmt.Fprintln(h, p.camera, p.fromNS, p.toNS, p.preRoll, p.video, p.gaps, p.unknown, p.silentText())
	for _, x := range p.inits {
		_, _ = h.Write(x[:])
	}
	for i := range p.refs {
		r := &p.refs[i]
		b.Reset()
		fmt.Fprintln(&b, r.first, r.windowNS, r.fromNS, r.size, r.init, p.epochs[r.epoch])
		_, _ = h.Write(b.Bytes())
		_, _ = h.Write(r.hash[:])
	}
	return base64.RawURLEncoding.EncodeToString(slices.Clip(h.Sum(nil)[:18]))
}

package index

import (
	"bufio"
	"fmt"
	"io"
	"math"
)

// Dump writes everything that media alone determines, as text, in one canonical form:
// two stores of the same media have the same dump. Cameras of which nothing is held
// are left out.
func (s *Store) Dump(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, c := range s.Cameras() {
		if c.Fragments == 0 {
			continue
		}
		if err := s.dumpCamera(b, c); err != nil {
			return fmt.Errorf("dump index: %w", err)
		}
	}
	return b.Flush()
}

func (s *Store) dumpCamera(w io.Writer, c Camera) error {
	_, err := fmt.Fprintf(w, "camera %s bytes=%d fragments=%d from=%d to=%d\n", c.Name, c.Bytes, c.Fragments, c.StartNS, c.EndNS)
	if err != nil {
		return err
	}
	for r, err := range s.Fragments(c.Name, math.MinInt64, math.MaxInt64) {
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "fragment %d %s %d-%d end=%d min=%d max=%d window=%d flags=%d size=%d hash=%x init=%x since=%s/%d %q@%d\n",
			r.StartNS, r.Epoch, r.First, r.End, r.EndNS, r.MinNS, r.MaxNS, r.WindowNS, r.Flags, r.Size, r.Hash, r.InitHash,
			r.Since, r.SinceNS, r.Segment, r.At)
		if err != nil {
			return err
		}
	}
	digests, err := s.hours(nil, c.Name, math.MinInt64, math.MaxInt64)
	if err != nil {
		return err
	}
	for _, d := range digests {
		_, err := fmt.Fprintf(w, "hour %d fragments=%d repaired=%d bytes=%d sum=%x\n", d.HourNS, d.Fragments, d.Repaired, d.Bytes, d.Sum)
		if err != nil {
			return err
		}
	}
	spans, err := s.Spans(c.Name, math.MinInt64, math.MaxInt64)
	if err != nil {
		return err
	}
	for _, p := range spans {
		_, err := fmt.Fprintf(w, "span %d-%d %s %d-%d since=%s/%d\n", p.StartNS, p.EndNS, p.Epoch, p.First, p.End, p.Since, p.SinceNS)
		if err != nil {
			return err
		}
	}
	for g, err := range s.Segments(c.Name) {
		if err != nil {
			return err
		}
		if g.Fragments == 0 {
			continue
		}
		_, err = fmt.Fprintf(w, "segment %q bytes=%d fragments=%d\n", g.Path, g.Bytes, g.Fragments)
		if err != nil {
			return err
		}
	}
	return s.dumpInits(w, c.Name)
}

func (s *Store) dumpInits(w io.Writer, camera string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.life.RUnlock()
	return s.scan(appendPrefix(nil, kindUses, camera), func(key, value []byte) error {
		n, err := decodeCount(key, value)
		if err != nil || n == 0 {
			return err
		}
		_, err = fmt.Fprintf(w, "init %x uses=%d\n", key[len(camera)+2:], n)
		return err
	})
}

package index

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/duet-video/duet/internal/record"
)

// run is a stretch of an epoch of which no offset is missing at all recorders together.
type run struct {
	Span
	pieces    []TimelineSpan // of different recorders, without a hole
	firstHeld bool           // no earlier run of its epoch is known
}

// held is a span and who holds it.
type held struct {
	Span
	source int
}

// union returns the runs of all sources, sorted by time. Counting is by offsets:
// spans that follow each other by offset have no gap between them whatever their times.
func union(sources []Source) []run {
	var all []held
	for i, s := range sources {
		if s.Unknown {
			continue
		}
		for _, p := range s.Spans {
			if p.First < p.End && p.StartNS < p.EndNS {
				all = append(all, held{Span: p, source: i})
			}
		}
	}
	slices.SortFunc(all, func(a, b held) int {
		return cmp.Or(a.Epoch.Compare(b.Epoch), cmp.Compare(a.First, b.First), cmp.Compare(a.source, b.source))
	})
	u := unioner{names: nameSets{sources: sources}, active: make([]int, len(sources))}
	var runs []run
	for from := 0; from < len(all); {
		to, end := from+1, all[from].End
		for ; to < len(all) && all[to].Epoch == all[from].Epoch && all[to].First <= end; to++ {
			end = max(end, all[to].End)
		}
		r := u.run(all[from:to])
		r.firstHeld = from == 0 || all[from-1].Epoch != all[from].Epoch
		runs = append(runs, r)
		from = to
	}
	slices.SortStableFunc(runs, func(a, b run) int { return compareSpans(&a.Span, &b.Span) })
	return runs
}

// edge is where a span begins or ends.
type edge struct {
	offset uint64
	timeNS int64
	source int
	begins bool
}

type unioner struct {
	names  nameSets
	edges  []edge
	active []int // how many spans of each source are open
}

// run makes one run of spans that touch, sorted by first offset.
func (u *unioner) run(spans []held) run {
	r := run{Span: spans[0].Span}
	u.edges = u.edges[:0]
	for i := range spans {
		s := &spans[i]
		r.join(&s.Span)
		u.edges = append(u.edges,
			edge{offset: s.First, timeNS: s.StartNS, source: s.source, begins: true},
			edge{offset: s.End, timeNS: s.EndNS, source: s.source})
	}
	// At an offset where one recorder's footage ends and another's begins, the
	// beginning tells the time: it is that of a record, the end may be a guess.
	slices.SortFunc(u.edges, func(a, b edge) int {
		switch {
		case a.offset != b.offset:
			return cmp.Compare(a.offset, b.offset)
		case a.begins != b.begins:
			if a.begins {
				return -1
			}
			return 1
		case a.begins:
			return cmp.Compare(a.timeNS, b.timeNS)
		}
		return cmp.Compare(b.timeNS, a.timeNS)
	})
	r.pieces = u.pieces(r.Epoch)
	r.StartNS, r.EndNS = r.pieces[0].StartNS, r.pieces[len(r.pieces)-1].EndNS
	return r
}

// pieces cuts a run where its recorders change.
func (u *unioner) pieces(epoch record.Epoch) []TimelineSpan {
	var out []TimelineSpan
	for i := 0; i < len(u.edges); {
		at := u.edges[i]
		if n := len(out); n > 0 {
			// Times never go back, whatever the recorders say.
			at.timeNS = max(at.timeNS, out[n-1].StartNS)
			out[n-1].EndNS = at.timeNS
		}
		for ; i < len(u.edges) && u.edges[i].offset == at.offset; i++ {
			if u.edges[i].begins {
				u.active[u.edges[i].source]++
			} else {
				u.active[u.edges[i].source]--
			}
		}
		names := u.names.of(u.active)
		if names == nil {
			break // the end of the run
		}
		if n := len(out); n > 0 && slices.Equal(out[n-1].Recorders, names) {
			continue
		}
		out = append(out, TimelineSpan{StartNS: at.timeNS, Epoch: epoch, Recorders: names})
	}
	return out
}

// nameSets gives every set of recorders one slice.
type nameSets struct {
	sources []Source
	byKey   map[string][]string
	key     []byte
}

func (s *nameSets) of(active []int) []string {
	s.key = s.key[:0]
	for i, n := range active {
		if n > 0 {
			s.key = binary.AppendUvarint(s.key, uint64(i))
		}
	}
	if len(s.key) == 0 {
		return nil
	}
	if set, ok := s.byKey[string(s.key)]; ok {
		return set
	}
	var set []string
	for i, n := range active {
		if n > 0 {
			set = append(set, s.sources[i].Name)
		}
	}
	if s.byKey == nil {
		s.byKey = map[string][]string{}
	}
	s.byKey[string(s.key)] = set
	return set
}

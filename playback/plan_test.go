package playback

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duet-video/duet/index"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/record"
)

// frag is a fragment of session a, b, …, from one second to another.
func frag(session byte, from, to int, holders ...int) index.Merged {
	const s = int64(1e9)
	return index.Merged{
		Ref: index.Ref{Info: media.Info{
			Epoch: record.Epoch{session}, First: uint64(from), End: uint64(to),
			StartNS: int64(from) * s, EndNS: int64(to) * s, MinNS: int64(from) * s, MaxNS: int64(to) * s,
			Size: 10, Hash: media.Hash{session, byte(from), byte(to)},
		}},
		Holders: holders,
	}
}

// noKey marks a fragment that starts without a key frame.
func noKey(m index.Merged) index.Merged {
	m.Flags |= media.NoRandomAccess
	return m
}

func conflict(m index.Merged, hash byte) index.Merged {
	m.Conflict = true
	m.Hash[10] = hash
	return m
}

func showPlan(p *plan) string {
	var b strings.Builder
	for i := range p.refs {
		r := &p.refs[i]
		if i > 0 {
			b.WriteByte(' ')
		}
		if i >= p.preRoll && i < p.video {
			b.WriteByte('+')
		}
		b.WriteByte(p.epochs[r.epoch][0])
		b.WriteString(itoa(r.startNS / 1e9))
		if r.fromNS != 0 {
			b.WriteString("from" + itoa(r.fromNS/1e9))
		}
	}
	for _, g := range p.gaps {
		b.WriteString(" gap" + itoa(g.startNS/1e9) + "-" + itoa(g.endNS/1e9))
	}
	for _, g := range p.unknown {
		b.WriteString(" unknown" + itoa(g.startNS/1e9) + "-" + itoa(g.endNS/1e9))
	}
	return b.String()
}

func itoa(n int64) string {
	if n >= 10 {
		return itoa(n/10) + string(rune('0'+n%10))
	}
	return string(rune('0' + n))
}

func TestPlanIsWhatTheRangeNeedsAndSaysWhatIsMissing(t *testing.T) {
	const farAway = int64(1e18)
	peers := []*peer{{Node: Node{Name: "r1"}, index: 0}, {Node: Node{Name: "r2"}, index: 1}}
	for _, c := range []struct {
		name     string
		in       []index.Merged
		from, to int64 // seconds
		silent   bool
		live     int64 // seconds; 0: nothing is to come
		want     string
	}{
		{"covered", []index.Merged{frag('a', 0, 2), frag('a', 2, 4), frag('a', 4, 6)}, 2, 4, false, 0, "a2"},
		{"before and after are left out", []index.Merged{frag('a', 0, 2), frag('a', 2, 4), frag('a', 4, 6), frag('a', 6, 8)}, 3, 5, false, 0, "a2 a4"},
		{"a hole", []index.Merged{frag('a', 0, 2), frag('a', 4, 6)}, 0, 6, false, 0, "a0 a4 gap2-4"},
		{"holes at both ends", []index.Merged{frag('a', 2, 4)}, 0, 6, false, 0, "a2 gap0-2 gap4-6"},
		{"nothing", nil, 0, 6, false, 0, " gap0-6"},
		{"nothing, somebody is silent", nil, 0, 6, true, 0, " unknown0-6"},
		{"a hole, somebody is silent", []index.Merged{frag('a', 0, 2), frag('a', 4, 6)}, 0, 6, true, 0, "a0 a4 unknown2-4"},
		{"somebody is silent, the others have it all", []index.Merged{frag('a', 0, 2), frag('a', 2, 4)}, 0, 4, true, 0, "a0 a2"},
		{"the end is still to come", []index.Merged{frag('a', 0, 2)}, 0, 6, false, 1, "a0"},
		{"the end is not to come any more", []index.Merged{frag('a', 0, 2)}, 0, 6, false, 5, "a0 gap2-6"},
		{"pre-roll", []index.Merged{frag('a', 0, 2), frag('a', 2, 4), noKey(frag('a', 4, 6)), noKey(frag('a', 6, 8))}, 7, 8, false, 0, "+a2 +a4 a6"},
		{"pre-roll is of the same session", []index.Merged{frag('a', 0, 2), noKey(frag('b', 2, 4)), noKey(frag('b', 4, 6))}, 5, 6, false, 0, "+b2 b4"},
		{"sessions follow each other", []index.Merged{frag('a', 0, 2), frag('b', 3, 5), frag('b', 5, 7)}, 0, 7, false, 0, "a0 b3 b5 gap2-3"},
		{
			"two sessions at once: the first is followed to its end",
			[]index.Merged{frag('a', 0, 2), frag('b', 1, 3), frag('a', 2, 4), frag('b', 3, 5), frag('b', 5, 7)},
			0, 7, false, 0, "a0 a2 b3from4 b5",
		},
		{
			"two sessions at once, all of the second covered",
			[]index.Merged{frag('a', 0, 4), frag('b', 1, 2), frag('b', 2, 3), frag('a', 4, 8)},
			0, 8, false, 0, "a0 a4",
		},
		{
			"a second session fills a hole of the first",
			[]index.Merged{frag('a', 0, 2), frag('b', 0, 2), frag('b', 2, 4), frag('b', 4, 6), frag('a', 6, 8)},
			0, 8, false, 0, "a0 b2 b4 a6",
		},
		{
			"copies disagree: the one that most have",
			[]index.Merged{frag('a', 0, 2), conflict(frag('a', 2, 4, 0, 1), 1), conflict(frag('a', 2, 4, 0), 2), frag('a', 4, 6)},
			0, 6, false, 0, "a0 a2 a4",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newPlanner("gate", c.from*1e9, c.to*1e9, 100, peers)
			for _, m := range c.in {
				require.NoError(t, b.add(m))
			}
			var silent []silence
			if c.silent {
				silent = []silence{{peer: peers[1], err: errSkipped}}
			}
			live := c.live * 1e9
			if live == 0 {
				live = farAway
			}
			p, err := b.finish(silent, nil, live)
			require.NoError(t, err)
			require.Equal(t, c.want, showPlan(p))
			require.Equal(t, strings.Contains(c.want, "unknown"), len(p.silentNames()) > 0)
		})
	}
}

func TestPlanOfARecorderThatBrokeOffIsUnknownBehindThat(t *testing.T) {
	peers := []*peer{{Node: Node{Name: "r1"}}, {Node: Node{Name: "r2"}, index: 1}}
	b := newPlanner("gate", 0, 20e9, 100, peers)
	for _, m := range []index.Merged{frag('a', 0, 2), frag('a', 4, 6), frag('a', 12, 20)} {
		require.NoError(t, b.add(m))
	}
	p, err := b.finish(nil, map[*peer]*index.SourceError{peers[1]: {Source: 1, AfterNS: 5e9, Err: errSkipped}}, 1e18)
	require.NoError(t, err)
	require.Equal(t, "a0 a4 a12 gap2-4 unknown6-12", showPlan(p))
	require.Equal(t, []string{"r2"}, p.silentNames())
}

func TestPlanIsBounded(t *testing.T) {
	b := newPlanner("gate", 0, 100e9, 3, []*peer{{}})
	for i := range 3 {
		require.NoError(t, b.add(frag('a', i, i+1)))
	}
	require.ErrorIs(t, b.add(frag('a', 3, 4)), errTooMany)
}

func TestListingGoesOnWhereAConnectionBroke(t *testing.T) {
	f := makeFootage(t, footageOptions{cutEvery: 5})
	r1 := newFake(t, "r1")
	f.on(r1)
	r1.part = 7
	broken := false
	r1.onList = func(_, part int) error {
		if part == 9 && !broken {
			broken = true
			return errUnavailable
		}
		return nil
	}
	s := testService(t, false, nil, r1)
	p, err := s.pool.makePlan(t.Context(), "gate", clipStart, frameNS(clipFrames), 1<<62, 1000)
	require.NoError(t, err)
	require.True(t, broken)
	require.Len(t, p.refs, clipFrames/5)
	require.Empty(t, p.silentNames())
}

func TestListingThatHangsInTheMiddleIsUnknownFromThere(t *testing.T) {
	f := makeFootage(t, footageOptions{cutEvery: 5})
	r1 := newFake(t, "r1")
	f.on(r1)
	r1.part = 7
	release := make(chan struct{})
	defer close(release)
	r1.onList = func(_, part int) error {
		if part == 9 {
			<-release
		}
		return nil
	}
	s := testService(t, false, func(o *Options) { o.Deadlines.Answer = 200 * 1e6 }, r1)
	p, err := s.pool.makePlan(t.Context(), "gate", clipStart, frameNS(clipFrames), 1<<62, 1000)
	require.NoError(t, err)
	require.Equal(t, []string{"r1"}, p.silentNames())
	require.Len(t, p.refs, 9*7)
	require.Empty(t, p.gaps)
	require.Len(t, p.unknown, 1)
}

package index

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/media"
)

// stretchOf is the span of fragments [a, b) of the epoch that begins at second from.
func stretchOf(from, a, b int) Span {
	first, last := ref("gate", from, a), ref("gate", from, b-1)
	s := spanOf(&first)
	s.End, s.EndNS = last.End, last.EndNS
	return s
}

// since says of a span why there is a gap before its epoch, and since which second.
func since(s Span, cause media.Cause, at int64) Span {
	s.Since, s.SinceNS = cause, 0
	if at != 0 {
		s.SinceNS = t0 + at*second
	}
	return s
}

// show writes a timeline in seconds since t0.
func show(r Result) string {
	at := func(ns int64) string {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(ns-t0)/float64(second)), ".0")
	}
	var b strings.Builder
	for _, s := range r.Spans {
		fmt.Fprintf(&b, "%s-%s e%s %s\n", at(s.StartNS), at(s.EndNS), at(s.Epoch.Time().UnixNano()), strings.Join(s.Recorders, "+"))
	}
	for _, g := range r.Gaps {
		fmt.Fprintf(&b, "%s-%s gap %s\n", at(g.StartNS), at(g.EndNS), g.Cause)
	}
	for _, u := range r.Unknown {
		fmt.Fprintf(&b, "%s-%s unknown %s\n", at(u.StartNS), at(u.EndNS), strings.Join(u.Recorders, "+"))
	}
	fmt.Fprintf(&b, "future %s\n", at(r.FutureNS))
	return b.String()
}

func TestTimelineSaysWhoHoldsWhatAndWhyTheRestIsMissing(t *testing.T) {
	never := int64(math.MaxInt64)
	for name, c := range map[string]struct {
		sources []Source
		q       Query // in seconds since t0
		want    string
	}{
		"both hold all": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 50)}}, {Name: "r2", Spans: []Span{stretchOf(0, 0, 50)}}},
			q:       Query{StartNS: 10, EndNS: 90, NowNS: 1000, LiveNS: 990},
			want:    "10-90 e0 r1+r2\nfuture 90\n",
		},
		"one was down for a while": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), stretchOf(0, 20, 50)}}, {Name: "r2", Spans: []Span{stretchOf(0, 0, 50)}}},
			q:       Query{StartNS: 0, EndNS: 100, NowNS: 1000, LiveNS: 990},
			want:    "0-20 e0 r1+r2\n20-40 e0 r2\n40-100 e0 r1+r2\nfuture 100\n",
		},
		"they fill each other's holes": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), stretchOf(0, 30, 50)}}, {Name: "r2", Spans: []Span{stretchOf(0, 10, 30)}}},
			q:       Query{StartNS: 0, EndNS: 100, NowNS: 1000, LiveNS: 990},
			want:    "0-20 e0 r1\n20-60 e0 r2\n60-100 e0 r1\nfuture 100\n",
		},
		"both missed the same": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), stretchOf(0, 20, 50)}}, {Name: "r2", Spans: []Span{stretchOf(0, 0, 15), stretchOf(0, 21, 50)}}},
			q:       Query{StartNS: 0, EndNS: 100, NowNS: 1000, LiveNS: 990},
			want:    "0-20 e0 r1+r2\n20-30 e0 r2\n40-42 e0 r1\n42-100 e0 r1+r2\n30-40 gap recorders_behind\nfuture 100\n",
		},
		"the camera was away": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), since(stretchOf(30, 0, 10), media.CauseStalled, 20)}}},
			q:       Query{StartNS: 0, EndNS: 50, NowNS: 1000, LiveNS: 990},
			want:    "0-20 e0 r1\n30-50 e30 r1\n20-30 gap camera_stalled\nfuture 50\n",
		},
		"a whole epoch is missing": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), since(stretchOf(300, 0, 10), media.CauseConnection, 200)}}},
			q:       Query{StartNS: 0, EndNS: 310, NowNS: 1000, LiveNS: 990},
			want:    "0-20 e0 r1\n300-310 e300 r1\n20-200 gap recorders_behind\n200-300 gap connection_lost\nfuture 310\n",
		},
		"the beginning of an epoch is missing": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), since(stretchOf(30, 5, 10), media.CauseFormat, 20)}}},
			q:       Query{StartNS: 0, EndNS: 50, NowNS: 1000, LiveNS: 990},
			want:    "0-20 e0 r1\n40-50 e30 r1\n20-30 gap format_changed\n30-40 gap recorders_behind\nfuture 50\n",
		},
		"the proxy was away": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), since(stretchOf(40, 0, 5), media.CauseStart, 0)}}},
			q:       Query{StartNS: 0, EndNS: 50, NowNS: 1000, LiveNS: 990},
			want:    "0-20 e0 r1\n40-50 e40 r1\n20-40 gap proxy_stopped\nfuture 50\n",
		},
		"two proxies at once": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10)}}, {Name: "r2", Spans: []Span{stretchOf(15, 0, 10)}}},
			q:       Query{StartNS: 0, EndNS: 35, NowNS: 1000, LiveNS: 990},
			want:    "0-20 e0 r1\n15-35 e15 r2\nfuture 35\n",
		},
		"before the first recording": {
			sources: []Source{{Name: "r1", Spans: []Span{since(stretchOf(0, 0, 10), media.CauseStart, 0)}}},
			q:       Query{StartNS: -10, EndNS: 5, NowNS: 1000, LiveNS: 990},
			want:    "0-5 e0 r1\n-10-0 gap not_started\nfuture 5\n",
		},
		"before what retention has left": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 3, 10)}}},
			q:       Query{StartNS: -10, EndNS: 10, NowNS: 1000, LiveNS: 990},
			want:    "6-10 e0 r1\n-10-6 gap retention\nfuture 10\n",
		},
		"retention has left what a lock keeps": {
			sources: []Source{
				{Name: "r1", Spans: []Span{stretchOf(0, 5, 10), stretchOf(0, 20, 30)}, HorizonNS: t0 + 40*second},
				{Name: "r2", Spans: []Span{stretchOf(0, 5, 10), stretchOf(0, 20, 30)}, HorizonNS: t0 + 40*second},
				{Name: "r3", Spans: []Span{stretchOf(0, 25, 30)}}, // it was begun anew
			},
			q:    Query{StartNS: 0, EndNS: 60, NowNS: 1000, LiveNS: 990, Locked: []Stretch{{t0 + 12*second, t0 + 20*second}}},
			want: "10-20 e0 r1+r2\n40-50 e0 r1+r2\n50-60 e0 r1+r2+r3\n0-10 gap retention\n20-40 gap retention\nfuture 60\n",
		},
		"a hole within a lock is no work of retention": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), stretchOf(0, 20, 30)}, HorizonNS: t0 + 50*second}},
			q: Query{StartNS: 0, EndNS: 60, NowNS: 1000, LiveNS: 990, Locked: []Stretch{
				{t0 + 33*second, t0 + 45*second}, {t0, t0 + 25*second}, {t0 + 5*second, t0 + 7*second},
			}},
			want: "0-20 e0 r1\n40-60 e0 r1\n20-25 gap recorders_behind\n25-33 gap retention\n33-40 gap recorders_behind\nfuture 60\n",
		},
		"a recorder that keeps for longer never had it": {
			sources: []Source{
				{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), stretchOf(0, 20, 30)}, HorizonNS: t0 + 25*second},
				{Name: "r2", Spans: []Span{stretchOf(0, 0, 5), stretchOf(0, 20, 30)}, HorizonNS: t0 + 40*second},
			},
			q:    Query{StartNS: 0, EndNS: 60, NowNS: 1000, LiveNS: 990},
			want: "0-10 e0 r1+r2\n10-20 e0 r1\n40-60 e0 r1+r2\n20-25 gap retention\n25-40 gap recorders_behind\nfuture 60\n",
		},
		"retention has left the epochs after a connection that was lost": {
			sources: []Source{{Name: "r1", Spans: []Span{since(stretchOf(30, 0, 10), media.CauseConnection, 20)}}},
			q:       Query{StartNS: 0, EndNS: 40, NowNS: 1000, LiveNS: 990},
			want:    "30-40 e30 r1\n0-20 gap retention\n20-30 gap connection_lost\nfuture 40\n",
		},
		"still recording": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10)}}},
			q:       Query{StartNS: 10, EndNS: 60, NowNS: 23, LiveNS: 13},
			want:    "10-20 e0 r1\nfuture 20\n",
		},
		"no longer recording": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10)}}},
			q:       Query{StartNS: 10, EndNS: 60, NowNS: 50, LiveNS: 40, OpenCause: media.CauseProxy},
			want:    "10-20 e0 r1\n20-50 gap proxy_stopped\nfuture 50\n",
		},
		"known not to be recording": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10)}}},
			q:       Query{StartNS: 10, EndNS: 60, NowNS: 23, LiveNS: never},
			want:    "10-20 e0 r1\n20-23 gap connection_lost\nfuture 23\n",
		},
		"one did not answer": {
			sources: []Source{
				{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), stretchOf(0, 20, 30)}},
				{Name: "r2", Unknown: true, Spans: []Span{stretchOf(0, 0, 30)}},
				{Name: "r3", Unknown: true},
			},
			q:    Query{StartNS: -5, EndNS: 80, NowNS: 70, LiveNS: 65},
			want: "0-20 e0 r1\n40-60 e0 r1\n-5-0 unknown r2+r3\n20-40 unknown r2+r3\n60-70 unknown r2+r3\nfuture 70\n",
		},
		"one has not told all of what is older": {
			sources: []Source{
				{Name: "r1", Spans: []Span{stretchOf(0, 0, 10), stretchOf(0, 20, 30)}},
				{Name: "r2", Unknown: true, UnknownBeforeNS: t0 + 30*second},
				{Name: "r3", Unknown: true, UnknownBeforeNS: t0 + 25*second},
			},
			q:    Query{StartNS: -5, EndNS: 80, NowNS: 70, LiveNS: 75},
			want: "0-20 e0 r1\n40-60 e0 r1\n30-40 gap recorders_behind\n60-70 gap connection_lost\n-5-0 unknown r2+r3\n20-25 unknown r2+r3\n25-30 unknown r2\nfuture 70\n",
		},
		"nothing was ever recorded": {
			sources: []Source{{Name: "r1"}},
			q:       Query{StartNS: 0, EndNS: 60, NowNS: 50, LiveNS: 40},
			want:    "0-50 gap not_started\nfuture 50\n",
		},
		"the range is in the future": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10)}}},
			q:       Query{StartNS: 100, EndNS: 160, NowNS: 50, LiveNS: 40},
			want:    "future 100\n",
		},
		"the range is inverted": {
			sources: []Source{{Name: "r1", Spans: []Span{stretchOf(0, 0, 10)}}},
			q:       Query{StartNS: 10, EndNS: 5, NowNS: 50, LiveNS: 40},
			want:    "future 5\n",
		},
	} {
		q := c.q
		for _, v := range []*int64{&q.StartNS, &q.EndNS, &q.NowNS, &q.LiveNS} {
			if *v != never {
				*v = t0 + *v*second
			}
		}
		require.Equal(t, c.want, show(Timeline(c.sources, q)), name)
	}
}

func TestTimesThatDoNotFitTogetherMakeNoGapWhereNoRecordIsMissing(t *testing.T) {
	cut := stretchOf(0, 0, 5) // its last fragment was truncated: the end is a guess
	cut.EndNS -= second / 2
	r := Timeline([]Source{{Name: "r1", Spans: []Span{cut}}, {Name: "r2", Spans: []Span{stretchOf(0, 5, 10)}}},
		Query{StartNS: t0, EndNS: t0 + 20*second, NowNS: t0 + 100*second, LiveNS: math.MaxInt64})
	require.Equal(t, "0-10 e0 r1\n10-20 e0 r2\nfuture 20\n", show(r))
}

// drawSources makes up recorders and epochs of one camera; where honest, all of them
// saw the same.
func drawSources(t *rapid.T, honest bool) []Source {
	sources := make([]Source, rapid.IntRange(0, 4).Draw(t, "recorders"))
	for i := range sources {
		s := &sources[i]
		s.Name = fmt.Sprintf("r%d", i)
		s.Unknown = rapid.IntRange(0, 9).Draw(t, "silent") == 0
		for e := range 4 {
			for a := 0; a < 12; {
				a += rapid.IntRange(0, 3).Draw(t, "hole")
				b := a + rapid.IntRange(1, 6).Draw(t, "length")
				p := stretchOf(e*17, a, b)
				p.Since = rapid.SampledFrom([]media.Cause{"", media.CauseStart, media.CauseStalled}).Draw(t, "since")
				p.SinceNS = t0 + rapid.Int64Range(-30, 90).Draw(t, "at")*second
				if !honest {
					p.StartNS += rapid.Int64Range(-9, 9).Draw(t, "skew") * second
					p.EndNS = max(p.EndNS, p.StartNS+1)
					p.End += rapid.Uint64Range(0, 99).Draw(t, "more")
				}
				s.Spans = append(s.Spans, p)
				a = b + 1
			}
		}
	}
	return sources
}

func TestEveryInstantIsASpanOrAGapOrUnknownOrStillToCome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		honest := rapid.Bool().Draw(t, "honest")
		sources := drawSources(t, honest)
		ns := func(what string) int64 { return t0 + rapid.Int64Range(-20, 120).Draw(t, what)*second/2 }
		q := Query{StartNS: ns("start"), EndNS: ns("end"), NowNS: ns("now"), LiveNS: ns("live")}
		for i := range sources {
			sources[i].UnknownBeforeNS = rapid.SampledFrom([]int64{0, ns("told since")}).Draw(t, "since")
		}
		res := Timeline(sources, q)
		for at := q.StartNS; at < q.EndNS; at += second / 4 {
			var spans, others int
			for _, s := range res.Spans {
				if s.StartNS <= at && at < s.EndNS {
					spans++
				}
			}
			for _, g := range res.Gaps {
				if g.StartNS <= at && at < g.EndNS {
					others++
				}
			}
			for _, u := range res.Unknown {
				if u.StartNS <= at && at < u.EndNS {
					others++
				}
			}
			if at >= res.FutureNS {
				others++
			}
			if spans > 0 {
				spans = 1
			}
			require.Equal(t, 1, spans+others, "at %v of %s", float64(at-t0)/float64(second), show(res))
			if honest {
				held := false
				for _, s := range sources {
					for _, p := range s.Spans {
						held = held || !s.Unknown && p.StartNS <= at && at < p.EndNS
					}
				}
				require.Equal(t, held, spans > 0, "at %v of %s", float64(at-t0)/float64(second), show(res))
			}
		}
		for i, s := range res.Spans {
			require.Less(t, s.StartNS, s.EndNS)
			require.NotEmpty(t, s.Recorders)
			require.True(t, i == 0 || res.Spans[i-1].StartNS <= s.StartNS)
		}
		for i, g := range res.Gaps {
			require.NotEmpty(t, g.Cause)
			require.True(t, i == 0 || res.Gaps[i-1].EndNS <= g.StartNS)
		}
	})
}

// BenchmarkTimelineThirtyDays is of a bad month: the connection is lost twice an hour,
// and each recorder misses something once an hour.
func BenchmarkTimelineThirtyDays(b *testing.B) {
	var r1, r2 []Span
	for i := range 30 * 48 {
		r1 = append(r1, stretchOf(i*1800, 0, 400), stretchOf(i*1800, 401, 890))
		r2 = append(r2, stretchOf(i*1800, 0, 600), stretchOf(i*1800, 602, 890))
	}
	sources := []Source{{Name: "r1", Spans: r1}, {Name: "r2", Spans: r2}}
	q := Query{StartNS: t0, EndNS: t0 + 30*86400*second, NowNS: t0 + 31*86400*second, LiveNS: math.MaxInt64}
	b.ReportAllocs()
	for b.Loop() {
		if res := Timeline(sources, q); len(res.Gaps) < 1000 {
			b.Fatal("too few gaps")
		}
	}
}

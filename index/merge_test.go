package index

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duet-video/duet/internal/media"
)

func seqOf(refs []Ref) iter.Seq2[Ref, error] {
	return func(yield func(Ref, error) bool) {
		for i := range refs {
			if !yield(refs[i], nil) {
				return
			}
		}
	}
}

// parse makes fragments of letters: "a3" is fragment 3 of the epoch a, "a3-" a
// truncated copy of it, "a3!" one with other bytes. Epochs begin one second apart, so
// that their fragments alternate.
func parse(s string) []Ref {
	var all []Ref
	for _, w := range strings.Fields(s) {
		r := ref("gate", int(w[0]-'a'), int(w[1]-'0'))
		switch w[2:] {
		case "-":
			r = truncate(r)
		case "!":
			r.Hash[0]++
		}
		all = append(all, r)
	}
	return all
}

// format writes merged fragments like parse reads them, and who holds them.
func format(all []Merged) string {
	var words []string
	for _, m := range all {
		e := 'a' + rune(m.Epoch.Time().UnixNano()/second-t0/second)
		w := fmt.Sprintf("%c%d", e, m.First/100)
		if m.Flags&media.Truncated != 0 {
			w += "-"
		}
		if m.Conflict {
			w += "!"
		}
		w += ":"
		for _, h := range m.Holders {
			w += fmt.Sprint(h)
		}
		for _, u := range m.Unknown {
			w += fmt.Sprintf("?%d", u)
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func TestMergeOfReplicasIsTheirUnion(t *testing.T) {
	for name, c := range map[string]struct {
		sources []string
		want    string
	}{
		"nobody":                      {nil, ""},
		"one":                         {[]string{"a0 a1"}, "a0:0 a1:0"},
		"identical":                   {[]string{"a0 a1 a2", "a0 a1 a2"}, "a0:01 a1:01 a2:01"},
		"disjoint":                    {[]string{"a0 a1", "a2 a3"}, "a0:0 a1:0 a2:1 a3:1"},
		"interleaved gaps":            {[]string{"a0 a2 a3 a5", "a1 a3 a4"}, "a0:0 a1:1 a2:0 a3:01 a4:1 a5:0"},
		"one is empty":                {[]string{"", "a0 a1"}, "a0:1 a1:1"},
		"three":                       {[]string{"a0 a1", "a1 a2", "a0 a2 a3"}, "a0:02 a1:01 a2:12 a3:2"},
		"truncated tail":              {[]string{"a0 a1-", "a0 a1 a2"}, "a0:01 a1:1 a2:1"},
		"both tails truncated":        {[]string{"a0 a1-", "a0 a1-"}, "a0:01 a1-:01"},
		"overlapping epochs":          {[]string{"a0 a1 a2", "b0 b1"}, "a0:0 b0:1 a1:0 b1:1 a2:0"},
		"both have both epochs":       {[]string{"a0 b0 a1", "a0 b0 b1"}, "a0:01 b0:01 a1:0 b1:1"},
		"other bytes":                 {[]string{"a0 a1!", "a0 a1"}, "a0:01 a1!:0 a1!:1 "},
		"other bytes, the most first": {[]string{"a0!", "a0", "a0"}, "a0!:12 a0!:0"},
	} {
		var sources []iter.Seq2[Ref, error]
		for _, s := range c.sources {
			sources = append(sources, seqOf(parse(s)))
		}
		require.Equal(t, strings.TrimSpace(c.want), format(collect(t, Merge(sources...))), name)
	}
}

func TestMergePrefersAWholeFragmentToATruncatedOneOfTheSameRecords(t *testing.T) {
	whole := ref("gate", 0, 0)
	cut := whole
	cut.Flags, cut.Hash = media.Truncated, media.Hash{1}
	got := collect(t, Merge(seqOf([]Ref{cut}), seqOf([]Ref{whole})))
	require.Equal(t, []Merged{{Ref: whole, Holders: []int{1}}}, got)
}

func TestMergeDropsWhatWasYieldedAlreadyWhereverItIsOrdered(t *testing.T) {
	all := parse("a0 b0 a1 b1 a2")
	stray := truncate(all[0])
	stray.StartNS += 3 * second
	partly := all[2]
	partly.First, partly.StartNS = partly.First+50, partly.StartNS+3*second/2
	partly.End += 10
	got := collect(t, Merge(seqOf(all[:4]), seqOf([]Ref{stray}), seqOf([]Ref{partly})))
	require.Equal(t, "a0:0 b0:0 a1:0 b1:0 a1!:2", format(got))
}

func TestAFailingSourceEndsTheMergeOrIsNamed(t *testing.T) {
	broken := errors.New("connection reset")
	failing := func(s string) iter.Seq2[Ref, error] {
		return func(yield func(Ref, error) bool) {
			for _, r := range parse(s) {
				if !yield(r, nil) {
					return
				}
			}
			yield(Ref{}, broken)
		}
	}
	var got []Merged
	var failure error
	for m, err := range Merge(seqOf(parse("a0 a1 a2 a3")), failing("a0 a1")) {
		if err != nil {
			failure = err
			continue
		}
		got = append(got, m)
	}
	require.Equal(t, "a0:01 a1:01", format(got))
	var e *SourceError
	require.ErrorAs(t, failure, &e)
	require.Equal(t, 1, e.Source)
	require.Equal(t, t0+2*second, e.AfterNS)
	require.ErrorIs(t, failure, broken)

	var told []int
	o := MergeOptions{Continue: true, OnError: func(e *SourceError) { told = append(told, e.Source) }}
	got = collect(t, MergeWith(o, failing(""), seqOf(parse("a0 a1 a2 a3")), failing("a0 a1")))
	require.Equal(t, "a0:12?0 a1:12?0 a2:1?0?2 a3:1?0?2", format(got))
	require.Equal(t, []int{0, 2}, told)

	_, err := firstError(Merge(seqOf(parse("a1 a0"))))
	require.ErrorIs(t, err, errUnsorted)
}

func firstError(seq iter.Seq2[Merged, error]) (n int, err error) {
	for _, err := range seq {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func TestAMergeThatIsLeftStopsItsSources(t *testing.T) {
	stopped := 0
	endless := func(yield func(Ref, error) bool) {
		defer func() { stopped++ }()
		for n := 0; yield(ref("gate", 0, n), nil); n++ {
		}
	}
	for m, err := range Merge(endless, endless, seqOf(nil)) {
		require.NoError(t, err)
		if m.First == 500 {
			break
		}
	}
	require.Equal(t, 2, stopped)
}

// naiveMerge is what Merge must yield, made the slow way.
func naiveMerge(sources [][]Ref) []Merged {
	byKey := map[Key]map[media.Hash]*Merged{}
	for i, s := range sources {
		for _, r := range s {
			if byKey[r.Key()] == nil {
				byKey[r.Key()] = map[media.Hash]*Merged{}
			}
			m := byKey[r.Key()][r.Hash]
			if m == nil {
				m = &Merged{Ref: r}
				byKey[r.Key()][r.Hash] = m
			}
			m.Holders = append(m.Holders, i)
		}
	}
	var all []Merged
	for _, copies := range byKey {
		list := slices.Collect(maps.Values(copies))
		end := slices.MaxFunc(list, func(a, b *Merged) int { return cmp.Compare(a.End, b.End) }).End
		list = slices.DeleteFunc(list, func(m *Merged) bool { return m.End < end })
		for _, m := range list {
			m.Conflict = len(list) > 1
			all = append(all, *m)
		}
	}
	slices.SortFunc(all, func(a, b Merged) int {
		return cmp.Or(Compare(&a.Ref, &b.Ref), cmp.Compare(len(b.Holders), len(a.Holders)), cmp.Compare(a.Holders[0], b.Holders[0]))
	})
	return all
}

func TestMergeEqualsTheNaiveUnion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sources := make([][]Ref, rapid.IntRange(0, 5).Draw(t, "sources"))
		var seqs []iter.Seq2[Ref, error]
		for i := range sources {
			for e := range rapid.IntRange(1, 4).Draw(t, "epochs") {
				for n := range 8 {
					r := ref("gate", e*3, n)
					switch rapid.SampledFrom([]string{"none", "whole", "whole", "whole", "cut", "other"}).Draw(t, "copy") {
					case "none":
						continue
					case "cut":
						r = truncate(r)
					case "other":
						r.Hash[0]++
					}
					sources[i] = append(sources[i], r)
				}
			}
			slices.SortFunc(sources[i], func(a, b Ref) int { return Compare(&a, &b) })
			seqs = append(seqs, seqOf(sources[i]))
		}
		var got []Merged
		for m, err := range Merge(seqs...) {
			require.NoError(t, err)
			got = append(got, m)
		}
		want := naiveMerge(sources)
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.Equal(t, want[i], got[i])
		}
	})
}

// thirtyDays is one fragment per 2 s for 30 days, generated as it is read.
func thirtyDays() iter.Seq2[Ref, error] {
	const n = 30 * 86400 / 2
	return func(yield func(Ref, error) bool) {
		r := ref("gate", 0, 0)
		for range n {
			if !yield(r, nil) {
				return
			}
			r.First, r.End = r.First+100, r.End+100
			r.StartNS, r.EndNS = r.StartNS+2*second, r.EndNS+2*second
		}
	}
}

func TestMergeAllocatesNothingPerFragment(t *testing.T) {
	allocs := testing.AllocsPerRun(1, func() {
		n, err := firstError(Merge(thirtyDays(), thirtyDays()))
		require.NoError(t, err)
		require.Equal(t, 1_296_000, n)
	})
	require.Less(t, allocs, 200.0)
}

func BenchmarkMergeThirtyDaysOfTwoRecorders(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		n, err := firstError(Merge(thirtyDays(), thirtyDays()))
		require.NoError(b, err)
		require.Equal(b, 1_296_000, n)
	}
}

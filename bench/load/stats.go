package load

import (
	"math"
	"slices"
)

// Spread is a figure over the rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spread returns the spread of the values; that of none is zero.
func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	s := Spread{Median: v[mid], Min: v[0], Max: v[len(v)-1]}
	if len(v)%2 == 0 {
		s.Median = (v[mid-1] + v[mid]) / 2
	}
	return s
}

// over applies f to each element and returns the spread of what it said. NaN is left out.
func over[T any](list []T, f func(*T) float64) Spread {
	var v []float64
	for i := range list {
		if x := f(&list[i]); !math.IsNaN(x) {
			v = append(v, x)
		}
	}
	return spread(v)
}

// distinct returns the keys of a list in its order, each once.
func distinct[T any, K comparable](list []T, key func(*T) K) []K {
	var out []K
	seen := map[K]bool{}
	for i := range list {
		if k := key(&list[i]); !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	return out
}

// ratios returns the spread of ours over theirs, round by round: what changes from round
// to round changes both.
func ratios[T any](ours, theirs []T, figure func(*T) (round int, value float64)) Spread {
	at := map[int]float64{}
	for i := range theirs {
		round, v := figure(&theirs[i])
		at[round] = v
	}
	var v []float64
	for i := range ours {
		if round, mine := figure(&ours[i]); at[round] > 0 {
			v = append(v, mine/at[round])
		}
	}
	return spread(v)
}

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

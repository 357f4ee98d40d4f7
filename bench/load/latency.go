package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is a distribution, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// histogram counts durations from 1 µs to an hour with an error of at most 0.1 %.
type histogram struct{ h *hdrhistogram.Histogram }

func newHistogram() *histogram {
	return &histogram{hdrhistogram.New(1, time.Hour.Microseconds(), 3)}
}

func (h *histogram) add(d time.Duration) {
	v := min(max(d.Microseconds(), 1), time.Hour.Microseconds())
	_ = h.h.RecordValue(v) // in range
}

func (h *histogram) latency() Latency {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	at := func(q float64) float64 { return ms(h.h.ValueAtQuantile(q)) }
	return Latency{Count: h.h.TotalCount(), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: ms(h.h.Max())}
}

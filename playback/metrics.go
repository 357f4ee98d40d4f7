package playback

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	seconds    *prometheus.HistogramVec
	failovers  *prometheus.CounterVec
	mismatches *prometheus.CounterVec
	conflicts  prometheus.Counter
	read       *prometheus.CounterVec
	sent       prometheus.Counter
	broken     prometheus.Counter
	up         *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "duet_playback_request_seconds",
			Help:    "Time until the first byte of an answer, by operation and status class.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}, []string{"operation", "code"}),
		failovers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "duet_playback_failovers_total",
			Help: "Fragments that another recorder delivered than the one first asked, by the one first asked.",
		}, []string{"recorder"}),
		mismatches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "duet_playback_mismatches_total",
			Help: "Fragments that a recorder delivered with other bytes than its index says.",
		}, []string{"recorder"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "duet_playback_conflicts_total",
			Help: "Fragments of plans for which the indexes of recorders disagree about the bytes.",
		}),
		read: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "duet_playback_read_bytes_total",
			Help: "Bytes of verified fragments, by recorder.",
		}, []string{"recorder"}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "duet_playback_sent_bytes_total",
			Help: "Bytes of recordings sent to clients.",
		}),
		broken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "duet_playback_broken_responses_total",
			Help: "Responses that were broken off because no copy of a fragment could be read.",
		}),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "duet_playback_node_up",
			Help: "Whether the node answers: 1 or 0.",
		}, []string{"node"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.seconds, m.failovers, m.mismatches, m.conflicts, m.read, m.sent, m.broken, m.up} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register the metrics of playback: %w", err)
	}
	return m, nil
}

// observe notes how long it took until an answer could begin.
func (m *metrics) observe(operation string, err error, took time.Duration) {
	code := "2xx"
	var p *Problem
	if errors.As(err, &p) {
		code = strconv.Itoa(p.Status/100) + "xx"
	} else if err != nil {
		code = "5xx"
	}
	m.seconds.WithLabelValues(operation, code).Observe(took.Seconds())
}

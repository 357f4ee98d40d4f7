package replay

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	sessions                *prometheus.GaugeVec
	total                   *prometheus.CounterVec
	units, bytes            prometheus.Counter
	dropped, unread, unsent prometheus.Counter
	stalled                 prometheus.Counter
	first                   prometheus.Histogram
	requests                *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "duet_replay_sessions", Help: "RTSP replay sessions now, by transport.",
		}, []string{"transport"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "duet_replay_sessions_total", Help: "RTSP replay sessions that played, by transport.",
		}, []string{"transport"}),
		units:   counter("duet_replay_access_units_total", "Access units sent to RTSP replay clients."),
		bytes:   counter("duet_replay_sent_bytes_total", "Bytes sent to RTSP replay clients."),
		dropped: counter("duet_replay_dropped_sessions_total", "RTSP replay sessions that were closed because the client took nothing."),
		unread:  counter("duet_replay_skipped_fragments_total", "Fragments that no recorder delivered, and that replays left out."),
		unsent:  counter("duet_replay_unsendable_access_units_total", "Access units that cannot be put into RTP."),
		stalled: counter("duet_replay_stalls_total", "Times that a replay waited longer than Deadlines.Patience for a fragment."),
		first: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "duet_replay_first_packet_seconds", Help: "From PLAY until the first access unit is ready to be sent.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "duet_replay_requests_total", Help: "RTSP requests, by method and status.",
		}, []string{"method", "code"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.sessions, m.total, m.units, m.bytes, m.dropped, m.unread, m.unsent, m.stalled, m.first, m.requests,
	} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register the metrics of replay: %w", err)
	}
	return m, nil
}

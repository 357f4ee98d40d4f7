package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics reads everything from memory when Prometheus asks, so that nothing is
// counted twice on the way of a packet.
type metrics struct {
	p *Proxy

	copies, wanted, live, sessions, records, bytes, lost, logBytes, readers, readersIn, readersSlow, lastPacket *prometheus.Desc
	linked, held, behind, durableAge, ackAge, offsetsLost                                                       *prometheus.Desc
	recorders, totalBytes, limitBytes                                                                           *prometheus.Desc
}

func newMetrics(p *Proxy) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("duet_"+name, help, labels, nil)
	}
	const camera, recorder, role, cause = "camera", "recorder", "role", "cause"
	return &metrics{
		p:           p,
		copies:      desc("camera_copies", "Copies that are written and durable within 10 s.", camera),
		wanted:      desc("camera_copies_wanted", "What duet_camera_copies is when all is well: 1 with a spare, which does not count while it waits.", camera),
		live:        desc("camera_live", "1 when the camera delivers, else 0.", camera),
		sessions:    desc("camera_sessions_total", "Sessions with the camera that delivered.", camera),
		records:     desc("camera_records_in_total", "Records (RTP packets) taken into the log.", camera),
		bytes:       desc("camera_bytes_in_total", "Bytes of RTP payload taken into the log.", camera),
		lost:        desc("camera_packets_lost_total", "RTP packets that the camera sent and that did not arrive.", camera),
		logBytes:    desc("camera_log_bytes", "Memory of the camera's log.", camera),
		readers:     desc("camera_readers", "Live readers of the camera.", camera),
		readersIn:   desc("camera_reader_sessions_total", "Live readers that began to play.", camera),
		readersSlow: desc("camera_readers_dropped_total", "Live readers that were closed because they were too slow.", camera),
		lastPacket:  desc("camera_last_packet_age_seconds", "Time since the camera last delivered.", camera),

		linked:      desc("copy_linked", "1 while the recorder is subscribed to the camera, else 0.", camera, recorder, role),
		held:        desc("copy_held", "1 while a spare is subscribed and its primary is enough, else 0.", camera, recorder, role),
		behind:      desc("copy_behind_records", "Records that the recorder has not made durable.", camera, recorder, role),
		durableAge:  desc("copy_durable_age_seconds", "Age of the newest durable footage.", camera, recorder, role),
		ackAge:      desc("copy_ack_age_seconds", "Time since the durable position last moved.", camera, recorder, role),
		offsetsLost: desc("copy_offsets_lost_total", "Offsets that left the log before the recorder took them.", camera, recorder, role, cause),

		recorders:  desc("link_recorders", "Recorders that are connected."),
		totalBytes: desc("log_bytes", "Memory of all logs."),
		limitBytes: desc("log_limit_bytes", "Bound on the memory of all logs."),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.copies, m.wanted, m.live, m.sessions, m.records, m.bytes, m.lost, m.logBytes, m.readers, m.readersIn, m.readersSlow, m.lastPacket,
		m.linked, m.held, m.behind, m.durableAge, m.ackAge, m.offsetsLost,
		m.recorders, m.totalBytes, m.limitBytes,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	now := m.p.opts.Clock.Now()
	age := func(ns int64) float64 { return now.Sub(time.Unix(0, ns)).Seconds() }
	for _, c := range m.p.order {
		name := c.cfg.Name
		state, _, _ := c.now()
		gauge(m.copies, float64(c.health.copies.Load()), name)
		gauge(m.wanted, float64(c.wantCopies()), name)
		gauge(m.live, one(state == stateLive), name)
		counter(m.sessions, c.sessions.Load(), name)
		counter(m.records, c.records.Load(), name)
		counter(m.bytes, c.bytes.Load(), name)
		counter(m.lost, c.lost.Load(), name)
		gauge(m.logBytes, float64(c.log.Bytes()), name)
		gauge(m.readers, float64(c.readers.now.Load()), name)
		counter(m.readersIn, c.readers.total.Load(), name)
		counter(m.readersSlow, c.readers.dropped.Load(), name)
		if ns := c.lastPacketNS.Load(); ns != 0 {
			gauge(m.lastPacket, age(ns), name)
		}
		for _, k := range c.copies {
			i := k.info()
			gauge(m.linked, one(i.Linked), name, k.recorder, k.role)
			gauge(m.held, one(i.Held), name, k.recorder, k.role)
			gauge(m.behind, float64(c.behind(i)), name, k.recorder, k.role)
			if i.EndNS != 0 {
				gauge(m.durableAge, age(i.EndNS), name, k.recorder, k.role)
			}
			if i.AckedNS != 0 {
				gauge(m.ackAge, age(i.AckedNS), name, k.recorder, k.role)
			}
			counter(m.offsetsLost, i.Lost, name, k.recorder, k.role, "behind")
		}
	}
	gauge(m.recorders, float64(m.p.link.connected()))
	gauge(m.totalBytes, float64(m.p.budget.Bytes()))
	gauge(m.limitBytes, float64(m.p.opts.LogTotalBytes))
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

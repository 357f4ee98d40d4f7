package recorder

import (
	"cmp"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// meters are the metrics that are counted where things happen. What is known anyway is
// collected when it is asked for, see collector.
type meters struct {
	syncSeconds                      prometheus.Histogram
	syncErrors, writeErrors, invalid prometheus.Counter
	deleted                          *prometheus.CounterVec
	deletedBytes                     prometheus.Counter
	damaged                          *prometheus.CounterVec
	served                           prometheus.Counter
}

func newMeters(reg prometheus.Registerer) (*meters, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "duet_recorder_" + name, Help: help})
	}
	m := &meters{
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "duet_recorder_fsync_seconds", Help: "Time that making a file, a directory or the index durable took.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		syncErrors:  counter("fsync_errors_total", "Files that could not be made durable; what they held is fetched again."),
		writeErrors: counter("write_errors_total", "Writes of a fragment that failed and were tried again."),
		invalid:     counter("fragments_refused_total", "Fragments that the index refused."),
		deleted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "duet_recorder_segments_deleted_total", Help: "Segments that retention deleted, by rule.",
		}, []string{"cause"}),
		deletedBytes: counter("deleted_bytes_total", "Bytes of media that retention deleted."),
		damaged: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "duet_recorder_fragments_damaged_total", Help: "Fragments that were found damaged and taken out.",
		}, []string{"camera"}),
		served: counter("served_bytes_total", "Bytes of media that were read for playback."),
	}
	for _, c := range []prometheus.Collector{m.syncSeconds, m.syncErrors, m.writeErrors, m.invalid, m.deleted, m.deletedBytes, m.damaged, m.served} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the recorder's metrics: %w", err)
		}
	}
	return m, nil
}

// collector answers a scrape from memory.
type collector struct{ r *Recorder }

var (
	byCamera = []string{"camera", "proxy"}
	byDisk   = []string{"disk"}

	descRecords   = prometheus.NewDesc("duet_recorder_records_total", "Records received.", byCamera, nil)
	descBytes     = prometheus.NewDesc("duet_recorder_bytes_total", "Bytes of records received.", byCamera, nil)
	descFragments = prometheus.NewDesc("duet_recorder_fragments_written_total", "Fragments written.", byCamera, nil)
	descLost      = prometheus.NewDesc("duet_recorder_offsets_lost_total", "Offsets that were not recorded, by cause.", []string{"camera", "proxy", "cause"}, nil)
	descLinked    = prometheus.NewDesc("duet_recorder_linked", "1 while a proxy sends the camera, or would.", byCamera, nil)
	descAge       = prometheus.NewDesc("duet_recorder_durable_age_seconds", "Age of the newest durable footage.", []string{"camera"}, nil)
	descStored    = prometheus.NewDesc("duet_recorder_stored_bytes", "Bytes of media held.", []string{"camera"}, nil)
	descStoredF   = prometheus.NewDesc("duet_recorder_stored_fragments", "Fragments held.", []string{"camera"}, nil)
	descFree      = prometheus.NewDesc("duet_recorder_disk_free_bytes", "Free space of the disk.", byDisk, nil)
	descCapacity  = prometheus.NewDesc("duet_recorder_disk_capacity_bytes", "Size of the disk.", byDisk, nil)
	descState     = prometheus.NewDesc("duet_recorder_disk_state", "1 for the state that the disk is in.", []string{"disk", "state"}, nil)
	descCamera    = prometheus.NewDesc("duet_recorder_camera_info", "1 for the role of this copy of a camera.", []string{"camera", "role"}, nil)
	descRepaired  = prometheus.NewDesc("duet_recorder_repaired_fragments_total", "Fragments copied from other recorders.", []string{"camera"}, nil)
	descRepairedB = prometheus.NewDesc("duet_recorder_repaired_bytes_total", "Bytes of media copied from other recorders.", []string{"camera"}, nil)
	descRepairBad = prometheus.NewDesc("duet_recorder_repair_failures_total", "Fragments that no other recorder gave when they were to be copied.", []string{"camera"}, nil)
	descLacking   = prometheus.NewDesc("duet_recorder_lacking_fragments", "Fragments that other recorders hold and this one does not.", []string{"camera"}, nil)
	descLackingB  = prometheus.NewDesc("duet_recorder_lacking_bytes", "Bytes of media that other recorders hold and this one does not.", []string{"camera"}, nil)
	descComplete  = prometheus.NewDesc("duet_recorder_complete_until_seconds", "Capture time, Unix seconds, up to which this copy holds all that others hold.", []string{"camera"}, nil)
	descDamaged   = prometheus.NewDesc("duet_recorder_damaged_fragments", "Fragments whose copy here is damaged and that no whole one has replaced.", nil, nil)
	descScrubDone = prometheus.NewDesc("duet_recorder_scrub_done_ratio", "How much of the round of checking what is stored is done.", byDisk, nil)
	descScrubRead = prometheus.NewDesc("duet_recorder_scrub_read_bytes_total", "Bytes that were read back and checked.", byDisk, nil)
	descScrubEnd  = prometheus.NewDesc("duet_recorder_scrub_finished_timestamp_seconds", "When the round ended that checked everything last; 0 while one is under way.", byDisk, nil)
	descRebuilt   = prometheus.NewDesc("duet_recorder_rebuild_done_ratio", "How much of an index that is being made anew from the media is done; absent when none is.", byDisk, nil)
	descAlarms    = prometheus.NewDesc("duet_recorder_alarms", "Alarms that are raised, by code.", []string{"code"}, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descRecords, descBytes, descFragments, descLost, descLinked, descAge, descStored, descStoredF,
		descFree, descCapacity, descState, descCamera, descRepaired, descRepairedB, descRepairBad, descLacking, descLackingB, descComplete, descDamaged, descScrubDone, descScrubRead, descScrubEnd, descRebuilt, descAlarms,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	for _, f := range c.r.allFeeds() {
		send(descRecords, prometheus.CounterValue, float64(f.counts.records.Load()), f.camera, f.proxy)
		send(descBytes, prometheus.CounterValue, float64(f.counts.bytes.Load()), f.camera, f.proxy)
		send(descFragments, prometheus.CounterValue, float64(f.counts.fragments.Load()), f.camera, f.proxy)
		for i, name := range lossNames {
			send(descLost, prometheus.CounterValue, float64(f.counts.lost[i].Load()), f.camera, f.proxy, name)
		}
		linked := 0.0
		if f.counts.linked.Load() {
			linked = 1
		}
		send(descLinked, prometheus.GaugeValue, linked, f.camera, f.proxy)
	}
	s := c.r.status()
	now := c.r.opts.Clock.Now().UnixNano()
	for _, cam := range s.GetCameras() {
		send(descStored, prometheus.GaugeValue, float64(cam.GetBytesStored()), cam.GetCamera())
		send(descStoredF, prometheus.GaugeValue, float64(cam.GetFragmentsStored()), cam.GetCamera())
		if rep := cam.GetRepair(); rep != nil {
			send(descRepaired, prometheus.CounterValue, float64(rep.GetRepairedFragments()), cam.GetCamera())
			send(descRepairedB, prometheus.CounterValue, float64(rep.GetRepairedBytes()), cam.GetCamera())
			send(descRepairBad, prometheus.CounterValue, float64(rep.GetFailures()), cam.GetCamera())
			send(descLacking, prometheus.GaugeValue, float64(rep.GetLackingFragments()), cam.GetCamera())
			send(descLackingB, prometheus.GaugeValue, float64(rep.GetLackingBytes()), cam.GetCamera())
			if until := rep.GetCompleteUntilNs(); until > 0 {
				send(descComplete, prometheus.GaugeValue, float64(until)/1e9, cam.GetCamera())
			}
		}
		if cam.GetDurableEndNs() > 0 {
			send(descAge, prometheus.GaugeValue, float64(now-cam.GetDurableEndNs())/1e9, cam.GetCamera())
		}
	}
	for _, d := range s.GetDisks() {
		send(descFree, prometheus.GaugeValue, float64(d.GetFreeBytes()), d.GetPath())
		if ad := d.GetAdoption(); ad != nil {
			send(descRebuilt, prometheus.GaugeValue, float64(ad.GetBytesDone())/float64(max(ad.GetBytes(), 1)), d.GetPath())
		}
		send(descCapacity, prometheus.GaugeValue, float64(d.GetCapacityBytes()), d.GetPath())
		for _, state := range diskStates {
			v := 0.0
			if d.GetState() == state {
				v = 1
			}
			send(descState, prometheus.GaugeValue, v, d.GetPath(), state)
		}
	}
	for _, cam := range c.r.opts.Cameras {
		send(descCamera, prometheus.GaugeValue, 1, cam.Name, cmp.Or(cam.Role, c.r.opts.Role))
	}
	codes := map[string]int{}
	for _, a := range s.GetAlarms() {
		codes[a.GetCode()]++
	}
	send(descDamaged, prometheus.GaugeValue, float64(s.GetDamagedFragments()))
	c.r.collectScrub(send)
	for code, n := range codes {
		send(descAlarms, prometheus.GaugeValue, float64(n), code)
	}
}

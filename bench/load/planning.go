package load

import (
	"fmt"
	"math"
)

// What a site is planned with, beside what was measured.
const (
	planUse     = 0.6  // of processors and network cards, so that there is room when one machine is gone
	planCard    = 10.0 // Gbit/s of a machine's network card
	planCores   = 16.0
	planDiskTB  = 20.0
	planDiskMBs = 80.0 // of a hard disk that many files are written to
	planFull    = 0.9  // of a disk
	planDays    = 30
	planLog     = 20 + 1 // log.seconds and a GOP of a second, which is kept whole
	planRecords = 1.04   // headers of packets and records, ends of slabs
	planAside   = 0.256
)

// sitePlan is what so many cameras need.
type sitePlan struct {
	cameras                       int
	in, out                       float64 // Gbit/s into and out of all proxies
	proxyCores, recorderCores     float64 // busy ones; recorders of both copies
	proxyGB                       float64
	copyMBs, copyTB               float64 // of each copy
	proxies, recorders            int     // machines
	disksForSpace, disksForWrites int     // of each copy
}

// planFor works out what cameras of mbit need, from what one camera cost the proxy and both
// recorders, in cores.
func planFor(cameras int, mbit, proxy, recorders float64) sitePlan {
	n := float64(cameras)
	p := sitePlan{cameras: cameras, in: n * mbit / 1000, out: 2 * n * mbit / 1000, proxyCores: n * proxy, recorderCores: n * recorders}
	p.proxyGB = n * (planLog*planRecords*mbit/8 + planAside) / 1000
	p.copyMBs = n * mbit / 8
	p.copyTB = p.copyMBs * 86400 * planDays / 1e6
	p.disksForSpace = ceil(p.copyTB / (planDiskTB * planFull))
	p.disksForWrites = ceil(p.copyMBs / planDiskMBs)
	p.proxies = max(1, ceil(p.proxyCores/(planCores*planUse)), ceil(p.out/(planCard*planUse)))
	p.recorders = max(2, 2*max(ceil(p.recorderCores/2/(planCores*planUse)), ceil(p.in/(planCard*planUse))))
	return p
}

func ceil(v float64) int { return int(math.Ceil(v - 1e-9)) }

// planning is a table of what to plan, worked out from the first load.
func (r *RecordReport) planning() string {
	points := r.points()
	if len(points) == 0 {
		return ""
	}
	runs := r.of(points[0], "duet")
	n := float64(points[0].Cameras)
	proxy := over(runs, func(m *Recording) float64 { return m.proxy().Cores }).Median / n
	recorders := over(runs, func(m *Recording) float64 { return m.Cores - m.proxy().Cores }).Median / n
	t := table{head: []string{"cameras", "into the proxies", "out to recorders", "cores busy: proxies", "recorders", "memory of proxies", "machines: proxies", "recorders", "each copy writes", "each copy, 30 days", "disks of each copy"}}
	for _, cameras := range []int{100, 1000, 10000} {
		p := planFor(cameras, points[0].Mbit, proxy, recorders)
		t.add(fmt.Sprint(cameras), fmt.Sprintf("%.1f Gbit/s", p.in), fmt.Sprintf("%.1f Gbit/s", p.out),
			fmt.Sprintf("%.1f", p.proxyCores), fmt.Sprintf("%.1f", p.recorderCores), fmt.Sprintf("%.0f GB", p.proxyGB),
			fmt.Sprint(p.proxies), fmt.Sprint(p.recorders), fmt.Sprintf("%.0f MB/s", p.copyMBs), fmt.Sprintf("%.0f TB", p.copyTB),
			fmt.Sprintf("%d (space), %d (writing)", p.disksForSpace, p.disksForWrites))
	}
	return fmt.Sprintf("\nTo plan, with %.2f thousandths of a core for a camera at its proxy and %.2f at both recorders together:\n\n%s", 1000*proxy, 1000*recorders, t.String())
}

package playback

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/duet-video/duet/internal/nodepb"
)

// Recorders is the answer of /v1/recorders.
type Recorders struct {
	Recorders []RecorderView `json:"recorders"`
}

// RecorderView is a recorder. When it is down, the rest is what it said last.
type RecorderView struct {
	NodeView
	Role        string      `json:"role"`
	Zone        string      `json:"zone,omitempty"`
	Cameras     int         `json:"cameras" doc:"Cameras of which it has footage."`
	Lag         float64     `json:"lagSeconds" doc:"From the last packet of a camera that it is sent back to what is durable; the worst camera."`
	OffsetsLost uint64      `json:"offsetsLost"`
	Bytes       uint64      `json:"bytes"`
	Disks       []DiskView  `json:"disks"`
	Alarms      []AlarmView `json:"alarms"`

	DamagedFragments uint64       `json:"damagedFragments" doc:"Those whose copy here is damaged, and is not served."`
	Damaged          []DamageView `json:"damaged" doc:"The newest that were found, at most 100."`
}

// Proxies is the answer of /v1/proxies.
type Proxies struct {
	Proxies []ProxyView `json:"proxies"`
}

// ProxyView is a proxy.
type ProxyView struct {
	NodeView
	Cameras  int         `json:"cameras"`
	Live     int         `json:"live" doc:"Cameras that deliver."`
	LogBytes uint64      `json:"logBytes"`
	Alarms   []AlarmView `json:"alarms"`
}

// NodeView is what recorders and proxies have in common.
type NodeView struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	State   State  `json:"state" enum:"up,down,unknown"`
	Since   stamp  `json:"since" doc:"Of the state, as seen from here."`
	Error   string `json:"error,omitempty" doc:"Why it is down."`
	Version string `json:"version,omitempty"`
	Started *stamp `json:"started,omitempty"`
	Heard   *stamp `json:"heard,omitempty" doc:"When it last said what stands here."`
}

// DiskView is a disk of a recorder.
type DiskView struct {
	Path     string `json:"path"`
	State    string `json:"state" doc:"good, slow, full, failing, hung or gone"`
	Capacity uint64 `json:"capacityBytes"`
	Free     uint64 `json:"freeBytes"`
	Used     uint64 `json:"usedBytes" doc:"By this recorder."`
	Quota    uint64 `json:"quotaBytes"`
	Locked   uint64 `json:"lockedBytes" doc:"Of what is used, what evidence locks keep."`

	Scrub   *ScrubView   `json:"scrub,omitempty"`
	Rebuild *RebuildView `json:"rebuild,omitempty" doc:"Missing but while the index is made anew from the media."`
}

// RebuildView says how far a recorder is with making the index of a disk anew from the
// media, while it records.
type RebuildView struct {
	Since        *stamp  `json:"since"`
	Segments     uint64  `json:"segments" doc:"0: they are being counted."`
	SegmentsDone uint64  `json:"segmentsDone"`
	CompleteFrom *stamp  `json:"completeFrom,omitempty" doc:"All that starts there or later is told; what is older may be unknown."`
	Remaining    float64 `json:"remainingSeconds" doc:"0: not known."`
}

func rebuildView(a *nodepb.Adoption) *RebuildView {
	if a == nil {
		return nil
	}
	return &RebuildView{
		Since: atOrNil(a.GetSinceNs()), Segments: a.GetSegments(), SegmentsDone: a.GetSegmentsDone(),
		CompleteFrom: atOrNil(a.GetCompleteFromNs()), Remaining: time.Duration(a.GetRemainingNs()).Seconds(),
	}
}

// ScrubView says how far a recorder is with checking what is on a disk.
type ScrubView struct {
	Started  *stamp `json:"started,omitempty" doc:"Of the round."`
	Finished *stamp `json:"finished,omitempty" doc:"Missing while it is under way."`
	Done     uint64 `json:"doneBytes"`
	Total    uint64 `json:"totalBytes"`
	Damaged  uint64 `json:"damaged" doc:"Fragments that were found damaged in this round."`
	Mended   uint64 `json:"mended" doc:"Boxes and headers that were damaged and written anew."`
	Unlisted uint64 `json:"unlisted" doc:"Files that the index does not know."`
	Off      bool   `json:"off"`
}

// DamageView is a fragment whose copy on a recorder is damaged.
type DamageView struct {
	Camera string `json:"camera"`
	Start  stamp  `json:"start"`
	End    stamp  `json:"end"`
	Found  stamp  `json:"found"`
	File   string `json:"file"`
	Offset int64  `json:"offset" doc:"In the file."`
	Why    string `json:"why"`
}

func scrubView(s *nodepb.Scrub) *ScrubView {
	if s == nil {
		return nil
	}
	return &ScrubView{
		Started: atOrNil(s.GetStartedNs()), Finished: atOrNil(s.GetFinishedNs()), Done: s.GetDoneBytes(), Total: s.GetTotalBytes(),
		Damaged: s.GetDamaged(), Mended: s.GetMended(), Unlisted: s.GetUnlisted(), Off: s.GetOff(),
	}
}

func damageViews(all []*nodepb.Damaged) []DamageView {
	out := make([]DamageView, 0, len(all))
	for _, d := range all {
		out = append(out, DamageView{
			Camera: d.GetCamera(), Start: at(d.GetStartNs()), End: at(d.GetEndNs()), Found: at(d.GetFoundNs()),
			File: path.Join(d.GetPath(), d.GetSegment()), Offset: d.GetAt(), Why: d.GetWhy(),
		})
	}
	return out
}

// AlarmView is something that needs a person.
type AlarmView struct {
	Code    string `json:"code" doc:"Stable, snake_case."`
	Message string `json:"message"`
	Camera  string `json:"camera,omitempty"`
	Since   *stamp `json:"since,omitempty"`
}

// whyDown says why a node does not answer, without what gRPC wraps around it.
func whyDown(err error) string {
	text := status.Convert(err).Message()
	if _, dial, ok := strings.Cut(text, "Error while dialing: "); ok {
		return strings.TrimSuffix(dial, `"`)
	}
	if errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded {
		return "it does not answer in time"
	}
	return text
}

func nodeView(p *peer, v peerView, version string, startedNS int64) NodeView {
	n := NodeView{
		Name: p.Name, Address: p.Address, State: v.State, Since: stamp{v.Since},
		Version: version, Started: atOrNil(startedNS),
	}
	if v.State == StateDown && v.Err != nil {
		n.Error = whyDown(v.Err)
	}
	if !v.StatusAt.IsZero() {
		n.Heard = &stamp{v.StatusAt}
	}
	return n
}

func alarmViews(alarms []*nodepb.Alarm) []AlarmView {
	out := []AlarmView{}
	for _, a := range alarms {
		out = append(out, AlarmView{Code: a.GetCode(), Message: a.GetMessage(), Camera: a.GetCamera(), Since: atOrNil(a.GetSinceNs())})
	}
	return out
}

func (s *Service) recorders() Recorders {
	out := Recorders{Recorders: []RecorderView{}}
	for _, r := range s.pool.recorders {
		v := r.view()
		st := v.RecStatus
		rv := RecorderView{
			NodeView: nodeView(r, v, st.GetVersion(), st.GetStartedNs()),
			Role:     r.Role, Zone: r.Zone, Cameras: len(st.GetCameras()),
			Disks: []DiskView{}, Alarms: alarmViews(st.GetAlarms()),
			DamagedFragments: st.GetDamagedFragments(), Damaged: damageViews(st.GetDamaged()),
		}
		for _, c := range st.GetCameras() {
			rv.OffsetsLost += c.GetOffsetsLost()
			rv.Bytes += c.GetBytesStored()
			if _, pc, up := s.proxyOf(c.GetCamera()); up && s.placedOn(c.GetCamera(), r.Name) {
				lag := time.Duration(pc.GetLastPacketNs() - c.GetDurableEndNs())
				rv.Lag = max(rv.Lag, lag.Seconds())
			}
		}
		for _, d := range st.GetDisks() {
			rv.Disks = append(rv.Disks, DiskView{
				Path: d.GetPath(), State: d.GetState(), Capacity: d.GetCapacityBytes(),
				Free: d.GetFreeBytes(), Used: d.GetUsedBytes(), Quota: d.GetQuotaBytes(), Locked: d.GetLockedBytes(), Scrub: scrubView(d.GetScrub()),
				Rebuild: rebuildView(d.GetAdoption()),
			})
		}
		out.Recorders = append(out.Recorders, rv)
	}
	return out
}

// placedOn reports whether the recorder is to record the camera.
func (s *Service) placedOn(camera, recorder string) bool {
	c := s.pool.byName[camera]
	return c != nil && (c.Primary == recorder || c.Redundant == recorder)
}

func (s *Service) proxies() Proxies {
	out := Proxies{Proxies: []ProxyView{}}
	for _, p := range s.pool.proxies {
		v := p.view()
		st := v.PrxStatus
		pv := ProxyView{
			NodeView: nodeView(p, v, st.GetVersion(), st.GetStartedNs()),
			Cameras:  len(st.GetCameras()), Alarms: alarmViews(st.GetAlarms()),
		}
		for _, c := range st.GetCameras() {
			pv.LogBytes += c.GetLogBytes()
			if c.GetState() == "live" {
				pv.Live++
			}
		}
		out.Proxies = append(out.Proxies, pv)
	}
	return out
}

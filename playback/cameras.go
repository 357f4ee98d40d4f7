package playback

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/duet-video/duet/internal/nodepb"
	"github.com/duet-video/duet/internal/record"
)

// Cameras is the answer of /v1/cameras.
type Cameras struct {
	Cameras []CameraView `json:"cameras"`
}

// CameraView is a camera, as its proxy and its recorders see it.
type CameraView struct {
	Name       string     `json:"name"`
	Copies     string     `json:"copies" doc:"How it is to be recorded: dual, spare or single."`
	State      string     `json:"state" enum:"connecting,live,stalled,failed,unknown" doc:"Of the camera's session at its proxy; unknown: no proxy says."`
	Error      string     `json:"error,omitempty" doc:"Why it is not live."`
	Proxy      string     `json:"proxy,omitempty"`
	Epoch      string     `json:"epoch,omitempty"`
	LastPacket *stamp     `json:"lastPacket,omitempty"`
	Tracks     []string   `json:"tracks"`
	Readers    uint32     `json:"readers"`
	Sessions   uint64     `json:"sessions"`
	Protected  *stamp     `json:"protectedUntil,omitempty" doc:"Capture time up to which at least one copy is durable."`
	Complete   *stamp     `json:"completeUntil,omitempty" doc:"Capture time up to which both copies hold the same, as far as retention lets them. Absent: not known, or there are no two copies."`
	Healthy    int        `json:"healthyCopies" doc:"Copies that are being written and were durable within the last 10 s. A spare on standby is none."`
	Wanted     int        `json:"wantedCopies" doc:"What healthyCopies is when all is well: 2 for dual, 1 for spare and single, 0 for a camera that is not configured any more."`
	Recorders  []CopyView `json:"recorders" doc:"The copies."`
}

// CopyView is one recorder's copy of a camera.
type CopyView struct {
	Recorder    string      `json:"recorder"`
	Role        string      `json:"role" doc:"primary or redundant; empty: it is not placed there any more, but has footage."`
	State       State       `json:"state" enum:"up,down,unknown" doc:"Of the recorder. When it is down, the rest is what it said last."`
	Healthy     bool        `json:"healthy" doc:"It is being written and was durable within the last 10 s."`
	Standby     bool        `json:"standby" doc:"A spare that is connected and waits, because its primary is enough: neither healthy nor a fault."`
	Protected   *stamp      `json:"protectedUntil,omitempty" doc:"Capture time up to which this copy is durable."`
	Oldest      *stamp      `json:"oldest,omitempty" doc:"Start of the oldest footage."`
	Behind      float64     `json:"behindSeconds" doc:"From the camera's last packet back to protectedUntil."`
	BehindBy    uint64      `json:"behindRecords"`
	Bytes       uint64      `json:"bytes"`
	Fragments   uint64      `json:"fragments"`
	OffsetsLost uint64      `json:"offsetsLost"`
	Complete    *stamp      `json:"completeUntil,omitempty" doc:"Capture time up to which this copy holds all that the other recorders hold. Absent: not all were compared yet."`
	Repair      *RepairView `json:"repair,omitempty" doc:"While it lacks something that others hold."`
}

// RepairView is how far a copy is with copying what it lacks.
type RepairView struct {
	Fragments uint64  `json:"lackingFragments" doc:"An estimate at first."`
	Bytes     uint64  `json:"lackingBytes"`
	Rate      uint64  `json:"bytesPerSecond"`
	Remaining float64 `json:"remainingSeconds" doc:"At this rate, with all cameras before it; 0: not known yet."`
	Stopped   string  `json:"stopped,omitempty" doc:"Why nothing is copied now."`
}

// healthyWithin is how old the durable end of a copy that is being written may be.
const healthyWithin = 10 * time.Second

// copiesSpare is how a camera is recorded whose redundant copy is only made where the
// primary one is not.
const copiesSpare = "spare"

func (s *Service) cameras() Cameras {
	out := Cameras{Cameras: []CameraView{}}
	configured := make(map[string]bool)
	for _, c := range s.o.Cameras {
		configured[c.Name] = true
		out.Cameras = append(out.Cameras, s.cameraView(c))
	}
	// Footage of cameras that are not configured any more is still there.
	var old []string
	for _, r := range s.pool.recorders {
		for _, c := range r.view().RecStatus.GetCameras() {
			if name := c.GetCamera(); !configured[name] {
				configured[name] = true
				old = append(old, name)
			}
		}
	}
	slices.Sort(old)
	for _, name := range old {
		out.Cameras = append(out.Cameras, s.cameraView(Camera{Name: name}))
	}
	return out
}

// proxyOf returns the proxy that pulls the camera (the one with the newest epoch), what
// it says of it, and whether it is up.
func (s *Service) proxyOf(camera string) (*peer, *nodepb.ProxyCamera, bool) {
	var best *peer
	var said *nodepb.ProxyCamera
	var up bool
	for _, p := range s.pool.proxies {
		v := p.view()
		c := proxyCamera(v.PrxStatus, camera)
		if c == nil {
			continue
		}
		isUp := v.State == StateUp
		if best == nil || (isUp && !up) || (isUp == up && slices.Compare(c.GetEpoch(), said.GetEpoch()) > 0) {
			best, said, up = p, c, isUp
		}
	}
	return best, said, up
}

func (s *Service) cameraView(c Camera) CameraView {
	v := CameraView{Name: c.Name, Copies: c.Copies, State: "unknown", Tracks: []string{}, Recorders: []CopyView{}}
	p, pc, up := s.proxyOf(c.Name)
	if p != nil {
		v.Proxy = p.Name
		v.Epoch = epochText(pc.GetEpoch())
		v.LastPacket = atOrNil(pc.GetLastPacketNs())
		v.Tracks = append(v.Tracks, pc.GetTracks()...)
		v.Sessions = pc.GetSessions()
		if up {
			v.State, v.Error, v.Readers = pc.GetState(), pc.GetError(), pc.GetReaders()
		} else {
			v.Error = "the proxy does not answer"
		}
	}
	for _, r := range s.pool.recorders {
		role := ""
		switch r.Name {
		case c.Primary:
			role = "primary"
		case c.Redundant:
			role = "redundant"
		}
		rv := r.view()
		rc := recorderCamera(rv.RecStatus, c.Name)
		if role == "" && rc == nil {
			continue
		}
		copied := s.copyView(r, rv, role, rc, pc)
		if copied.Healthy {
			v.Healthy++
		}
		if e := copied.Protected; e != nil && (v.Protected == nil || e.After(v.Protected.Time)) {
			v.Protected = e
		}
		v.Recorders = append(v.Recorders, copied)
	}
	switch {
	case c.Primary == "":
	case c.Redundant == "" || c.Copies == copiesSpare:
		v.Wanted = 1
	default:
		v.Wanted = 2
	}
	v.Complete = v.completeUntil()
	slices.SortStableFunc(v.Recorders, func(a, b CopyView) int { return cmp.Compare(roleRank(a.Role), roleRank(b.Role)) })
	return v
}

// completeUntil is up to when both copies of a camera that is recorded twice are complete.
func (v *CameraView) completeUntil() *stamp {
	if v.Copies == copiesSpare {
		return nil
	}
	var until *stamp
	placed := 0
	for i := range v.Recorders {
		c := &v.Recorders[i]
		if c.Role == "" {
			continue
		}
		if c.Complete == nil {
			return nil
		}
		if placed++; until == nil || c.Complete.Before(until.Time) {
			until = c.Complete
		}
	}
	if placed < 2 {
		return nil
	}
	return until
}

func roleRank(role string) int { return slices.Index([]string{"primary", "redundant", ""}, role) }

func (s *Service) copyView(r *peer, rv peerView, role string, rc *nodepb.RecorderCamera, pc *nodepb.ProxyCamera) CopyView {
	c := CopyView{
		Recorder: r.Name, Role: role, State: rv.State,
		Protected: atOrNil(rc.GetDurableEndNs()), Oldest: atOrNil(rc.GetFirstStartNs()),
		Bytes: rc.GetBytesStored(), Fragments: rc.GetFragmentsStored(), OffsetsLost: rc.GetOffsetsLost(),
	}
	if rep := rc.GetRepair(); rep != nil {
		c.Complete = atOrNil(rep.GetCompleteUntilNs())
		if rep.GetLackingFragments() > 0 || rep.GetLackingBytes() > 0 {
			c.Repair = &RepairView{
				Fragments: rep.GetLackingFragments(), Bytes: rep.GetLackingBytes(), Rate: rep.GetBytesPerSecond(),
				Remaining: time.Duration(rep.GetRemainingNs()).Seconds(), Stopped: rep.GetStopped(),
			}
		}
	}
	for _, x := range pc.GetCopies() {
		if x.GetRecorder() == r.Name {
			c.BehindBy = x.GetBehindRecords()
			c.Standby = x.GetStandby() && rv.State == StateUp
		}
	}
	if last, end := pc.GetLastPacketNs(), rc.GetDurableEndNs(); !c.Standby && last > end && end > 0 {
		c.Behind = time.Duration(last - end).Seconds()
	}
	c.Healthy = role != "" && !c.Standby && rv.State == StateUp && rc.GetLinked() &&
		rc.GetDurableEndNs() > s.clock.Now().Add(-healthyWithin).UnixNano()
	return c
}

func epochText(b []byte) string {
	var e record.Epoch
	if copy(e[:], b) != len(e) || e.IsZero() {
		return ""
	}
	return e.String()
}

var errNoRecorder = errors.New("no recorder answers")

// ready reports why there would be no answer with footage now.
func (s *Service) ready() error {
	for _, r := range s.pool.recorders {
		if r.view().State == StateUp {
			return nil
		}
	}
	return errNoRecorder
}

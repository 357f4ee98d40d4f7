package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/duet-video/duet/internal/nodepb"
)

// The view of a site that `duet status --json` prints, and the tables show.

type siteView struct {
	Time      time.Time      `json:"time"`
	Cameras   []cameraView   `json:"cameras"`
	Proxies   []nodeView     `json:"proxies"`
	Recorders []recorderView `json:"recorders"`
}

type cameraView struct {
	Name   string   `json:"name"`
	Proxy  string   `json:"proxy"`
	State  string   `json:"state"` // connecting, live, stalled, failed; unknown: the proxy does not answer
	Error  string   `json:"error,omitempty"`
	Tracks []string `json:"tracks,omitempty"`
	// LastPacket is when the camera sent last.
	LastPacket *time.Time `json:"lastPacket,omitempty"`
	// Protected is up to when at least one copy is durable.
	Protected *time.Time `json:"protectedUntil,omitempty"`
	// Complete is up to when both copies hold the same; nil: not known, or there is one only.
	Complete *time.Time `json:"completeUntil,omitempty"`
	Healthy  int        `json:"healthyCopies"`
	Copies   []copyView `json:"copies"`
}

type copyView struct {
	Recorder  string     `json:"recorder"`
	Role      string     `json:"role"`
	State     string     `json:"state"` // see copyState
	Behind    float64    `json:"behindSeconds"`
	Protected *time.Time `json:"protectedUntil,omitempty"`
	Lost      uint64     `json:"offsetsLost"`
	// Complete is up to when it holds all that others hold; nil: not known.
	Complete *time.Time  `json:"completeUntil,omitempty"`
	Repair   *repairView `json:"repair,omitempty"`
}

type nodeView struct {
	Name  string `json:"name"`
	State string `json:"state"` // up or down
	Error string `json:"error,omitempty"`
}

type recorderView struct {
	nodeView
	Role      string   `json:"role"`
	Zone      string   `json:"zone,omitempty"`
	Disk      string   `json:"disk,omitempty"` // good, slow, full, failing, hung, gone
	UsedBytes uint64   `json:"usedBytes"`
	FreeBytes uint64   `json:"freeBytes"`
	Alarms    []string `json:"alarms,omitempty"`
	// Rebuilds are indexes that are being made anew from the media.
	Rebuilds []rebuildView `json:"rebuilds,omitempty"`
}

// The states of a copy.
const (
	copyRecording = "recording" // durable within the last 10 s of the camera
	copyBehind    = "behind"    // connected, but not that far
	copyWaiting   = "waiting"   // connected, and the camera has not sent anything yet
	copyStandby   = "standby"   // a spare that is not needed
	copyUnlinked  = "unlinked"  // its recorder answers, and is not connected to the proxy
	copyDown      = "down"      // its recorder does not answer
)

// healthyWithin is how old the durable end of a good copy may be.
const healthyWithin = 10 * time.Second

func (m *monitor) view(a *answers, now time.Time) *siteView {
	v := &siteView{Time: now.UTC()}
	for _, cam := range m.site.Cameras {
		v.Cameras = append(v.Cameras, m.cameraView(a, cam.Name, cam.Proxy, now))
	}
	for _, p := range m.site.Proxies {
		v.Proxies = append(v.Proxies, a.node(p.Name))
	}
	for _, r := range m.site.Recorders {
		rv := recorderView{nodeView: a.node(r.Name), Role: r.Role, Zone: r.Zone}
		st := a.recorders[r.Name]
		for _, d := range st.GetDisks() {
			if rv.Disk == "" || rv.Disk == "good" { // the first that is not good says it
				rv.Disk = d.GetState()
			}
			if ad := d.GetAdoption(); ad != nil {
				rv.Rebuilds = append(rv.Rebuilds, rebuildOf(d.GetPath(), ad))
			}
			rv.UsedBytes, rv.FreeBytes = rv.UsedBytes+d.GetUsedBytes(), rv.FreeBytes+d.GetFreeBytes()
		}
		for _, al := range st.GetAlarms() {
			rv.Alarms = append(rv.Alarms, al.GetMessage())
		}
		v.Recorders = append(v.Recorders, rv)
	}
	return v
}

func (a *answers) node(name string) nodeView {
	if err := a.err[name]; err != nil {
		return nodeView{Name: name, State: "down", Error: err.Error()}
	}
	return nodeView{Name: name, State: "up"}
}

func (m *monitor) cameraView(a *answers, name, proxy string, now time.Time) cameraView {
	v := cameraView{Name: name, Proxy: proxy, State: "unknown"}
	last, sent := now, true
	var px *nodepb.ProxyCamera
	for _, c := range a.proxies[proxy].GetCameras() {
		if c.GetCamera() == name {
			px = c
		}
	}
	if px != nil {
		v.State, v.Error, v.Tracks = px.GetState(), px.GetError(), px.GetTracks()
		v.LastPacket = instant(px.GetLastPacketNs())
		if sent = v.LastPacket != nil; sent {
			last = *v.LastPacket
		}
	}
	pair := m.site.plan.Cameras[name]
	for _, c := range []copyView{{Recorder: pair.Primary, Role: "primary"}, {Recorder: pair.Redundant, Role: "redundant"}} {
		if c.Recorder == "" {
			continue
		}
		var connected, standby bool
		var durable int64
		for _, pc := range px.GetCopies() {
			if pc.GetRecorder() == c.Recorder {
				connected, durable, c.Lost, standby = pc.GetConnected(), pc.GetDurableEndNs(), pc.GetOffsetsLost(), pc.GetStandby()
			}
		}
		for _, rc := range a.recorders[c.Recorder].GetCameras() {
			if rc.GetCamera() == name {
				durable = max(durable, rc.GetDurableEndNs())
				connected = connected || px == nil && rc.GetLinked()
				c.Complete, c.Repair = instant(rc.GetRepair().GetCompleteUntilNs()), repairOf(rc.GetRepair())
			}
		}
		c.Protected = instant(durable)
		if c.Protected != nil {
			c.Behind = max(last.Sub(*c.Protected).Seconds(), 0)
		}
		c.State = copyState(a.err[c.Recorder] != nil, connected, standby, sent, c.Protected, last)
		if c.State == copyRecording {
			v.Healthy++
		}
		if c.Protected != nil && (v.Protected == nil || c.Protected.After(*v.Protected)) {
			v.Protected = c.Protected
		}
		v.Copies = append(v.Copies, c)
	}
	v.complete(pair.Copies == "spare")
	return v
}

func copyState(down, connected, standby, sent bool, durable *time.Time, last time.Time) string {
	fresh := durable != nil && last.Sub(*durable) < healthyWithin
	switch {
	case down:
		return copyDown
	case !connected:
		return copyUnlinked
	case standby:
		return copyStandby
	case fresh:
		return copyRecording
	case !sent:
		return copyWaiting
	}
	return copyBehind
}

func instant(ns int64) *time.Time {
	if ns == 0 {
		return nil
	}
	t := time.Unix(0, ns).UTC()
	return &t
}

// tables renders the view; paint colours a word, or does not.
func (v *siteView) tables(paint painter) string {
	reasons := ""
	// What matters most is to the left: a narrow terminal shows no more.
	t := newTable("CAMERA", "STATE", "COPIES", "PRIMARY", "REDUNDANT", "PROTECTED UNTIL", "BOTH COMPLETE UNTIL", "TRACKS")
	for _, c := range v.Cameras {
		cells := map[string]string{}
		for _, cp := range c.Copies {
			cells[cp.Role] = cp.text(paint)
		}
		colour := map[int]ansi{0: red, 1: yellow}[c.Healthy]
		copies := fmt.Sprintf("%d of %d", c.Healthy, len(c.Copies))
		switch {
		case c.spared():
			colour, copies = green, "1 and a spare"
		case c.Healthy >= 2:
			colour = green
		}
		if c.Error != "" {
			reasons += c.Name + ": " + c.Error + "\n"
		}
		reasons += c.repairs()
		t.row(c.Name, paint.by(map[bool]ansi{true: green, false: red}[c.State == "live"], c.State), paint.by(colour, copies),
			cells["primary"], cells["redundant"], clockText(c.Protected), clockText(c.Complete), shorten(joinTracks(c.Tracks), 24))
	}
	out := t.String() + reasons + "\n"
	t = newTable("RECORDER", "ROLE", "STATE", "DISK", ">USED", ">FREE", "ALARMS")
	for _, r := range v.Recorders {
		t.row(r.Name, r.Role, r.text(paint), r.Disk, size(r.UsedBytes), size(r.FreeBytes), shorten(joinTracks(r.Alarms), 60))
	}
	for _, p := range v.Proxies {
		t.row(p.Name, "proxy", p.text(paint), "", "", "", "")
	}
	out += t.String()
	for _, r := range v.Recorders {
		for _, x := range r.Rebuilds {
			out += r.Name + ": " + x.String() + "\n"
		}
	}
	return out
}

// spared reports a camera whose primary records while its spare waits.
func (c *cameraView) spared() bool {
	return c.Healthy == 1 && slices.ContainsFunc(c.Copies, func(cp copyView) bool { return cp.State == copyStandby })
}

func (c *copyView) text(paint painter) string {
	colour := map[string]ansi{copyRecording: green, copyStandby: green, copyBehind: yellow, copyWaiting: yellow}[c.State]
	if colour == "" {
		colour = red
	}
	s := c.Recorder + " " + paint.by(colour, c.State)
	if c.State != copyDown && c.State != copyStandby && c.Protected != nil {
		s += fmt.Sprintf(" %.1f s", c.Behind)
	}
	return s
}

func (n *nodeView) text(paint painter) string {
	if n.State == "up" {
		return paint.by(green, n.State)
	}
	return paint.by(red, n.State) + ": " + shorten(n.Error, 50)
}

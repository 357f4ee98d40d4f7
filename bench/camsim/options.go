package camsim

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/rs/zerolog"
)

// Options say which cameras to simulate, and where.
type Options struct {
	// Listen is the address of the server that all cameras without a port of their own
	// share, each under the path /NAME. Default "127.0.0.1:0".
	Listen string
	// Control is the address of the HTTP API that switches pathologies (see Handler);
	// empty: none.
	Control string
	// LedgerDir is an existing folder in which NAME.jsonl is made for each camera; empty:
	// no ledgers.
	LedgerDir string
	Cameras   []CameraOptions
	Log       zerolog.Logger
}

// Reports say which RTCP sender reports a camera sends.
type Reports string

// The ways of a camera with sender reports.
const (
	ReportsRight  Reports = ""       // one at the start, then every 5 s
	ReportsNone   Reports = "none"   // none at all
	ReportsHours  Reports = "hours"  // the wall clock is 3 h ahead
	ReportsFrozen Reports = "frozen" // the same pair of times again and again
	ReportsRandom Reports = "random" // RTP times that have nothing to do with the media
)

// CameraOptions describe one camera. The zero value of each option is a camera without
// that pathology.
type CameraOptions struct {
	// Name is also the path of its URL: ^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$.
	Name string
	// Video and Audio name what it sends, see VideoClips and AudioClips; empty: no such
	// track.
	Video, Audio string
	// File is an MP4 file (not a fragmented one) to loop instead: its first H.264, H.265
	// or MJPEG track and its first AAC track. Video and Audio are not used then.
	File string

	// OwnPort gives it a server of its own, on a free port of the Listen address. Then a
	// dropped camera refuses connections, instead of answering 503.
	OwnPort bool
	// TCPOnly refuses UDP, as cameras behind a firewall do.
	TCPOnly bool

	// User and Pass demand Digest authentication (RFC 7616: MD5, or SHA-256 with SHA256).
	User, Pass string
	SHA256     bool
	// OneSession refuses (453) a second session while there is one.
	OneSession bool

	// NoSDPSets leaves the parameter sets out of the SDP; NoInBandSets leaves them out of
	// the stream.
	NoSDPSets, NoInBandSets bool
	// DeliveredFPS is the rate at which pictures are sent, whatever the clip and its
	// parameter sets declare. Timestamps tell the truth, unless StampDeclaredFPS.
	DeliveredFPS     float64
	StampDeclaredFPS bool
	// Drift is how much faster than real time the RTP timestamps run: 0.1 is 10 % fast.
	Drift float64
	// FirstRTP is the timestamp of the first access unit of every track; random from the
	// seed when 0. 1<<32 - 90000*5 wraps after 5 s of video.
	FirstRTP uint32
	Reports  Reports
	// MaxPacket is the size of RTP payloads in bytes; default 1440. Those over 1460 can
	// only go over TCP.
	MaxPacket int
	// Loss is the probability with which a packet is withheld, its sequence number spent.
	Loss float64
	// BitrateBPS pads the video to this many bits a second (H.264 and H.265: filler data).
	BitrateBPS int
	// Seed makes random choices repeatable, per camera.
	Seed uint64
}

// VideoClips are the values of CameraOptions.Video: 640x360, 25 pictures and one random
// access point a second, but for the last two.
func VideoClips() []string {
	return []string{
		"h264",     // High, no B-frames
		"h264b",    // B-frames as references, 2 slices, access unit delimiters
		"h264alt",  // other parameter sets: 480x272
		"h265",     // B-frames, closed GOP
		"h265open", // B-frames, CRA with leading pictures
		"h264long", // 160x120, one random access point in 32 s
		"mjpeg",    // 176x144
	}
}

// AudioClips are the values of CameraOptions.Audio.
func AudioClips() []string { return []string{"aac", "pcma", "pcmu"} }

// alternate is the clip that Camera.ChangeParameters goes over to.
var alternate = map[string]string{
	"h264": "h264alt", "h264alt": "h264", "h264b": "h264alt", "h265": "h265open", "h265open": "h265",
}

var nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (o *CameraOptions) validate() error {
	switch {
	case !nameRE.MatchString(o.Name):
		return fmt.Errorf("camera name %q: want %s", o.Name, nameRE)
	case o.Video == "" && o.Audio == "" && o.File == "":
		return errors.New("it has neither video nor audio")
	case o.Drift <= -1 || o.Drift > 1:
		return fmt.Errorf("drift %g is not in -1 … 1", o.Drift)
	case o.Loss < 0 || o.Loss >= 1:
		return fmt.Errorf("loss %g is not in 0 … 1", o.Loss)
	case o.MaxPacket < 0 || o.MaxPacket > maxPacketLimit:
		return fmt.Errorf("packets of %d bytes: at most %d", o.MaxPacket, maxPacketLimit)
	case o.DeliveredFPS < 0 || o.BitrateBPS < 0:
		return errors.New("a rate is negative")
	}
	return o.Reports.validate()
}

func (r Reports) validate() error {
	switch r {
	case ReportsRight, ReportsNone, ReportsHours, ReportsFrozen, ReportsRandom:
		return nil
	}
	return fmt.Errorf("sender reports %q are not known", r)
}

const (
	defaultPayload = 1440
	maxPacketLimit = 65000
	rtpHeader      = 12
	reportPeriod   = 5 * time.Second
)

// DefaultCameras returns n cameras of all kinds without pathologies, the same ones every
// time.
func DefaultCameras(n int) []CameraOptions {
	names := []string{"gate", "yard", "door", "hall", "dock", "lobby", "roof", "lot"}
	kinds := []struct{ video, audio string }{
		{"h264", ""},
		{"h264b", "aac"},
		{"h265", ""},
		{"mjpeg", ""},
		{"h264", "pcma"},
		{"h265open", "aac"},
		{"h264b", ""},
		{"h264alt", "pcmu"},
	}
	out := make([]CameraOptions, n)
	for i := range out {
		name := fmt.Sprintf("cam%d", i+1)
		if i < len(names) {
			name = names[i]
		}
		k := kinds[i%len(kinds)]
		out[i] = CameraOptions{Name: name, Video: k.video, Audio: k.audio, Seed: uint64(i + 1)}
	}
	return out
}

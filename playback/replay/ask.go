package replay

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// refusal is an answer that is not 200.
type refusal struct {
	code    base.StatusCode
	message string // one line; empty: that of the code
	header  base.Header
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.code, r.message) }

func refuse(code base.StatusCode, format string, args ...any) *refusal {
	return &refusal{code: code, message: fmt.Sprintf(format, args...)}
}

// frames says which access units are sent.
type frames int

const (
	framesAll frames = iota
	framesPredicted
	framesIntra
)

// ask is what a PLAY asks for.
type ask struct {
	ranged bool // there was a Range
	npt    bool // in normal play time
	now    bool // npt=now-
	// fromNS and toNS are Unix ns. 0: fromNS is left out, toNS is open. In reverse toNS
	// is before fromNS.
	fromNS, toNS int64

	scale   float64 // negative: reverse
	scaled  bool    // there was a Scale
	speed   float64
	paced   bool // Rate-Control
	frames  frames
	everyNS int64 // of framesIntra: at least so far apart
	framed  bool  // there was a Frames

	immediate bool
	onvif     bool // the client speaks ONVIF
	cseq      byte
}

const (
	maxScale = 64
	minScale = 1.0 / 16
	maxSpeed = 64
)

// parseAsk reads the headers of a PLAY. zeroNS is what normal play time counts from. The
// error is a *refusal.
func parseAsk(h base.Header, zeroNS int64) (ask, error) {
	a := ask{scale: 1, speed: 1, paced: true}
	if n, err := strconv.ParseUint(first(h, "CSeq"), 10, 64); err == nil {
		a.cseq = byte(n)
	}
	for _, tag := range list(h, "Require") {
		a.onvif = a.onvif || tag == tagReplay
	}
	switch v := strings.ToLower(first(h, "Rate-Control")); v {
	case "":
	case "yes", "no":
		a.paced, a.onvif = v == "yes", true
	default:
		return a, refuse(base.StatusBadRequest, "Rate-Control Is Neither yes Nor no")
	}
	switch v := strings.ToLower(first(h, "Immediate")); v {
	case "", "no":
	case "yes":
		a.immediate = true
	default:
		return a, refuse(base.StatusBadRequest, "Immediate Is Neither yes Nor no")
	}
	if err := a.parseScale(h); err != nil {
		return a, err
	}
	if err := a.parseFrames(first(h, "Frames")); err != nil {
		return a, err
	}
	if v := first(h, "Range"); v != "" {
		if err := a.parseRange(v, zeroNS); err != nil {
			return a, err
		}
	}
	return a, nil
}

func first(h base.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return strings.TrimSpace(v[0])
	}
	return ""
}

// list returns the items of a header that may be repeated.
func list(h base.Header, key string) []string {
	var out []string
	for _, v := range h[key] {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.TrimSpace(item); item != "" {
				out = append(out, item)
			}
		}
	}
	return out
}

// parseScale reads Scale and Speed (RFC 2326 12.34, 12.35).
func (a *ask) parseScale(h base.Header) error {
	if v := first(h, "Scale"); v != "" {
		s, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsNaN(s) {
			return refuse(base.StatusBadRequest, "Scale Cannot Be Read")
		}
		switch m := math.Abs(s); {
		case m > maxScale || m < minScale:
			return refuse(base.StatusHeaderFieldNotValidForResource, "Scale Is Not In 1/16 To 64")
		case !a.paced && m != 1:
			return refuse(base.StatusHeaderFieldNotValidForResource, "Scale Is Neither 1 Nor -1 While Rate-Control Is no")
		}
		a.scale, a.scaled = s, true
	}
	if v := first(h, "Speed"); v != "" {
		s, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsNaN(s) || s <= 0 {
			return refuse(base.StatusBadRequest, "Speed Cannot Be Read")
		}
		a.speed = min(max(s, 1.0/maxSpeed), maxSpeed) // the answer says which
	}
	return nil
}

// parseFrames reads Frames: intra[/ms] | predicted | all.
func (a *ask) parseFrames(v string) error {
	kind, every, limited := strings.Cut(v, "/")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "":
		return nil
	case "all":
		a.frames = framesAll
	case "predicted":
		a.frames = framesPredicted
	case "intra":
		a.frames = framesIntra
	default:
		return refuse(base.StatusBadRequest, "Frames Is Neither intra, predicted Nor all")
	}
	a.framed, a.onvif = true, true
	if !limited {
		return nil
	}
	ms, err := strconv.ParseUint(strings.TrimSpace(every), 10, 40)
	if err != nil || a.frames != framesIntra {
		return refuse(base.StatusBadRequest, "The Interval Of Frames Cannot Be Read")
	}
	a.everyNS = int64(ms) * int64(time.Millisecond)
	return nil
}

// parseRange reads Range (RFC 2326 12.29). A range that goes the wrong way is 457.
func (a *ask) parseRange(v string, zeroNS int64) error {
	v, _, _ = strings.Cut(v, ";") // ;time=
	unit, span, ok := strings.Cut(strings.TrimSpace(v), "=")
	if !ok {
		return refuse(base.StatusBadRequest, "Range Cannot Be Read")
	}
	from, to, ok := strings.Cut(span, "-")
	from, to = strings.TrimSpace(from), strings.TrimSpace(to)
	if !ok || from == "" && to == "" {
		return refuse(base.StatusBadRequest, "Range Cannot Be Read")
	}
	var err error
	switch strings.ToLower(strings.TrimSpace(unit)) {
	case "clock":
		err = a.parseClockRange(from, to)
	case "npt":
		err = a.parseNPTRange(from, to, zeroNS)
	default:
		err = errUnit
	}
	switch {
	case errors.Is(err, errUnit):
		return refuse(base.StatusNotImplemented, "Range Is Neither In clock Nor In npt")
	case err != nil:
		return refuse(base.StatusBadRequest, "Range Cannot Be Read: %s", oneLine(err.Error()))
	}
	a.ranged = true
	switch {
	case a.toNS == 0 || a.fromNS == 0:
	case a.scale > 0 && a.toNS <= a.fromNS:
		return refuse(base.StatusInvalidRange, "The Range Ends Before It Starts")
	case a.scale < 0 && a.toNS >= a.fromNS:
		return refuse(base.StatusInvalidRange, "A Range In Reverse Starts Where It Ends Before")
	}
	return nil
}

func (a *ask) parseClockRange(from, to string) (err error) {
	if a.fromNS, err = parseClock(from); err != nil {
		return err
	}
	if to != "" {
		a.toNS, err = parseClock(to)
	}
	return err
}

func (a *ask) parseNPTRange(from, to string, zeroNS int64) error {
	a.npt = true
	// GStreamer, told a range in clock, asks for seconds since 1900.
	at := func(s string) (int64, error) {
		d, err := parseNPT(s)
		if d >= ntp1900*time.Second {
			return int64(d - ntp1900*time.Second), err
		}
		return zeroNS + int64(d), err
	}
	var err error
	switch from {
	case "":
	case "now":
		a.now = true
	default:
		a.fromNS, err = at(from)
	}
	if err == nil && to != "" {
		a.toNS, err = at(to)
	}
	return err
}

// oneLine keeps a reason phrase on one line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

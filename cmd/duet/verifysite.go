package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/playback"
)

// site verifies the recorders that run.
func (c *verifyCmd) site(a *app) error {
	start, end, err := parseRange(c.From, c.To, time.Now())
	if err != nil {
		return err
	}
	s, err := loadSite(c.Config)
	if err != nil {
		return err
	}
	creds, err := loadAnyCredentials(s)
	if err != nil {
		return err
	}
	o := playback.VerifyOptions{
		Options: playbackOptions(s, func(node string) *tls.Config { return creds.ClientConfig(node) }),
		Start:   start, End: end, Level: c.Level,
	}
	o.Name, o.Log = creds.Name, zerolog.Nop()
	if len(c.Camera) > 0 {
		for _, name := range c.Camera {
			if !slices.ContainsFunc(o.Cameras, func(cam playback.Camera) bool { return cam.Name == name }) {
				return usagef("%s has no camera %s", c.Config, name)
			}
		}
		o.Cameras = slices.DeleteFunc(o.Cameras, func(cam playback.Camera) bool { return !slices.Contains(c.Camera, cam.Name) })
	}
	// What is in the range is not known beforehand: the measure is time, camera by camera.
	span := end.Sub(start).Milliseconds()
	bar := newMeter(a, c.Level)
	done := int64(0)
	o.Progress = func(v playback.VerifyCamera) {
		at := done
		if v.Done {
			done += span
			at = done
		} else if !v.At.IsZero() {
			at += min(max(v.At.Sub(start).Milliseconds(), 0), span)
		}
		bar.at(at, span*int64(len(o.Cameras)))
	}
	if bar.bar != nil {
		bar.bar = timeBar(a, c.Level)
	}
	all, err := playback.VerifySite(a.ctx, o)
	bar.end()
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(a.stdout, all); err != nil {
			return err
		}
		return printVerified(io.Discard, all)
	}
	return printVerified(a.stdout, all)
}

func printVerified(w io.Writer, all []playback.VerifyCamera) error {
	var problems []fmt.Stringer
	bad := false
	t := newTable("CAMERA", ">FRAGMENTS", ">EQUAL", ">ONE COPY", ">MISMATCH", ">UNREADABLE", ">CHECKED")
	for _, v := range all {
		t.row(v.Camera, fmt.Sprint(v.Fragments), fmt.Sprint(v.Equal), fmt.Sprint(v.OnlyOne), fmt.Sprint(v.Mismatch), fmt.Sprint(v.Unreadable),
			config.Bytes(v.Bytes).String())
		for i := range v.Problems {
			problems = append(problems, &v.Problems[i])
		}
		for name, why := range v.Missing {
			problems = append(problems, text(fmt.Sprintf("%s: recorder %s did not answer: %s", v.Camera, name, why)))
		}
		bad = bad || v.Mismatch > 0 || v.Unreadable > 0 || len(v.Missing) > 0
	}
	t.print(w)
	printProblems(w, problems)
	if bad {
		return errDiffers
	}
	return nil
}

// text is a fmt.Stringer.
type text string

func (t text) String() string { return string(t) }

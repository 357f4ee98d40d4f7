package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/playback"
	"github.com/duet-video/duet/recorder"
)

type verifyCmd struct {
	fileFlag
	Data   string   `xor:"what" required:"" type:"existingdir" placeholder:"DIR" help:"Data directory of a recorder that does not run: files against index."`
	Site   bool     `xor:"what" required:"" help:"All running recorders: files against indexes, and copies against each other."`
	Camera []string `placeholder:"NAME" help:"With --site: only these cameras."`
	From   string   `default:"-24h" placeholder:"TIME" help:"With --site: start (${default}); see export."`
	To     string   `default:"-10s" placeholder:"TIME" help:"With --site: end (${default})."`
}

// errDiffers is what verify fails with when it worked.
var errDiffers = errors.New("not everything is as it should be")

// Run hashes what is stored.
func (c *verifyCmd) Run(a *app) error {
	if c.Data != "" {
		return c.data(a)
	}
	return c.site(a)
}

func (c *verifyCmd) data(a *app) error {
	fd, tty := terminal(a.stderr)
	scr := &screen{w: a.stderr, fd: fd}
	var said time.Time
	report, err := recorder.VerifyData(a.ctx, recorder.DiskFS(), c.Data, func(r *recorder.DataReport) {
		if tty && time.Since(said) > 200*time.Millisecond {
			said = time.Now()
			scr.draw(fmt.Sprintf("%d files, %s hashed, %d fragments", r.Segments, config.Bytes(r.Bytes), r.Fragments))
		}
	})
	if err != nil {
		return err
	}
	if tty {
		scr.draw("")
	}
	t := newTable("RECORDER", ">FILES", ">HASHED", ">FRAGMENTS", ">EQUAL", ">MISMATCH", ">MISSING", ">NOT INDEXED", ">TORN BYTES")
	t.row(report.Recorder, fmt.Sprint(report.Segments), config.Bytes(report.Bytes).String(), fmt.Sprint(report.Fragments), fmt.Sprint(report.Equal),
		fmt.Sprint(report.Mismatch), fmt.Sprint(report.Missing), fmt.Sprint(report.NotIndexed), fmt.Sprint(report.Torn))
	t.print(a.stdout)
	printProblems(a.stdout, report.Problems)
	if !report.OK() {
		return errDiffers
	}
	return nil
}

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
		Start:   start, End: end,
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
	fd, tty := terminal(a.stderr)
	scr := &screen{w: a.stderr, fd: fd}
	o.Progress = func(v playback.VerifyCamera) {
		if tty {
			scr.draw(fmt.Sprintf("%s: %d fragments, %s hashed", v.Camera, v.Fragments, config.Bytes(v.Bytes)))
		}
	}
	all, err := playback.VerifySite(a.ctx, o)
	if err != nil {
		return err
	}
	if tty {
		scr.draw("")
	}
	return printVerified(a.stdout, all)
}

func printVerified(w io.Writer, all []playback.VerifyCamera) error {
	var problems []string
	bad := false
	t := newTable("CAMERA", ">FRAGMENTS", ">EQUAL", ">ONE COPY", ">MISMATCH", ">UNREADABLE", ">HASHED")
	for _, v := range all {
		t.row(v.Camera, fmt.Sprint(v.Fragments), fmt.Sprint(v.Equal), fmt.Sprint(v.OnlyOne), fmt.Sprint(v.Mismatch), fmt.Sprint(v.Unreadable),
			config.Bytes(v.Bytes).String())
		problems = append(problems, v.Problems...)
		for name, why := range v.Missing {
			problems = append(problems, fmt.Sprintf("%s: recorder %s did not answer: %s", v.Camera, name, why))
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

func printProblems(w io.Writer, problems []string) {
	for _, p := range problems {
		_, _ = fmt.Fprintln(w, " ", p)
	}
}

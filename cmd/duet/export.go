package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/download"
	"github.com/duet-video/duet/internal/evidence"
	"github.com/duet-video/duet/internal/pki"
)

type exportCmd struct {
	fileFlag
	Camera   []string `arg:"" help:"Name of the camera; several go into one archive."`
	From     string   `required:"" placeholder:"TIME" help:"Start: RFC 3339, \"2006-01-02 15:04:05\" (local), \"15:04:05\" (today), -5m (before now)."`
	To       string   `default:"now" placeholder:"TIME" help:"End (${default})."`
	Format   string   `enum:",mp4,progressive,zip,tar" default:"" placeholder:"FORMAT" help:"mp4: fragmented, begins at once, signed. progressive: not fragmented, for editors; at most 2 h, not signed. zip, tar: a file for each camera. Without it, what the name of the file ends with."`
	Output   string   `short:"o" required:"" type:"path" placeholder:"FILE.mp4" help:"Where it goes. FILE.mp4.part holds what is not complete; the same command goes on with it."`
	URL      string   `placeholder:"URL" help:"Playback, instead of the first one of the file."`
	Force    bool     `help:"Write over a file that exists."`
	NoVerify bool     `help:"Do not check what was saved against its manifest."`
	Quiet    bool     `short:"q" help:"No progress bar."`
}

// Run saves the range.
func (c *exportCmd) Run(a *app) error {
	start, end, err := parseRange(c.From, c.To, time.Now())
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.Output); err == nil && !c.Force {
		return usagef("%s exists (--force writes over it)", c.Output)
	}
	base, err := c.base()
	if err != nil {
		return err
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return usagef("--url: want http://host:port")
	}
	format, err := c.format()
	if err != nil {
		return err
	}
	q := url.Values{
		"start": {start.UTC().Format(time.RFC3339Nano)}, "end": {end.UTC().Format(time.RFC3339Nano)},
	}
	archive := format == formatZIP || format == formatTAR
	switch {
	case archive:
		u = u.JoinPath("v1", "export."+format)
		q["camera"] = c.Camera
	default:
		u = u.JoinPath("v1", "cameras", c.Camera[0], "recording.mp4")
		if format == formatProgressive {
			q.Set("layout", format)
		}
	}
	u.RawQuery = q.Encode()
	o := download.Options{
		URL: u.String(), File: c.Output,
		// With times relative to now, the same command means another range each time:
		// one that was interrupted just now is still gone on with.
		Request: fmt.Sprintf("%s %s %s %s %s", base, c.names(), c.From, c.To, format),
	}
	if isRelative(c.From) || isRelative(c.To) {
		o.SameFor = 10 * time.Minute
	}
	bar := c.bar(a)
	o.Progress = func(done, total int64) {
		if bar != nil {
			bar.ChangeMax64(total)
			_ = bar.Set64(done)
		}
	}
	o.Retrying = func(err error, wait time.Duration) {
		if bar != nil {
			_, _ = fmt.Fprintln(a.stderr) // under the bar
		}
		_, _ = fmt.Fprintf(a.stderr, "%v: trying again in %v\n", err, wait.Round(100*time.Millisecond))
	}
	var about http.Header
	o.Answered = func(h http.Header) { about = h }
	n, err := download.Fetch(a.ctx, o)
	if bar != nil {
		_, _ = fmt.Fprintln(a.stderr)
	}
	if a.ctx.Err() != nil {
		return fmt.Errorf("interrupted: the same command goes on with %s.part", c.Output)
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", c.names(), err)
	}
	if t, err := time.Parse(time.RFC3339Nano, about.Get("Duet-Start")); err == nil {
		start = t
	}
	if t, err := time.Parse(time.RFC3339Nano, about.Get("Duet-End")); err == nil {
		end = t
	}
	_, err = fmt.Fprintf(a.stdout, "%s: %s of %s, %s … %s%s\n", c.Output, config.Bytes(n), c.names(),
		start.Local().Format("2006-01-02 15:04:05.000"), end.Local().Format("15:04:05.000 MST"), lacks(about))
	switch {
	case err != nil || c.NoVerify:
		return err
	case archive:
		_, err = fmt.Fprintln(a.stdout, "  manifest.json in it says what each file lacks and why; duet verify checks each file")
		return err
	case format == formatProgressive:
		_, err = fmt.Fprintln(a.stdout, "  not signed: only a fragmented file can prove that its fragments are as they were recorded")
		return err
	}
	return c.prove(a)
}

// The forms of an export.
const (
	formatMP4         = "mp4"
	formatProgressive = "progressive"
	formatZIP         = "zip"
	formatTAR         = "tar"
)

func (c *exportCmd) names() string { return strings.Join(c.Camera, ", ") }

// format is what is asked for, by the flag or by the name of the file.
func (c *exportCmd) format() (string, error) {
	format := c.Format
	if format == "" {
		format = formatMP4
		for _, f := range []string{formatZIP, formatTAR} {
			if strings.HasSuffix(strings.ToLower(c.Output), "."+f) {
				format = f
			}
		}
	}
	if len(c.Camera) > 1 && (format == formatMP4 || format == formatProgressive) {
		return "", usagef("%d cameras go into an archive: -o FILE.zip, or --format zip or tar", len(c.Camera))
	}
	return format, nil
}

// prove verifies what was saved, and says how that went.
func (c *exportCmd) prove(a *app) error {
	var roots *x509.CertPool
	if cfg, err := config.Load(c.Config); err == nil {
		roots, _ = pki.Roots(filepath.Join(cfg.TLS.Dir, "ca.crt")) // without it, it is said that nothing is proven
	}
	bar := newMeter(a, "verifying")
	r, err := verifyFile(a.ctx, c.Output, roots, bar.at)
	bar.end()
	switch {
	case errors.Is(err, evidence.ErrNone):
		_, err = fmt.Fprintln(a.stdout, "  not signed: the playback node has no certificate to sign exports with (duet certs)")
		return err
	case err != nil:
		return err
	case len(r.Problems) > 0:
		printFile(a.stdout, c.Output, r)
		return errDiffers
	case r.SignedBy == "":
		_, err = fmt.Fprintf(a.stdout, "  verified: every byte is as its manifest says; who made that is not proven: %s\n", r.Signature)
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "  verified: signed by %s, %d fragments equal to what was recorded, %d trimmed to the range (duet verify %s proves it to others)\n",
		r.SignedBy, r.Whole, r.Trimmed, c.Output)
	return err
}

// lacks says what the recording does not show, in the words of the timeline.
func lacks(h http.Header) (text string) {
	if n := h.Get("Duet-Gaps"); n != "" && n != "0" {
		text += fmt.Sprintf("\n  %s gaps in it: nobody has that footage, the timeline says why", n)
	}
	if names := h.Get("Duet-Unknown"); names != "" {
		text += fmt.Sprintf("\n  not all recorders were asked with success: %s may have more", names)
	}
	if n := h.Get("Duet-Conflicts"); n != "" && n != "0" {
		text += fmt.Sprintf("\n  copies differ in %s fragments: see duet verify --site", n)
	}
	return text
}

func (c *exportCmd) base() (string, error) {
	if c.URL != "" {
		return c.URL, nil
	}
	cfg, err := config.Load(c.Config)
	if err != nil {
		return "", err
	}
	if len(cfg.Playback) == 0 {
		return "", usagef("%s has no playback: say where one is with --url", c.Config)
	}
	return "http://" + cfg.Playback[0].HTTP.Dial(), nil
}

func (c *exportCmd) bar(a *app) *progressbar.ProgressBar {
	if _, tty := terminal(a.stderr); c.Quiet || !tty {
		return nil
	}
	return progressbar.NewOptions64(1, progressbar.OptionSetWriter(a.stderr), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription(c.names()), progressbar.OptionSetWidth(40), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true))
}

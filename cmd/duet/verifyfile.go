package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/evidence"
	"github.com/duet-video/duet/internal/media"
	"github.com/duet-video/duet/internal/pki"
)

// file verifies an export.
func (c *verifyCmd) file(a *app) error {
	roots, err := c.roots()
	if err != nil {
		return err
	}
	bar := newMeter(a, filepath.Base(c.File))
	r, err := verifyFile(a.ctx, c.File, roots, bar.at)
	bar.end()
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(a.stdout, fileReport{r, r.OK(), &r.Manifest.Head, len(r.Manifest.Fragments)})
	} else {
		printFile(a.stdout, c.File, r)
	}
	if err == nil && !r.OK() {
		err = errDiffers
	}
	return err
}

// fileReport is the report as JSON.
type fileReport struct {
	*evidence.Report
	Good      bool           `json:"good"`
	Manifest  *evidence.Head `json:"manifest"`
	Fragments int            `json:"fragments"`
}

// roots returns the CA that is believed: the one that is named, or the site's.
func (c *verifyCmd) roots() (*x509.CertPool, error) {
	if c.CA != "" {
		return pki.Roots(c.CA)
	}
	cfg, err := config.Load(c.Config)
	if err != nil {
		return nil, usagef("whose signature is to be believed? Say it with --ca ca.crt (there is no configuration to take it from: %v)", err)
	}
	return pki.Roots(filepath.Join(cfg.TLS.Dir, "ca.crt"))
}

func verifyFile(ctx context.Context, name string, roots *x509.CertPool, progress func(done, total int64)) (*evidence.Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r, err := evidence.Verify(ctx, f, info.Size(), evidence.VerifyOptions{Roots: roots, Progress: progress})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

func because(c media.Cause) string {
	if c == "" {
		return ""
	}
	return ", cause: " + string(c)
}

// silentOf returns those of the stretch; manifests of earlier builds name them together only.
func silentOf(own, all []string) []string {
	if len(own) > 0 {
		return own
	}
	return all
}

func printFile(w io.Writer, name string, r *evidence.Report) {
	m := r.Manifest
	const form = "2006-01-02T15:04:05.000Z07:00"
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	switch {
	case r.OK():
		line("%s: good", name)
	case len(r.Problems) > 0:
		line("%s: NOT what was exported", name)
	default:
		line("%s: undamaged, but NOT proven", name)
	}
	line("  camera     %s, %s … %s", m.Camera, m.Start.UTC().Format(form), m.End.UTC().Format(form))
	if r.SignedBy != "" {
		line("  signed     by playback node %s, %s, %s", r.SignedBy, m.Made.UTC().Format(time.RFC3339), m.Software)
	} else {
		line("  signature  %s", r.Signature)
	}
	line("  fragments  %d equal to what was recorded, %d trimmed to the range, of %d", r.Whole, r.Trimmed, len(m.Fragments))
	for _, g := range m.Gaps {
		line("  gap        %s … %s%s", g.Start.UTC().Format(form), g.End.UTC().Format(form), because(g.Cause))
	}
	for _, g := range m.Unknown {
		line("  unknown    %s … %s (did not answer: %s)", g.Start.UTC().Format(form), g.End.UTC().Format(form), strings.Join(silentOf(g.Recorders, m.Silent), ", "))
	}
	problems := make([]fmt.Stringer, len(r.Problems))
	for i := range r.Problems {
		problems[i] = &r.Problems[i]
	}
	printProblems(w, problems)
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

type verifyCmd struct {
	fileFlag
	File   string   `arg:"" optional:"" type:"existingfile" placeholder:"FILE.mp4" help:"An export: its signature, and every byte against its manifest. Needs no server."`
	CA     string   `name:"ca" type:"existingfile" placeholder:"FILE" help:"With FILE.mp4: certificate of the CA that is believed; default: ca.crt in tls.dir of the configuration."`
	Data   string   `type:"existingdir" placeholder:"DIR" help:"Data directory of a recorder that does not run: files against index."`
	Site   bool     `help:"All running recorders: files against indexes, and copies against each other."`
	Level  string   `default:"hash" enum:"present,size,hash" help:"With --data and --site: how far. present: the files are there; size: and long enough, with each fragment's box in its place; hash: every byte is what it was (${default})."`
	Camera []string `placeholder:"NAME" help:"With --site: only these cameras."`
	From   string   `default:"-24h" placeholder:"TIME" help:"With --site: start (${default}); see export."`
	To     string   `default:"-10s" placeholder:"TIME" help:"With --site: end (${default})."`
	JSON   bool     `name:"json" help:"Print the whole report as JSON."`
}

// errDiffers is what verify fails with when it worked.
var errDiffers = errors.New("not everything is as it should be")

// Run checks what is stored, or an export.
func (c *verifyCmd) Run(a *app) error {
	n := 0
	for _, given := range []bool{c.File != "", c.Data != "", c.Site} {
		if given {
			n++
		}
	}
	switch {
	case n != 1:
		return usagef("verify wants one of FILE.mp4, --data DIR and --site")
	case c.File != "":
		return c.file(a)
	case c.Data != "":
		return c.data(a)
	}
	return c.site(a)
}

// problemsShown is how many problems are printed without --json.
const problemsShown = 20

func printProblems[T fmt.Stringer](w io.Writer, problems []T) {
	for i, p := range problems {
		if i == problemsShown {
			_, _ = fmt.Fprintf(w, "  … and %d more (--json names them)\n", len(problems)-i)
			return
		}
		_, _ = fmt.Fprintln(w, " ", p)
	}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// meter shows how far something of known size is, on a terminal.
type meter struct {
	a   *app
	bar *progressbar.ProgressBar
}

func newMeter(a *app, what string) *meter {
	m := &meter{a: a}
	if _, tty := terminal(a.stderr); tty {
		m.bar = progressbar.NewOptions64(1, progressbar.OptionSetWriter(a.stderr), progressbar.OptionShowBytes(true),
			progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(40), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true))
	}
	return m
}

func (m *meter) at(done, total int64) {
	if m.bar == nil || total <= 0 {
		return
	}
	m.bar.ChangeMax64(max(total, done))
	_ = m.bar.Set64(done) // a bar that is not drawn is no matter
}

func (m *meter) end() {
	if m.bar != nil {
		_, _ = fmt.Fprintln(m.a.stderr)
	}
}

// timeBar is a bar of which the measure is not bytes.
func timeBar(a *app, what string) *progressbar.ProgressBar {
	return progressbar.NewOptions64(1, progressbar.OptionSetWriter(a.stderr),
		progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(40), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(true))
}

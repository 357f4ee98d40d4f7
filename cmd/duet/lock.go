package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/user"
	"strings"
	"time"

	"github.com/duet-video/duet/internal/config"
)

type lockCmd struct {
	playbackFlags
	Camera string `arg:"" help:"Name of the camera."`
	From   string `required:"" placeholder:"TIME" help:"Start: RFC 3339, \"2006-01-02 15:04:05\" (local), \"15:04:05\" (today), -5m (before now)."`
	To     string `default:"now" placeholder:"TIME" help:"End (${default})."`
	Reason string `required:"" placeholder:"TEXT" help:"Why: it stands beside the lock."`
}

type locksCmd struct {
	playbackFlags
	Camera   string `arg:"" optional:"" help:"Only those of this camera."`
	Released bool   `help:"Those that were released, too."`
	JSON     bool   `help:"Print JSON."`
}

type unlockCmd struct {
	playbackFlags
	ID string `arg:"" help:"ID of the lock, from duet locks."`
}

// playbackFlags are shared by the commands that ask playback.
type playbackFlags struct {
	fileFlag
	URL string `placeholder:"URL" help:"Playback, instead of the first one of the file."`
}

// lockView is what playback says of a lock.
type lockView struct {
	ID       string     `json:"id"`
	Camera   string     `json:"camera"`
	Start    time.Time  `json:"start"`
	End      time.Time  `json:"end"`
	Reason   string     `json:"reason"`
	By       string     `json:"by"`
	Released *time.Time `json:"released"`
	InForce  []string   `json:"inForce"`
	Pending  []string   `json:"pending"`
}

// Run places a lock.
func (c *lockCmd) Run(a *app) error {
	start, end, err := parseRange(c.From, c.To, time.Now())
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{
		"camera": c.Camera, "start": start.UTC().Format(time.RFC3339Nano), "end": end.UTC().Format(time.RFC3339Nano),
		"reason": c.Reason, "by": whoami(),
	})
	if err != nil {
		return err
	}
	var l lockView
	if err := c.ask(a.ctx, http.MethodPost, []string{"v1", "locks"}, nil, body, &l); err != nil {
		return fmt.Errorf("lock %s: %w", c.Camera, err)
	}
	_, err = fmt.Fprintf(a.stdout, "%s: %s, %s … %s, in force on %s%s\n", l.ID, l.Camera,
		l.Start.Local().Format("2006-01-02 15:04:05.000"), l.End.Local().Format("15:04:05.000 MST"), orNone(l.InForce), later(l.Pending))
	return err
}

// Run lists locks.
func (c *locksCmd) Run(a *app) error {
	q := url.Values{}
	if c.Camera != "" {
		q.Set("camera", c.Camera)
	}
	if c.Released {
		q.Set("released", "true")
	}
	var raw json.RawMessage
	if err := c.ask(a.ctx, http.MethodGet, []string{"v1", "locks"}, q, nil, &raw); err != nil {
		return fmt.Errorf("list locks: %w", err)
	}
	if c.JSON {
		_, err := fmt.Fprintln(a.stdout, string(bytes.TrimSpace(raw)))
		return err
	}
	var answer struct {
		Locks  []lockView `json:"locks"`
		Silent []string   `json:"silent"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("list locks: %w", err)
	}
	t := newTable("LOCK", "CAMERA", "FROM", "TO", "IN FORCE", "PENDING", "BY", "REASON")
	for _, l := range answer.Locks {
		state := strings.Join(l.InForce, " ")
		if l.Released != nil {
			state = strings.TrimSpace("released " + state)
		}
		t.row(l.ID, l.Camera, l.Start.Local().Format(time.DateTime), l.End.Local().Format(time.DateTime),
			state, strings.Join(l.Pending, " "), l.By, l.Reason)
	}
	t.print(a.stdout)
	if len(answer.Silent) > 0 {
		_, _ = fmt.Fprintf(a.stderr, "no answer from %s: they may know of more\n", strings.Join(answer.Silent, ", "))
	}
	return nil
}

// Run releases a lock.
func (c *unlockCmd) Run(a *app) error {
	var l lockView
	if err := c.ask(a.ctx, http.MethodDelete, []string{"v1", "locks", c.ID}, url.Values{"by": {whoami()}}, nil, &l); err != nil {
		return fmt.Errorf("unlock %s: %w", c.ID, err)
	}
	_, err := fmt.Fprintf(a.stdout, "%s: %s, %s … %s, released%s\n", l.ID, l.Camera,
		l.Start.Local().Format("2006-01-02 15:04:05.000"), l.End.Local().Format("15:04:05.000 MST"), later(l.Pending))
	return err
}

func later(pending []string) string {
	if len(pending) == 0 {
		return ""
	}
	return "; " + strings.Join(pending, ", ") + " will hear of it when they return"
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func whoami() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// base returns the URL of playback.
func (f *playbackFlags) base() (*url.URL, error) {
	base := f.URL
	if base == "" {
		cfg, err := config.Load(f.Config)
		if err != nil {
			return nil, err
		}
		if len(cfg.Playback) == 0 {
			return nil, usagef("%s has no playback: say where one is with --url", f.Config)
		}
		base = "http://" + cfg.Playback[0].HTTP.Dial()
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, usagef("--url: want http://host:port")
	}
	return u, nil
}

// askDeadline is how long playback may take: it waits for recorders that are slow.
const askDeadline = 60 * time.Second

// ask asks playback and decodes its answer, or returns what it said is wrong.
func (f *playbackFlags) ask(ctx context.Context, method string, path []string, q url.Values, body []byte, into any) error {
	u, err := f.base()
	if err != nil {
		return err
	}
	u = u.JoinPath(path...)
	u.RawQuery = q.Encode()
	ctx, cancel := context.WithTimeout(ctx, askDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		var p struct{ Detail string }
		if json.Unmarshal(b, &p) == nil && p.Detail != "" {
			return fmt.Errorf("%s", p.Detail)
		}
		return fmt.Errorf("%s: %s", u.Redacted(), resp.Status)
	}
	return json.Unmarshal(b, into)
}

package main

import (
	"errors"

	"github.com/duet-video/duet/internal/config"
	"github.com/duet-video/duet/internal/placement"
)

// planOf places the cameras of the file, and gives each problem its line.
func planOf(cfg *config.Config) (*placement.Plan, error) {
	cameras := make([]placement.Camera, len(cfg.Cameras))
	for i, c := range cfg.Cameras {
		cameras[i] = placement.Camera{
			Name: c.Name, Bitrate: int64(c.Bitrate), Primary: c.Primary, Redundant: c.Redundant,
			Copies: placement.Copies(c.Copies),
		}
	}
	recorders := make([]placement.Recorder, len(cfg.Recorders))
	for i, r := range cfg.Recorders {
		recorders[i] = placement.Recorder{
			Name: r.Name, Role: placement.Role(r.Role), Zone: r.Zone, Capacity: int64(r.Capacity), Quota: int64(r.Quota),
		}
	}
	plan, err := placement.New(cameras, recorders)
	if err == nil && plan == nil {
		err = errors.New("no plan was made")
	}
	if err == nil {
		return plan, nil
	}
	return plan, &refusedError{problems: problemsOf(cfg, err)}
}

// refusedError says why there is no plan: the file is well formed, and asks for more
// than its recorders can do.
type refusedError struct{ problems error }

func (e *refusedError) Error() string { return e.problems.Error() }

func problemsOf(cfg *config.Config, err error) error {
	var all []error
	for _, e := range unjoin(err) {
		var p *placement.Problem
		switch {
		case errors.As(e, &p) && p.Camera != "":
			all = append(all, cfg.Problem("cameras", p.Camera, p.Message))
		case errors.As(e, &p) && p.Recorder != "":
			all = append(all, cfg.Problem("recorders", p.Recorder, p.Message))
		default:
			all = append(all, cfg.Problem("recorders", "", e.Error()))
		}
	}
	return errors.Join(all...)
}

func unjoin(err error) []error {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		return many.Unwrap()
	}
	return []error{err}
}

// proxiesOf returns the proxies that may have a camera.
func proxiesOf(c *config.Camera) []string {
	if c.Proxy == "" {
		return nil
	}
	return []string{c.Proxy}
}

package load

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/duet-video/duet/bench/flame"
)

// profiles looks where the time of the proxy and of one recorder goes.
func profiles(ctx context.Context, d *duet, during time.Duration) (map[string]*flame.Node, error) {
	roles := []string{"proxy", "recorder 1"}
	found := make([]*flame.Node, len(roles))
	group, ctx := errgroup.WithContext(ctx)
	for i, role := range roles {
		group.Go(func() error {
			body, err := get(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", d.pprof[role], max(1, int(during.Seconds()))))
			if err != nil {
				return err
			}
			defer body.Close()
			b, err := io.ReadAll(body)
			if err != nil {
				return fmt.Errorf("profile of %s: %w", role, err)
			}
			found[i], err = flame.Parse(b)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return map[string]*flame.Node{roles[0]: found[0], roles[1]: found[1]}, nil
}

// profiled returns what was seen; nil: nothing.
func (r *RecordReport) profiled() map[string]*flame.Node {
	for i := range r.Runs {
		if r.Runs[i].profiles != nil {
			return r.Runs[i].profiles
		}
	}
	return nil
}

// hottest is a table of the functions that took most of the time themselves.
func (r *RecordReport) hottest() string {
	p := r.profiled()
	if p == nil {
		return ""
	}
	const limit = 16
	proxy, recorder := p["proxy"].Top(limit), p["recorder 1"].Top(limit)
	t := table{head: []string{"proxy", "itself", "with what it calls", "recorder", "itself", "with what it calls"}}
	for i := range max(len(proxy), len(recorder)) {
		row := make([]string, 6)
		for j, list := range [][]flame.Share{proxy, recorder} {
			if i < len(list) {
				s := list[i]
				row[3*j], row[3*j+1], row[3*j+2] = "`"+s.Name+"`", percent(s.Self), percent(s.Total)
			}
		}
		t.add(row...)
	}
	return "\n" + t.String()
}

func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }

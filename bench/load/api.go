package load

import (
	"context"
	"fmt"
	"net/url"
	"time"
)

// What playback answers, as far as it is needed here.
type (
	camerasAnswer struct {
		Cameras []struct {
			Name    string `json:"name"`
			State   string `json:"state"`
			Healthy int    `json:"healthyCopies"`
		} `json:"cameras"`
	}
	nodesAnswer struct {
		Recorders []nodeAnswer `json:"recorders"`
		Proxies   []nodeAnswer `json:"proxies"`
	}
	nodeAnswer struct {
		Name   string `json:"name"`
		State  string `json:"state"`
		Alarms []struct {
			Code string `json:"code"`
		} `json:"alarms"`
	}
	timelineAnswer struct {
		Spans []struct {
			Start     time.Time `json:"start"`
			End       time.Time `json:"end"`
			Recorders []string  `json:"recorders"`
		} `json:"spans"`
		Gaps []struct {
			Start time.Time `json:"start"`
			End   time.Time `json:"end"`
			Cause string    `json:"cause"`
		} `json:"gaps"`
		Unknown []struct {
			Start time.Time `json:"start"`
		} `json:"unknown"`
		Future *time.Time `json:"future"`
	}
)

// trouble returns the first thing that the site says is wrong; "" when all is well.
func trouble(ctx context.Context, http string) (string, error) {
	var cams camerasAnswer
	if err := getJSON(ctx, http+"/v1/cameras", &cams); err != nil {
		return "", err
	}
	for _, c := range cams.Cameras {
		if c.State != "live" {
			return c.Name + " is " + c.State, nil
		}
		if c.Healthy < 2 {
			return fmt.Sprintf("%s has %d healthy copies", c.Name, c.Healthy), nil
		}
	}
	for _, path := range []string{"/v1/recorders", "/v1/proxies"} {
		var nodes nodesAnswer
		if err := getJSON(ctx, http+path, &nodes); err != nil {
			return "", err
		}
		for _, n := range append(nodes.Recorders, nodes.Proxies...) {
			if n.State != "up" {
				return n.Name + " is " + n.State, nil
			}
			if len(n.Alarms) > 0 {
				return n.Name + ": " + n.Alarms[0].Code, nil
			}
		}
	}
	return "", nil
}

func rangeQuery(from, to time.Time) string {
	q := url.Values{"start": {from.UTC().Format(time.RFC3339Nano)}, "end": {to.UTC().Format(time.RFC3339Nano)}}
	return "?" + q.Encode()
}

// twice returns an error unless two recorders have everything of a camera in a range that
// is not a gap.
func twice(ctx context.Context, http, camera string, from, to time.Time) error {
	var t timelineAnswer
	if err := getJSON(ctx, http+"/v1/cameras/"+camera+"/timeline"+rangeQuery(from, to), &t); err != nil {
		return err
	}
	if len(t.Unknown) > 0 {
		return fmt.Errorf("%s is not known from %s", camera, t.Unknown[0].Start)
	}
	if t.Future != nil {
		return fmt.Errorf("%s is recorded up to %s", camera, t.Future)
	}
	for _, s := range t.Spans {
		if len(s.Recorders) < 2 {
			return fmt.Errorf("%s is on %v alone from %s", camera, s.Recorders, s.Start)
		}
	}
	if len(t.Spans) == 0 {
		return fmt.Errorf("%s has nothing", camera)
	}
	return nil
}

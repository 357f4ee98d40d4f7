package load

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// get asks over HTTP; the answer must be 200.
func get(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		_ = res.Body.Close()
		return nil, fmt.Errorf("GET %s: %s: %s", url, res.Status, strings.TrimSpace(string(b)))
	}
	return res.Body, nil
}

// getJSON asks and decodes, within 10 s.
func getJSON(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := get(ctx, url)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	return nil
}

// sample is a line of Prometheus' text format.
type sample struct {
	name, labels string // labels as they stand, without the braces
	value        float64
}

// label returns the value of a label; "" where there is none.
func (s *sample) label(name string) string {
	_, after, ok := strings.Cut(","+s.labels, ","+name+`="`)
	if !ok {
		return ""
	}
	v, _, _ := strings.Cut(after, `"`)
	return v
}

// scrape reads /metrics of a node.
func scrape(ctx context.Context, addr string) ([]sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := get(ctx, "http://"+addr+"/metrics")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return parseMetrics(body)
}

func parseMetrics(r io.Reader) ([]sample, error) {
	var out []sample
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		head, value, ok := strings.Cut(line, "} ")
		if !ok {
			head, value, ok = strings.Cut(line, " ")
		}
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("a metric that reads %q", line)
		}
		name, labels, _ := strings.Cut(head, "{")
		out = append(out, sample{name, labels, v})
	}
	return out, lines.Err()
}

// sum adds up the samples of a metric.
func sum(list []sample, name string) float64 {
	total := 0.0
	for i := range list {
		if list[i].name == name {
			total += list[i].value
		}
	}
	return total
}

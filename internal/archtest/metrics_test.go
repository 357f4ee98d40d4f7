package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// metricName finds a metric's name where it is written whole; metricHelper where the
// helper of a package puts its prefix before it.
var (
	metricName   = regexp.MustCompile(`"(duet_[a-z0-9_]+)"`)
	metricHelper = map[string]*regexp.Regexp{
		"duet_":          regexp.MustCompile(`\bdesc\("([a-z0-9_]+)"`),
		"duet_recorder_": regexp.MustCompile(`\bcounter\("([a-z0-9_]+)"`),
	}
)

// exportedMetrics returns the names of all metrics in the source, with the file of each.
func exportedMetrics(t *testing.T) map[string]string {
	t.Helper()
	names := map[string]string{}
	for _, dir := range []string{"cmd", "proxy", "recorder", "playback", "index", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range metricName.FindAllSubmatch(b, -1) {
				if name := string(m[1]); !strings.HasSuffix(name, "_") { // not a prefix
					names[name] = path
				}
			}
			if dir != "proxy" && dir != "recorder" {
				return nil
			}
			for prefix, helper := range metricHelper {
				if dir == "recorder" != (prefix == "duet_recorder_") {
					continue
				}
				for _, m := range helper.FindAllSubmatch(b, -1) {
					names[prefix+string(m[1])] = path
				}
			}
			return nil
		})
		require.NoError(t, err)
	}
	return names
}

func TestMetricsAreThoseOfTheOperationsPage(t *testing.T) {
	exported := exportedMetrics(t)
	require.Greater(t, len(exported), 40)
	page := read(t, "docs/OPERATIONS.md")
	_, table, ok := strings.Cut(page, "## Metrics")
	require.True(t, ok)
	table, _, ok = strings.Cut(table, "\n## ")
	require.True(t, ok)
	documented := map[string]bool{}
	for _, name := range regexp.MustCompile(`duet_[a-z0-9_]+`).FindAllString(table, -1) {
		documented[name] = true
	}
	for name, file := range exported {
		if !documented[name] {
			t.Errorf("docs/OPERATIONS.md does not explain the metric %s of %s", name, file)
		}
	}
	for name := range documented {
		if exported[name] == "" {
			t.Errorf("docs/OPERATIONS.md explains the metric %s, which is not exported", name)
		}
	}
}

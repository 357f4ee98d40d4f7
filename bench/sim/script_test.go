package sim

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what the scripts show into their files")

// Each script in testdata/scripts shows what it did when it was written: commands, and
// indented below each what it shows.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			var got string
			synctest.Test(t, func(t *testing.T) { got = runScript(t, string(b)) })
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(b), got)
		})
	}
}

func runScript(t *testing.T, text string) string {
	o := Options{Seed: 1, Cameras: 1, Recorders: 2, Log: testLog()}
	var s *Site
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "  "):
			continue
		case line == "" || line[0] == '#':
			out.WriteString(line + "\n")
			continue
		}
		out.WriteString(line + "\n")
		if s == nil {
			if o.set(line) {
				continue
			}
			var err error
			s, err = New(o)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
		}
		shown, err := s.Do(line)
		if err != nil {
			shown += "error: " + err.Error() + "\n"
		}
		for l := range strings.Lines(shown) {
			out.WriteString("  " + strings.TrimRight(l, "\n") + "\n")
		}
	}
	return out.String()
}

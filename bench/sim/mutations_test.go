package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var mutations = flag.Bool("sim.mutations", false, "break the program by hand and see that the seeds find it (minutes)")

type mutation struct{ name, file, old, new string }

func readMutations(t *testing.T) []mutation {
	b, err := os.ReadFile("testdata/mutations.txt")
	require.NoError(t, err)
	var out []mutation
	for _, part := range strings.Split("\n"+string(b), "\n== ")[1:] {
		head, rest, ok := strings.Cut(part, "\n--\n")
		require.True(t, ok, part)
		name, file, ok := strings.Cut(head, "\n")
		require.True(t, ok, part)
		before, after, ok := strings.Cut(rest, "\n++\n")
		require.True(t, ok, part)
		out = append(out, mutation{name, file, before, strings.TrimRight(after, "\n")})
	}
	return out
}

func TestMutationsAreFound(t *testing.T) {
	if !*mutations {
		t.Skip("-sim.mutations was not given: it builds the program anew for each of them")
	}
	failed := regexp.MustCompile(`seed (\d+) \(make sim`)
	for _, m := range readMutations(t) {
		t.Run(m.name, func(t *testing.T) {
			path, err := filepath.Abs(filepath.Join("..", "..", m.file))
			require.NoError(t, err)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(b), m.old), "%s was changed: adapt the mutation", m.file)
			changed := filepath.Join(t.TempDir(), "changed.go")
			require.NoError(t, os.WriteFile(changed, []byte(strings.Replace(string(b), m.old, m.new, 1)), 0o600))
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
			require.NoError(t, err)
			file := filepath.Join(t.TempDir(), "overlay.json")
			require.NoError(t, os.WriteFile(file, overlay, 0o600))
			cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-overlay", file, ".",
				"-run", "^TestSeeds$", "-sim.until", "-sim.seeds", "600", "-timeout", "10m")
			cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "600 seeds have not found it")
			found := failed.FindStringSubmatch(string(out))
			if found == nil {
				require.Contains(t, string(out), "panic", "%s", out)
				fmt.Printf("| %s | a panic |\n", m.name)
				return
			}
			_, why, _ := strings.Cut(string(out), found[0])
			lines := strings.SplitN(why, "\n", 3)
			fmt.Printf("| %s | %s | %s |\n", m.name, found[1], strings.TrimSpace(lines[1]))
		})
	}
}

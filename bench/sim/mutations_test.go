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

// mutation is a mistake: changes that are made together.
type mutation struct {
	name    string
	changes []change
}

type change struct{ file, old, new string }

func readMutations(t *testing.T) []mutation {
	b, err := os.ReadFile("testdata/mutations.txt")
	require.NoError(t, err)
	var out []mutation
	for _, part := range strings.Split("\n"+string(b), "\n== ")[1:] {
		name, rest, ok := strings.Cut(part, "\n")
		require.True(t, ok, part)
		m := mutation{name: name}
		for _, text := range strings.Split(rest, "\n&&\n") {
			file, text, ok := strings.Cut(text, "\n--\n")
			require.True(t, ok, part)
			before, after, ok := strings.Cut(text, "\n++\n")
			require.True(t, ok, part)
			m.changes = append(m.changes, change{file, before, strings.TrimRight(after, "\n")})
		}
		out = append(out, m)
	}
	return out
}

// overlay writes the changed files, and what tells go of them, and returns its name.
func (m mutation) overlay(t *testing.T) string {
	replaced := map[string]string{}
	for i, c := range m.changes {
		path, err := filepath.Abs(filepath.Join("..", "..", c.file))
		require.NoError(t, err)
		from := path
		if replaced[path] != "" { // the second change of a file
			from = replaced[path]
		}
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(b), c.old), "%s: %s was changed: adapt the mutation", m.name, c.file)
		replaced[path] = filepath.Join(t.TempDir(), fmt.Sprintf("changed%d.go", i))
		require.NoError(t, os.WriteFile(replaced[path], []byte(strings.Replace(string(b), c.old, c.new, 1)), 0o600))
	}
	b, err := json.Marshal(map[string]any{"Replace": replaced})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "overlay.json")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	return file
}

// The mistakes are those of the program as it is: a change of the program changes them.
func TestMutationsFitTheProgram(t *testing.T) {
	if !*mutations {
		t.Skip("-sim.mutations was not given")
	}
	for _, m := range readMutations(t) {
		m.overlay(t)
	}
}

func TestMutationsAreFound(t *testing.T) {
	if !*mutations {
		t.Skip("-sim.mutations was not given: it builds the program anew for each of them")
	}
	failed := regexp.MustCompile(`seed (\d+) \(make sim`)
	for _, m := range readMutations(t) {
		t.Run(m.name, func(t *testing.T) {
			file := m.overlay(t)
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

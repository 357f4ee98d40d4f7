package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var root = filepath.Join("..", "..")

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(b)
}

func TestEveryDependencyIsExplainedAndEveryExplainedOneIsUsed(t *testing.T) {
	direct, explained := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(read(t, "go.mod")) {
		f := strings.Fields(line)
		if len(f) == 2 && strings.HasPrefix(line, "\t") && hasDot(f[0]) {
			direct[f[0]] = true
		}
	}
	_, table, ok := strings.Cut(read(t, "docs/ARCHITECTURE.md"), "## Every dependency")
	require.True(t, ok)
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			for _, m := range regexp.MustCompile(`[a-z.]+\.[a-z]+/\S+?(?:,|\s|$)`).FindAllString(cells[1], -1) {
				explained[strings.Trim(m, ", ")] = true
			}
		}
	}
	require.Greater(t, len(direct), 10)
	for m := range direct {
		if !explained[m] {
			t.Errorf("go.mod requires %s, and docs/ARCHITECTURE.md does not say what for", m)
		}
	}
	for m := range explained {
		if !direct[m] {
			t.Errorf("docs/ARCHITECTURE.md explains %s, which go.mod does not require", m)
		}
	}
}

func TestFilesThatDocumentsNameExist(t *testing.T) {
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	named := regexp.MustCompile("`((?:proxy|recorder|index|playback|bench|cmd|internal)/[a-z0-9_/]*[a-z0-9_]+\\.go)`")
	count := 0
	for _, doc := range append(docs, filepath.Join(root, "README.md")) {
		b, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range named.FindAllStringSubmatch(string(b), -1) {
			count++
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s, which is not there", filepath.Base(doc), m[1])
			}
		}
	}
	require.Greater(t, count, 10)
}

func TestTestsThatDocumentsNameExist(t *testing.T) {
	defined := map[string]bool{}
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range test.FindAllStringSubmatch(string(b), -1) {
			defined[m[1]] = true
		}
		return err
	})
	require.NoError(t, err)
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	named := regexp.MustCompile("`(Test[A-Z]\\w+)`")
	for _, doc := range docs {
		b, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range named.FindAllStringSubmatch(string(b), -1) {
			if !defined[m[1]] {
				t.Errorf("%s names %s, which is not there", filepath.Base(doc), m[1])
			}
		}
	}
	_, table, ok := strings.Cut(read(t, "docs/DURABILITY.md"), "## The invariants")
	require.True(t, ok)
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		row := regexp.MustCompile(`(?m)^\| ` + n + ` \|.*$`).FindString(table)
		require.Regexp(t, named, row, "invariant %s names no test", n)
	}
}

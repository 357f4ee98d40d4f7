package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/duet-video/duet"

// sourceFile is a Go file of the module.
type sourceFile struct {
	pkg       string // directory, with slashes: "internal/media"
	name      string
	ast       *ast.File
	test      bool
	generated bool
	imports   []string
}

// tree parses the module, without its tools' modules.
func tree(t *testing.T) []sourceFile {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []sourceFile
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); p != root && (strings.HasPrefix(n, ".") || n == "bin" || n == "node_modules" || n == "duet-demo") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		s := sourceFile{pkg: filepath.ToSlash(rel), name: d.Name(), ast: f, test: strings.HasSuffix(p, "_test.go"), generated: ast.IsGenerated(f)}
		for _, i := range f.Imports {
			v, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, v)
		}
		files = append(files, s)
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(files), 50, "the source tree was not found")
	return files
}

// under reports whether pkg is one of the directories, or below.
func under(pkg string, dirs ...string) bool {
	for _, d := range dirs {
		if pkg == d || strings.HasPrefix(pkg, d+"/") {
			return true
		}
	}
	return false
}

// ours returns the directory of a package of this module.
func ours(imported string) (dir string, ok bool) {
	return strings.CutPrefix(imported, module+"/")
}

func (f *sourceFile) where() string { return path.Join(f.pkg, f.name) }

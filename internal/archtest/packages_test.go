package archtest

import (
	"go/ast"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func cutFirst(p string) (first, rest string, ok bool) { return strings.Cut(p, "/") }

func hasDot(s string) bool { return strings.Contains(s, ".") }

// topLevel are the folders that the design allows.
var topLevel = []string{"cmd", "proxy", "recorder", "index", "playback", "bench", "testdata", "internal"}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	doc := map[string]bool{}
	for _, f := range tree(t) {
		if f.test && !strings.Contains(f.pkg, "/e2e") { // a package of tests alone says it there
			continue
		}
		has := f.ast.Doc != nil && strings.TrimSpace(f.ast.Doc.Text()) != ""
		doc[f.pkg] = doc[f.pkg] || has
	}
	for pkg, ok := range doc {
		if !ok {
			t.Errorf("package %s has no doc comment: a reader who opens a folder is told its job and its invariants", pkg)
		}
	}
}

func TestFoldersAreThoseOfTheDesign(t *testing.T) {
	for _, f := range tree(t) {
		require.True(t, under(f.pkg, topLevel...), "%s: the top level is fixed: %v", f.where(), topLevel)
	}
}

func TestNothingHappensBeforeMain(t *testing.T) {
	for _, f := range tree(t) {
		if f.generated || f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: work at import cannot be configured, ordered or tested", f.where())
			}
		}
	}
}

func TestTestsDoNotSleep(t *testing.T) {
	for _, f := range tree(t) {
		// Whole sites run in real time; everywhere else there is a clock to step.
		if !f.test || under(f.pkg, "bench") {
			continue
		}
		bubble := usesSynctest(&f)
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || bubble {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s sleeps: wait for a condition, or step a clock", f.where())
				}
			}
			return true
		})
	}
}

// usesSynctest reports a file whose sleeps take no time.
func usesSynctest(f *sourceFile) bool {
	for _, i := range f.imports {
		if i == "testing/synctest" {
			return true
		}
	}
	return false
}

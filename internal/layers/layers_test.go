// Package layers checks by itself the rules of the house that no linter knows.
package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoGoroutinesWhereTimeIsData: what is in a file is a function of the input,
// and so nothing in recorder and output may run beside something else.
func TestNoGoroutinesWhereTimeIsData(t *testing.T) {
	for _, dir := range []string{"../../recorder", "../../output"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.GoStmt); ok {
					t.Errorf("%s: a goroutine starts here", files.Position(s.Pos()))
				}
				if call, ok := n.(*ast.CallExpr); ok && isWaitGroupGo(call) {
					t.Errorf("%s: a goroutine starts here", files.Position(call.Pos()))
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// isWaitGroupGo tells whether call is x.Go(func() …), as of sync.WaitGroup.
func isWaitGroupGo(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Go" && len(call.Args) == 1
}

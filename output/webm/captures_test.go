package webm

import (
	"os"
	"path/filepath"
	"testing"
)

// captures gives the folder with recordings that others made, which is beside
// the project; without it the test is skipped.
func captures(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		dir = filepath.Dir(dir)
		found := filepath.Join(dir, "shared", "captures")
		if _, err := os.Stat(found); err == nil {
			return found
		}
	}
	t.Skip("shared/captures is not beside the project")
	return ""
}

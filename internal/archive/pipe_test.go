//go:build unix

package archive_test

import (
	"path/filepath"
	"syscall"
	"testing"
)

// TestPipesAreNoFiles: opening one would wait for ever, as a file, as a folder and
// as a manifest.
func TestPipesAreNoFiles(t *testing.T) {
	dir, _ := house(t)
	write(t, dir, "pipes/keep", "")
	for _, name := range []string{"standup/one/pipe.webm", "standup/pipe", "pipes/manifest.json"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := show(t, dir, nil)
	for target, want := range map[string]int{
		"": 200, "standup/one/pipe.webm": 404, "standup/pipe": 404, "standup/pipe/alice.webm": 404, "pipes/": 404, "standup/one/": 200,
	} {
		if resp, _ := ask(a, "GET", "/recordings/"+target); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", target, resp.Status, want)
		}
	}
}

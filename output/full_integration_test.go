//go:build integration && linux

package output

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestDirSaysWhatHappenedOnAFullDisk(t *testing.T) {
	path := t.TempDir()
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no file system of one's own: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	root, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	d := OpenDir(root, DirOptions{})
	defer d.Close()
	if err := d.WriteFile("manifest.json", []byte("recording")); err != nil {
		t.Fatal(err)
	}
	f := create(t, d, "alice", "")
	for chunk := make([]byte, 30_000); err == nil; {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// Every last page is taken.
	for err = nil; err == nil; {
		_, err = f.Write([]byte{0})
	}
	text := strings.Repeat("incomplete ", 5000)
	if err := d.WriteFile("manifest.json", []byte(text)); err != nil {
		t.Fatal(err)
	}
	if got := content(t, d, "manifest.json"); got != text {
		t.Errorf("the file holds %.20q", got)
	}
	// With no reserve left, a file that does not fit keeps what it held.
	big := bytes.Repeat([]byte("x"), 1<<20)
	if err := d.WriteFile("manifest.json", big); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing more than fits: %v", err)
	}
	if got := content(t, d, "manifest.json"); got != text {
		t.Errorf("the file holds %.20q", got)
	}
	// A file whose first chunk does not fit leaves nothing.
	g := create(t, d, "bob", "")
	if _, err := g.Write(big); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing more than fits: %v", err)
	}
	if err := g.(interface{ Truncate(int64) error }).Truncate(0); err != nil {
		t.Fatal(err)
	}
	finish(t, g)
	finish(t, f)
	if got := list(t, path); !slices.Equal(got, []string{"alice.webm", "manifest.json"}) {
		t.Errorf("there is %q", got)
	}
}

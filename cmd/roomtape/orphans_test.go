package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestOrphansAreWhatACrashHasLeft(t *testing.T) {
	root := t.TempDir()
	session := func(name, state, file string) string {
		dir := filepath.Join(root, "room", name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "manifest.json"), fmt.Sprintf(`{"state":%q,"files":[{"path":%q},{"path":"../../outside.webm"},{"path":"missing.webm"}]}`, state, file))
		return dir
	}
	write(t, filepath.Join(root, "outside.webm"), "cut")
	crashed := session("crashed", "recording", "a.webm")
	write(t, filepath.Join(crashed, "a.webm"), "cut")
	partial := session("partial", "recording", "b.webm")
	write(t, filepath.Join(partial, "b.webm.part"), "cut")
	repaired := session("repaired", "recording", "c.webm")
	write(t, filepath.Join(repaired, "c.webm"), "cut")
	write(t, filepath.Join(repaired, "c.repaired.webm"), "whole")
	write(t, filepath.Join(session("complete", "complete", "d.webm"), "d.webm"), "cut")
	live := session("live", "recording", "e.webm")
	write(t, filepath.Join(live, "e.webm"), "cut")
	d, err := os.Open(live)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if taken, err := lockFolder(d); !taken || err != nil {
		t.Skip("no locks here:", err)
	}
	if err := os.MkdirAll(filepath.Join(root, "room", "strange"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "room", "strange", "manifest.json"), "{")

	got := findOrphans(root, ".part", time.Now())
	want := []string{filepath.Join(crashed, "a.webm"), filepath.Join(partial, "b.webm.part")}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q; want %q", got, want)
	}
}

func write(t *testing.T, name, data string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRepairedName(t *testing.T) {
	for name, want := range map[string]string{
		"alice.webm": "alice.repaired.webm", "a.b.MKV": "a.b.repaired.MKV", "alice.webm.part": "alice.repaired.webm",
		"alice": "alice.repaired.webm", ".webm": ".webm.repaired.webm", "a.txt": "a.txt.repaired.webm",
	} {
		if stem, ext := repairedName(name); stem+ext != want {
			t.Errorf("%s becomes %s; want %s", name, stem+ext, want)
		}
	}
}

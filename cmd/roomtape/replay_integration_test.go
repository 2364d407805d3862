//go:build integration

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
)

// A session with real browsers, one of which comes back and shares a screen, is
// dumped. Its replay gives the files of the live recording byte for byte.
func TestBrowsersReplay(t *testing.T) {
	room, dir := openRoom(t), t.TempDir()
	b := browser.Start(t)
	alice, bob := page(t, b, room, "alice"), page(t, b, room, "bob")
	record := start(t, "record", "--dump-rtp", "--chunk", "700ms", "--out", dir, "--session", "s", room)
	waitFor(t, "two recordings", 20*time.Second, func() bool { return len(recordings(t, dir)) == 2 })
	after(t, 4*time.Second)
	alice.Eval(`roomtape.leave()`, nil)
	after(t, time.Second)
	alice.Eval(`roomtape.join({room: 'test', name: 'alice', source: 'pattern'})`, nil)
	waitFor(t, "alice's second file", 20*time.Second, func() bool { return len(recordings(t, dir)) == 3 })
	bob.Eval(`roomtape.shareTestPicture({width: 1024, height: 576, fps: 15})`, nil)
	after(t, 4*time.Second)
	if err := record.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := record.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &record.stderr)
	}
	m := readManifest(t, filepath.Join(dir, "s"))
	if m.Dump != "dump.pcapng" || m.DumpError != "" {
		t.Errorf("the manifest says of the dump: %q, %q", m.Dump, m.DumpError)
	}

	replay := start(t, "replay", "--json", "--out", filepath.Join(dir, "again"), "--name", "{participant}", filepath.Join(dir, "s", "dump.pcapng"))
	if code := replay.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &replay.stderr)
	}
	var again replayed
	if err := json.Unmarshal(replay.stdout.Bytes(), &again); err != nil {
		t.Fatal(err)
	}
	if len(again.Files) != len(m.Files) {
		t.Fatalf("%d files live, %d in the replay", len(m.Files), len(again.Files))
	}
	for _, f := range m.Files {
		live, err := os.ReadFile(filepath.Join(dir, "s", f.Path))
		if err != nil {
			t.Fatal(err)
		}
		past, err := os.ReadFile(filepath.Join(dir, "again", f.Path))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(live, past) {
			t.Errorf("%s: %d bytes live, and other %d bytes in the replay", f.Path, len(live), len(past))
		}
		t.Logf("%s: %d bytes, %d ms", f.Path, f.Bytes, f.DurationMS)
	}
}

//go:build integration

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/recorder/capturetest"
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
	record.stop(t)
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

// What is replayed satisfies every program that has an opinion, and a 32-bit
// program gives the same bytes.
func TestReplayedCapturesPlay(t *testing.T) {
	other := filepath.Join(t.TempDir(), "roomtape-386")
	build := exec.Command("go", "build", "-o", other, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=386")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build for 386: %v\n%s", err, out)
	}
	for _, c := range replayCases {
		t.Run(c.name(), func(t *testing.T) {
			r, dir := replayFile(t, c.paths(t)...)
			file := filepath.Join(dir, r.Files[0].Path)
			whole(t, file)

			replay := exec.CommandContext(t.Context(), other, append([]string{"replay", "--json", "--log-level", "error", "--out", t.TempDir()}, c.paths(t)...)...)
			out, err := replay.Output()
			if errors.Is(err, syscall.ENOEXEC) {
				t.Skip("no 32-bit program runs here")
			}
			if err != nil {
				t.Fatal(err)
			}
			var again replayed
			if err := json.Unmarshal(out, &again); err != nil {
				t.Fatal(err)
			}
			if again.Files[0].SHA256 != r.Files[0].SHA256 {
				t.Error("on 32 bits, the replay gives other bytes")
			}
		})
	}
}

// An encrypted capture is of use to who has the key.
func TestReplayDecrypts(t *testing.T) {
	r, dir := replayFile(t, "--srtp-key", strings.Repeat("61", 30),
		capturetest.Path(t, "membraneframework-membrane_rtp_plugin/test/fixtures/rtp/session/srtp.pcap"))
	if len(r.Files) != 1 || r.Files[0].Tracks[0].Codec != "H264" {
		t.Fatalf("files %+v", r.Files)
	}
	whole(t, filepath.Join(dir, r.Files[0].Path))
}

//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/roomtape/roomtape/internal/browser"
	"github.com/roomtape/roomtape/media"
	"github.com/roomtape/roomtape/recorder"
	"github.com/roomtape/roomtape/signaling/synthetic"
)

// sentAt is how much a participant had sent at an instant.
type sentAt struct {
	at           time.Time
	video, audio int64
}

// TestKillLosesAtMostASecond kills recordings with SIGKILL at random moments.
// Each file left must play without a complaint and hold everything that was
// sent up to a second before.
func TestKillLosesAtMostASecond(t *testing.T) {
	const runs = 30
	for run := range runs {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Parallel()
			life := time.Duration(rand.Int64N(int64(4*time.Second))) + 500*time.Millisecond
			url, dir := openRoom(t), t.TempDir()
			people := map[string]*synthetic.Peer{"alice": enter(t, url, "alice", "alice"), "bob": enter(t, url, "bob", "bob")}
			p := start(t, "record", "--out", dir, "--session", "s", url)
			waitFor(t, "two recordings", 20*time.Second, func() bool { return len(recordings(t, dir)) == 2 })

			sent := map[string][]sentAt{}
			born := time.Now()
			waitFor(t, "the end of its life", life+10*time.Second, func() bool {
				now := time.Now()
				for id, person := range people {
					video, audio := person.Sent()
					sent[id] = append(sent[id], sentAt{now, video, audio})
				}
				return now.Sub(born) >= life
			})
			killed := time.Now()
			if err := p.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if code := p.exit(t); code != -1 {
				t.Fatalf("record ended by itself with %d:\n%s", code, &p.stderr)
			}
			for id := range people {
				file := filepath.Join(dir, "s", id+".webm")
				got := frames(t, file)
				plays(t, file)
				var want sentAt
				for _, s := range sent[id] {
					if killed.Sub(s.at) >= time.Second {
						want = s
					}
				}
				if got[media.Video] < want.video || got[media.Audio] < want.audio {
					t.Errorf("%s: %d video frames and %d Opus packets are in the file; %d and %d had been sent a second before the kill",
						id, got[media.Video], got[media.Audio], want.video, want.audio)
				}
			}
			m := readManifest(t, filepath.Join(dir, "s"))
			if m.State != "recording" {
				t.Errorf("the manifest's state is %q", m.State)
			}
		})
	}
}

// TestKilledFilesPlayInABrowser plays what a kill leaves to its end.
func TestKilledFilesPlayInABrowser(t *testing.T) {
	url, dir := openRoom(t), t.TempDir()
	enter(t, url, "alice", "alice")
	enter(t, url, "bob", "bob")
	record := start(t, "record", "--out", dir, "--session", "s", url)
	waitFor(t, "two recordings", 20*time.Second, func() bool { return len(recordings(t, dir)) == 2 })
	after(t, 3*time.Second)
	if err := record.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	record.exit(t)
	p := player(t, browser.Start(t), dir)
	for _, file := range recordings(t, dir) {
		load(t, p, dir, file)
		p.Wait(`document.querySelector('video').ended && document.querySelector('video').currentTime > 1.5`)
		p.Eval(`if (document.querySelector('video').error) throw new Error(document.querySelector('video').error.message)`, nil)
	}
	if errs := p.Errors(); len(errs) > 0 {
		t.Errorf("the page complains: %q", errs)
	}
}

// TestStopFinalizesTenWithinTwoSeconds stops a recording of ten participants
// by SIGTERM.
func TestStopFinalizesTenWithinTwoSeconds(t *testing.T) {
	url, dir := openRoom(t), t.TempDir()
	for i := range 10 {
		enter(t, url, fmt.Sprintf("p%d", i), []string{"alice", "bob"}[i%2])
	}
	p := start(t, "record", "--out", dir, "--session", "s", "--json", url)
	waitFor(t, "ten recordings", 30*time.Second, func() bool {
		files := recordings(t, dir)
		for _, f := range files {
			if info, err := os.Stat(f); err != nil || info.Size() < 64<<10 {
				return false
			}
		}
		return len(files) == 10
	})
	stopped := time.Now()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code, took := p.exit(t), time.Since(stopped)
	if code != 0 || took > 2*time.Second {
		t.Errorf("exit code %d after %v, want 0 within 2 s\n%s", code, took, &p.stderr)
	}
	var m recorder.Manifest
	if err := json.Unmarshal(p.stdout.Bytes(), &m); err != nil {
		t.Fatalf("stdout is no manifest: %v", err)
	}
	if m.State != "complete" || len(m.Files) != 10 {
		t.Errorf("state %q, %d files", m.State, len(m.Files))
	}
	for _, f := range recordings(t, dir) {
		if n := frames(t, f); n[media.Video] == 0 || n[media.Audio] == 0 {
			t.Errorf("%s: %v", f, n)
		}
		plays(t, f)
	}
	for _, f := range m.Files {
		if f.SHA256 == "" || f.DurationMS <= 0 {
			t.Errorf("%s: sha256 %q, %d ms", f.Path, f.SHA256, f.DurationMS)
		}
	}
}

func readManifest(t *testing.T, dir string) recorder.Manifest {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m recorder.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("manifest.json: %v", err)
	}
	return m
}
